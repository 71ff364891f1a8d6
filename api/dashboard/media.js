/** What can be done with an item, wherever it is shown; and how it is shown small. */

import { mediaPath, post, put, remove } from "./api.js";
import { at, attempt, icon, make, setIcon, toast } from "./dom.js";
import { emit, store } from "./store.js";

/** Its entry in the loop, with its place; or null. */
export function entryOf(slug) {
	const items = store.state?.loop.items ?? [];
	const place = items.findIndex((entry) => entry.slug === slug);
	return place < 0 ? null : { ...items[place], at: place };
}

/** The job that prepares it; or undefined. */
export const jobOf = (slug) =>
	store.state?.jobs.find(({ kind, input, status }) => kind === "prepare" && input?.slug === slug && /queued|running/.test(status));

export const activate = (slug) => attempt(() => put("/active", { slug }).then(() => emit("chosen")));

/** `{slug, at?, …}` into the loop, or to another place; with `tag`, only in that loop. */
export const addToLoop = (entry, tag) => post("/loop/items", entry, { tag });

export async function takeOut(slug, name) {
	const entry = entryOf(slug);
	const done = await attempt(() => remove(`/loop/items/${encodeURIComponent(slug)}`));
	if (done && entry) toast(`${name} is out of the loop.`, { many: "are out of the loop.", undo: () => addToLoop(entry) });
}

export const toggleInLoop = (slug, name) => (entryOf(slug) ? takeOut(slug, name) : attempt(() => addToLoop({ slug })));

/** With a way back to all that it was. Answers whether it was done. */
export async function removeItem(slug, name) {
	const entry = entryOf(slug);
	const active = store.state.active === slug;
	const done = await attempt(() => remove(mediaPath(slug)));
	const undo = async () => {
		await post(mediaPath(slug, "/restore")).catch((error) => error.status === 409 || Promise.reject(error)); // it is there already
		if (entry) await addToLoop(entry);
		if (active) await put("/active", { slug });
	};
	if (done) toast(`${name} is removed.`, { many: "are removed.", undo });
	return done;
}

/** The small picture of an item, or what stands for it. */
export const thumbnail = () => make("span.thumb", make("img", { alt: "", loading: "lazy", hidden: true, draggable: false }), icon("library"));

export function setThumbnail(element, item) {
	const picture = element.firstChild;
	picture.onerror = () => {
		picture.hidden = true;
		picture.removeAttribute("src"); // the next state tries again
	};
	setIcon(element.lastChild, item?.status === "failed" ? "warn" : "library");
	const wanted = item?.thumbnailUrl ? `${item.thumbnailUrl}?v=${item.version}` : "";
	if ((picture.getAttribute("src") ?? "") === wanted) return;
	picture.setAttribute("src", wanted);
	picture.hidden = !wanted;
}
