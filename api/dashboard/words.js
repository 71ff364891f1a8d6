/** Numbers and times as people say them. Pure. */

export function bytes(count) {
	const unit = Math.min(3, Math.floor(Math.log10(Math.max(1, count)) / 3));
	const value = count / 1000 ** unit;
	return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${["B", "kB", "MB", "GB"][unit]}`;
}

/** A duration in seconds: `4.7 s`, `2:05`, `1 h 20 min`. */
export function seconds(count) {
	if (count < 10 && count % 1) return `${count.toFixed(1)} s`;
	count = Math.round(count);
	if (count < 60) return `${count} s`;
	if (count < 3600) return `${Math.floor(count / 60)}:${String(count % 60).padStart(2, "0")}`;
	const minutes = Math.floor((count % 3600) / 60);
	return `${Math.floor(count / 3600)} h${minutes ? ` ${minutes} min` : ""}`;
}

/** A moment (ms), with the day when it is not that of `now`. */
export function clock(moment, now) {
	const date = new Date(moment);
	const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
	const today = new Date(now).toDateString() === date.toDateString();
	return today ? time : `${date.toLocaleDateString([], { weekday: "short", day: "numeric", month: "short" })}, ${time}`;
}

export const plural = (count, one) => `${count.toLocaleString()} ${one}${count === 1 ? "" : "s"}`;

/** Nothing in it turns a sentence around. */
export const straight = (text) => text.replace(/[\u202a-\u202e\u2066-\u2069]/g, "");

export const KINDS = { image: "picture", animation: "animation", video: "video" };

export const summary = (item) => `${KINDS[item.kind]} · ${item.duration ? seconds(item.duration) : bytes(item.size ?? 0)}`;
