/** Files on their way into the library. What was interrupted is sent again as the same request: never taken twice. */

import { BASE, newKey, sentence } from "./api.js";
import { at, button, icon, make, names, renew, setText, setTrack, speak, toast, track } from "./dom.js";
import { openItem } from "./item.js";
import { jobOf } from "./media.js";
import { itemOf, on, remember, store } from "./store.js";
import { bytes, plural } from "./words.js";

// At once: the line stays full while the disk syncs.
const LINES = 2;
// Starts of one file.
const TRIES_MAX = 5;
const AGAIN_MS = 1500;
// A finished one stays so long, to be seen.
const DONE_MS = 5000;
// Files looked at in dropped folders: the list stays swift.
const FOLDER_MAX = 500;

// `{file, toLoop, key, tries, state, sent, note, slug}`; states as in LINE.
let uploads = [];

function addFiles(files) {
	const toLoop = at("to-loop").checked;
	const fresh = [...files].map((file) => ({ file, toLoop, key: newKey(), tries: 0, state: "waiting" }));
	uploads.push(...fresh);
	if (fresh.length) speak(`${plural(fresh.length, "file")} to upload`);
	pump();
}

function pump() {
	const busy = uploads.filter(({ state }) => state === "sending").length;
	const waiting = uploads.filter(({ state }) => state === "waiting");
	waiting.slice(0, Math.max(0, LINES - busy)).forEach(send);
	show();
}

function send(upload) {
	const { file } = upload;
	Object.assign(upload, { state: "sending", sent: 0, note: "", tries: upload.tries + 1 });
	const form = new FormData();
	form.append("addToLoop", String(upload.toLoop));
	form.append("file", file);
	const request = new XMLHttpRequest(); // fetch does not tell how much was sent
	upload.request = request;
	request.open("POST", `${BASE}/media`);
	request.setRequestHeader("Idempotency-Key", upload.key);
	request.responseType = "json";
	request.upload.onprogress = ({ loaded, total }) => {
		upload.sent = total ? loaded / total : 0;
		show();
	};
	request.onload = () => answered(upload, request);
	request.onerror = () => broken(upload);
	request.send(form);
}

function answered(upload, request) {
	const { status, response } = request;
	const wait = Number(request.getResponseHeader("Retry-After")) || 2;
	if (status === 200 || status === 201) {
		const known = status === 200 && !request.getResponseHeader("Idempotency-Replayed");
		Object.assign(upload, { slug: response.slug, state: "preparing", note: known ? `It was in the library already, as ${response.filename}` : "" });
		remember(response);
		follow();
	} else if (status === 503 || status === 429) later(upload, `${sentence(status, response, wait)} It goes on by itself.`, wait * 1000);
	else fail(upload, sentence(status, response));
	pump();
}

// The line broke, or there is nothing to read.
async function broken(upload) {
	const readable = await upload.file.slice(0, 1).arrayBuffer().catch(() => null);
	if (!readable) fail(upload, "It cannot be read: it is a folder, or gone. Choose files again.");
	else later(upload, "The connection broke. It is sent again from its start when pixelog is back.", AGAIN_MS);
	pump();
}

function fail(upload, note) {
	Object.assign(upload, { state: "failed", note });
	speak(`${upload.file.name} failed: ${note}`);
}

function later(upload, note, wait) {
	if (upload.tries >= TRIES_MAX) return fail(upload, "The connection broke each time. Check the network, then try again.");
	Object.assign(upload, { state: "broken", note });
	setTimeout(resume, wait);
}

function resume() {
	if (store.link.state !== "live") return;
	for (const upload of uploads) if (upload.state === "broken") upload.state = "waiting";
	pump();
}

function drop(upload) {
	upload.request?.abort();
	uploads = uploads.filter((other) => other !== upload);
	pump();
}

function follow() {
	for (const upload of uploads) {
		const item = upload.state === "preparing" ? itemOf(upload.slug) : null;
		if (!item || item.stale) continue;
		if (item.status === "failed") fail(upload, item.error ?? "It cannot be shown.");
		if (item.status !== "ready") continue;
		upload.state = "ready";
		speak(`${upload.file.name} is ready`);
		setTimeout(drop, DONE_MS, upload);
	}
	if (uploads.length) show();
}

