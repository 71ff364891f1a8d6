/** The panel: its picture as it is, what is on and what is next, and the buttons under it. */

import { post } from "./api.js";
import { at, setIcon, setText } from "./dom.js";
import { emit, itemOf, on, store } from "./store.js";
import { attempt } from "./toasts.js";
import { seconds } from "./words.js";

const canvas = at("screen");
const pen = canvas.getContext("2d");
let size = { width: 240, height: 320, turn: 0 };

/** A slug's file name, as far as it is known. */
export const nameOf = (slug) => itemOf(slug)?.filename ?? slug;

/** What is on the panel: the player's word while it lives, else the log's. */
export const shownSlug = () => (store.player ?? store.state?.player)?.slug ?? null;

/** Draw a picture of the panel, upright: its memory is turned as the panel hangs. */
export async function draw(blob, isWanted = () => true) {
  const picture = await createImageBitmap(blob);
  if (!isWanted()) return picture.close();
  const turn = store.past ? store.past.rotation : (store.state?.settings.rotation ?? 0);
  const across = turn % 180 !== 0;
  const [width, height] = across ? [picture.height, picture.width] : [picture.width, picture.height];
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  if (size.width !== width || size.height !== height || size.turn !== turn) {
    size = { width, height, turn };
    scale();
  }
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.translate(width / 2, height / 2);
  pen.rotate((-turn * Math.PI) / 180);
  pen.drawImage(picture, -picture.width / 2, -picture.height / 2);
  picture.close();
}

/** Make each pixel of the panel a whole number of the screen's: nothing is blurred, nothing shimmers. */
function scale() {
  const glass = canvas.parentElement;
  const style = getComputedStyle(at("panel"));
  const room = { width: parseFloat(style.getPropertyValue("--glass-width")), height: parseFloat(style.getPropertyValue("--glass-height")) };
  const density = devicePixelRatio || 1;
  const most = Math.min(Math.min(room.width, at("panel").clientWidth - 44) / size.width, room.height / size.height) * density;
  const factor = Math.max(1, Math.floor(most)) / density;
  canvas.style.width = `${size.width * factor}px`;
  canvas.style.height = `${size.height * factor}px`;
  glass.style.minHeight = canvas.style.height;
  at("device").dataset.turn = size.turn;
}

function dark(text) {
  if (store.past) return;
  at("dark").hidden = !text;
  setText(at("dark"), text ?? "");
  canvas.classList.toggle("off", Boolean(text));
}

// -- now and next ------------------------------------------------------------------------------------------------------------------------

let ticking = null;
let progress = null;

/** Start and end of the turn in the browser's time; a single item's turns follow each other without a word. */
function turn() {
  const { player } = store;
  if (!player?.startedAt || !player.endsAt) return null;
  const start = Date.parse(player.startedAt) - store.clock;
  const end = Date.parse(player.endsAt) - store.clock;
  if (!(end > start)) return null;
  const past = Math.max(0, Math.floor((Date.now() - end) / (end - start)) + 1) * (Date.now() > end ? 1 : 0);
  return { start: start + past * (end - start), end: end + past * (end - start) };
}

function tick() {
  clearTimeout(ticking);
  const now = turn();
  const left = now ? Math.max(0, (now.end - Date.now()) / 1000) : 0;
  setText(at("now-left"), now ? `${seconds(Math.ceil(left))} left` : "");
  if (now && document.visibilityState === "visible") ticking = setTimeout(tick, 1000 - ((Date.now() - now.start) % 1000) + 5);
}

function run() {
  progress?.cancel();
  progress = null;
  const now = turn();
  const bar = at("now-bar");
  if (now) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const duration = now.end - now.start;
    progress = bar.animate([{ transform: "scaleX(0)" }, { transform: "scaleX(1)" }], {
      duration,
      iterations: Infinity,
      easing: calm ? `steps(${Math.max(1, Math.min(60, Math.round(duration / 1000)))})` : "linear",
    });
    progress.currentTime = Date.now() - now.start;
  }
  tick();
}

function tagOf(playing, held) {
  if (!playing) return "Paused";
  return held ? "Held" : "On now";
}

function show() {
  const { state, player } = store;
  if (!state || store.past) return;
  const { playing, held } = state.player;
  const slug = shownSlug();
  const next = player?.next ?? null;
  at("now").dataset.mood = playing ? (held ? "held" : "on") : "paused";
  setText(at("now-tag"), slug ? tagOf(playing, held) : "Idle");
  setText(at("now-name"), slug ? nameOf(slug) : state.media.total ? "Nothing in the loop" : "Nothing to show yet");
  setText(at("now-next"), slug ? nextLine(slug, next, playing, held) : idleLine(state));
  canvas.setAttribute("aria-label", slug ? `The panel, showing ${nameOf(slug)}` : "The panel, showing its address");
  setIcon(at("toggle").firstChild, playing ? "pause" : "play");
  at("toggle").setAttribute("aria-label", playing ? "Pause" : "Play");
  at("hold").setAttribute("aria-pressed", String(held));
  setText(at("hold").lastChild, held ? "Held" : "Hold");
  const display = state.settings.name;
  setText(at("name"), display);
  document.title = slug ? `${playing ? "▶" : "❚❚"} ${nameOf(slug)} · ${display}` : display;
  emit("shown", slug);
}

function nextLine(slug, next, playing, held) {
  if (held || store.state.loop.mode === "one") return "Stays until you go on";
  if (!playing) return next ? `Then ${nameOf(next)}` : "";
  return next && next !== slug ? `Next: ${nameOf(next)}` : "";
}

function idleLine(state) {
  if (!state.media.total) return "Add a picture and it appears here.";
  return "Tap something in the library to show it.";
}

/** Begin. */
export function panel() {
  on("frame", async (blob) => {
    if (store.past) return;
    dark(null);
    await draw(blob, () => !store.past);
  });
  on("dark", dark);
  on("player", () => {
    show();
    run();
  });
  on("clock", run);
  on("state", show);
  on("items", show);
  addEventListener("resize", scale);
  document.addEventListener("visibilitychange", tick);
  const press = (id, action) => {
    at(id).onclick = () => attempt(() => post(`/player/${action()}`));
  };
  press("previous", () => "previous");
  press("next", () => "next");
  press("toggle", () => (store.state?.player.playing ? "pause" : "play"));
  press("hold", () => (store.state?.player.held ? "release" : "hold"));
  scale();
}

/** Show again what is live. */
export function live() {
  show();
  run();
}

