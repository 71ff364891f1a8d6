/** What this tab knows, from the follower, and who wants to hear of it. The one place that holds state of the service. */

import { get } from "./api.js";

// A tab with another page version gets a worker of its own.
const WORKER = "pixelog-1";
// Items remembered by slug: more than anyone looks at.
const ITEMS_MAX = 2000;

export const store = { link: { state: "connecting" }, state: null, player: null, frame: null, clock: 0, items: new Map(), past: null };

const listeners = new Map();
let ask = () => {};

/** Call `listener(value)` whenever one of these kinds changes, of: link state player clock event frame dark items past shown. */
export function on(kinds, listener) {
	for (const kind of kinds.split(" ")) listeners.set(kind, [...(listeners.get(kind) ?? []), listener]);
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
	const watch = () => ask("watch", !document.hidden);
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

// -- items by slug --

// Pages of the library read for items that are missing: 10,000 items.
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
	if (store.state?.media.items.some((item) => item.slug === slug)) return; // comes with the next state
	asked.delete(slug);
	if (store.items.has(slug)) store.items.get(slug).stale = true;
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
	const slugs = new Set(missing);
	missing.clear();
	let cursor = "";
	for (let page = 0; page < PAGES_MAX && slugs.size && cursor !== null; page += 1) {
		// When the line is down, what is missing is asked for again once it is back.
		const answer = await get(`/media?limit=200&cursor=${encodeURIComponent(cursor)}`).catch(() => null);
		for (const item of answer?.body.items ?? []) if (slugs.delete(item.slug)) remember(item);
		cursor = answer?.body.next ?? null;
	}
	emit("items");
}

on("link", ({ state }) => state === "live" && asked.clear());
