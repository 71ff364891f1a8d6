/** What time the service has, from what it says in passing: the browser's clock may be hours off, or the device's. Pure: `now` is handed in. */

/** Bounds of (service time − own time) in ms, narrowed by each hint. */
export class Clock {
  constructor() {
    this.least = -Infinity;
    this.most = Infinity;
  }

  /** An event of time `eventMs` was received live at own time `nowMs`: the service's clock is at least there. */
  seen(eventMs, nowMs) {
    this.#narrow(eventMs - nowMs, Infinity);
  }

  /** A `Date` header, whole seconds, came in at own time `nowMs` after `tripMs`. */
  dated(dateMs, nowMs, tripMs) {
    this.#narrow(dateMs - nowMs, dateMs + 1000 - nowMs + tripMs);
  }

  #narrow(least, most) {
    // A clock that was stepped contradicts what was known: believe the newest hint alone.
    if (least > this.most || most < this.least) {
      this.least = -Infinity;
      this.most = Infinity;
    }
    this.least = Math.max(this.least, least);
    this.most = Math.min(this.most, most);
  }

  /** Service time − own time in ms: none if the clocks may agree, else the least that explains the hints. */
  get offset() {
    return Math.min(Math.max(0, this.least), this.most);
  }
}
