/** One item opened: what it is, and what can be done with it. */

import { mediaPath, patch } from "./api.js";
import { at, attempt, button, icon, make } from "./dom.js";
import { activate, entryOf, removeItem, toggleInLoop } from "./media.js";
import { itemOf, on, serviceNow, store } from "./store.js";
import { bytes, clock, KINDS, seconds } from "./words.js";

const dialog = at("item");
const body = at("item-body");
let slug = null;
let shown = "";

export function openItem(wanted) {
	slug = wanted;
	shown = "";
	show();
	if (dialog.open) return;
	dialog.showModal();
	dialog.append(at("edge")); // beside an open dialog nothing is touched, nor heard
}

function show() {
	const item = itemOf(slug);
	const key = JSON.stringify([item, entryOf(slug) !== null]);
	// Whoever types here is not disturbed.
	if (!item || key === shown || body.querySelector("input:focus")) return;
	shown = key;
	const focus = body.contains(document.activeElement) && document.activeElement.dataset.act;
	const close = button(icon("remove"), "plain", () => dialog.close(), { ariaLabel: "Close" });
	const top = make("div.sheet-top", make("h2", { id: "item-title" }, item.filename), close);
	body.replaceChildren(top, item.status === "failed" ? failure(item) : preview(item), facts(item), stay(item), tools(item));
	if (focus) body.querySelector(`[data-act=${focus}]`)?.focus();
}

const preview = ({ url, filename }) => make("img.preview", { src: url, alt: `${filename} as it was uploaded` });

function failure({ error }) {
	const why = make("p", make("strong", "It cannot be shown. "), error ?? "");
	return make("div.notice.bad", why, make("p", "The file is kept as it came. Add a repaired one, and remove this."));
}

function facts({ kind, type, width, height, size, duration, uploadedAt }) {
	const parts = [KINDS[kind], type, width && `${width} × ${height}`, duration && seconds(duration), bytes(size ?? 0)];
	return make("p.count", [...parts.filter(Boolean), `added ${clock(Date.parse(uploadedAt), serviceNow())}`].join(" · "));
}

function stay({ slug, kind, duration, status }) {
	if (kind !== "image" || status === "failed") return "";
	const input = make("input", { type: "number", min: 0.1, max: 86400, step: "any", value: duration ?? "", placeholder: store.state.settings.defaultDuration });
	const change = () => patch(mediaPath(slug), { duration: input.value === "" ? null : Number(input.value) });
	input.onchange = async () => (await attempt(change)) || (input.value = duration ?? "");
	return make("label.field", make("span", "Stays on the panel, seconds"), input);
}

function tools({ slug, filename, status, url }) {
	const inside = entryOf(slug) !== null;
	const loop = button([icon(inside ? "check" : "add"), inside ? "In the loop" : "Add to loop"], "chip", () => toggleInLoop(slug, filename));
	loop.ariaPressed = String(inside);
	const show = status === "failed" ? "" : button([icon("play"), "Show now"], "primary", () => activate(slug));
	const save = make("a.quiet", { href: url, download: filename }, "Download");
	const away = button([icon("remove"), "Remove"], "quiet danger", async () => (await removeItem(slug, filename)) && dialog.close());
	loop.dataset.act = "loop";
	away.dataset.act = "remove";
	return make("div.deeds", show, loop, save, away);
}

export function itemSheet() {
	on("state items", () => dialog.open && show());
	on("event", ({ type, data }) => type === "media.removed" && data.slug === slug && dialog.close());
	dialog.onclick = ({ target }) => {
		if (target === dialog) dialog.close(); // beside the sheet
	};
	dialog.onclose = () => document.body.append(at("edge"));
}
