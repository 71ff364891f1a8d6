/** One item opened: what it is, why it failed, how long it stays, and what can be done with it. */

import { at, button, icon, make, speak } from "./dom.js";
import { activate, addToLoop, entryOf, removeItem, setDuration, takeOut } from "./media.js";
import { itemOf, on, store } from "./store.js";
import { attempt, toast } from "./toasts.js";
import { bytes, clock, KINDS, seconds } from "./words.js";

const dialog = at("item");
let slug = null;
let shown = "";

/** Open an item's sheet. */
export function openItem(wanted) {
  slug = wanted;
  shown = "";
  show();
  if (!dialog.open) dialog.showModal();
}

function show() {
  if (slug === null) return;
  const item = itemOf(slug);
  const key = JSON.stringify([item, entryOf(slug) !== null]);
  // Typing in the sheet is not disturbed by news that do not concern it.
  if (!item || key === shown || (shown && dialog.querySelector("input:focus"))) return;
  const focus = dialog.contains(document.activeElement) ? document.activeElement.dataset.act : null;
  shown = key;
  const close = button([icon("remove")], "plain", () => dialog.close(), { "aria-label": "Close" });
  const title = make("h2", { id: "item-title" }, item.filename);
  dialog.replaceChildren(make("div", { className: "sheet-top" }, title, close), ...content(item));
  if (focus) dialog.querySelector(`[data-act="${focus}"]`)?.focus();
}

function content(item) {
  return [preview(item), failure(item), facts(item), stay(item), tools(item)].filter(Boolean);
}

function preview(item) {
  if (item.status === "failed" || !item.url) return null;
  if (item.kind === "video") return make("video", { className: "preview", src: item.url, controls: true, muted: true, preload: "metadata" });
  return make("img", { className: "preview", src: item.url, alt: `${item.filename} as it was uploaded` });
}

function failure(item) {
  if (item.status !== "failed") return null;
  const text = [`${item.filename}: ${item.error}`, `${item.type}, ${item.size} bytes, SHA-256 ${item.sha256}`, item.uploadedAt].join("\n");
  const copyText = () => copy(text);
  return make(
    "div",
    { className: "notice bad" },
    make("p", {}, make("strong", {}, "It cannot be shown. "), item.error ?? ""),
    make("p", {}, "The file itself is kept as it came. Add a repaired one, and remove this."),
    button("Copy details", "quiet", copyText),
  );
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS there is no clipboard for pages: select it for the hand to copy.
    const area = make("textarea", { className: "copy", value: text, readOnly: true, rows: 4, "aria-label": "Details" });
    dialog.querySelector(".notice").append(area);
    area.select();
    return;
  }
  toast("The details are copied.");
}

function facts(item) {
  const rows = [
    ["Kind", `${KINDS[item.kind] ?? item.kind}, ${item.type}`],
    ["Size", [item.width && `${item.width} × ${item.height}`, bytes(item.size ?? 0)].filter(Boolean).join(", ")],
    item.frameCount > 1 && ["Frames", `${item.frameCount}${item.duration ? ` in ${seconds(item.duration)}` : ""}`],
    ["Added", clock(Date.parse(item.uploadedAt), Date.now() + store.clock)],
    item.tags.length && ["Tags", item.tags.join(", ")],
  ];
  return make("dl", {}, ...rows.filter(Boolean).map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text))));
}

function stay(item) {
  if (item.kind !== "image" || item.status === "failed") return null;
  const input = make("input", { type: "number", min: 0.1, max: 86400, step: "any", inputMode: "decimal", value: item.duration ?? "" });
  input.placeholder = String(store.state?.settings.defaultDuration ?? 10);
  input.onchange = () => setDuration(item.slug, input.value === "" ? null : Number(input.value));
  return make("label", { className: "field" }, make("span", {}, "Stays on the panel, seconds"), input);
}

function tools(item) {
  const { slug, filename } = item;
  const inside = entryOf(slug) !== null;
  const act = (name, element) => {
    element.dataset.act = name;
    return element;
  };
  const loopButton = inside
    ? button([icon("check"), "In the loop"], "chip", () => takeOut(slug, filename), { "aria-pressed": "true" })
    : button([icon("add"), "Add to loop"], "chip", () => attempt(() => addToLoop({ slug })), { "aria-pressed": "false" });
  const away = async () => {
    if (await removeItem(slug, filename)) dialog.close();
  };
  const save = make("a", { className: "quiet", href: item.url, download: filename }, "Download");
  return make(
    "div",
    { className: "row sheet-tools" },
    item.status === "failed" ? "" : act("show", button([icon("play"), "Show now"], "primary", () => activate(slug))),
    act("loop", loopButton),
    save,
    act("remove", button([icon("bin"), "Remove"], "quiet danger", away)),
  );
}

/** Begin. */
export function itemSheet() {
  for (const kind of ["state", "items"]) on(kind, () => dialog.open && show());
  on("event", ({ type, data }) => {
    if (type === "media.removed" && data.slug === slug && dialog.open) {
      dialog.close();
      speak("The item was removed.");
    }
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    slug = null;
    document.body.append(at("toasts"));
  });
}
