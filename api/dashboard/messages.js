/** Messages over the media: write one, see which are on the panel, take one away. */

import { post, remove } from "./api.js";
import { at, attempt, button, choices, icon, make, renew, setText, speak, toast } from "./dom.js";
import { on, serviceNow, store } from "./store.js";
import { clock } from "./words.js";

const PRIORITIES = { info: "Info", warning: "Warning", critical: "Critical" };

let sending = false;

const row = () => make("li.said", make("div.names", make("p"), make("small")), button(icon("remove"), "plain"));

function fill(element, message) {
	const { text, priority, expiresAt } = message;
	const [words, away] = element.children;
	element.dataset.priority = priority;
	setText(words.firstChild, text);
	setText(words.lastChild, `${PRIORITIES[priority]} · until ${expiresAt ? clock(Date.parse(expiresAt), serviceNow()) : "taken away"}`);
	away.ariaLabel = `Take away: ${text.slice(0, 80)}`;
	away.onclick = () => takeAway(message);
}

async function takeAway({ id, text, priority, expiresAt }) {
	if (!(await attempt(() => remove(`/messages/${encodeURIComponent(id)}`)))) return;
	const ttlSeconds = expiresAt ? Math.max(1, (Date.parse(expiresAt) - serviceNow()) / 1000) : undefined;
	toast("The message is gone.", { undo: () => post("/messages", { text, priority, ttlSeconds }) });
}

async function send(event) {
	event.preventDefault();
	if (sending) return;
	const field = at("message-text");
	const text = field.value.trim();
	if (!text) {
		speak("Write a text first.");
		return field.focus();
	}
	const priority = new FormData(at("message-form")).get("priority");
	const ttlSeconds = Number(at("message-ttl").value) || undefined;
	sending = true;
	const done = await attempt(() => post("/messages", { text, priority, ttlSeconds }));
	sending = false;
	if (!done) return;
	field.value = "";
	speak("The message is on the panel.");
}

function show() {
	const { messages } = store.state;
	renew(at("message-list"), messages, (message) => message.id, row, fill);
	setText(at("message-count"), messages.length ? `${messages.length} on the panel` : "");
}

export function messages() {
	choices(at("set-priority"), "priority", Object.entries(PRIORITIES));
	document.querySelector("[name=priority]").checked = true;
	at("message-form").onsubmit = send;
	at("message-text").onkeydown = (event) => {
		if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
	};
	on("state", show);
}
