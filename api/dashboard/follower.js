/**
 * Follows one pixelog for all tabs of a browser: the state, the player, the event stream and the film of the screen. No DOM here: it lives in a
 * SharedWorker, because a browser opens six connections to a host for all its tabs together, and in the page where there is no such worker.
 *
 * The log is the truth: the stream says that something changed, one read of `/dashboard` says what is so now. Reads that would overlap are one.
 * Tells, as `tell(kind, value)`: `link` {state, since, why}, `state`, `player`, `event` (one of the log), `frame` (Blob), `dark` (a sentence: no
 * picture), `clock` (service time − own time, ms).
 */

import { BASE, Refused, get } from "./api.js";
import { eventsOf, picturesOf } from "./stream.js";

const AGAIN_MS = [150, 400, 1000, 2000, 4000];
/** Silence that means a dead line: the service says something every 15 s. */
const SILENCE_MS = 20_000;
/** Between two reads of the state, so that a burst of events costs few; short enough not to be noticed. */
const GAP_MS = 40;
/** A film that rests this long is a still, and is shown exactly, not as the film's JPEG. */
const REST_MS = 250;
/** The player applies what was commanded a moment after the log has it. */
const APPLY_MS = [20, 40, 80, 160, 320, 640];

/** An answer takes this long at most, where clocks are compared. */
const TRIP_MS = 1000;

/** Events that change nothing on the page. */
const SILENT = /^(player\.played|heartbeat\.|log\.|clock\.|token\.|session\.)/;
/** Events that change what is on the panel, or what comes next. */
const PLAYING = /^(player|playback|active|loop|display|setting)\.|^media\.(removed|restored|processed|failed)/;

export class Follower {
  #tell;
  #cursor = null;
  #tries = 0;
  #again = null;
  #silence = null;
  #stream = null;
  #film = null;
  #watching = false;
  #reading = null;
  #wanted = new Set();
  #expiry = null;
  #known = {};

