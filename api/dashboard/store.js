/** What this tab knows, from the follower, and who wants to hear of it. The one place that holds state of the service. */

import { mediaPath, get } from "./api.js";

/** Named with its protocol: a tab with another page version gets a worker of its own. */
const WORKER = "pixelog-1";
/** Items remembered by slug: more than anyone looks at in one sitting. */
const ITEMS_MAX = 2000;

export const store = { link: { state: "connecting" }, state: null, player: null, clock: 0, items: new Map(), past: null };

const listeners = new Map();
let ask = () => {};

/** Call `listener(value)` whenever this kind changes: link, state, player, event, frame, dark, items, past. */
export function on(kind, listener) {
  if (!listeners.has(kind)) listeners.set(kind, []);
  listeners.get(kind).push(listener);
}

/** Tell those who listen. */
export function emit(kind, value) {
  for (const listener of listeners.get(kind) ?? []) listener(value);
}

/** The service's time in ms. */
export const serviceNow = () => Date.now() + store.clock;

/** Begin to follow. */
export async function start() {
  ask = sharedFollower() ?? (await ownFollower());
  const watch = () => ask("watch", document.visibilityState === "visible");
  document.addEventListener("visibilitychange", watch);
  addEventListener("pagehide", () => ask("bye"));
  addEventListener("pageshow", watch);
  addEventListener("online", retry);
  watch();
}

/** Try to connect now. */
export const retry = () => ask("retry");

function sharedFollower() {
  try {
    const worker = new SharedWorker(new URL("./shared.js", import.meta.url), { type: "module", name: WORKER });
    let heard = false;
    worker.onerror = async () => {
      if (!heard) {
        ask = await ownFollower();
        ask("watch", true);
      }
    };
    worker.port.onmessage = ({ data: { kind, value } }) => {
      heard = true;
      take(kind, value);
    };
    return (name, value) => worker.port.postMessage({ ask: name, value });
  } catch {
    return null; // no SharedWorker here
  }
}

async function ownFollower() {
  const { Follower } = await import("./follower.js");
  const follower = new Follower(take);
  return (name, value) => {
    if (name === "retry") follower.retry();
    else follower.watch(name === "watch" && value);
  };
}

function take(kind, value) {
  if (kind in store) store[kind] = value;
  if (kind === "state") for (const item of value.media.items) remember(item);
  if (kind === "event" && value.type.startsWith("media.")) forget(value.data.slug);
  emit(kind, value);
}

// -- items by slug -----------------------------------------------------------------------------------------------------------------------

/** Single questions asked at once; when more items are missing, pages of the library are read instead. */
const SINGLE_MAX = 8;
const PAGES_MAX = 50;

const missing = new Set();
const asked = new Set();

/** Keep an item. */
export function remember(item) {
  store.items.delete(item.slug);
  store.items.set(item.slug, item);
  asked.delete(item.slug);
  if (store.items.size > ITEMS_MAX) store.items.delete(store.items.keys().next().value);
}

function forget(slug) {
  const item = store.items.get(slug);
  if (item) item.stale = true;
  asked.delete(slug);
}

/** The item, if it is known; else it is asked for, and `items` is told when it came. */
export function itemOf(slug) {
  const item = store.items.get(slug);
  if ((item && !item.stale) || asked.has(slug)) return item;
  if (!missing.size) queueMicrotask(askMissing);
  missing.add(slug);
  asked.add(slug);
  return item;
}

async function askMissing() {
  const slugs = [...missing];
  missing.clear();
  try {
    if (slugs.length > SINGLE_MAX) await askPages(new Set(slugs));
    else await Promise.all(slugs.map((slug) => get(mediaPath(slug)).then(({ body }) => remember(body), gone)));
  } catch {
    return; // the line is down: what is missing is asked for again when it is back
  }
  emit("items");
}

function gone(error) {
  if (error.status !== 404) throw error; // what was removed stays asked for, and is known by its slug alone
}

async function askPages(slugs) {
  let cursor = "";
  for (let page = 0; page < PAGES_MAX && slugs.size; page += 1) {
    const { body } = await get(`/media?limit=200${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    for (const item of body.items) if (slugs.delete(item.slug)) remember(item);
    if (!body.next) return;
    cursor = body.next;
  }
}

on("link", ({ state }) => state === "live" && asked.clear());
