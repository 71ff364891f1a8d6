/** Messages over the media: write one, see which are on the panel, take one away. */

import { newKey, post, remove } from "./api.js";
import { at, button, icon, make, renew, setText, speak } from "./dom.js";
import { on, serviceNow, store } from "./store.js";
import { attempt, toast } from "./toasts.js";
import { clock } from "./words.js";

const PRIORITIES = { info: "Info", warning: "Warning", critical: "Critical" };

function row() {
  const words = make("div", { className: "names" }, make("p"), make("small"));
  return make("li", { className: "said" }, words, button([icon("remove")], "plain", null));
}

function fill(element, message) {
  const [words, away] = element.children;
  element.dataset.priority = message.priority;
  setText(words.firstChild, message.text);
  const until = message.expiresAt ? `until ${clock(Date.parse(message.expiresAt), serviceNow())}` : "until taken away";
  setText(words.lastChild, `${PRIORITIES[message.priority]} · ${until}`);
  away.setAttribute("aria-label", `Take away: ${message.text.slice(0, 80)}`);
  away.onclick = () => takeAway(message);
}

async function takeAway(message) {
  if (!(await attempt(() => remove(`/messages/${encodeURIComponent(message.id)}`)))) return;
  const left = message.expiresAt ? (Date.parse(message.expiresAt) - serviceNow()) / 1000 : null;
  const undo = () => post("/messages", { text: message.text, priority: message.priority, ...(left === null ? {} : { ttlSeconds: Math.max(1, left) }) });
  toast("The message is gone.", { undo });
}

async function send(event) {
  event.preventDefault();
  const field = at("message-text");
  const text = field.value.trim();
  if (!text) {
    field.setAttribute("aria-invalid", "true");
    speak("Write a text first.");
    return field.focus();
  }
  const ttl = at("message-ttl").value;
  const priority = new FormData(at("message-form")).get("priority");
  at("message-send").disabled = true;
  const done = await attempt(() =>
    post("/messages", { text, priority, ...(ttl ? { ttlSeconds: Number(ttl) } : {}) }, { headers: { "Idempotency-Key": newKey() } }),
  );
  at("message-send").disabled = false;
  if (!done) return;
  field.value = "";
  speak("The message is on the panel.");
}

function show() {
  const { messages } = store.state;
  renew(at("message-list"), messages, (message) => message.id, row, fill);
  setText(at("message-count"), messages.length ? `${messages.length} on the panel` : "");
}

/** Begin. */
export function messages() {
  at("message-form").onsubmit = send;
  at("message-text").oninput = ({ target }) => target.removeAttribute("aria-invalid");
  at("message-text").onkeydown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
  };
  on("state", show);
}
