/** Whether the page hears the service, always to be seen; and what is wrong with the panel. */

import { get } from "./api.js";
import { at, button, icon, make, renew, setText } from "./dom.js";
import { on, retry, serviceNow, store } from "./store.js";
import { bytes, clock } from "./words.js";

const LINKS = { connecting: "Connecting", live: "Live", again: "Reconnecting", lost: "Not connected" };

// What may be wrong with the machine beneath, for its owner.
const CONDITIONS = {
	clock_untrusted: "The clock is not set yet: times may be wrong, and hours set for loop items are not obeyed.",
	disk_low: "The card is nearly full.",
	disk_read_only: "The card cannot be written: nothing can be added or changed.",
	memory_low: "Memory is nearly used up.",
	overheated: "The processor is too hot.",
	throttled: "The processor is slowed down to protect it.",
	under_voltage: "The power supply is too weak.",
};

// Notices in order of weight: `[key, kind, text, action?]`.
function notices() {
	const { link, state, player } = store;
	if (link.state === "lost") {
		const since = state ? ` What you see is from ${clock(link.since + store.clock, serviceNow())}.` : "";
		const act = link.status === 401 ? make("a.quiet", { href: "/pair" }, "Sign in") : button("Try now", "quiet", retry);
		return [[`lost${link.status}`, "bad", link.why + since, act]];
	}
	const recorded = state?.player.display;
	const display = player?.display ?? recorded ?? {};
	const found = [];
	if (player?.frame === null && display.state !== "none") {
		found.push(["player", "warn", "The player is not running, so the panel shows nothing new. Start it with “pixelog up”."]);
	} else if (display.state === "lost") found.push(["display", "bad", `The panel does not answer. ${recorded?.error ?? ""}`]);
	if (display.fallbackFrom) {
		found.push(["fallback", "warn", `${display.fallbackFrom} could not be opened, ${display.driver} stands in. ${recorded?.error ?? ""}`]);
	}
	const conditions = new Set(state?.device?.conditions);
	if (player?.hoursIgnored) conditions.add("clock_untrusted");
	for (const name of Object.keys(CONDITIONS).filter((name) => conditions.has(name))) {
		const more = name === "disk_low" ? ` ${bytes(state.storage.freeBytes)} are left.` : "";
		found.push([name, "warn", CONDITIONS[name] + more]);
	}
	return found;
}

// Strangers are brought to where one signs in; a worker may not know that one has.
function signIn({ status }) {
	if (status === 401 && !store.state) get("/active").then(retry, (error) => error.status === 401 && location.replace("/pair"));
}

function show() {
	at("link").dataset.link = store.link.state;
	setText(at("link"), LINKS[store.link.state]);
	const create = ([, kind, , action]) => make(`div.banner.${kind}`, icon("warn"), make("p"), action ?? "");
	renew(at("banners"), notices(), ([key]) => key, create, (element, [, , text]) => setText(element.querySelector("p"), text));
}

export function connection() {
	on("link state player", show);
	on("link", signIn);
}
