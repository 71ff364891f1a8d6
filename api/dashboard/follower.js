/**
 * Follows one pixelog for all tabs of a browser, which opens six connections to a host: as a SharedWorker, or in the page where there is none.
 * No DOM. The stream says that something changed, a read of `/dashboard` what is so now.
 *
 * A tab sends `{ask, value}`: `watch` (is it looked at), `retry`, `bye`. It is told `{kind, value}`: `link` {state, status, why, since},
 * `state`, `player`, `event`, `frame` (Blob), `dark` (why no picture), `clock` (service time − own, ms).
 */

import { BASE, Refused, get } from "./api.js";
import { eventsOf, picturesOf } from "./stream.js";

// Waits between tries to connect; the last one repeats.
const AGAIN_MS = [150, 400, 1000, 2000, 4000];
// Silence of a dead line: the service says something every 15 s.
const SILENCE_MS = 20_000;
const ANSWER_MS = 10_000;
// Between two reads of the state: a burst of events costs few.
const GAP_MS = 40;
// A film that rests so long is shown exactly, not as JPEG.
const REST_MS = 250;
const FILM_AGAIN_MS = 3000;
// The player applies what the log has a moment later: asked again after these.
const APPLY_MS = [20, 40, 80, 160, 320, 640];
// An answer takes so long at most, where clocks are compared.
const TRIP_MS = 1000;

// Events that change nothing on the page.
const SILENT = /^(player\.played|heartbeat\.|log\.|clock\.|token\.|session\.)/;
// Those that change what is on or next.
const PLAYING = /^(player|playback|active|loop|display|setting)\.|^media\.(removed|restored|processed|failed)/;

const shared = self.SharedWorkerGlobalScope;
// Port of a tab → whether it is looked at.
const tabs = new Map();
// What was told last, by kind.
const known = { link: { state: "connecting" } };
const timers = {};

// The last event heard, and the log that it is of.
let cursor = null;
let log = null;
// Start of the turn whose end is awaited.
let turn = null;
// When the service was last heard.
let heard = 0;
let tries = 0;
let stream = null;
let film = null;
let reading = false;
let wanted = new Set();

// -- the tabs --

self.onconnect = ({ ports: [port] }) => {
	tabs.set(port, false);
	port.onmessage = ({ data: { ask, value } }) => {
		const watched = isWatched();
		if (ask === "watch") tabs.set(port, value);
		if (ask === "bye") tabs.delete(port);
		if (ask === "retry") retry();
		else if (value) greet(port);
		if (isWatched() !== watched) (watched ? rest : openFilm)();
	};
};

// Nobody looks. A worker goes on for the titles of its tabs, a page leaves the line to others.
function rest() {
	closeFilm();
	if (shared) return;
	stream?.abort();
	stream = heard = null;
	clearTimeout(timers.silence);
	clearTimeout(timers.again);
	tell("link", { state: "again" });
}

const isWatched = () => [...tabs.values()].includes(true);

function greet(port) {
	for (const [kind, value] of Object.entries(known)) if (kind !== "event") port.postMessage({ kind, value });
	// Whoever slept may have a dead line.
	if (heard && Date.now() - heard > SILENCE_MS) lost(new Refused(0));
	retry();
}

function retry() {
	if (known.link.state === "live" || known.link.state === "connecting") return;
	tries = 0;
	connect();
}

function tell(kind, value) {
	known[kind] = value;
	if (kind === "frame") delete known.dark;
	if (kind === "dark") delete known.frame;
	for (const [port, looked] of tabs) if (looked || kind !== "frame") port.postMessage({ kind, value });
}

function later(name, ms, work) {
	clearTimeout(timers[name]);
	timers[name] = setTimeout(work, ms);
}

const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));

// -- the line --

async function connect() {
	clearTimeout(timers.again);
	stream?.abort();
	const own = (stream = new AbortController());
	try {
		await readState();
		await follow(own);
	} catch (error) {
		if (own === stream) lost(error instanceof Refused ? error : new Refused(0));
	}
}

function lost({ status, message }) {
	closeFilm();
	stream?.abort();
	stream = null;
	clearTimeout(timers.silence);
	const { link } = known;
	// A restart is over soon: only a try that failed is a lost line.
	const state = tries || link.state !== "live" ? "lost" : "again";
	if (link.state !== state || link.why !== message) tell("link", { state, status, why: message, since: Date.now() });
	const wait = AGAIN_MS[Math.min(tries, AGAIN_MS.length - 1)];
	tries += 1;
	later("again", status === 401 ? AGAIN_MS.at(-1) : wait, connect);
}

