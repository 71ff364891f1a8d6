/** The page put together: starts each part, then follows the service. */

import { connection } from "./connection.js";
import { at, icon, make } from "./dom.js";
import { history } from "./history.js";
import { itemSheet } from "./item.js";
import { library } from "./library.js";
import { loop } from "./loop.js";
import { messages } from "./messages.js";
import { panel } from "./panel.js";
import { settings } from "./settings.js";
import { start } from "./store.js";
import { uploadsFromAnywhere } from "./uploads.js";

// Views by the name that addresses and symbols have.
const VIEWS = { panel: "Panel", loop: "Loop", library: "Library", message: "Message", settings: "Settings" };

const views = document.querySelectorAll(".view");

// A narrow screen shows the view that the address names, a wide one all.
function view() {
	const name = location.hash.slice(1);
	const shown = Object.hasOwn(VIEWS, name) ? name : "panel";
	for (const place of views) place.classList.toggle("away", place.id !== shown);
	for (const link of at("tabs").children) link.ariaCurrent = link.hash === `#${shown}` ? "page" : null;
	const narrow = matchMedia("(max-width: 899px)").matches;
	if (name) at(shown).focus({ preventScroll: narrow });
	if (narrow) scrollTo(0, 0);
}

at("tabs").append(...Object.entries(VIEWS).map(([name, label]) => make("a", { href: `#${name}` }, icon(name), label)));
for (const place of views) place.tabIndex = -1;
for (const place of document.querySelectorAll("[data-icon]")) place.prepend(icon(place.dataset.icon));
for (const part of [connection, panel, loop, library, itemSheet, uploadsFromAnywhere, messages, settings, history]) part();
addEventListener("hashchange", view);
view();
start();
