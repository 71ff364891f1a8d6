/** Short notices at the edge of the page, some with a way back. */

import { at, button, icon, make, speak } from "./dom.js";

const NOTICE_MS = 6000;
const UNDO_MS = 10_000;
const TOASTS_MAX = 4;

/** Show a notice. `kind`: "" or "bad". `quiet`: it was spoken already. `undo`: what takes it back. */
export function toast(text, { kind = "", undo, quiet } = {}) {
	let timer = null;
	const close = () => {
		clearTimeout(timer);
		element.remove();
	};
	const wait = () => {
		timer = setTimeout(close, undo ? UNDO_MS : NOTICE_MS);
	};
	const act = () => {
		close();
		attempt(undo);
	};
	const back = button("Undo", "undo", act, { hidden: !undo });
	const element = make(`div.toast.${kind}`, make("p", text), back, button(icon("remove"), "plain", close, { ariaLabel: "Close notice" }));
	// Whoever reads it or is about to undo is not hurried.
	for (const name of ["pointerenter", "focusin"]) element.addEventListener(name, () => clearTimeout(timer));
	for (const name of ["pointerleave", "focusout"]) element.addEventListener(name, wait);
	const place = at("toasts");
	// Beside an open dialog nothing can be touched.
	(document.querySelector("dialog[open]") ?? document.body).append(place);
	place.append(element);
	if (place.children.length > TOASTS_MAX) place.firstElementChild.remove();
	wait();
	if (!quiet) speak(undo ? `${text} Undo is at the end of the page.` : text);
}

/** Do something of the user's; a refusal becomes a notice, by status in the words of `told`. Answers whether it was done. */
export async function attempt(work, told = {}) {
	try {
		await work();
		return true;
	} catch (error) {
		toast(told[error.status] ?? error.message, { kind: "bad" });
		return false;
	}
}
