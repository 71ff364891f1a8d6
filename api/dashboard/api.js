/** Requests to the service, and their failures as sentences. No state; no DOM. */

export const BASE = "/api/v1";

/** Path of an item's resource: slugs may hold anything. */
export const mediaPath = (slug, rest = "") => `/media/${encodeURIComponent(slug)}${rest}`;

const SENTENCES = {
  0: "pixelog cannot be reached. Is it running, and is this device on the same network?",
  401: "This browser is not signed in. Scan the code on the panel, or open a link from `pixelog pair`.",
  403: "This browser may not do that. Sign in again with a link from `pixelog pair`.",
  412: "It was changed elsewhere in the meantime. It is shown now as it is.",
  413: "This file is too large.",
  429: "Too many requests at once. Try again in a moment.",
  500: "pixelog met an error of its own. Its log says more.",
  503: "pixelog is starting, stopping or overloaded. Try again in a moment.",
  507: "The disk is full. Remove something from the library, or make room on the card.",
};

/** A request that did not succeed: `status` (0: no answer), and a `message` for people. */
export class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(sentence(status, problem, retryAfter));
    this.status = status;
    this.type = problem?.type ?? "";
    this.retryAfter = retryAfter;
  }
}

/** The sentence for a status and its problem document. */
export function sentence(status, problem, retryAfter) {
  const detail = problem?.detail ? capital(problem.detail) : "";
  if (status === 429 && retryAfter) return `Too many requests at once. Try again in ${retryAfter} s.`;
  if (status === 413 && detail) return `This file is too large: ${problem.detail}.`.replace("..", ".");
  if (SENTENCES[status] && !(status === 503 && detail)) return SENTENCES[status];
  return detail || `It did not work (${status}).`;
}

function capital(text) {
  const line = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(line) ? line : `${line}.`;
}

/** Ask the service. Answers `{status, body, headers}`; throws Refused. */
export async function request(method, path, body, { headers = {}, signal } = {}) {
  const options = { method, headers: { ...headers }, signal, cache: "no-cache" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(BASE + path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0);
  }
  const json = /[/+]json/.test(answer.headers.get("Content-Type") ?? "") ? await answer.json().catch(() => null) : null;
  if (!answer.ok) throw new Refused(answer.status, json, Number(answer.headers.get("Retry-After")) || undefined);
  return { status: answer.status, body: json, headers: answer.headers };
}

export const get = (path, options) => request("GET", path, undefined, options);
export const post = (path, body, options) => request("POST", path, body, options);
export const put = (path, body, options) => request("PUT", path, body, options);
export const patch = (path, body, options) => request("PATCH", path, body, options);
export const remove = (path, options) => request("DELETE", path, undefined, options);

/** A key that makes a repeated request the same request. `crypto.randomUUID` is missing where the page is not served over TLS. */
export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
