/** Settings of the display: changed as they are touched, never by a button that has to be found. */

import { patch } from "./api.js";
import { at, setText } from "./dom.js";
import { on, store } from "./store.js";
import { attempt } from "./toasts.js";

/** Fields by setting, and how a field's text becomes its value. */
const FIELDS = { brightness: Number, defaultDuration: Number, name: String };
const CHOICES = { rotation: Number, fit: String };

/** The newest change on its way: a slider's next value is sent once the one before has been answered. */
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
		if (document.activeElement !== input || input.type === "range") input.value = state.settings[name];
	}
	showBrightness();
	for (const name of Object.keys(CHOICES)) document.querySelector(`[name=${name}][value="${state.settings[name]}"]`).checked = true;
	const { driver, width, height } = (player ?? state.player).display;
	setText(at("about"), width ? `${driver}, ${width} × ${height} pixels` : "No panel has been attached yet.");
}

function showBrightness() {
	setText(at("brightness-text"), `${at("set-brightness").value} %`);
}

/** Begin. */
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
	for (const [name, typed] of Object.entries(CHOICES)) {
		for (const input of document.querySelectorAll(`[name=${name}]`)) input.onchange = () => change({ [name]: typed(input.value) });
	}
	on("state player", show);
}