function row() {
	const words = names();
	words.append(track());
	return make("li.upload", words, button("", "quiet"), button(icon("remove"), "plain"));
}

// What is said of an upload, and its share (as setTrack's).
const LINE = {
	waiting: () => ["Waiting", 0],
	sending: ({ sent, file }) => (sent < 1 ? [`Uploading · ${Math.floor(sent * 100)} % of ${bytes(file.size)}`, sent] : ["Being stored", 1]),
	broken: ({ note }) => [note, 0],
	preparing({ slug }) {
		const progress = jobOf(slug)?.progress;
		return progress ? [`Preparing for the panel · ${Math.round(progress)} %`, progress / 100] : ["Preparing for the panel", null];
	},
	ready: ({ note }) => [note || "Ready", 1],
	failed: ({ note }) => [note, 0],
};

function fill(element, upload) {
	const { file, slug, state } = upload;
	const [text, share] = LINE[state](upload);
	const [words, act, off] = element.children;
	const [name, note, bar] = words.children;
	element.dataset.state = state;
	setText(name, file.name);
	setText(note, text);
	bar.hidden = state === "failed";
	act.hidden = !bar.hidden;
	setTrack(bar, share, `Progress of ${file.name}`);
	setText(act, slug ? "Details" : "Try again");
	act.onclick = () => (slug ? openItem(slug) : again(upload));
	off.ariaLabel = `Take ${file.name} off the list of uploads`;
	off.onclick = () => drop(upload);
}

function again(upload) {
	Object.assign(upload, { tries: 0, state: "waiting" });
	pump();
}

function show() {
	renew(at("uploads"), uploads, (upload) => upload.key, row, fill);
	at("uploads").hidden = !uploads.length;
}

async function* filesIn(entries) {
	for (const entry of entries) {
		if (entry.isFile) yield await new Promise((resolve, reject) => entry.file(resolve, reject));
		const reader = entry.isDirectory && entry.createReader();
		for (let some = entries; reader && some.length; yield* filesIn(some)) {
			some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // in portions, the last one empty
		}
	}
}

// Files as they are, and the pictures in folders.
async function addDropped({ items, files }) {
	const folders = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry?.isDirectory);
	const called = folders.map(({ name }) => name);
	addFiles([...files].filter(({ name }) => !called.includes(name)));
	if (!folders.length) return;
	const found = [];
	const read = async () => {
		for await (const file of filesIn(folders)) if (found.push(file) === FOLDER_MAX) break;
	};
	await read().catch(() => {}); // what may not be read is not there
	const pictures = found.filter(({ type }) => type.startsWith("image/"));
	addFiles(pictures);
	const all = `${found.length < FOLDER_MAX ? "" : "the first "}${plural(found.length, "file")}`;
	toast(`${plural(pictures.length, "picture")} among ${all} in ${called.join(", ")}.`, { bad: !pictures.length });
}

// A pasted picture has no name of its own.
function named(file) {
	if (file.name !== "image.png") return file;
	return new File([file], `Pasted ${new Date().toLocaleTimeString()}.png`, { type: file.type });
}

export function uploadsFromAnywhere() {
	let depth = 0;
	const whenFiles = (kind, work) =>
		addEventListener(kind, (event) => {
			if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
			event.preventDefault();
			work(event);
			at("veil").hidden = depth === 0;
		});
	whenFiles("dragenter", () => (depth += 1));
	whenFiles("dragleave", () => (depth = Math.max(0, depth - 1)));
	whenFiles("dragover", () => {});
	whenFiles("drop", ({ dataTransfer }) => {
		depth = 0;
		addDropped(dataTransfer);
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
	on("state items", follow);
	on("event", ({ type, data }) => type === "media.removed" && uploads.filter(({ slug }) => slug === data.slug).forEach(drop));
	on("link", ({ state }) => {
		for (const upload of uploads) {
			if (state !== "lost" || upload.state !== "sending") continue;
			upload.request.abort(); // by itself a browser waits for minutes
			broken(upload);
		}
		resume();
	});
	addEventListener("beforeunload", (event) => {
		if (uploads.some(({ state }) => /waiting|sending|broken/.test(state))) event.preventDefault();
	});
}
