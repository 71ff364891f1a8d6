/** Looking back: the screen and the loop as they were. */

import { BASE, get } from "./api.js";
import { at, make, setText } from "./dom.js";
import { dark, draw, nameOf, present, say } from "./panel.js";
import { emit, itemOf, on, remember, serviceNow, store } from "./store.js";
import { clock, seconds } from "./words.js";

// Seconds back, seconds a key moves the slider, name.
const SPANS = [
	[600, 1, "10 min"],
	[3600, 5, "1 hour"],
	[86_400, 60, "1 day"],
	[604_800, 600, "1 week"],
];
const JUMP_SECONDS = 10;
const AREAS = "&area=loop&area=settings&area=display";

const INEXACT = {
	no_player: "no player was running",
	facts_lost: "the power may have been off",
	pack_remade: "not exact, prepared again since",
	blob_gone: "the file is gone",
};

const slider = at("past-slider");
// The moment (ms) to be shown, or null; and whether one is being read.
let wanted = null;
let reading = false;
let ticking = null;

const offset = () => ((wanted ?? serviceNow()) - serviceNow()) / 1000;

function look(seconds) {
	if (seconds >= 0) return end();
	wanted = serviceNow() + Math.max(seconds, slider.min) * 1000;
	store.past ??= { loop: null, slug: null };
	store.past.at = wanted;
	document.body.classList.add("looking-back");
	tell("");
	slider.ariaValueText = at("past-text").textContent;
	if (!reading) read();
}

function end() {
	wanted = store.past = null;
	slider.ariaValueText = "Now";
	document.body.classList.remove("looking-back");
	if (at("past-forward") === document.activeElement) slider.focus();
	tell("");
	emit("past");
	if (store.frame) emit("frame", store.frame);
	present();
}

// The newest wish only: a screen takes a moment to draw.
async function read() {
	reading = true;
	for (let moment = null; wanted !== null && moment !== wanted; ) {
		moment = wanted;
		await show(moment).catch(({ message }) => store.past && tell(message));
	}
	reading = false;
}

async function show(moment) {
	const query = `at=${new Date(moment).toISOString()}`;
	const [{ body }, picture] = await Promise.all([get(`/history/state?${query}${AREAS}`), fetch(`${BASE}/history/screen.png?${query}`)]);
	if (wanted !== moment) return;
	const { loop, settings, display } = body.areas;
	// The picture's own word is exact, the player's comes a moment later.
	const told = picture.headers.get("Pixelog-Screen-Slug");
	const slug = told === null ? display.player.slug : decodeURIComponent(told) || null;
	const unknown = [slug, ...loop.loop.items.map((entry) => entry.slug)].filter((one) => one && !itemOf(one));
	const { media = {} } = unknown.length ? (await get(`/history/state?${query}&area=media`)).body.areas : {};
	for (const one of unknown) if (media[one] && !itemOf(one)) remember(media[one]);
	if (wanted !== moment) return;
	store.past = { at: moment, loop: loop.loop, rotation: settings.rotation, slug };
	if (picture.ok) await draw(await picture.blob(), () => wanted === moment);
	else dark("No picture: nothing had been recorded yet");
	if (wanted !== moment) return;
	say("past", "Was on", slug ? nameOf(slug) : "Nothing", "");
	tell(INEXACT[picture.headers.get("Pixelog-Screen-Why")] ?? "");
	emit("past");
	present();
}

function tell(note) {
	const { past } = store;
	slider.value = offset();
	const text = past ? `${clock(past.at, serviceNow())} · ${seconds(Math.round(-offset()))} ago` : "Now";
	setText(at("past-text"), note ? `${text} · ${note}` : text);
	clearTimeout(ticking);
	if (past) ticking = setTimeout(tell, 1000, note);
	at("past-forward").disabled = at("past-now").hidden = !past;
	at("transport").disabled = at("transport").hidden = past !== null;
}

function reach() {
	const [span, step] = SPANS[at("past-span").selectedIndex];
	Object.assign(slider, { min: -span, step });
	if (store.past) look(offset());
}

export function history() {
	at("past-span").append(...SPANS.map(([, , name]) => make("option", name)));
	at("past-span").onchange = reach;
	reach();
	tell("");
	slider.oninput = () => look(Number(slider.value));
	at("past-back").onclick = () => look(offset() - JUMP_SECONDS);
	at("past-forward").onclick = () => look(offset() + JUMP_SECONDS);
	at("past-now").onclick = () => {
		end();
		slider.focus();
	};
	on("chosen", () => store.past && end());
}
