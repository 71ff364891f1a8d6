/** Settings, changed as they are touched; and the signed-in browsers. */

import { get, patch, remove } from "./api.js";
import { at, attempt, button, choices, make, names, renew, setNames, setText } from "./dom.js";
import { on, serviceNow, store } from "./store.js";
import { clock } from "./words.js";

// Fields by setting, and how a field's text becomes its value.
const FIELDS = { brightness: Number, defaultDuration: Number, name: String, timeZone: String };
// Settings of which one value is taken.
const CHOICES = {
	rotation: [0, 90, 180, 270].map((turn) => [turn, `${turn}°`]),
	fit: [["contain", "Whole"], ["cover", "Cropped"], ["stretch", "Stretched"]],
};

// The newest change, sent once the one before was answered.
let wanted = null;
let sending = false;
let awaited = 0;

async function change(values) {
	wanted = { ...wanted, ...values };
	if (sending) return;
	sending = true;
	while (wanted) {
		const body = wanted;
		wanted = null;
		awaited = 0;
		await attempt(async () => {
			awaited = Number((await patch("/settings", body)).headers.get("Pixelog-Position"));
		}, { 422: "A picture stays for 0.1 to 86,400 seconds." });
	}
	sending = false;
	show();
}

function show() {
	const { state, player } = store;
	if (!state || sending || state.position < awaited) return;
	for (const name of Object.keys(FIELDS)) {
		const input = at(`set-${name}`);
		if (input.matches("input:not([type=range]):focus")) continue;
		const value = String(state.settings[name]);
		input.value = value;
		if (input.value !== value) input.prepend(make("option", { selected: true }, value)); // a zone that the browser does not know
	}
	showBrightness();
	for (const name of Object.keys(CHOICES)) document.querySelector(`[name=${name}][value="${state.settings[name]}"]`).checked = true;
	const { driver, width, height } = (player ?? state.player).display;
	setText(at("about"), width ? `${driver}, ${width} × ${height} pixels` : "No panel has been attached yet.");
}

// All zones, the browser's own first.
function offerZones() {
	const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
	const others = ["UTC", ...Intl.supportedValuesOf("timeZone")].filter((zone) => zone !== own);
	at("set-timeZone").append(make("option", { value: own }, `${own}, as in this browser`), ...others.map((zone) => make("option", zone)));
}

function showBrightness() {
	setText(at("brightness-text"), `${at("set-brightness").value} %`);
}

// -- signed-in browsers --

// A browser names itself with the first three letters of these, the most telling first.
const BROWSERS = ["Edge", "Firefox", "Chrome", "Safari", "Browser"];
const MACHINES = ["iPhone", "iPad", "Android", "Windows", "Mac", "Linux", "another machine"];

const row = () => make("li.row", names(), button("", "quiet"));

function fill(element, { id, agent, openedAt, current }) {
	const [words, away] = element.children;
	const name = [BROWSERS, MACHINES].map((all) => all.find((one) => agent?.includes(one.slice(0, 3))) ?? all.at(-1)).join(" on ");
	setNames(words, name, `${current ? "This browser, since" : "Since"} ${clock(Date.parse(openedAt), serviceNow())}`);
	const label = (text) => {
		setText(away, text);
		away.ariaLabel = `${text} ${name}`;
	};
	label("Sign out");
	// Only a new code brings it back, so it takes two presses.
	away.onblur = () => label("Sign out");
	away.onclick = async () => {
		if (away.textContent === "Sign out") label("Really?");
		else if ((await attempt(() => remove(`/sessions/${id}`))) && current) location.replace("/pair");
	};
}

async function read() {
	const answer = await get("/sessions?limit=200").catch(() => null);
	if (!answer) return; // the line broke: read again when it is back
	const { items } = answer.body;
	renew(at("access-list"), items, ({ id }) => id, row, fill);
	const here = items.some(({ current }) => current) ? "" : "This browser needs no signing in. ";
	setText(at("access-help"), `${here}Others join by a link from “pixelog pair”.`);
}

export function settings() {
	at("settings-form").onsubmit = (event) => event.preventDefault();
	for (const [name, typed] of Object.entries(FIELDS)) {
		const input = at(`set-${name}`);
		input.onchange = () => (input.value.trim() ? change({ [name]: typed(input.value.trim()) }) : show());
	}
	at("set-brightness").oninput = ({ target }) => {
		showBrightness();
		change({ brightness: Number(target.value) });
	};
	for (const [name, pairs] of Object.entries(CHOICES)) {
		choices(at(`set-${name}`), name, pairs);
		at(`set-${name}`).onchange = ({ target }) => change({ [name]: pairs.find(([value]) => String(value) === target.value)[0] });
	}
	offerZones();
	on("state player", show);
	on("link", ({ state }) => state === "live" && read());
	on("event", ({ type }) => type.startsWith("session.") && read());
}
