/**
 * Files on their way into the library: dropped anywhere, pasted, picked or taken with the camera; from the first byte until they can be shown.
 *
 * A file that was interrupted is sent again from its start once the service is back, as the same request, so that it is never taken twice.
 */

import { BASE, Refused, newKey } from "./api.js";
import { at, button, icon, make, renew, setText, speak } from "./dom.js";
import { openItem } from "./item.js";
import { jobOf } from "./library.js";
import { itemOf, on, remember, store } from "./store.js";
import { toast } from "./toasts.js";
import { bytes, plural } from "./words.js";

/** Sent at once: two keep the line full while the disk syncs. */
const LINES = 2;
/** Starts of one file: a line that breaks each time will not get better by itself. */
const TRIES_MAX = 5;
const AGAIN_MS = 1500;
/** A finished upload stays this long, to be seen. */
const DONE_MS = 5000;
const FILES_MAX = 500;

/** Uploads in order of arrival: `{id, file, key, tries, state, sent, note, slug}`; state: waiting, sending, broken, preparing, ready, failed. */
let uploads = [];
let number = 0;

/** Take files in. */
export function addFiles(files) {
  const chosen = [...files].slice(0, FILES_MAX);
  if (files.length > FILES_MAX) toast(`The first ${FILES_MAX} files are taken; add the others afterwards.`, { kind: "bad" });
  if (!chosen.length) return;
  for (const file of chosen) uploads.push({ id: String((number += 1)), file, key: newKey(), tries: 0, state: "waiting", sent: 0, note: "" });
  speak(`${plural(chosen.length, "file")} to upload`);
  show();
  pump();
}

function pump() {
  const busy = uploads.filter((upload) => upload.state === "sending").length;
  const waiting = uploads.filter((upload) => upload.state === "waiting");
  for (const upload of waiting.slice(0, Math.max(0, LINES - busy))) send(upload);
}

function send(upload) {
  const { file } = upload;
  Object.assign(upload, { state: "sending", sent: 0, note: "", tries: upload.tries + 1 });
  const form = new FormData();
  form.append("addToLoop", String(upload.toLoop ?? at("to-loop").checked));
  form.append("file", file, file.name);
  upload.toLoop ??= at("to-loop").checked;
  const request = new XMLHttpRequest(); // fetch does not tell how much was sent
  upload.request = request;
  request.open("POST", `${BASE}/media`);
  request.setRequestHeader("Idempotency-Key", upload.key);
  request.responseType = "json";
  request.upload.onprogress = ({ loaded, total }) => {
    upload.sent = total ? loaded / total : 0;
    showSoon();
  };
  request.onload = () => answered(upload, request);
  request.onerror = () => broken(upload);
  request.send(form);
  show();
}

function answered(upload, request) {
  const { status, response } = request;
  if (status === 200 || status === 201) {
    upload.slug = response.slug;
    upload.state = "preparing";
    upload.note = status === 200 && !request.getResponseHeader("Idempotency-Replayed") ? "It was in the library already." : "";
    remember(response);
  } else if (status === 503 || status === 429) {
    const wait = Number(request.getResponseHeader("Retry-After")) || 2;
    later(upload, new Refused(status, response, wait).message, wait * 1000);
  } else {
    upload.state = "failed";
    upload.note = new Refused(status, response).message;
    speak(`${upload.file.name}: ${upload.note}`);
  }
  show();
  pump();
}

/** The line broke, or the file went away under it. */
async function broken(upload) {
  try {
    await upload.file.slice(0, 1).arrayBuffer();
  } catch {
    upload.state = "failed";
    upload.note = "The file cannot be read any more, or it is a folder. Choose it again.";
    show();
    return pump();
  }
  later(upload, "The connection broke. It is sent again from its start when pixelog is back.", AGAIN_MS);
  show();
  pump();
}

function later(upload, note, wait) {
  upload.sent = 0;
  if (upload.tries >= TRIES_MAX) {
    upload.state = "failed";
    upload.note = "The connection broke each time. Check the network, then try again.";
    return;
  }
  Object.assign(upload, { state: "broken", note, due: Date.now() + wait });
  setTimeout(resume, wait + 10);
}

/** Send again what was interrupted, if the service is there. */
function resume() {
  if (store.link.state !== "live") return;
  for (const upload of uploads) {
    if (upload.state === "broken" && upload.due <= Date.now()) upload.state = "waiting";
  }
  show();
  pump();
}

function retry(upload) {
  Object.assign(upload, { tries: 0, state: "waiting", note: "" });
  show();
  pump();
}

function drop(upload) {
  upload.request?.abort();
  uploads = uploads.filter((other) => other !== upload);
  show();
  pump();
}

