/** The library: all items as cards, newest first, with search. */

import { get } from "./api.js";
import { at, button, icon, make, names, renew, setEmpty, setHidden, setIcon, setNames, setText, setTrack, toast, track } from "./dom.js";
import { openItem } from "./item.js";
import { activate, entryOf, jobOf, setThumbnail, thumbnail, toggleInLoop } from "./media.js";
import { shownSlug } from "./panel.js";
import { on, remember, store } from "./store.js";
import { plural, summary } from "./words.js";

// The state holds so many of the newest.
const PAGE_ITEMS = 50;
const MORE_ITEMS = 100;
const TYPING_MS = 180;
// Cards drawn at most: the search finds the others.
const CARDS_MAX = 1000;

const WAITING = { pending: "Waiting to be prepared", processing: "Being prepared", failed: "Cannot be shown" };

const wish = { q: "", status: "", limit: PAGE_ITEMS };
// What was found for it; null: the state's own first page is.
let found = null;
let asking = null;
let later = null;

function ask(change, wait = 0) {
	Object.assign(wish, change);
	clearTimeout(later);
	asking?.abort();
	if (!wish.q && !wish.status && wish.limit === PAGE_ITEMS) {
		found = null;
		show();
	} else later = setTimeout(read, wait);
}

async function read() {
	asking = new AbortController();
	const { signal } = asking;
	try {
		const items = [];
		let page = { next: "" };
		while (page.next !== null && items.length < wish.limit) {
			const query = new URLSearchParams({ q: wish.q, limit: Math.min(200, wish.limit - items.length), cursor: page.next });
			if (wish.status) query.set("status", wish.status);
			page = (await get(`/media?${query}`, { signal })).body;
			items.push(...page.items);
		}
		items.forEach(remember);
		found = { ...page, items };
		show();
	} catch (error) {
		if (!signal.aborted) toast(error.message, { bad: true });
	}
}

function card() {
	const tools = make("div.row.tools", button([icon("add"), make("span", "Loop")], "chip small"), button(icon("more"), "plain"));
	return make("li.item", button(thumbnail(), "face"), button("", "pill bad"), make("span.badge"), names(), track(), tools);
}

function fill(element, item) {
	const { slug, filename, status, error } = item;
	const [face, pill, badge, words, work, tools] = element.children;
	const failed = status === "failed";
	face.hidden = failed;
	const on = shownSlug() === slug;
	const open = () => openItem(slug);
	element.classList.toggle("on", on);
	face.onclick = () => activate(slug);
	face.ariaLabel = `Show ${filename} now`;
	setThumbnail(face.firstChild, item);
	badge.hidden = !on && (store.state.active !== slug || status === "ready" || failed);
	setText(badge, on ? "On now" : "Shown when ready");
	setNames(words, filename, WAITING[status] ?? summary(item));
	words.title = filename;
	pill.hidden = !failed;
	setText(pill, error ?? "");
	pill.onclick = open;
	pill.ariaLabel = `${filename} cannot be shown: ${error}`;
	work.hidden = failed || status === "ready";
	setTrack(work, jobOf(slug)?.progress / 100 || null, `Preparing ${filename}`);
	const inside = entryOf(slug) !== null;
	const [loop, more] = tools.children;
	loop.ariaPressed = String(inside);
	loop.ariaLabel = `Loop: ${inside ? "take out" : "add"} ${filename}`;
	setIcon(loop.firstChild, inside ? "check" : "add");
	loop.onclick = () => toggleInLoop(slug, filename);
	more.ariaLabel = `Details of ${filename}`;
	more.onclick = open;
}

function show() {
	if (!store.state) return;
	const { total } = store.state.media;
	const page = found ?? store.state.media;
	renew(at("library-list"), page.items, (item) => item.slug, card, fill);
	setText(at("library-count"), page.total === total ? plural(total, "item") : `${page.total.toLocaleString()} of ${total.toLocaleString()}`);
	setHidden(at("library-more"), !page.next || page.items.length >= CARDS_MAX);
	at("library-search").parentElement.hidden = at("library-status").hidden = !total;
	const empty = at("library-empty");
	setHidden(empty, page.items.length > 0);
	if (empty.hidden) return;
	if (total) return setEmpty(empty, "Nothing found", "No item is like that.", button("Show all", "quiet", all));
	setEmpty(empty, "The library is empty", "Drop pictures or animations anywhere on this page, paste them, or choose them.", button([icon("upload"), "Add files"], "primary", () => at("pick").click()));
}

function all() {
	at("library-search").value = at("library-status").value = "";
	ask({ q: "", status: "", limit: PAGE_ITEMS });
}

export function library() {
	on("state shown", show);
	on("event", ({ type }) => found && type.startsWith("media.") && ask({}, TYPING_MS));
	at("library-search").oninput = ({ target }) => ask({ q: target.value.trim(), limit: PAGE_ITEMS }, TYPING_MS);
	at("library-status").onchange = ({ target }) => ask({ status: target.value, limit: PAGE_ITEMS });
	at("library-more").onclick = () => ask({ limit: wish.limit + MORE_ITEMS });
}
