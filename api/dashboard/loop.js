/** The loop: its entries in order, moved by hand or key, tapped to be shown; and the loop as it was, while the page looks back. */

import { addToLoop, activate, changeLoop, setThumbnail, takeOut, thumbnail } from "./media.js";
import { at, button, icon, make, renew, setEmpty, setText, speak } from "./dom.js";
import { nameOf, shownSlug } from "./panel.js";
import { sortable } from "./sorting.js";
import { itemOf, on, store } from "./store.js";
import { attempt, toast } from "./toasts.js";
import { clock, plural, seconds, summary } from "./words.js";

const list = at("loop-list");

/** Moves that the service has not confirmed, and the position of the last that it has: until it is read, the list stays as the hand left it. */
let moving = 0;
let awaited = 0;
let moves = Promise.resolve();

function row() {
  const grip = button([icon("grip")], "grip", null, { "aria-describedby": "loop-help" });
  const main = button([thumbnail(), make("span", { className: "names" }, make("strong"), make("small"))], "main", null);
  const out = button([icon("remove")], "plain out", null);
  return make("li", { className: "entry" }, grip, main, make("span", { className: "badge", hidden: true }), out);
}

function fill(element, entry, place) {
  const { slug } = entry;
  const item = itemOf(slug);
  const name = item?.filename ?? slug;
  const past = store.past !== null;
  const total = shownLoop().items.length;
  const [grip, main, badge, out] = element.children;
  grip.setAttribute("aria-label", `Move ${name}, position ${place + 1} of ${total}`);
  grip.setAttribute("aria-disabled", String(past));
  main.setAttribute("aria-label", `Show ${name} now`);
  main.disabled = past;
  main.onclick = () => activate(slug);
  setThumbnail(main.firstChild, item);
  setText(main.querySelector("strong"), name);
  setText(main.querySelector("small"), details(entry, item));
  out.setAttribute("aria-label", `Take ${name} out of the loop`);
  out.onclick = () => takeOut(slug, name);
  out.disabled = past;
  const on = (past ? store.past.slug : shownSlug()) === slug;
  element.classList.toggle("on", on);
  element.toggleAttribute("data-failed", item?.status === "failed");
  const text = badgeOf(slug, item, on, past);
  badge.hidden = !text;
  setText(badge, text);
}

function badgeOf(slug, item, on, past) {
  if (on) return past ? "Was on" : "On now";
  if (item?.status === "failed") return "Failed";
  if (item && item.status !== "ready") return "Preparing";
  return !past && store.player?.next === slug ? "Next" : "";
}

function details(entry, item) {
  if (item?.status === "failed") return "Passed over: it cannot be shown";
  const parts = [];
  if (entry.duration) parts.push(seconds(entry.duration));
  else if (item) parts.push(item.kind === "image" && !item.duration ? seconds(store.state?.settings.defaultDuration ?? 10) : summary(item));
  if (entry.repeat > 1) parts.push(`${entry.repeat} times`);
  if (entry.when) parts.push(hours(entry.when));
  return parts.join(" · ");
}

function hours({ days, from, until }) {
  return [days?.join(" "), from || until ? `${from ?? "0:00"}–${until ?? "24:00"}` : ""].filter(Boolean).join(", ");
}

const shownLoop = () => store.past?.loop ?? store.state?.loop ?? { items: [], mode: "all", shuffle: false };

function show() {
  if (!store.state || list.classList.contains("sorting")) return;
  if (!store.past && (moving || store.state.position < awaited)) return;
  const loop = shownLoop();
  renew(list, loop.items, (entry) => entry.slug, row, fill);
  setText(at("loop-count"), loop.items.length ? plural(loop.items.length, "item") : "");
  at("loop-shuffle").setAttribute("aria-pressed", String(loop.shuffle));
  at("loop-one").setAttribute("aria-pressed", String(loop.mode === "one"));
  for (const id of ["loop-shuffle", "loop-one"]) at(id).disabled = store.past !== null;
  at("loop-past").hidden = store.past === null;
  if (store.past) setText(at("loop-past"), `The loop as it was: ${clock(store.past.at, Date.now() + store.clock)}`);
  const empty = at("loop-empty");
  empty.hidden = loop.items.length > 0;
  if (!empty.hidden) explain(empty);
}

function explain(empty) {
  if (store.past) return setEmpty(empty, "The loop was empty", "At that moment nothing was in it.");
  if (!store.state.media.total) {
    const add = button([icon("upload"), "Add files"], "primary", () => at("pick").click());
    return setEmpty(empty, "Nothing here yet", "Pictures, animations and videos that you add play here, one after the other.", add);
  }
  const go = button("Choose from the library", "primary", () => (location.hash = "#library"));
  setEmpty(empty, "The loop is empty", "Add items from the library, and they play here one after the other.", go);
}

// -- moving ------------------------------------------------------------------------------------------------------------------------------

function move(element, to) {
  const { key: slug } = element.dataset;
  const total = list.children.length;
  const name = nameOf(slug);
  speak(`${name}, position ${to + 1} of ${total}`);
  element.firstElementChild.setAttribute("aria-label", `Move ${name}, position ${to + 1} of ${total}`);
  const from = store.state.loop.items.findIndex((entry) => entry.slug === slug);
  if (!moving && from === to) return;
  moving += 1;
  // One after the other, so that they arrive in the order in which they were made.
  moves = moves.then(() => send(slug, to, name));
}

/** Place that each moved item came from: one way back for a walk of many steps. */
const origins = new Map();
let offer = null;

async function send(slug, to, name) {
  const items = store.state.loop.items;
  const entry = items.find((one) => one.slug === slug) ?? { slug };
  if (!origins.has(slug)) origins.set(slug, items.indexOf(entry));
  const done = await attempt(async () => {
    const { headers } = await addToLoop({ ...entry, at: to });
    awaited = Number(headers.get("Pixelog-Position"));
  });
  moving -= 1;
  show();
  if (!done || moving) return;
  clearTimeout(offer);
  offer = setTimeout(() => offerBack(slug, name, entry), 700);
}

function offerBack(slug, name, entry) {
  const from = origins.get(slug);
  origins.clear();
  const to = store.state.loop.items.findIndex((one) => one.slug === slug);
  if (from < 0 || to < 0 || to === from) return;
  toast(`${name} moved to position ${to + 1}.`, { undo: () => addToLoop({ ...entry, at: from }), quiet: true });
}

/** Begin. */
export function loop() {
  sortable(list, move);
  for (const kind of ["state", "player", "items", "past", "shown"]) on(kind, show);
  const change = (id, wanted) => {
    at(id).onclick = () => attempt(() => changeLoop(wanted(at(id).getAttribute("aria-pressed") !== "true")));
  };
  change("loop-shuffle", (shuffle) => ({ shuffle }));
  change("loop-one", (one) => ({ mode: one ? "one" : "all" }));
}
