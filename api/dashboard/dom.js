/** Making and renewing elements, and notices. Text of users only ever becomes text: nothing writes HTML. */

import { plural, straight } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

// One path each on a field of 24 × 24; a star in front: filled.
const LOOP = "M4 11.5A6.5 6.5 0 0 1 10.5 5H18l-3-3m3 3-3 3M20 12.5A6.5 6.5 0 0 1 13.5 19H6l3 3m-3-3 3-3";

const ICONS = {
	play: "*M8 5v14l11-7z",
	pause: "*M7 6h3v12H7zM14 6h3v12h-3z",
	next: "*M6 7v10l8-5zM18 6v12",
	previous: "*M18 7v10l-8-5zM6 6v12",
	hold: "M9 4h6l-.7 6 3 3H6.7l3-3zM12 13v7",
	panel: "M4 5h16v12H4zM9 20.5h6",
	loop: LOOP,
	library: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
	message: "M4 5h16v11h-8l-4.5 4v-4H4z",
	settings: "M4 8h16M4 16h16M15 5v6m-6 2v6",
	add: "M12 5v14M5 12h14",
	check: "m5 12.5 4.5 4.5L19 7.5",
	remove: "m7 7 10 10m0-10L7 17",
	more: "*M5 11h1v1H5zm6 0h1v1h-1zm6 0h1v1h-1z",
	shuffle: "M3 7h4l9 10h4m-2-2 2 2-2 2M3 17h4l2-3m5-4 2-3h4m-2-2 2 2-2 2",
	only: `${LOOP}M11 10.5l1.5-1V15`,
	grip: "M8 5v14M5 8l3-3 3 3M16 19V5m3 11-3 3-3-3",
	upload: "M12 16V5m-4.5 4L12 4.5 16.5 9M4.5 16v4h15v-4",
	camera: "M3 7.5h4.5L9 5h6l1.5 2.5H21V19H3zM8.7 13a3.3 3.3 0 1 0 6.6 0 3.3 3.3 0 1 0-6.6 0",
	search: "M5 11a6 6 0 1 0 12 0 6 6 0 1 0-12 0m10.5 4.5L20 20",
	past: "M4.5 12a7.5 7.5 0 1 0 2.3-5.4L4.5 9m0-4.5V9H9m3-1v4.3l3 1.7",
	warn: "M12 4.5 3.5 19h17zM12 10v4m0 2.5v.01",
};

export const at = (id) => document.getElementById(id);

/** `tag.class.class`, perhaps properties, children. */
export function make(kind, ...children) {
	const [tag, ...classes] = kind.split(".");
	const traits = Object.getPrototypeOf(children[0] ?? "") === Object.prototype ? children.shift() : {};
	const element = Object.assign(document.createElement(tag), { className: classes.join(" "), ...traits });
	element.append(...children);
	return element;
}

export function icon(name) {
	const svg = document.createElementNS(SVG, "svg");
	svg.setAttribute("viewBox", "0 0 24 24");
	svg.ariaHidden = "true";
	svg.append(document.createElementNS(SVG, "path"));
	return setIcon(svg, name);
}

export function setIcon(svg, name) {
	svg.setAttribute("class", ICONS[name][0] === "*" ? "icon solid" : "icon");
	svg.firstChild.setAttribute("d", ICONS[name].replace("*", ""));
	return svg;
}

/** A name over a note; and what they say. */
export const names = () => make("span.names", make("strong"), make("small"));

export function setNames(element, name, note) {
	setText(element.firstChild, name);
	setText(element.lastChild, note);
}

/** Hide it, or not; the focus within goes to the view. */
export function setHidden(element, hidden) {
	const held = hidden && element.contains(document.activeElement);
	element.hidden = hidden;
	if (held) element.closest(".view").focus();
}

export function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

export function button(content, className, onclick, traits = {}) {
	return make("button", { type: "button", className, onclick, ...traits }, ...[content].flat());
}

/** Make a list show `items`. Elements are kept by key, and with them the focus. */
export function renew(list, items, keyOf, create, fill) {
	const focus = document.activeElement;
	const rank = [...list.children].findIndex((element) => element.contains(focus));
	const buttons = () => [...(list.children[Math.min(rank, list.children.length - 1)]?.querySelectorAll("button") ?? [])];
	const held = buttons().indexOf(focus);
	const old = new Map([...list.children].map((element) => [element.dataset.key, element]));
	items.forEach((item, place) => {
		const key = keyOf(item);
		const element = old.get(key) ?? create(item);
		element.dataset.key = key;
		old.delete(key);
		fill(element, item, place);
		if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
	});
	for (const element of old.values()) element.remove();
	if (focus === document.activeElement) return;
	if (list.contains(focus)) focus.focus(); // an element that is put elsewhere loses it
	else (buttons()[held] ?? list.closest(".view"))?.focus(); // to the neighbour of what is gone
}