/** Follow what was sent until it can be shown. */
function follow() {
  for (const upload of uploads) {
    if (upload.state !== "preparing") continue;
    const item = itemOf(upload.slug);
    if (!item || item.stale) continue;
    if (item.status === "ready") {
      upload.state = "ready";
      speak(`${upload.file.name} is ready`);
      setTimeout(() => drop(upload), DONE_MS);
    } else if (item.status === "failed") {
      upload.state = "failed";
      upload.note = item.error ?? "It cannot be shown.";
      speak(`${upload.file.name} failed: ${upload.note}`);
    }
  }
  if (uploads.length) show();
}

// -- to be seen --------------------------------------------------------------------------------------------------------------------------

let soon = null;

function showSoon() {
  soon ??= requestAnimationFrame(show);
}

function row() {
  const track = make("span", { className: "track", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, make("span"));
  const text = make("div", { className: "names" }, make("strong"), make("small"), track);
  return make("li", { className: "upload" }, text, make("div", { className: "row" }));
}

function line(upload) {
  const job = upload.slug && jobOf(upload.slug);
  switch (upload.state) {
    case "waiting":
      return ["Waiting", 0];
    case "sending":
      return upload.sent < 1 ? [`Uploading · ${Math.floor(upload.sent * 100)} % of ${bytes(upload.file.size)}`, upload.sent] : ["Uploaded · being stored", 1];
    case "broken":
      return [upload.note, 0];
    case "preparing":
      return [`Preparing for the panel${job?.progress ? ` · ${Math.round(job.progress)} %` : ""}`, job?.progress ? job.progress / 100 : null];
    case "ready":
      return [upload.note || "Ready", 1];
    default:
      return [upload.note, 0];
  }
}

function fill(element, upload) {
  const [text, share] = line(upload);
  const [names, tools] = element.children;
  const [name, note, track] = names.children;
  element.dataset.state = upload.state;
  setText(name, upload.file.name);
  setText(note, text);
  track.hidden = upload.state === "failed";
  track.setAttribute("aria-label", `Progress of ${upload.file.name}`);
  if (share === null) track.removeAttribute("aria-valuenow");
  else track.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  track.classList.toggle("unsure", share === null);
  track.firstChild.style.transform = share === null ? "" : `scaleX(${share})`;
  const wanted = upload.state === "failed" ? (upload.slug ? "why" : "retry") : upload.state === "ready" ? "done" : "stop";
  if (tools.dataset.for === wanted) return;
  tools.dataset.for = wanted;
  const close = (label) => button([icon("remove")], "plain", () => drop(upload), { "aria-label": `${label} ${upload.file.name}` });
  tools.replaceChildren(
    ...{
      why: [button("Details", "quiet", () => openItem(upload.slug)), close("Take off the list:")],
      retry: [button("Try again", "quiet", () => retry(upload)), close("Take off the list:")],
      done: [icon("check")],
      stop: [close(upload.slug ? "Take off the list:" : "Stop uploading")],
    }[wanted],
  );
}

function show() {
  soon = null;
  at("uploads").hidden = !uploads.length;
  renew(at("uploads-list"), uploads, (upload) => upload.id, row, fill);
}

// -- where files come from ---------------------------------------------------------------------------------------------------------------

function fromDrop(transfer) {
  const files = [];
  let folders = 0;
  for (const item of transfer.items) {
    if (item.kind !== "file") continue;
    if (item.webkitGetAsEntry?.()?.isDirectory) folders += 1;
    else files.push(item.getAsFile());
  }
  if (folders) toast("A folder cannot be dropped. Open it and drop the files in it.", { kind: "bad" });
  addFiles(files.filter(Boolean));
}

/** A pasted picture has no name of its own. */
function named(file) {
  if (file.name !== "image.png") return file;
  const now = new Date();
  const two = (value) => String(value).padStart(2, "0");
  const stamp = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())} ${two(now.getHours())}.${two(now.getMinutes())}.${two(now.getSeconds())}`;
  return new File([file], `Pasted ${stamp}.png`, { type: file.type });
}

/** Begin. */
export function uploadsFromAnywhere() {
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const veil = (shown) => (at("veil").hidden = !shown);
  addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    depth += 1;
    veil(true);
  });
  addEventListener("dragleave", (event) => {
    if (hasFiles(event) && (depth = Math.max(0, depth - 1)) === 0) veil(false);
  });
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    veil(false);
    fromDrop(event.dataTransfer);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    addFiles(files.map(named));
  });
  for (const name of ["pick", "camera"]) {
    const input = at(`${name}-input`);
    at(name).onclick = () => input.click();
    input.onchange = () => {
      addFiles(input.files);
      input.value = "";
    };
  }
  const box = at("to-loop");
  box.checked = localStorage.getItem("to-loop") !== "no";
  box.onchange = () => localStorage.setItem("to-loop", box.checked ? "yes" : "no");
  on("state", follow);
  on("items", follow);
  on("link", resume);
  addEventListener("beforeunload", (event) => {
    if (uploads.some(({ state }) => ["waiting", "sending", "broken"].includes(state))) event.preventDefault();
  });
}