async function follow(own) {
	const alive = () => {
		heard = Date.now();
		later("silence", SILENCE_MS, () => lost(new Refused(0)));
	};
	if (!shared && !isWatched()) return rest();
	alive();
	const query = new URLSearchParams({ after: cursor, log });
	const answer = await fetch(`${BASE}/events/stream?${query}`, { signal: own.signal, cache: "no-store" });
	if (!answer.ok) throw new Refused(answer.status);
	tries = 0;
	tell("link", { state: "live" });
	openFilm();
	for await (const { event, data } of eventsOf(answer.body)) {
		if (own !== stream) return;
		alive();
		if (data !== undefined) take(event, JSON.parse(data));
	}
	throw new Refused(0);
}

function take(kind, data) {
	cursor = Number(data.sequence ?? data.position);
	if (kind === "reset") {
		setState(data.state);
		want("player");
	}
	if (kind !== "message") return;
	tell("event", data);
	const { type } = data;
	if (cursor <= known.state.position) return;
	setClock(Date.parse(data.time), 0);
	if (SILENT.test(type)) return;
	if (type !== "player.shown") want("state");
	if (PLAYING.test(type)) want("player");
	if (!film && /^(player\.started|display\.)/.test(type)) openFilm();
}

// -- the state --

async function want(what) {
	wanted.add(what);
	if (reading) return;
	reading = true;
	while (wanted.size) {
		const now = wanted;
		wanted = new Set();
		await Promise.all([now.has("state") && readState(), now.has("player") && readPlayer()]).catch(() => {}); // the stream breaks too
		await pause(GAP_MS);
	}
	reading = false;
}

async function readState() {
	const { body, headers } = await get("/dashboard", { signal: AbortSignal.timeout(ANSWER_MS) });
	setClock(Date.parse(headers.get("Date")), 1000); // a date is of whole seconds
	if (cursor === null || !known.player) want("player");
	cursor ??= body.position;
	log ??= `${body.logId}.${body.epoch}`;
	setState(body);
}

function setState(state) {
	if (cursor === state.position) log = `${state.logId}.${state.epoch}`;
	tell("state", state);
	// That a message expires is no event.
	const ends = state.messages.map(({ expiresAt }) => Date.parse(expiresAt)).filter(Boolean);
	clearTimeout(timers.expiry);
	if (!ends.length) return;
	const wait = Math.min(...ends) - Date.now() - known.clock + 30;
	later("expiry", Math.min(Math.max(wait, 200), 2 ** 31 - 1), () => want("state"));
}

async function readPlayer() {
	const position = cursor;
	for (const wait of [...APPLY_MS, null]) {
		const { body } = await get("/player");
		tell("player", body);
		awaitTurn(body);
		if (wait === null || body.frame === null || body.appliedPosition >= position || wanted.has("player")) return;
		await pause(wait);
	}
}

// A new turn is reported up to a second late; asked, the player knows at once.
function awaitTurn({ slug, next, startedAt, endsAt }) {
	if (!next || next === slug || startedAt === turn) return;
	turn = startedAt;
	later("turn", Date.parse(endsAt) - Date.now() - known.clock + 30, () => isWatched() && want("player"));
}

// The service's clock showed `time` to `time + span` just now. One that may agree with ours is taken to.
function setClock(time, span) {
	const least = time - Date.now();
	const offset = Math.min(Math.max(known.clock ?? 0, least), least + span + TRIP_MS);
	if (offset !== known.clock) tell("clock", offset);
}

// -- the screen --

async function openFilm() {
	closeFilm();
	if (!isWatched() || known.link.state !== "live") return;
	const own = (film = new AbortController());
	const options = { signal: own.signal, cache: "no-store" };
	try {
		const answer = await fetch(`${BASE}/screen.mjpeg`, options);
		if (!answer.ok) throw new Refused(answer.status, await answer.json());
		for await (const picture of picturesOf(answer.body)) {
			tell("frame", picture);
			later("rest", REST_MS, async () => {
				const still = await fetch(`${BASE}/screen.png`, options).catch(() => null);
				if (still?.ok) tell("frame", await still.blob());
			});
		}
	} catch (error) {
		if (own === film && error.status === 503) tell("dark", error.message);
	}
	if (own !== film) return;
	closeFilm();
	later("film", FILM_AGAIN_MS, openFilm);
}

function closeFilm() {
	clearTimeout(timers.rest);
	clearTimeout(timers.film);
	film?.abort();
	film = null;
}

connect();
