/** Whether the page hears the service, always to be seen; and what is wrong with the panel, when something is. */

import { at, button, icon, make, renew, setText } from "./dom.js";
import { on, retry, serviceNow, store } from "./store.js";
import { clock } from "./words.js";

const LINKS = {
  connecting: "Connecting",
  live: "Live",
  again: "Reconnecting",
  lost: "Not connected",
};

function notices() {
  const { link, state, player } = store;
  const found = [];
  if (link.state === "lost") {
    const since = state ? ` What you see is from ${clock(link.since + store.clock, serviceNow())}.` : "";
    found.push({ key: "lost", kind: "bad", text: `${link.why}${since}`, action: ["Try now", retry] });
    return found;
  }
  const display = player?.display ?? state?.player.display;
  if (player && player.frame === null && display?.state !== "none") {
    found.push({ key: "player", kind: "warn", text: "The player is not running, so the panel shows nothing new. Start it with `pixelog up`." });
  } else if (display?.state === "lost") {
    found.push({ key: "display", kind: "bad", text: `The panel does not answer${display.error ? `: ${display.error}` : "."}` });
  }
  if (display?.fallbackFrom) {
    const why = state?.player.display.error;
    const text = `${display.fallbackFrom} could not be opened${why ? `: ${why}` : ""}. Showing on ${display.driver} instead.`;
    found.push({ key: "fallback", kind: "warn", text });
  }
  if (player?.hoursIgnored) {
    found.push({ key: "hours", kind: "warn", text: "The clock of this device is not trusted yet, so the hours set for loop items are not obeyed." });
  }
  return found;
}

function show() {
  const { state } = store.link;
  at("link").dataset.link = state;
  setText(at("link-text"), LINKS[state]);
  renew(
    at("banners"),
    notices(),
    (notice) => notice.key,
    ({ kind, action }) =>
      make("div", { className: `banner ${kind}` }, icon("warn"), make("p"), action ? button(action[0], "quiet", action[1]) : ""),
    (element, { text }) => setText(element.querySelector("p"), text),
  );
}

/** Begin. */
export function connection() {
  for (const kind of ["link", "state", "player"]) on(kind, show);
  show();
}
