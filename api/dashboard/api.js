/** Requests to the service, and their failures as sentences. */

export const BASE = "/api/v1";

/** Path of an item's resource: slugs may hold anything. */
export const mediaPath = (slug, rest = "") => `/media/${encodeURIComponent(slug)}${rest}`;

const SENTENCES = {
	0: "pixelog cannot be reached. Is it running, and is this device on the same network?",
	401: "This browser is not signed in. Scan the code on the panel, or open a link from “pixelog pair”.",
	412: "Somebody else changed it at the same moment, so this was not done. It is shown as it is now.",
	500: "pixelog met an error of its own. Its log says more.",
	507: "The disk is full. What you remove makes room after ten minutes; or make room on the card.",
};

// A service that takes longer is not there.
const ANSWER_MS = 30_000;

/** `status` (0: no answer), and a `message` for people. */
export class Refused extends Error {
	constructor(status, problem, retryAfter) {
		super(sentence(status, problem, retryAfter));
		this.status = status;
	}
}

/** The sentence for a status and its problem document. */
export function sentence(status, problem, retryAfter) {
	const detail = problem?.detail ?? "";
	if (status === 429) return `Too many tries. Try again in ${retryAfter > 90 ? `${Math.ceil(retryAfter / 60)} minutes` : `${retryAfter || 60} s`}.`;
	if (status === 413) return `This file is too large. ${capital(detail)}`;
	// The page is older or newer than the service.
	if ([400, 405, 415].includes(status)) return `This page and pixelog do not understand each other. Reload the page. (${detail || status})`;
	return SENTENCES[status] ?? (capital(detail) || `It did not work (${status}). Try again in a moment.`);
}

const capital = (text) => text && text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/** `tag`: only if the resource has that ETag still. Answers `{body, headers}`; throws Refused. */
async function request(method, path, body, { signal = AbortSignal.timeout(ANSWER_MS), tag } = {}) {
	const options = { method, signal, cache: "no-cache", headers: tag ? { "If-Match": tag } : {} };
	if (body !== undefined) {
		options.body = JSON.stringify(body);
		options.headers["Content-Type"] = "application/json";
	}
	const answer = await fetch(BASE + path, options).catch((error) => {
		throw error.name === "AbortError" ? error : new Refused(0);
	});
	const json = await answer.json().catch(() => null);
	if (!answer.ok) throw new Refused(answer.status, json, answer.headers.get("Retry-After"));
	return { body: json, headers: answer.headers };
}

export const get = (path, options) => request("GET", path, undefined, options);
export const post = (path, body, options) => request("POST", path, body, options);
export const put = (path, body, options) => request("PUT", path, body, options);
export const patch = (path, body) => request("PATCH", path, body);
export const remove = (path) => request("DELETE", path);

/** Makes a repeated request the same request; `crypto.randomUUID` needs TLS. */
export const newKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
