/** Numbers and times as people say them. Pure. */

/** Bytes: `12 kB`. */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

/** A duration in seconds: `4.7 s`, `2:05`, `1 h 20 min`. */
export function seconds(count) {
  if (count < 10 && count % 1) return `${count.toFixed(1)} s`;
  count = Math.round(count);
  if (count < 60) return `${count} s`;
  if (count < 3600) return `${Math.floor(count / 60)}:${String(count % 60).padStart(2, "0")}`;
  const minutes = Math.round((count % 3600) / 60);
  return minutes ? `${Math.floor(count / 3600)} h ${minutes} min` : `${Math.floor(count / 3600)} h`;
}

/** How long ago, `count` in seconds. */
export function ago(count) {
  return count < 1 ? "now" : `${seconds(count)} ago`;
}

/** A moment (ms) as this browser's clock writes it; with the day when it is not today's. */
export function clock(moment, now) {
  const date = new Date(moment);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const today = new Date(now).toDateString() === date.toDateString();
  return today ? time : `${date.toLocaleDateString([], { weekday: "short", day: "numeric", month: "short" })}, ${time}`;
}

/** `1 item`, `3 items`. */
export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString()} ${count === 1 ? one : many}`;

export const KINDS = { image: "picture", animation: "animation", video: "video" };

/** What an item is, in a line. */
export function summary(item) {
  const parts = [KINDS[item.kind] ?? "file"];
  if (item.duration) parts.push(seconds(item.duration));
  else if (item.size) parts.push(bytes(item.size));
  return parts.join(" · ");
}
