/** Signs this browser in: by the code behind the #, which a link brings, or by one that is typed. Then goes on to the page. */

const at = (id) => document.getElementById(id);
const form = at("form"), field = at("code"), send = at("send"), said = at("said");

const SENTENCES = {
  0: "pixelog cannot be reached. Is this device on the same network?",
  403: "This code does not work, or not any more: each works once, for ten minutes. Take the one that the panel shows now.",
  422: "No more browsers can be signed in. Sign another one out first.",
  503: "pixelog is just starting or stopping. Try again in a moment.",
};

function say(text, tone = "") {
  said.textContent = text;
  said.dataset.tone = tone;
}

/** Minutes or seconds, for a person. */
const wait = (seconds) => (seconds > 90 ? `${Math.ceil(seconds / 60)} minutes` : `${seconds || 60} seconds`);

async function signIn(code) {
  send.disabled = true;
  say("Signing in …");
  let status = 0, seconds = 0;
  try {
    const answer = await fetch("/api/v1/pair", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ code }),
      cache: "no-store",
    });
    status = answer.status;
    seconds = Number(answer.headers.get("Retry-After"));
  } catch {
    // No answer at all: said below.
  }
  if (status === 201) {
    form.hidden = true;
    say("Signed in.", "good");
    location.replace("/");
    return;
  }
  send.disabled = false;
  const tooMany = `Too many codes did not work. Try again in ${wait(seconds)}.`;
  say(status === 429 ? tooMany : SENTENCES[status] ?? `It did not work (${status}). Try again in a moment.`, "alarm");
  field.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (field.value.trim()) signIn(field.value);
  else field.focus();
});

/** The code that the address brings; it is taken out of the address, so that no history keeps it. */
function fromAddress() {
  let code = location.hash.slice(1);
  if (!code) return;
  try {
    code = decodeURIComponent(code);
  } catch {
    // Typed as it is.
  }
  history.replaceState(null, "", location.pathname);
  field.value = code.slice(0, 24);
  signIn(field.value);
}

addEventListener("hashchange", fromAddress);
fromAddress();
