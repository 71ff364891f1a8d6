/** Bringing a list into another order, by pointer or keyboard. Knows rows, not what they stand for. */

const EDGE_PX = 70;
const SCROLL_PX = 12;

/** Rows move by their `.grip`; `move(row, to)` tells the new place, from 0. */
export function sortable(list, move) {
	const put = (row, place) => list.insertBefore(row, [...list.children].filter((other) => other !== row)[place] ?? null);

	list.addEventListener("keydown", (event) => {
		const grip = event.target.closest(".grip");
		const rows = [...list.children];
		const row = grip?.closest("li");
		const from = rows.indexOf(row);
		const to = { ArrowUp: from - 1, ArrowDown: from + 1, Home: 0, End: rows.length - 1 }[event.key];
		if (!grip || to === undefined) return;
		event.preventDefault();
		const place = Math.min(Math.max(to, 0), rows.length - 1);
		put(row, place);
		grip.focus(); // a row that is put elsewhere loses it
		row.scrollIntoView({ block: "nearest" });
		move(row, place);
	});

	list.addEventListener("pointerdown", (event) => {
		const grip = event.target.closest(".grip");
		if (!grip || event.button || grip.disabled) return;
		event.preventDefault();
		grip.focus();
		drag(list, grip, event, (row, place) => {
			put(row, place);
			move(row, place);
		});
	});
}

function drag(list, grip, start, done) {
	const row = grip.closest("li");
	const rows = [...list.children];
	const from = rows.indexOf(row);
	const tops = rows.map((other) => other.getBoundingClientRect().top);
	const step = row.offsetHeight + parseFloat(getComputedStyle(list).rowGap);
	const began = scrollY;
	const over = new AbortController();
	let to = from;
	let y = start.clientY;

	const update = () => {
		const shift = y - start.clientY + scrollY - began;
		const away = (place) => Math.abs(tops[place] - tops[from] - shift);
		to = rows.reduce((best, _, place) => (away(place) < away(best) ? place : best), from);
		rows.forEach((other, place) => {
			const by = place > from && place <= to ? -step : place < from && place >= to ? step : 0;
			other.style.transform = `translateY(${place === from ? shift : by}px)`;
		});
	};
	const roll = () => {
		if (over.signal.aborted) return;
		const by = y < EDGE_PX ? -SCROLL_PX : y > innerHeight - EDGE_PX ? SCROLL_PX : 0;
		if (by) scrollBy(0, by);
		if (by) update();
		requestAnimationFrame(roll);
	};
	const finish = (keep) => {
		over.abort();
		for (const other of rows) other.style.transform = "";
		row.classList.remove("lifted");
		list.classList.remove("sorting");
		if (keep && to !== from && row.isConnected) done(row, to);
	};
	const listen = (target, kind, work) => target.addEventListener(kind, work, { signal: over.signal, capture: true });

	grip.setPointerCapture(start.pointerId);
	listen(grip, "pointermove", (event) => {
		y = event.clientY;
		update();
	});
	listen(grip, "pointerup", () => finish(true));
	listen(grip, "pointercancel", () => finish(false));
	listen(document, "keydown", ({ key }) => key === "Escape" && finish(false));
	row.classList.add("lifted");
	list.classList.add("sorting");
	roll();
}
