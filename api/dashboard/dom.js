/** Making and renewing elements. Text of users only ever becomes text: nothing here, or anywhere else, writes HTML. */

import { ICONS } from "./icons.js";

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export const at = (id) => document.getElementById(id);

/** A new element. `traits` are properties; names with a dash, and `role`, are attributes. Children are elements or text; empty ones are left out. */
export function make(tag, traits = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(traits)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** One of the page's symbols; only for the eye. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "path"));
  return setIcon(svg, name);
}

/** Make a symbol another one. */
export function setIcon(svg, name) {
  svg.setAttribute("class", ICONS[name][0] === "*" ? "icon solid" : "icon");
  svg.firstChild.setAttribute("d", ICONS[name].replace("*", ""));
  return svg;
}

/** Set an element's text if it differs, so that what follows changes hears of nothing else. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A button. `traits` as for `make`. */
export function button(text, className, onclick, traits = {}) {
  return make("button", { type: "button", className, onclick, ...traits }, ...[text].flat());
}

/** Make a list show `items`: elements are kept by key, so that focus, pictures and scrolling stay. `fill(element, item, place)` writes one. */
export function renew(list, items, keyOf, create, fill) {
  const old = new Map([...list.children].map((element) => [element.dataset.key, element]));
  let before = null;
  items.forEach((item, place) => {
    const key = keyOf(item);
    let element = old.get(key);
    if (element === undefined) {
      element = create(item);
      element.dataset.key = key;
    }
    old.delete(key);
    fill(element, item, place);
    const expected = before === null ? list.firstElementChild : before.nextElementSibling;
    if (element !== expected) list.insertBefore(element, expected);
    before = element;
  });
  for (const element of old.values()) element.remove();
}

/** Say something to those who do not see it. */
export function speak(text) {
  const place = at("spoken");
  // The same sentence twice is spoken twice only when it differs.
  place.textContent = place.textContent === text ? `${text}\u00a0` : text;
}

/** An empty place that helps: one sentence, and what to do about it. */
export function setEmpty(place, title, text, ...actions) {
  const key = `${title}|${text}`;
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  place.replaceChildren(make("h3", {}, title), make("p", {}, text), ...actions);
}
