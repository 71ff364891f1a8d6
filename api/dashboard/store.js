/** What this tab knows of the service, and who wants to hear of it. */

import { get } from "./api.js";

// Items remembered by slug: more than anyone looks at.
const ITEMS_MAX = 2000;

export const store = { link: { state: "connecting" }, state: null, player: null, frame: null, clock: 0, items: new Map(), past: null };

const listeners = new Map();
// To the follower.
let port = null;

/** `listener(value)` hears of: link state player clock event frame dark items past shown chosen. */
export function on(kinds, listener) {
	for (const kind of kinds.split(" ")) listeners.set(kind, [...(listeners.get(kind) ?? []), listener]);
}

export function emit(kind, value) {
	for (const listener of listeners.get(kind) ?? []) listener(value);
}

export const serviceNow = () => Date.now() + store.clock;

export function start() {
	try {
		// Another version of the page has another name.
		const worker = new SharedWorker(new URL("./follower.js", import.meta.url), { type: "module", name: "pixelog-1" });
		worker.onerror = () => store.state || useOwn();
		use(worker.port);
	} catch {
		useOwn(); // no SharedWorker here
	}
	document.addEventListener("visibilitychange", watch);
	addEventListener("pagehide", () => ask("bye"));
	addEventListener("pageshow", watch);
	addEventListener("online", retry);
}

function use(other) {
	port = other;
	port.onmessage = ({ data: { kind, value } }) => take(kind, value);
	watch();
}

// The worker's work, done in this tab.
async function useOwn() {
	await import("./follower.js");
	const { port1, port2 } = new MessageChannel();
	self.onconnect({ ports: [port2] });
	use(port1);
}

const ask = (name, value) => port?.postMessage({ ask: name, value });
const watch = () => ask("watch", !document.hidden);

export const retry = () => ask("retry");

function take(kind, value) {
	if (kind in store) store[kind] = value;
	if (kind === "state") for (const item of value.media.items) remember(item);
	if (kind === "event" && value.type.startsWith("media.")) forget(value.data.slug);
	emit(kind, value);
}

// Pages read for missing items: 10,000 items.
const PAGES_MAX = 50;

const missing = new Set();
const asked = new Set();

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

/** The item if it is known; else it is asked for, and `items` told. */
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
		const answer = await get(`/media?limit=200&cursor=${encodeURIComponent(cursor)}`).catch(() => null);
		for (const item of answer?.body.items ?? []) if (slugs.delete(item.slug)) remember(item);
		cursor = answer?.body.next ?? null;
	}
	emit("items");
}

on("link", ({ state }) => state === "live" && asked.clear());
