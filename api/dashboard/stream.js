/** Endless answers cut into their parts: server-sent events, and the film of the screen. Bytes in, parts out; no state beyond the answer. */

/** The blocks of an event stream as `{event, id, data}`; comments come as `{}`: they are signs of life. */
export async function* eventsOf(body) {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of pieces(body)) {
    text += decoder.decode(piece, { stream: true });
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const block = { event: "message" };
      for (const line of text.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        if (colon <= 0) continue;
        const value = line.slice(colon + 1).replace(/^ /, "");
        const name = line.slice(0, colon);
        block[name] = name === "data" && block.data !== undefined ? `${block.data}\n${value}` : value;
      }
      text = text.slice(end + 2);
      yield block.data === undefined ? {} : block;
    }
  }
}

const HEAD_END = [13, 10, 13, 10];

/** The pictures of a `multipart/x-mixed-replace` answer as Blobs. Every part says its length, so a picture is there as soon as its last byte is. */
export async function* picturesOf(body) {
  let buffer = new Uint8Array(0);
  for await (const piece of pieces(body)) {
    const joined = new Uint8Array(buffer.length + piece.length);
    joined.set(buffer);
    joined.set(piece, buffer.length);
    buffer = joined;
    for (;;) {
      const end = find(buffer, HEAD_END);
      if (end < 0) break;
      const head = new TextDecoder().decode(buffer.subarray(0, end));
      const length = Number(/content-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      if (buffer.length < end + 4 + length) break;
      yield new Blob([buffer.slice(end + 4, end + 4 + length)], { type: "image/jpeg" });
      buffer = buffer.slice(end + 4 + length);
    }
  }
}

function find(bytes, wanted) {
  for (let start = bytes.indexOf(wanted[0]); start >= 0; start = bytes.indexOf(wanted[0], start + 1)) {
    if (wanted.every((byte, index) => bytes[start + index] === byte)) return start;
  }
  return -1;
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
