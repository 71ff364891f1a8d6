/** Short notices at the edge of the page, some with a way back. */

import { at, button, icon, make, speak } from "./dom.js";

const NOTICE_MS = 6000;
const UNDO_MS = 10_000;
const TOASTS_MAX = 4;

/** Show a notice. `kind`: "" or "bad". `quiet`: it was spoken already. `undo`: what takes it back; may throw what it wants to say. */
export function toast(text, { kind = "", undo, action = "Undo", quiet = false } = {}) {
  const element = make("div", { className: `toast ${kind}` }, kind === "bad" ? icon("warn") : "", make("p", {}, text));
  let timer = null;
  const close = () => {
    clearTimeout(timer);
    element.remove();
  };
  const wait = () => {
    timer = setTimeout(close, undo ? UNDO_MS : NOTICE_MS);
  };
  if (undo) {
    const act = async () => {
      close();
      await attempt(undo);
    };
    element.append(button(action, "undo", act));
  }
  element.append(button([icon("remove")], "plain", close, { "aria-label": "Close notice" }));
  // Whoever reads it or is about to undo is not hurried.
  for (const name of ["pointerenter", "focusin"]) element.addEventListener(name, () => clearTimeout(timer));
  for (const name of ["pointerleave", "focusout"]) element.addEventListener(name, wait);
  const place = at("toasts");
  // An open dialog is above everything else: notices about it go where they can be seen.
  (document.querySelector("dialog[open]") ?? document.body).append(place);
  place.append(element);
  while (place.children.length > TOASTS_MAX) place.firstElementChild.remove();
  wait();
  if (!quiet) speak(undo ? `${text} ${action} is at the end of the page.` : text);
}

/** Do something of the user's; a refusal becomes a notice. Answers whether it was done. */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    toast(error.message, { kind: "bad" });
    return false;
  }
}
