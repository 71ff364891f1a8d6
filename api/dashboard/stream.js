/** Endless answers cut into their parts: server-sent events, and the film of the screen. */

// A part's head is shorter.
const HEAD_BYTES = 1024;

/** The events of a stream as `{event, data}`; comments, without data, are signs of life. */
export async function* eventsOf(body) {
	const decoder = new TextDecoder();
	let text = "";
	for await (const piece of pieces(body)) {
		const blocks = (text + decoder.decode(piece, { stream: true })).split("\n\n");
		text = blocks.pop();
		for (const block of blocks) yield { event: /^event: (.*)/m.exec(block)?.[1] ?? "message", data: /^data: (.*)/m.exec(block)?.[1] };
	}
}

/** The pictures of a `multipart/x-mixed-replace` answer as Blobs. */
export async function* picturesOf(body) {
	const decoder = new TextDecoder("latin1"); // a letter per byte
	let buffer = new Uint8Array(0);
	for await (const piece of pieces(body)) {
		const joined = new Uint8Array(buffer.length + piece.length);
		joined.set(buffer);
		joined.set(piece, buffer.length);
		buffer = joined;
		for (;;) {
			const [head] = /^[^]*?\r\n\r\n/.exec(decoder.decode(buffer.subarray(0, HEAD_BYTES))) ?? [];
			const length = Number(/content-length: *(\d+)/i.exec(head)?.[1]);
			if (!head || buffer.length < head.length + length) break;
			yield new Blob([buffer.slice(head.length, head.length + length)], { type: "image/jpeg" });
			buffer = buffer.slice(head.length + length);
		}
	}
}

async function* pieces(body) {
	const reader = body.getReader();
	try {
		for (;;) {
			const { done, value } = await reader.read();
			if (done) return;
			yield value;
		}
	} finally {
		reader.cancel().catch(() => {});
	}
}
