/** Bringing a list into another order: by drag with mouse, pen or finger, and by keyboard. Knows rows and places, not what they stand for. */

const EDGE_PX = 70;
const SCROLL_PX = 12;

/**
 * Make the rows of `list` movable by their `.grip`. `move(row, to)` is called with the row's new place, from 0, once it is let go of or a key
 * moved it; until the list is renewed the row stays where it was put.
 */
export function sortable(list, move) {
  list.addEventListener("keydown", (event) => onKey(list, event, move));
  list.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest(".grip");
    if (grip && event.button === 0 && grip.getAttribute("aria-disabled") !== "true") drag(list, grip, event, move);
  });
}

function onKey(list, event, move) {
  const grip = event.target.closest(".grip");
  if (!grip || grip.getAttribute("aria-disabled") === "true") return;
  const rows = [...list.children];
  const from = rows.indexOf(grip.closest("li"));
  const to = { ArrowUp: from - 1, ArrowDown: from + 1, Home: 0, End: rows.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const place = Math.min(Math.max(to, 0), rows.length - 1);
  if (place === from) return move(rows[from], from);
  put(list, rows[from], place);
  grip.focus(); // moving an element takes its focus away
  rows[from].scrollIntoView({ block: "nearest" });
  move(rows[from], place);
}

function put(list, row, place) {
  const others = [...list.children].filter((other) => other !== row);
  list.insertBefore(row, others[place] ?? null);
}

function drag(list, grip, start, move) {
  start.preventDefault();
  const row = grip.closest("li");
  const rows = [...list.children];
  const from = rows.indexOf(row);
  const tops = rows.map((other) => other.getBoundingClientRect().top + scrollY);
  const step = row.offsetHeight + (parseFloat(getComputedStyle(list).rowGap) || 0);
  let to = from;
  let y = start.clientY;
  let frame = null;

  const update = () => {
    const shift = y + scrollY - start.clientY - began;
    row.style.transform = `translateY(${shift}px)`;
    const top = tops[from] + shift;
    to = rows.reduce((best, _, place) => (Math.abs(tops[place] - top) < Math.abs(tops[best] - top) ? place : best), from);
    rows.forEach((other, place) => {
      if (place === from) return;
      const away = place > from && place <= to ? -step : place < from && place >= to ? step : 0;
      other.style.transform = away ? `translateY(${away}px)` : "";
    });
  };
  const began = scrollY;
  const roll = () => {
    const by = y < EDGE_PX ? -SCROLL_PX : y > innerHeight - EDGE_PX ? SCROLL_PX : 0;
    if (by) {
      scrollBy(0, by);
      update();
    }
    frame = requestAnimationFrame(roll);
  };
  const onMove = (event) => {
    y = event.clientY;
    update();
  };
  const finish = (keep) => {
    cancelAnimationFrame(frame);
    grip.removeEventListener("pointermove", onMove);
    grip.removeEventListener("pointerup", onUp);
    grip.removeEventListener("pointercancel", onCancel);
    document.removeEventListener("keydown", onEscape, true);
    for (const other of rows) other.style.transform = "";
    row.classList.remove("lifted");
    list.classList.remove("sorting");
    if (!keep || to === from || !row.isConnected) return;
    put(list, row, to);
    move(row, to);
  };
  const onUp = () => finish(true);
  const onCancel = () => finish(false);
  const onEscape = (event) => event.key === "Escape" && finish(false);

  grip.setPointerCapture(start.pointerId);
  grip.addEventListener("pointermove", onMove);
  grip.addEventListener("pointerup", onUp);
  grip.addEventListener("pointercancel", onCancel);
  document.addEventListener("keydown", onEscape, true);
  row.classList.add("lifted");
  list.classList.add("sorting");
  grip.focus();
  roll();
}
