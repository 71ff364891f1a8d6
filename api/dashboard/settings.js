/** Settings of the display: changed as they are touched, never by a button that has to be found. */

import { patch } from "./api.js";
import { at, make, setText } from "./dom.js";
import { on, store } from "./store.js";
import { attempt } from "./toasts.js";

const FIELDS = { brightness: "brightness", defaultDuration: "defaultDuration", timeZone: "timeZone", "display-name": "name" };

/** Changes on their way: a slider sends its newest value once the one before has been answered. */
let wanted = null;
let sending = null;
let awaited = 0;

function change(values) {
  wanted = { ...wanted, ...values };
  sending ??= sendAll().finally(() => {
    sending = null;
    show();
  });
}

async function sendAll() {
  while (wanted) {
    const values = wanted;
    wanted = null;
    const done = await attempt(async () => {
      const { headers } = await patch("/settings", values);
      awaited = Number(headers.get("Pixelog-Position"));
    });
    if (!done) awaited = 0;
  }
}

function show() {
  const { state } = store;
  if (!state || sending || state.position < awaited) return;
  const { settings } = state;
  for (const [id, name] of Object.entries(FIELDS)) {
    const input = at(id);
    if (document.activeElement !== input || input.type === "range") input.value = settings[name];
  }
  showBrightness();
  for (const name of ["rotation", "fit"]) {
    const choice = document.querySelector(`input[name="${name}"][value="${settings[name]}"]`);
    if (choice) choice.checked = true;
  }
  const { display } = store.player ?? state.player;
  setText(at("about"), display.width ? `${display.driver}, ${display.width} × ${display.height} pixels` : "No panel has been attached yet.");
}

function showBrightness() {
  const { value } = at("brightness");
  setText(at("brightness-text"), `${value} %`);
  at("brightness").setAttribute("aria-valuetext", `${value} percent`);
}

/** Begin. */
export function settings() {
  at("settings-form").onsubmit = (event) => event.preventDefault();
  at("brightness").oninput = ({ target }) => {
    showBrightness();
    change({ brightness: Number(target.value) });
  };
  for (const input of document.querySelectorAll('input[name="rotation"]')) input.onchange = () => change({ rotation: Number(input.value) });
  for (const input of document.querySelectorAll('input[name="fit"]')) input.onchange = () => change({ fit: input.value });
  at("defaultDuration").onchange = ({ target }) => (target.value ? change({ defaultDuration: Number(target.value) }) : show());
  for (const id of ["timeZone", "display-name"]) {
    at(id).onchange = ({ target }) => (target.value.trim() ? change({ [FIELDS[id]]: target.value.trim() }) : show());
  }
  at("zones").append(...(Intl.supportedValuesOf?.("timeZone") ?? []).map((value) => make("option", { value })));
  on("state", show);
  on("player", show);
}