/** Fill a fieldset with choices: `[value, label]`. */
export function choices(place, name, pairs) {
	const choice = ([value, label]) => make("label", make("input", { type: "radio", name, value }), make("span", label));
	place.append(...pairs.map(choice));
}

export const track = () => make("span.track", { role: "progressbar" }, make("span"));

/** `share`: 0 to 1, or null: unknown. */
export function setTrack(bar, share, label) {
	bar.ariaLabel = label;
	bar.ariaValueNow = String(Math.round(share * 100));
	bar.classList.toggle("unsure", share === null);
	bar.firstChild.style.transform = share === null ? "" : `scaleX(${share})`;
}

/** Say something to those who do not see it. */
export function speak(text) {
	const place = at("spoken");
	place.textContent = place.textContent === text ? `${text}\u00a0` : text; // the same is heard once
}

export function setEmpty(place, title, text, ...actions) {
	const key = title + text;
	if (place.dataset.key === key) return;
	place.dataset.key = key;
	place.replaceChildren(make("h3", title), make("p", text), ...actions);
}

// -- notices, some with a way back --

const NOTICE_MS = 6000;
const UNDO_MS = 10_000;
// With a way back, and without.
const TOASTS_MAX = 4;

// `{key, element, undos, wait, close}`.
const shown = new Set();

// What had the focus last, and its view.
let origin = null;
let home = null;

addEventListener("focusin", ({ target }) => {
	if (!target.closest("#edge")) [origin, home] = [target, target.closest(".view,dialog")];
});

/** `quiet`: it was spoken already. `undo`: what takes it back; notices with the same `many` become one, of so many items. */
export function toast(text, { bad, undo, quiet, many } = {}) {
	const key = many ?? undo ?? text;
	const { element, undos, wait } = [...shown].find((one) => one.key === key) ?? open(key, bad);
	text = straight(text);
	if (undo) undos.push(undo);
	setText(element.firstChild, many && undos.length > 1 ? `${plural(undos.length, "item")} ${many}` : text);
	element.children[1].hidden = !undo;
	wait();
	const alike = [...shown].filter((other) => !other.undos.length === !undo);
	if (alike.length > TOASTS_MAX) alike[0].close();
	if (!quiet) speak(undo ? `${text} Undo is at the end of the page.` : text);
}

function open(key, bad) {
	const undos = [];
	let timer = null;
	let busy = false;
	const wait = () => {
		clearTimeout(timer);
		if (!busy && !element.contains(document.activeElement)) timer = setTimeout(close, undos.length ? UNDO_MS : NOTICE_MS);
	};
	const close = () => {
		clearTimeout(timer);
		shown.delete(notice);
		const held = element.contains(document.activeElement);
		element.remove();
		if (held) (origin?.isConnected ? origin : home)?.focus();
	};
	// The last first. What failed stays.
	const act = async () => {
		if (busy) return;
		busy = true;
		notice.key = null; // what is done meanwhile has a notice of its own
		clearTimeout(timer);
		for (let n = undos.length; n--; ) if (await attempt(undos[n])) undos.splice(n, 1);
		busy = false;
		(undos.length ? wait : close)();
	};
	const off = button(icon("remove"), "plain", close, { ariaLabel: "Close notice" });
	const element = make(bad ? "div.toast.bad" : "div.toast", make("p"), button("Undo", "undo", act), off);
	// Whoever reads it is not hurried.
	for (const name of ["pointerenter", "focusin"]) element.addEventListener(name, () => clearTimeout(timer));
	for (const name of ["pointerleave", "focusout"]) element.addEventListener(name, () => setTimeout(wait));
	at("toasts").append(element);
	const notice = { key, element, undos, wait, close };
	shown.add(notice);
	return notice;
}

/** A refusal becomes a notice, by status as `told`. Answers whether it was done. */
export async function attempt(work, told = {}) {
	try {
		await work();
		return true;
	} catch (error) {
		toast(told[error.status] ?? error.message, { bad: true });
		return false;
	}
}
