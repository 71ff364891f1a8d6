/**
 * Follows one pixelog for all tabs of a browser, which opens six connections to a host and no more: in a SharedWorker, or in the page where
 * there is none. No DOM. The stream says that something changed, one read of `/dashboard` says what is so now.
 *
 * Tells, as `tell(kind, value)`: `link` {state, status, why, since}, `state`, `player`, `event`, `frame` (Blob), `dark` (why there is no
 * picture), `clock` (service time − own time, ms).
 */

import { BASE, Refused, get } from "./api.js";
import { eventsOf, picturesOf } from "./stream.js";

// Waits between tries to connect; the last one repeats.
const AGAIN_MS = [150, 400, 1000, 2000, 4000];
// Silence that means a dead line: the service says something every 15 s.
const SILENCE_MS = 20_000;
const ANSWER_MS = 10_000;
// Between two reads of the state: a burst of events costs few.
const GAP_MS = 40;
// A film that rests this long is a still, and is shown exactly, not as the film's JPEG.
const REST_MS = 250;
const FILM_AGAIN_MS = 3000;
// The player applies what was commanded a moment after the log has it: it is asked again after these.
const APPLY_MS = [20, 40, 80, 160, 320, 640];
// An answer takes this long at most, where clocks are compared.
const TRIP_MS = 1000;

// Events that change nothing on the page.
const SILENT = /^(player\.played|heartbeat\.|log\.|clock\.|token\.|session\.)/;
// Events that change what is on the panel, or what comes next.
const PLAYING = /^(player|playback|active|loop|display|setting)\.|^media\.(removed|restored|processed|failed)/;

const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));

export class Follower {
	// What was told last, by kind.
	#known = {};
	#tell;
	// The last event heard, and the log that it is of.
	#cursor = null;
	#log = null;
	// Start of the turn whose end is awaited.
	#turn = null;
	#tries = 0;
	#timers = {};
	#stream = null;
	#film = null;
	#watching = false;
	#reading = false;
	#wanted = new Set();

