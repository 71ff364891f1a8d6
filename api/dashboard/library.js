/** The library: all items as cards, newest first, with search; tapped to be shown, put into the loop or opened. */

import { get } from "./api.js";
import { at, button, icon, make, renew, setEmpty, setIcon, setText } from "./dom.js";
import { openItem } from "./item.js";
import { activate, addToLoop, entryOf, setThumbnail, takeOut, thumbnail } from "./media.js";
import { shownSlug } from "./panel.js";
import { on, remember, store } from "./store.js";
import { attempt } from "./toasts.js";
import { plural, summary } from "./words.js";

/** The state holds this many of the newest; more are asked for here. */
const PAGE_ITEMS = 50;
const TYPING_MS = 180;
const CHANGE_MS = 120;
/** Cards drawn at most: who looks for more is better served by the search. */
const CARDS_MAX = 1000;

const list = at("library-list");
const wish = { q: "", status: "", limit: PAGE_ITEMS };
/** What was asked for by wish; null: the state's own first page is it. */
let found = null;
let asking = null;
let later = null;

const simple = () => !wish.q && !wish.status && wish.limit === PAGE_ITEMS;

function ask(wait) {
  clearTimeout(later);
  if (simple()) {
    found = null;
    return show();
  }
  later = setTimeout(read, wait);
}

async function read() {
  asking?.abort();
  asking = new AbortController();
  try {
    const items = [];
    let page = { next: "" };
    while (page.next !== null && page.next !== undefined && items.length < wish.limit) {
      const query = new URLSearchParams({ limit: Math.min(200, wish.limit - items.length), cursor: page.next });
      for (const name of ["q", "status"]) if (wish[name]) query.set(name, wish[name]);
      page = (await get(`/media?${query}`, { signal: asking.signal })).body;
      items.push(...page.items);
    }
    items.forEach(remember);
    found = { items, next: page.next, total: page.total };
    show();
  } catch (error) {
    if (error.name !== "AbortError") setEmpty(at("library-empty"), "The search did not work", error.message);
  }
}

function card() {
  const face = button([thumbnail()], "face", null);
  face.append(make("span", { className: "badge", hidden: true }));
  const names = make("div", { className: "names" }, make("strong"), make("small"));
  const pill = button([icon("warn"), make("span")], "pill", null);
  const work = make("span", { className: "track", role: "progressbar", "aria-label": "Preparing" }, make("span"));
  const toLoop = button([icon("add"), make("span", {}, "Loop")], "chip small", null);
  const more = button([icon("more")], "plain", null);
  return make("li", { className: "item" }, face, names, pill, work, make("div", { className: "row tools" }, toLoop, more));
}

function fill(element, item) {
  const { slug, filename, status } = item;
  const [face, names, pill, work, tools] = element.children;
  const on = shownSlug() === slug;
  element.classList.toggle("on", on);
  face.onclick = () => (status === "failed" ? openItem(slug) : activate(slug));
  face.setAttribute("aria-label", status === "failed" ? `${filename} cannot be shown: why` : `Show ${filename} now`);
  setThumbnail(face.firstChild, item);
  const badge = face.lastChild;
  const text = on ? "On now" : store.state?.active === slug && status !== "ready" ? "Shown when ready" : "";
  badge.hidden = !text;
  setText(badge, text);
  setText(names.firstChild, filename);
  names.firstChild.title = filename;
  setText(names.lastChild, status === "ready" ? summary(item) : (WAITING[status] ?? ""));
  pill.hidden = status !== "failed";
  setText(pill.lastChild, item.error ?? "It cannot be shown.");
  pill.onclick = () => openItem(slug);
  pill.setAttribute("aria-label", `Why ${filename} failed: ${item.error ?? ""}`);
  const job = status === "ready" || status === "failed" ? null : jobOf(slug);
  work.hidden = status !== "processing" && status !== "pending";
  work.setAttribute("aria-valuenow", String(Math.round(job?.progress ?? 0)));
  work.classList.toggle("unsure", !job?.progress);
  work.firstChild.style.transform = job?.progress ? `scaleX(${job.progress / 100})` : "";
  const inside = entryOf(slug) !== null;
  const [toLoop, more] = tools.children;
  toLoop.setAttribute("aria-pressed", String(inside));
  toLoop.setAttribute("aria-label", inside ? `${filename} is in the loop: take it out` : `Add ${filename} to the loop`);
  setIcon(toLoop.firstChild, inside ? "check" : "add");
  toLoop.onclick = () => (inside ? takeOut(slug, filename) : attempt(() => addToLoop({ slug })));
  more.setAttribute("aria-label", `Details of ${filename}`);
  more.onclick = () => openItem(slug);
}

const WAITING = { pending: "Waiting to be prepared", processing: "Being prepared", failed: "Cannot be shown" };

/** The job that prepares an item, if the state has one. */
export const jobOf = (slug) =>
  store.state?.jobs.find((job) => job.kind === "prepare" && job.input?.slug === slug && ["queued", "running"].includes(job.status)) ?? null;

function show() {
  if (!store.state) return;
  const page = found ?? store.state.media;
  renew(list, page.items, (item) => item.slug, card, fill);
  const { total } = store.state.media;
  setText(at("library-count"), simple() || !found ? (total ? plural(total, "item") : "") : `${found.total.toLocaleString()} of ${total.toLocaleString()}`);
  at("library-more").hidden = !page.next || page.items.length >= CARDS_MAX;
  const empty = at("library-empty");
  empty.hidden = page.items.length > 0;
  if (empty.hidden) return;
  if (wish.q || wish.status) {
    const all = button("Show all", "quiet", () => {
      at("library-search").value = wish.q = "";
      at("library-status").value = wish.status = "";
      ask(0);
    });
    setEmpty(empty, "Nothing found", wish.q ? `No item is called “${wish.q}” here.` : "No item is like that.", all);
  } else {
    const pick = button([icon("upload"), "Add files"], "primary", () => at("pick").click());
    setEmpty(empty, "The library is empty", "Drop pictures, animations or videos anywhere on this page, paste them, or choose them.", pick);
  }
}

/** Begin. */
export function library() {
  for (const kind of ["state", "shown"]) on(kind, show);
  on("event", ({ type }) => type.startsWith("media.") && !simple() && ask(CHANGE_MS));
  at("library-search").oninput = ({ target }) => {
    wish.q = target.value.trim();
    wish.limit = PAGE_ITEMS;
    ask(TYPING_MS);
  };
  at("library-status").onchange = ({ target }) => {
    wish.status = target.value;
    wish.limit = PAGE_ITEMS;
    ask(0);
  };
  at("library-more").onclick = () => {
    wish.limit = Math.min(CARDS_MAX, wish.limit + 100);
    ask(0);
  };
}
