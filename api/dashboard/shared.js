/** The SharedWorker: one follower for all tabs. A tab says whether it is looked at, and when it goes. */

import { Follower } from "./follower.js";

// Port of a tab → whether it is looked at.
const tabs = new Map();

const follower = new Follower((kind, value) => {
	for (const [port, looked] of tabs) if (looked || kind !== "frame") port.postMessage({ kind, value });
});

const ASKED = {
	watch(port, looked) {
		tabs.set(port, looked);
		if (looked) greet(port);
	},
	bye: (port) => tabs.delete(port),
	retry: () => follower.retry(),
};

function greet(port) {
	for (const [kind, value] of follower.known()) port.postMessage({ kind, value });
}

self.onconnect = ({ ports: [port] }) => {
	tabs.set(port, false);
	port.onmessage = ({ data: { ask, value } }) => {
		ASKED[ask](port, value);
		follower.watch([...tabs.values()].some(Boolean));
	};
};