	constructor(tell) {
		this.#tell = (kind, value) => {
			this.#known[kind] = value;
			if (kind === "frame") delete this.#known.dark;
			if (kind === "dark") delete this.#known.frame;
			tell(kind, value);
		};
		this.#tell("link", { state: "connecting" });
		this.#connect();
	}

	/** All that was told last but events, as `[kind, value]`, for a tab that comes later. */
	known() {
		return Object.entries(this.#known).filter(([kind]) => kind !== "event");
	}

	/** Whether somebody looks at the screen. */
	watch(watching) {
		if (watching === this.#watching) return;
		this.#watching = watching;
		if (watching) this.#openFilm();
		else this.#closeFilm();
	}

	/** Try to connect now. */
	retry() {
		this.#tries = 0;
		if (this.#known.link.state === "lost") this.#connect();
	}

	#later(name, ms, work) {
		clearTimeout(this.#timers[name]);
		this.#timers[name] = setTimeout(work, ms);
	}

	// -- the line --

	async #connect() {
		clearTimeout(this.#timers.again);
		this.#stream?.abort();
		const stream = (this.#stream = new AbortController());
		try {
			await this.#readState();
			await this.#follow(stream);
		} catch (error) {
			if (stream === this.#stream) this.#lost(error instanceof Refused ? error : new Refused(0));
		}
	}

	#lost({ status, message }) {
		this.#closeFilm();
		this.#stream.abort();
		this.#stream = null;
		clearTimeout(this.#timers.silence);
		const { link } = this.#known;
		// An orderly restart is over in a moment: only a try that failed is a lost line.
		const state = this.#tries || link.state !== "live" ? "lost" : "again";
		if (link.state !== state || link.why !== message) this.#tell("link", { state, status, why: message, since: Date.now() });
		const wait = AGAIN_MS[Math.min(this.#tries, AGAIN_MS.length - 1)];
		this.#tries += 1;
		this.#later("again", status === 401 ? AGAIN_MS.at(-1) : wait, () => this.#connect());
	}

	async #follow(stream) {
		const alive = () => this.#later("silence", SILENCE_MS, () => this.#lost(new Refused(0)));
		alive();
		const query = new URLSearchParams({ after: this.#cursor, log: this.#log });
		const answer = await fetch(`${BASE}/events/stream?${query}`, { signal: stream.signal, cache: "no-store" });
		if (!answer.ok) throw new Refused(answer.status);
		this.#tries = 0;
		this.#tell("link", { state: "live" });
		this.#openFilm();
		for await (const { event, data } of eventsOf(answer.body)) {
			if (stream !== this.#stream) return;
			alive();
			if (data !== undefined) this.#take(event, JSON.parse(data));
		}
		throw new Refused(0);
	}

	#take(kind, data) {
		this.#cursor = Number(data.sequence ?? data.position);
		if (kind === "reset") {
			this.#setState(data.state);
			this.#want("player");
		}
		if (kind !== "message") return;
		this.#tell("event", data);
		const { type } = data;
		if (this.#cursor <= this.#known.state.position) return;
		this.#setClock(Date.parse(data.time), 0);
		if (SILENT.test(type)) return;
		if (type !== "player.shown") this.#want("state");
		if (PLAYING.test(type)) this.#want("player");
		if (!this.#film && /^(player\.started|display\.)/.test(type)) this.#openFilm();
	}

	// -- the state --

	async #want(what) {
		this.#wanted.add(what);
		if (this.#reading) return;
		this.#reading = true;
		while (this.#wanted.size) {
			const wanted = this.#wanted;
			this.#wanted = new Set();
			const reads = [wanted.has("state") && this.#readState(), wanted.has("player") && this.#readPlayer()];
			await Promise.all(reads).catch(() => {}); // the stream breaks too
			await pause(GAP_MS);
		}
		this.#reading = false;
	}

	async #readState() {
		const { body, headers } = await get("/dashboard", { signal: AbortSignal.timeout(ANSWER_MS) });
		this.#setClock(Date.parse(headers.get("Date")), 1000); // a date is of whole seconds
		if (this.#cursor === null || !this.#known.player) this.#want("player");
		this.#cursor ??= body.position;
		this.#log ??= `${body.logId}.${body.epoch}`;
		this.#setState(body);
	}

	#setState(state) {
		if (this.#cursor === state.position) this.#log = `${state.logId}.${state.epoch}`;
		this.#tell("state", state);
		// A message that expires is no event: read again when the next one does.
		const ends = state.messages.map(({ expiresAt }) => Date.parse(expiresAt)).filter(Boolean);
		clearTimeout(this.#timers.expiry);
		if (!ends.length) return;
		const wait = Math.min(...ends) - Date.now() - this.#known.clock + 30;
		this.#later("expiry", Math.min(Math.max(wait, 200), 2 ** 31 - 1), () => this.#want("state"));
	}

	async #readPlayer() {
		const position = this.#cursor;
		for (const wait of [...APPLY_MS, null]) {
			const { body } = await get("/player");
			this.#tell("player", body);
			this.#awaitTurn(body);
			if (wait === null || body.frame === null || body.appliedPosition >= position || this.#wanted.has("player")) return;
			await pause(wait);
		}
	}

	// Its report of a new turn comes up to a second after the picture; when asked, it knows at once.
	#awaitTurn({ slug, next, startedAt, endsAt }) {
		if (!next || next === slug || startedAt === this.#turn) return;
		this.#turn = startedAt;
		this.#later("turn", Date.parse(endsAt) - Date.now() - this.#known.clock + 30, () => this.#watching && this.#want("player"));
	}

	// The service's clock showed `time` to `time + span` ms just now. One that may agree with the browser's is taken to do so.
	#setClock(time, span) {
		const least = time - Date.now();
		const offset = Math.min(Math.max(this.#known.clock ?? 0, least), least + span + TRIP_MS);
		if (offset !== this.#known.clock) this.#tell("clock", offset);
	}

	// -- the screen --

	async #openFilm() {
		this.#closeFilm();
		if (!this.#watching || this.#known.link.state !== "live") return;
		const film = (this.#film = new AbortController());
		const options = { signal: film.signal, cache: "no-store" };
		try {
			const answer = await fetch(`${BASE}/screen.mjpeg`, options);
			if (!answer.ok) throw new Refused(answer.status, await answer.json());
			for await (const picture of picturesOf(answer.body)) {
				this.#tell("frame", picture);
				this.#later("rest", REST_MS, async () => {
					const still = await fetch(`${BASE}/screen.png`, options).catch(() => null);
					if (still?.ok) this.#tell("frame", await still.blob());
				});
			}
		} catch (error) {
			if (film === this.#film && error.status === 503) this.#tell("dark", error.message);
		}
		if (film !== this.#film) return;
		this.#closeFilm();
		this.#later("film", FILM_AGAIN_MS, () => this.#openFilm());
	}

	#closeFilm() {
		clearTimeout(this.#timers.rest);
		clearTimeout(this.#timers.film);
		this.#film?.abort();
		this.#film = null;
	}
}
