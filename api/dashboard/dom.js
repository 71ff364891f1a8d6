/** Making and renewing elements, and notices. Text of users only ever becomes text: nothing here, or anywhere else, writes HTML. */

const SVG = "http://www.w3.org/2000/svg";

// Symbols: one path each on a field of 24 × 24; a star in front: filled.
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
	settings: "M4 8h8m6 0h2M4 16h2m6 0h8M12 8a3 3 0 1 0 6 0 3 3 0 1 0-6 0M6 16a3 3 0 1 0 6 0 3 3 0 1 0-6 0",
	add: "M12 5v14M5 12h14",
	check: "m5 12.5 4.5 4.5L19 7.5",
	remove: "m7 7 10 10m0-10L7 17",
	bin: "M4.5 7h15M9.5 7V4.5h5V7m3 0-1 13h-9l-1-13M10 11v5.5m4-5.5v5.5",
	more: "*M4.5 12a.5.5 0 1 0 1 0 .5.5 0 1 0-1 0m7 0a.5.5 0 1 0 1 0 .5.5 0 1 0-1 0m7 0a.5.5 0 1 0 1 0 .5.5 0 1 0-1 0",
	shuffle: "M3.5 7H7l9 10h4.5l-2.5-2.5m2.5 2.5L18 19.5M3.5 17H7l2.5-2.8m4-4.4L16 7h4.5L18 4.5M20.5 7 18 9.5",
	only: `${LOOP}M11 10.5l1.5-1V15`,
	grip: "M8 5v14M5 8l3-3 3 3M16 19V5m3 11-3 3-3-3",
	upload: "M12 16V5m-4.5 4L12 4.5 16.5 9M4.5 16v4h15v-4",
	camera: "M3 7.5h4.5L9 5h6l1.5 2.5H21V19H3zM8.7 13a3.3 3.3 0 1 0 6.6 0 3.3 3.3 0 1 0-6.6 0",
	search: "M5 11a6 6 0 1 0 12 0 6 6 0 1 0-12 0m10.5 4.5L20 20",
	past: "M4.5 12a7.5 7.5 0 1 0 2.3-5.4L4.5 9m0-4.5V9H9m3-1v4.3l3 1.7",
	warn: "M12 4.5 3.5 19h17zM12 10v4m0 2.5v.01",
};

export const at = (id) => document.getElementById(id);

/** A new element: `tag.class.class`, perhaps its properties, its children. */
export function make(kind, ...children) {
	const [tag, ...classes] = kind.split(".");
	const traits = Object.getPrototypeOf(children[0] ?? "") === Object.prototype ? children.shift() : {};
	const element = Object.assign(document.createElement(tag), { className: classes.join(" "), ...traits });
	element.append(...children);
	return element;
}

/** A symbol; only for the eye. */
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

export function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

export function button(content, className, onclick, traits = {}) {
	return make("button", { type: "button", className, onclick, ...traits }, ...[content].flat());
}

/** Make a list show `items`. Elements are kept by key, with focus and scrolling. */
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
	else buttons()[held]?.focus(); // to the neighbour of what is gone
}

/** Fill a fieldset with choices, as `[value, label]`. */
export function choices(place, name, pairs) {
	const choice = ([value, label]) => make("label", make("input", { type: "radio", name, value }), make("span", label));
	place.append(...pairs.map(choice));
}

export const track = () => make("span.track", { role: "progressbar" }, make("span"));

/** How far it is, 0 to 1; null: nobody knows. */
export function setTrack(bar, share, label) {
	bar.ariaLabel = label;
	bar.ariaValueNow = String(Math.round(share * 100));
	bar.classList.toggle("unsure", share === null);
	bar.firstChild.style.transform = share === null ? "" : `scaleX(${share})`;
}

/** Say something to those who do not see it. */
export function speak(text) {
	const place = at("spoken");
	// What is said twice has to differ, or it is heard once.
	place.textContent = place.textContent === text ? `${text}\u00a0` : text;
}

export function setEmpty(place, title, text, ...actions) {
	const key = title + text;
	if (place.dataset.key === key) return;
	place.dataset.key = key;
	place.replaceChildren(make("h3", title), make("p", text), ...actions);
}

// -- short notices at the edge of the page, some with a way back --

const NOTICE_MS = 6000;
const UNDO_MS = 10_000;
const TOASTS_MAX = 4;

/** Show a notice. `quiet`: it was spoken already. `undo`: what takes it back. */
export function toast(text, { bad, undo, quiet } = {}) {
	let timer = null;
	const close = () => {
		clearTimeout(timer);
		element.remove();
	};
	const wait = () => {
		clearTimeout(timer);
		timer = setTimeout(close, undo ? UNDO_MS : NOTICE_MS);
	};
	const act = () => {
		close();
		attempt(undo);
	};
	const back = button("Undo", "undo", act, { hidden: !undo });
	const element = make(bad ? "div.toast.bad" : "div.toast", make("p", text), back, button(icon("remove"), "plain", close, { ariaLabel: "Close notice" }));
	// Whoever reads it or is about to undo is not hurried.
	for (const name of ["pointerenter", "focusin"]) element.addEventListener(name, () => clearTimeout(timer));
	for (const name of ["pointerleave", "focusout"]) element.addEventListener(name, wait);
	const place = at("toasts");
	place.append(element);
	if (place.children.length > TOASTS_MAX) place.firstElementChild.remove();
	wait();
	if (!quiet) speak(undo ? `${text} Undo is at the end of the page.` : text);
}

/** Do it; a refusal becomes a notice, by status as `told`. Answers whether it was done. */
export async function attempt(work, told = {}) {
	try {
		await work();
		return true;
	} catch (error) {
		toast(told[error.status] ?? error.message, { bad: true });
		return false;
	}
}
