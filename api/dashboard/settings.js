/** Settings of the display: changed as they are touched. */

import { patch } from "./api.js";
import { at, choices, make, setText } from "./dom.js";
import { on, store } from "./store.js";
import { attempt } from "./toasts.js";

// Fields by setting, and how a field's text becomes its value.
const FIELDS = { brightness: Number, defaultDuration: Number, name: String, timeZone: String };
// Settings of which one value is taken, with what each is called.
const CHOICES = {
	rotation: [0, 90, 180, 270].map((turn) => [turn, `${turn}°`]),
	fit: [["contain", "Whole"], ["cover", "Cropped"], ["stretch", "Stretched"]],
};

// The newest change: it is sent once the one before has been answered.
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
		});
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
}