  constructor(tell) {
    this.#tell = (kind, value) => {
      this.#known[kind] = value;
      if (kind === "frame") delete this.#known.dark;
      if (kind === "dark") delete this.#known.frame;
      tell(kind, value);
    };
    this.#link("connecting");
    this.#connect();
  }

  /** All that was told last, for a tab that comes later. */
  known() {
    const { event: _, ...kinds } = this.#known;
    return kinds;
  }

  /** Whether somebody looks at the screen. */
  watch(watching) {
    if (watching === this.#watching) return;
    this.#watching = watching;
    if (watching && this.#known.link.state === "live") this.#openFilm();
    if (!watching) this.#closeFilm();
  }

  /** Try to connect now. */
  retry() {
    if (this.#known.link.state === "live") return;
    clearTimeout(this.#again);
    this.#tries = 0;
    this.#connect();
  }

  // -- the line --------------------------------------------------------------------------------------------------------------------------

  #link(state, why) {
    const last = this.#known.link;
    if (last?.state === state && last.why === why) return;
    this.#tell("link", { state, why, since: Date.now() });
  }

  async #connect() {
    this.#stream?.abort();
    const stream = (this.#stream = new AbortController());
    try {
      await this.#readState();
      await this.#follow(stream);
      throw new Refused(0);
    } catch (error) {
      if (stream !== this.#stream) return;
      this.#lost(error);
    }
  }

  #lost(error) {
    this.#closeFilm();
    this.#stream?.abort();
    clearTimeout(this.#silence);
    // An orderly restart is over in a moment: the page says "reconnecting" at once, and "not connected" only when a try has failed.
    const wait = AGAIN_MS[Math.min(this.#tries, AGAIN_MS.length - 1)];
    this.#link(this.#tries === 0 && this.#known.state ? "again" : "lost", error instanceof Refused ? error.message : String(error));
    this.#tries += 1;
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#connect(), error.status === 401 ? AGAIN_MS.at(-1) : wait);
  }

  async #follow(stream) {
    const { logId, epoch } = this.#known.state;
    const query = new URLSearchParams({ after: this.#cursor, log: `${logId}.${epoch}` });
    const answer = await fetch(`${BASE}/events/stream?${query}`, { signal: stream.signal, cache: "no-store" });
    if (!answer.ok) throw new Refused(answer.status);
    const alive = () => {
      clearTimeout(this.#silence);
      this.#silence = setTimeout(() => stream === this.#stream && this.#lost(new Refused(0)), SILENCE_MS);
    };
    alive();
    this.#tries = 0;
    this.#link("live");
    if (this.#watching) this.#openFilm();
    for await (const block of eventsOf(answer.body)) {
      if (stream !== this.#stream) return;
      alive();
      if (block.data !== undefined) this.#take(block.event, JSON.parse(block.data));
    }
  }

  #take(kind, data) {
    this.#cursor = kind === "message" ? Number(data.sequence) : data.position;
    if (kind === "reset") {
      this.#setState(data.state);
      this.#want("player");
    }
    if (kind !== "message") return;
    const fresh = this.#cursor > this.#known.state.position;
    if (fresh) {
      this.#setClock(Date.parse(data.time), 0);
    }
    this.#tell("event", { type: data.type, subject: data.subject, time: data.time, position: this.#cursor, data: data.data });
    if (!fresh || SILENT.test(data.type)) return;
    if (data.type !== "player.shown") this.#want("state");
    if (PLAYING.test(data.type)) this.#want("player");
    if (!this.#film && /^(player\.started|display\.)/.test(data.type)) this.#openFilm();
  }

  // -- the state -------------------------------------------------------------------------------------------------------------------------

  #want(what) {
    this.#wanted.add(what);
    this.#reading ??= this.#readWanted().finally(() => (this.#reading = null));
  }

  async #readWanted() {
    while (this.#wanted.size) {
      const [state, player] = [this.#wanted.has("state"), this.#wanted.has("player")];
      this.#wanted.clear();
      try {
        await Promise.all([state && this.#readState(), player && this.#readPlayer(this.#cursor)]);
      } catch {
        return; // the stream notices too, and connects again
      }
      await pause(GAP_MS);
    }
  }

  async #readState() {
    const { body, headers } = await get("/dashboard");
    this.#setClock(Date.parse(headers.get("Date")), 1000); // a date of whole seconds
    const first = this.#cursor === null;
    this.#cursor ??= body.position;
    this.#setState(body);
    if (first || !this.#known.player) this.#want("player");
  }

  #setState(state) {
    this.#tell("state", state);
    // A message that expires is no event: read again when the next one does.
    clearTimeout(this.#expiry);
    const ends = state.messages.map((message) => Date.parse(message.expiresAt)).filter((end) => end);
    if (ends.length) {
      const wait = Math.min(...ends) - Date.now() - this.#known.clock + 30;
      this.#expiry = setTimeout(() => this.#want("state"), Math.min(Math.max(wait, 200), 2 ** 31 - 1));
    }
  }

  async #readPlayer(position) {
    for (const wait of [...APPLY_MS, null]) {
      const { body } = await get("/player");
      this.#tell("player", body);
      if (wait === null || body.frame === null || body.appliedPosition >= position || this.#wanted.has("player")) return;
      await pause(wait);
    }
  }

  /** The service said in passing that its clock shows `time` to `time + span` ms; one that agrees with the browser's is taken as the same. */
  #setClock(time, span) {
    const least = time - Date.now();
    const offset = Math.min(Math.max(this.#known.clock ?? 0, least), least + span + TRIP_MS);
    if (offset !== this.#known.clock) this.#tell("clock", offset);
  }

  // -- the screen ------------------------------------------------------------------------------------------------------------------------

  async #openFilm() {
    this.#closeFilm();
    const film = (this.#film = new AbortController());
    let rest = null;
    try {
      const answer = await fetch(`${BASE}/screen.mjpeg`, { signal: film.signal, cache: "no-store" });
      if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => null), Number(answer.headers.get("Retry-After")));
      for await (const picture of picturesOf(answer.body)) {
        if (film !== this.#film) return;
        this.#tell("frame", picture);
        clearTimeout(rest);
        rest = setTimeout(() => this.#showStill(film), REST_MS);
      }
      throw new Refused(0);
    } catch (error) {
      clearTimeout(rest);
      if (film !== this.#film) return;
      this.#film = null;
      if (error.status === 503) this.#tell("dark", error.message);
      if (this.#watching) setTimeout(() => !this.#film && this.#watching && this.#known.link.state === "live" && this.#openFilm(), 3000);
    }
  }

  async #showStill(film) {
    const answer = await fetch(`${BASE}/screen.png`, { signal: film.signal, cache: "no-store" }).catch(() => null);
    if (answer?.ok && film === this.#film) this.#tell("frame", await answer.blob());
  }

  #closeFilm() {
    this.#film?.abort();
    this.#film = null;
  }
}

const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));
