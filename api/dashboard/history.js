/** Looking back: a slider over time shows the screen and the loop as they were. */

import { BASE, get } from "./api.js";
import { at, make, setText } from "./dom.js";
import { dark, draw, nameOf, present, say } from "./panel.js";
import { emit, serviceNow, store } from "./store.js";
import { clock, seconds } from "./words.js";

// Reaches of the slider: seconds back, seconds a key moves it, name.
const SPANS = [
	[600, 1, "10 min"],
	[3600, 5, "1 hour"],
	[86_400, 60, "1 day"],
	[604_800, 600, "1 week"],
];
const JUMP_SECONDS = 10;
const AREAS = ["loop", "settings", "display"].map((area) => `&area=${area}`).join("");

const INEXACT = {
	no_player: "no player was running",
	facts_lost: "the power may have been off",
	pack_remade: "not exact, prepared again since",
	blob_gone: "the file is gone",
};

const slider = at("past-slider");
// The service's time (ms) at the slider's right end, while the page looks back.
let anchor = null;
// The moment (ms) to be shown, or null; and whether one is being read.
let wanted = null;
let reading = false;

function look(offset) {
	slider.value = offset; // within its bounds
	if (Number(slider.value) === 0) return end();
	anchor ??= serviceNow();
	wanted = anchor + Number(slider.value) * 1000;
	store.past ??= { loop: null, slug: null };
	store.past.at = wanted;
	document.body.classList.add("looking-back");
	tell("");
	if (!reading) read();
}

function end() {
	anchor = wanted = store.past = null;
	slider.value = 0;
	document.body.classList.remove("looking-back");
	tell("");
	emit("past");
	if (store.frame) emit("frame", store.frame);
	present();
}

// The newest wish only: a screen of the past takes a moment to draw.
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
	// The player's word comes a moment after the picture, the picture's own is exact.
	const told = picture.headers.get("Pixelog-Screen-Slug");
	const slug = told === null ? display.player.slug : decodeURIComponent(told) || null;
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
	const text = past ? `${clock(past.at, serviceNow())} · ${seconds(-slider.value)} ago` : "Now";
	setText(at("past-text"), note ? `${text} · ${note}` : text);
	slider.ariaValueText = text;
	at("past-forward").disabled = at("past-now").hidden = !past;
	at("transport").disabled = at("transport").hidden = past !== null;
}

function reach() {
	const [span, step] = SPANS[at("past-span").selectedIndex];
	Object.assign(slider, { min: -span, step });
	if (store.past) look(slider.value);
}

export function history() {
	at("past-span").append(...SPANS.map(([, , name]) => make("option", name)));
	at("past-span").onchange = reach;
	reach();
	tell("");
	slider.oninput = () => look(slider.value);
	at("past-back").onclick = () => look(slider.value - JUMP_SECONDS);
	at("past-forward").onclick = () => look(Number(slider.value) + JUMP_SECONDS);
	at("past-now").onclick = () => {
		end();
		slider.focus();
	};
}
