/** What can be done with an item, from wherever it is shown; and how it is shown small. */

import { get, mediaPath, newKey, patch, post, put, remove } from "./api.js";
import { icon, make } from "./dom.js";
import { store } from "./store.js";
import { attempt, toast } from "./toasts.js";

/** Entry of the loop for this slug, with its place; or null. */
export function entryOf(slug) {
  const place = store.state?.loop.items.findIndex((entry) => entry.slug === slug) ?? -1;
  return place < 0 ? null : { ...store.state.loop.items[place], at: place };
}

/** Show it now. */
export const activate = (slug) => attempt(() => put("/active", { slug }));

/** Put it into the loop, at a place or at the end. */
export const addToLoop = (entry) => post("/loop/items", entry, { headers: { "Idempotency-Key": newKey() } });

/** Take it out of the loop, with a way back. */
export async function takeOut(slug, name) {
  const entry = entryOf(slug);
  if (!entry) return;
  const done = await attempt(() => remove(`/loop/items/${encodeURIComponent(slug)}`));
  if (done) toast(`${name} is out of the loop.`, { undo: () => addToLoop(entry) });
}

/** Remove it from the library, with a way back to all that it was. */
export async function removeItem(slug, name) {
  const entry = entryOf(slug);
  const active = store.state.active === slug;
  const done = await attempt(() => remove(mediaPath(slug)));
  if (!done) return false;
  const undo = async () => {
    await post(mediaPath(slug, "/restore"));
    if (entry) await addToLoop(entry);
    if (active) await put("/active", { slug });
  };
  toast(`${name} is removed.`, { undo });
  return true;
}

/** Change how long a still stays; null: as the settings say. */
export const setDuration = (slug, duration) => attempt(() => patch(mediaPath(slug), { duration }));

/** Change something of the loop as a whole, on the loop as it is now. */
export async function changeLoop(change) {
  const { body, headers } = await get("/loop");
  await put("/loop", { items: body.items, ...change }, { headers: { "If-Match": headers.get("ETag") } });
}

/** The small picture of an item, or what stands for it. */
export function thumbnail() {
  return make("span", { className: "thumb" }, make("img", { alt: "", loading: "lazy", decoding: "async", hidden: true, draggable: false }), icon("library"));
}

/** Make a thumbnail show this item. */
export function setThumbnail(element, item) {
  const picture = element.querySelector("img");
  const url = item?.thumbnailUrl ?? "";
  const wanted = url && `${url}?v=${item.version}`;
  element.dataset.kind = item?.status === "failed" ? "failed" : (item?.kind ?? "image");
  if ((picture.getAttribute("src") ?? "") === wanted) return;
  picture.hidden = !wanted;
  element.classList.toggle("bare", !wanted);
  if (wanted) picture.src = wanted;
  else picture.removeAttribute("src");
}
