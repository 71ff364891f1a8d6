/** Whether the page hears the service, always to be seen; and what is wrong with the panel, when something is. */

import { at, button, icon, make, renew, setText } from "./dom.js";
import { on, retry, serviceNow, store } from "./store.js";
import { clock } from "./words.js";

const LINKS = { connecting: "Connecting", live: "Live", again: "Reconnecting", lost: "Not connected" };

/** Notices in order of weight: `[key, kind, text, action?]`. */
function notices() {
	const { link, state, player } = store;
	if (link.state === "lost") {
		const since = state ? ` What you see is from ${clock(link.since + store.clock, serviceNow())}.` : "";
		const act = link.status === 401 ? make("a", { className: "quiet", href: "/pair" }, "Sign in") : button("Try now", "quiet", retry);
		return [[`lost${link.status}`, "bad", link.why + since, act]];
	}
	const recorded = state?.player.display;
	const display = player?.display ?? recorded ?? {};
	const found = [];
	if (player?.frame === null && display.state !== "none") {
		found.push(["player", "warn", "The player is not running, so the panel shows nothing new. Start it with `pixelog up`."]);
	} else if (display.state === "lost") found.push(["display", "bad", `The panel does not answer. ${recorded?.error ?? ""}`]);
	if (display.fallbackFrom) {
		found.push(["fallback", "warn", `${display.fallbackFrom} could not be opened, ${display.driver} stands in. ${recorded?.error ?? ""}`]);
	}
	if (player?.hoursIgnored) found.push(["hours", "warn", "The clock of this device is not trusted yet, so hours set for loop items are not obeyed."]);
	return found;
}

function show() {
	at("link").dataset.link = store.link.state;
	setText(at("link-text"), LINKS[store.link.state]);
	const create = ([, kind, , action]) => make("div", { className: `banner ${kind}` }, icon("warn"), make("p"), action ?? "");
	renew(at("banners"), notices(), ([key]) => key, create, (element, [, , text]) => setText(element.querySelector("p"), text));
}

/** Begin. */
export function connection() {
	on("link state player", show);
}
