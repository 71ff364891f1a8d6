/** The loop: entries moved by hand or key, tapped to be shown; and as it was, while the page looks back. */

import { Refused, get, put } from "./api.js";
import { at, attempt, button, icon, make, names, renew, setEmpty, setNames, setText, speak, toast } from "./dom.js";
import { activate, addToLoop, setThumbnail, takeOut, thumbnail } from "./media.js";
import { nameOf, shownSlug } from "./panel.js";
import { sortable } from "./sorting.js";
import { itemOf, on, serviceNow, store } from "./store.js";
import { clock, plural, seconds, summary } from "./words.js";

// One way back for a walk of many steps.
const WALK_MS = 700;

const list = at("loop-list");

// Version of the shown loop, and its tag once it is known.
let seen = null;
let tag = null;
// Rises when a move is refused: those made after it are void.
let refusals = 0;
// Moves not confirmed, and the position of the last that is: until that is read, the list stays.
let moving = 0;
let awaited = 0;
let moves = Promise.resolve();
// Place that each moved item came from.
const origins = new Map();
let offer = null;

const placeOf = (slug) => store.state.loop.items.findIndex((entry) => entry.slug === slug);

function row() {
	const grip = button(icon("grip"), "grip");
	grip.setAttribute("aria-describedby", "loop-help");
	const main = button([thumbnail(), make("span.unseen", "Show now: "), names()], "main");
	return make("li.entry", grip, main, make("span.badge"), button(icon("remove"), "plain"));
}

function fill(element, entry, place, past = store.past !== null) {
	const { slug } = entry;
	const item = itemOf(slug);
	const name = item?.filename ?? slug;
	const [grip, main, badge, out] = element.children;
	grip.ariaLabel = label(name, place);
	main.onclick = () => activate(slug);
	setThumbnail(main.firstChild, item);
	setNames(main.lastChild, name, item?.status === "failed" ? "Passed over" : details(entry, item));
	out.ariaLabel = `Take ${name} out of the loop`;
	out.onclick = () => takeOut(slug, name);
	for (const control of [grip, main, out]) control.disabled = past;
	const on = (past ? store.past.slug : shownSlug()) === slug;
	element.classList.toggle("on", on);
	const text = badgeOf(slug, item, on, past);
	badge.hidden = !text;
	badge.classList.toggle("bad", text === "Failed");
	setText(badge, text);
}

const label = (name, place) => `Move ${name}, position ${place + 1} of ${shownLoop().items.length}`;

function badgeOf(slug, item, on, past) {
	if (on) return past ? "Was on" : "On now";
	if (item?.status === "failed") return "Failed";
	if (item && item.status !== "ready") return "Preparing";
	return !past && store.player?.next === slug ? "Next" : "";
}

function details({ duration, repeat, when }, item) {
	const still = item?.kind === "image" ? (item.duration ?? store.state.settings.defaultDuration) : 0;
	return [
		duration || still ? seconds(duration ?? still) : item && summary(item),
		repeat > 1 && `${repeat} times`,
		when?.days?.join(" "),
		(when?.from ?? when?.until) && `${when.from ?? "00:00"}–${when.until ?? "24:00"}`,
	].filter(Boolean).join(" · ");
}

const shownLoop = () => store.past?.loop ?? store.state.loop;

function show() {
	const { state, past } = store;
	if (!state || list.classList.contains("sorting") || (!past && (moving || state.position < awaited))) return;
	const { items, mode, shuffle, version } = shownLoop();
	if (version !== seen || past) tag = null;
	seen = version;
	renew(list, items, (entry) => entry.slug, row, fill);
	setText(at("loop-count"), items.length ? plural(items.length, "item") : "");
	at("loop-mode").hidden = !items.length;
	at("loop-mode").disabled = past !== null;
	at("shuffle").ariaPressed = String(shuffle);
	at("only").ariaPressed = String(mode === "one");
	at("loop-past").hidden = !past;
	if (past) setText(at("loop-past"), `The loop as it was: ${clock(past.at, serviceNow())}`);
	at("loop-empty").hidden = items.length > 0;
	if (!items.length) explain(at("loop-empty"));
}

function explain(place) {
	if (store.past) return setEmpty(place, "The loop was empty", "");
	const go = make("a.primary", { href: "#library" }, "Choose from the library");
	setEmpty(place, "The loop is empty", "What you choose will play here, one after the other.", go);
}

function move(element, to) {
	const slug = element.dataset.key;
	const name = nameOf(slug);
	speak(`${name}, position ${to + 1} of ${list.children.length}`);
	element.firstChild.ariaLabel = label(name, to);
	if (!moving && placeOf(slug) === to) return;
	moving += 1;
	clearTimeout(offer);
	const before = refusals;
	moves = moves.then(() => before === refusals && send(slug, to, name)).then(settle); // in the order in which they were made
}

function settle() {
	moving -= 1;
	show();
}

async function send(slug, to, name) {
	const entry = { ...store.state.loop.items.find((one) => one.slug === slug), slug, at: to };
	if (!origins.has(slug)) origins.set(slug, placeOf(slug));
	const work = async () => {
		tag ??= await tagOf(seen);
		const { headers } = await addToLoop(entry, tag);
		tag = headers.get("ETag");
		awaited = Number(headers.get("Pixelog-Position"));
	};
	if (await attempt(work)) {
		if (moving === 1) offer = setTimeout(offerBack, WALK_MS, slug, name, entry);
		return;
	}
	refusals += 1;
	tag = null;
	origins.clear();
}

// The tag of the loop if it has this version still.
async function tagOf(version) {
	const { body, headers } = await get("/loop");
	if (body.version !== version) throw new Refused(412);
	return headers.get("ETag");
}

function offerBack(slug, name, entry) {
	const from = origins.get(slug);
	origins.clear();
	const to = placeOf(slug);
	if (from < 0 || to < 0 || to === from) return;
	toast(`${name} moved to position ${to + 1}.`, { undo: () => addToLoop({ ...entry, at: from }), quiet: true });
}

const change = (traits) =>
	attempt(async () => {
		const { body, headers } = await get("/loop");
		await put("/loop", { ...body, ...traits }, { tag: headers.get("ETag") });
	});

export function loop() {
	at("shuffle").onclick = () => change({ shuffle: !store.state.loop.shuffle });
	at("only").onclick = () => change({ mode: store.state.loop.mode === "one" ? "all" : "one" });
	sortable(list, move);
	on("state items past shown", show);
}
