/** Making and renewing elements. Text of users only ever becomes text: nothing here, or anywhere else, writes HTML. */

import { ICONS } from "./icons.js";

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export const at = (id) => document.getElementById(id);

/** A new element: `tag.class.class`, perhaps its properties, and its children (elements or text). */
export function make(kind, ...children) {
	const [tag, ...classes] = kind.split(".");
	const traits = Object.getPrototypeOf(children[0] ?? "") === Object.prototype ? children.shift() : {};
	const element = Object.assign(document.createElement(tag), { className: classes.join(" "), ...traits });
	element.append(...children);
	return element;
}

/** One of the page's symbols; only for the eye. */
export function icon(name) {
	const svg = document.createElementNS(SVG, "svg");
	svg.setAttribute("viewBox", "0 0 24 24");
	svg.ariaHidden = "true";
	svg.append(document.createElementNS(SVG, "path"));
	return setIcon(svg, name);
}

/** Make a symbol another one. */
export function setIcon(svg, name) {
	svg.setAttribute("class", ICONS[name][0] === "*" ? "icon solid" : "icon");
	svg.firstChild.setAttribute("d", ICONS[name].replace("*", ""));
	return svg;
}

/** Set an element's text if it differs. */
export function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

/** A button; `content` is text, an element or several. */
export function button(content, className, onclick, traits = {}) {
	return make("button", { type: "button", className, onclick, ...traits }, ...[content].flat());
}

/** Make a list show `items`; elements are kept by key, so that focus and scrolling stay. `fill(element, item, place)` writes one. */
export function renew(list, items, keyOf, create, fill) {
	const focus = document.activeElement;
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
	if (focus !== document.activeElement && list.contains(focus)) focus.focus(); // an element that is put elsewhere loses it
}

/** Fill a fieldset with choices, as `[value, label]`, of which one can be taken. */
export function choices(place, name, pairs) {
	const choice = ([value, label]) => make("label", make("input", { type: "radio", name, value }), make("span", label));
	place.append(...pairs.map(choice));
}

/** A bar of progress. */
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

/** An empty place that helps. */
export function setEmpty(place, title, text, ...actions) {
	const key = title + text;
	if (place.dataset.key === key) return;
	place.dataset.key = key;
	place.replaceChildren(make("h3", title), make("p", text), ...actions);
}
