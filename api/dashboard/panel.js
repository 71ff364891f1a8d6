/** The panel: its picture, what is on and what is next, and the buttons under it. */

import { post } from "./api.js";
import { at, attempt, setIcon, setText } from "./dom.js";
import { emit, itemOf, on, store } from "./store.js";
import { seconds, straight } from "./words.js";

// What the device's frame takes, in CSS pixels.
const FRAME_PX = 44;

const canvas = at("screen");

export const nameOf = (slug) => straight(itemOf(slug)?.filename ?? slug);

/** What is on the panel: the player's word while it lives, else the log's. */
export const shownSlug = () => (store.player ?? store.state?.player)?.slug ?? null;

/** Draw it as the panel hangs, if it `isWanted` still when it is decoded. */
export async function draw(blob, isWanted) {
	const picture = await createImageBitmap(blob);
	if (!isWanted()) return;
	const turn = store.past?.rotation ?? store.state?.settings.rotation ?? 0;
	const [width, height] = turn % 180 ? [picture.height, picture.width] : [picture.width, picture.height];
	if (canvas.width !== width || canvas.height !== height) {
		Object.assign(canvas, { width, height });
		scale();
	}
	const pen = canvas.getContext("2d");
	pen.setTransform(1, 0, 0, 1, width / 2, height / 2);
	pen.rotate((-turn * Math.PI) / 180);
	pen.drawImage(picture, -picture.width / 2, -picture.height / 2);
	dark("");
}

// Each pixel of the panel is a whole number of the browser's, if there is room: nothing shimmers.
function scale() {
	const room = at("panel").clientWidth - FRAME_PX;
	if (room < 0) return; // out of sight
	const style = getComputedStyle(at("panel"));
	const across = Math.min(parseFloat(style.getPropertyValue("--glass-width")), room) / canvas.width;
	const down = parseFloat(style.getPropertyValue("--glass-height")) / canvas.height;
	const fit = Math.min(across, down) * devicePixelRatio;
	const factor = (fit < 1 ? fit : Math.floor(fit)) / devicePixelRatio;
	canvas.style.width = `${canvas.width * factor}px`;
	canvas.style.height = `${canvas.height * factor}px`;
}

/** Say why there is no picture; empty: there is one. */
export function dark(text) {
	at("dark").hidden = !text;
	setText(at("dark"), text);
	canvas.classList.toggle("off", text !== "");
}

// -- now and next --

let ticking = null;
let progress = null;

// Start and length (ms) of the turn, in the browser's time; one item's turns follow each other silently.
function turn() {
	if (store.past || store.link.state === "lost") return null;
	const { startedAt, endsAt } = store.player ?? {};
	const start = Date.parse(startedAt) - store.clock;
	const length = Date.parse(endsAt) - Date.parse(startedAt);
	if (!(length > 0)) return null;
	return { start: start + length * Math.max(0, Math.floor((Date.now() - start) / length)), length };
}

function tick() {
	clearTimeout(ticking);
	const now = turn();
	const left = now && (now.start + now.length - Date.now()) / 1000;
	setText(at("now-left"), now ? `${seconds(Math.ceil(left))} left` : "");
	if (now && !document.hidden) ticking = setTimeout(tick, ((left * 1000) % 1000) + 5);
}

function run() {
	progress?.cancel();
	const now = turn();
	if (now) {
		const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
		const easing = calm ? `steps(${Math.ceil(now.length / 1000)})` : "linear";
		const options = { duration: now.length, iterations: Infinity, easing };
		progress = at("now-bar").animate([{ transform: "scaleX(0)" }, { transform: "scaleX(1)" }], options);
		progress.currentTime = Date.now() - now.start;
	}
	tick();
}

/** Write what is on; `mood`: on, paused, held or past. */
export function say(mood, tag, name, next) {
	at("now").dataset.mood = mood;
	setText(at("now-tag"), tag);
	setText(at("now-name"), name);
	setText(at("now-next"), next);
	canvas.ariaLabel = `The panel: ${tag}, ${name}`;
}

function show() {
	const { link, state, player, past } = store;
	if (!state || past) return;
	const { playing, held } = state.player;
	const slug = shownSlug();
	const display = state.settings.name;
	if (slug) {
		const mood = link.state === "lost" ? "past" : !playing ? "paused" : held ? "held" : "on";
		const tag = { past: "Was on", paused: "Paused", held: "Held", on: "On now" }[mood];
		say(mood, tag, nameOf(slug), mood === "past" ? "" : nextLine(slug, player?.next, playing, held));
	} else if (state.media.total) say("on", "Idle", "Nothing is playing", "Tap something in the library to show it.");
	else say("on", "Idle", "Nothing to show yet", "Add a picture and it appears here.");
	const toggle = at("toggle");
	setIcon(toggle.firstChild, playing ? "pause" : "play");
	toggle.ariaLabel = playing ? "Pause" : "Play";
	at("hold").ariaPressed = String(held);
	setText(at("name"), display);
	document.title = slug && link.state !== "lost" ? `${playing ? "▶" : "❚❚"} ${nameOf(slug)} · ${display}` : display;
	emit("shown");
}

function nextLine(slug, next, playing, held) {
	if (held || store.state.loop.mode === "one") return "Stays until you go on";
	return next && next !== slug ? `${playing ? "Next" : "Then"}: ${nameOf(next)}` : "";
}

export function present() {
	show();
	run();
}

export function panel() {
	on("frame", (blob) => store.past || draw(blob, () => !store.past));
	on("dark", (text) => store.past || dark(text));
	on("player link", present);
	on("clock", run);
	on("state items", show);
	new ResizeObserver(scale).observe(at("panel"));
	document.addEventListener("visibilitychange", tick);
	const press = (id, action) => {
		at(id).onclick = () => attempt(() => post(`/player/${action()}`));
	};
	press("previous", () => "previous");
	press("next", () => "next");
	press("toggle", () => (store.state?.player.playing ? "pause" : "play"));
	press("hold", () => (store.state?.player.held ? "release" : "hold"));
}
