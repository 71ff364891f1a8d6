/** Signs this browser in, by the code behind the # of a link or one that is typed. */

import { post } from "./api.js";
import { at } from "./dom.js";

function say(text, looks = "") {
	at("said").textContent = text;
	at("said").className = looks;
}

async function signIn(code) {
	at("send").disabled = true;
	say("Signing in …");
	try {
		await post("/pair", { code });
		at("form").hidden = true;
		say("Signed in.");
		location.replace("/");
	} catch ({ message }) {
		at("send").disabled = false;
		say(message, "notice bad");
		at("code").focus();
	}
}

at("form").onsubmit = (event) => {
	event.preventDefault();
	if (at("code").value.trim()) signIn(at("code").value);
	else at("code").focus();
};

// The code is taken out of the address, so that no history keeps it.
function fromAddress() {
	const code = location.hash.slice(1, 25);
	if (!code) return;
	history.replaceState(null, "", location.pathname);
	at("code").value = code;
	signIn(code);
}

addEventListener("hashchange", fromAddress);
fromAddress();
