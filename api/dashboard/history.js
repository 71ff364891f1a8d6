/** Looking back: a slider over time that shows the screen and the loop as they were. What is shown is read from the log; nothing is changed. */

import { BASE, get } from "./api.js";
import { at, make, setText } from "./dom.js";
import { draw, live, nameOf } from "./panel.js";
import { emit, on, serviceNow, store } from "./store.js";
import { ago, clock } from "./words.js";

/** Reaches of the slider: seconds back, seconds a key moves it, name. */
const SPANS = [
  [600, 1, "10 minutes"],
  [3600, 5, "1 hour"],
  [86_400, 60, "1 day"],
  [604_800, 600, "1 week"],
];
const JUMP_SECONDS = 10;

const INEXACT = {
  no_player: "no player was running then",
  facts_lost: "the power may have been off then",
  pack_remade: "prepared again since",
  blob_gone: "the file is gone",
};

const slider = at("past-slider");
/** The service's time (ms) at the slider's right end, while the page looks back. */
let anchor = null;
let asking = null;
let wanted = null;

const seconds = () => Number(slider.value);

function look(offset) {
  const least = Number(slider.min);
  slider.value = Math.min(0, Math.max(least, offset));
  if (seconds() === 0) return present();
  anchor ??= serviceNow();
  const moment = anchor + seconds() * 1000;
  if (!store.past) store.past = { at: moment, loop: null, rotation: store.state.settings.rotation, slug: null };
  store.past.at = moment;
  document.body.classList.add("looking-back");
  say("…");
  wanted = moment;
  asking ??= readAll().finally(() => (asking = null));
}

function present() {
  anchor = wanted = null;
  slider.value = 0;
  document.body.classList.remove("looking-back");
  say();
  if (!store.past) return;
  store.past = null;
  emit("past");
  emit("again");
  live();
}

/** One moment after the other, the newest wish only: a screen of the past takes the service a moment to draw. */
async function readAll() {
  while (wanted !== null) {
    const moment = wanted;
    try {
      await read(moment);
    } catch (error) {
      if (store.past) say(error.message);
    }
    if (wanted === moment) return;
  }
}

async function read(moment) {
  const time = new Date(moment).toISOString();
  const query = `at=${encodeURIComponent(time)}`;
  const areas = ["loop", "active", "settings", "display", "playback"].map((area) => `area=${area}`).join("&");
  const [{ body }, picture] = await Promise.all([get(`/history/state?${query}&${areas}`), fetch(`${BASE}/history/screen.png?${query}`)]);
  if (wanted !== moment) return;
  const { loop, settings, display } = body.areas;
  const rotation = settings.rotation ?? settings.settings?.rotation ?? 0;
  store.past = { at: moment, loop: loop.loop, rotation, slug: display.player.slug ?? null };
  if (picture.ok) {
    at("dark").hidden = true;
    at("screen").classList.remove("off");
    await draw(await picture.blob(), () => wanted === moment);
  }
  if (wanted !== moment) return;
  show(picture);
  emit("past");
}

function show(picture) {
  const { slug } = store.past;
  at("now").dataset.mood = "past";
  setText(at("now-tag"), "Was on");
  setText(at("now-name"), slug ? nameOf(slug) : "Nothing");
  setText(at("now-next"), "");
  setText(at("now-left"), "");
  at("screen").setAttribute("aria-label", `The panel as it was, showing ${slug ? nameOf(slug) : "nothing"}`);
  const why = INEXACT[picture.headers.get("Pixelog-Screen-Why")];
  say(picture.ok ? (why ? `Not exact: ${why}` : "") : "No picture then: nothing had been recorded yet");
}

function say(note = "") {
  const now = anchor === null;
  const text = now ? "Now" : `${clock(store.past.at, serviceNow())} · ${ago(-seconds())}`;
  setText(at("past-text"), note && note !== "…" ? `${text} · ${note}` : text);
  slider.setAttribute("aria-valuetext", text);
  at("past-now").disabled = at("past-forward").disabled = now;
}

function reach() {
  const [span, step] = SPANS[at("past-span").selectedIndex];
  slider.min = -span;
  slider.step = step;
}

/** Whether this service can look back. */
async function offered() {
  try {
    await get("/history/state?at=head&area=active");
    return true;
  } catch (error) {
    return error.status !== 404;
  }
}

/** Begin. */
export function history() {
  at("past-span").append(...SPANS.map(([, , name]) => make("option", {}, name)));
  at("past-span").onchange = () => {
    reach();
    if (store.past) look(seconds());
  };
  reach();
  slider.oninput = () => look(seconds());
  at("past-back").onclick = () => look(seconds() - JUMP_SECONDS);
  at("past-forward").onclick = () => look(seconds() + JUMP_SECONDS);
  at("past-now").onclick = () => {
    present();
    slider.focus();
  };
  let asked = false;
  on("link", async ({ state }) => {
    if (state !== "live" || asked) return;
    asked = true;
    at("past").hidden = !(await offered());
  });
}
