"""Server-sent events: one follower of the log, from where it stands, without end (https://html.spec.whatwg.org/multipage/server-sent-events.html).

The log is the buffer and the cursor is one number, so nothing is skipped or repeated however slow the reader is: `send` waits for it, and meanwhile
the log grows. Near the end a reader is fed from the shared tail, filtered or not; behind it from pages of the log.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, cast

import msgspec
from starlette.types import Receive, Scope, Send

from api import overview
from api.http.door import Door, Snapshot
from api.http.tail import PAGE_EVENTS, Piece, block, joined
from eventstore.reading import Filter, read_page
from eventstore.tail import matcher

CHUNK_BYTES = 256 * 1024
"""Bytes handed to the connection at once: what a reader that has stopped reading costs in memory."""

COMMENT_SECONDS = 15.0
"""A sign of life for proxies and readers when there are no events."""

CHECKPOINT_SECONDS = 1.0
"""At most this often a reader is told how far its filter has looked without a match."""

RETRY_MILLISECONDS = 2_000
"""How long a browser is to wait before it connects again."""

COMMENT = b": nothing new\n\n"


class Reset(msgspec.Struct, frozen=True, rename="camel"):
    """The reader's place is not in this log: it starts again from this state, which is that of `position`."""

    reason: str
    log_id: str
    epoch: int
    position: int
    state: overview.Dashboard


class Checkpoint(msgspec.Struct, frozen=True, rename="camel"):
    """Everything up to `position` was looked at."""

    log_id: str
    epoch: int
    position: int


def reset_block(snapshot: Snapshot, reason: str) -> bytes:
    """The named event that sends a reader to the present state."""
    head = snapshot.head
    state = overview.dashboard(snapshot.db, snapshot.log_id, snapshot.now_us)
    return _named("reset", head.position, Reset(reason, snapshot.log_id, head.epoch, head.position, state))


def _named(name: str, position: int, data: object) -> bytes:
    return b"event: %b\nid: %d\ndata: %b\n\n" % (name.encode(), position, msgspec.json.encode(data))


class EventStream:
    """The endless answer to one reader."""

    status_code = 200

    def __init__(
        self, door: Door, may: Callable[[], bool], after: int, filter: Filter, epoch: int, greeting: bytes = b""
    ) -> None:
        """Events after `after`; before them the `greeting`, a reset. It ends when `may` says that the reader may read no more."""
        self._door = door
        self._may = may
        self._cursor = after
        self._told = after  # what the reader knows of the cursor
        self._filter = filter
        self._matches = matcher(filter)
        self._epoch = epoch
        self._greeting = greeting
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._send: Send | None = None  # while the reader has everything and its task sleeps
        self._unsent: Awaitable[None] | None = None
        self._left = False
        self._sent_at = self._checkpoint_at = 0.0
        self.raw_headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            (b"pixelog-position", b"%d" % after),
        ]

    def announce(self) -> None:
        """Tell the reader at once where it stands: it named no place of its own to come back to."""
        self._greeting = self._checkpoint()

    def wake(self) -> None:
        """Look again. What is in the tail is sent at once where the line takes it: for a crowd that saves waking a task for each of them."""
        send, self._send = self._send, None
        if send is not None and self._goes_on() and self._push(send):
            self._send = send
        else:
            self._woken.set()

    def _push(self, send: Send) -> bool:
        """Send what the tail has, if that is all there is to do; whether it was. What the line does not take at once is left to the task."""
        piece = self._door.tail.after(self._cursor, CHUNK_BYTES, self._matches)
        if piece is None or not piece.content:
            return False
        self._cursor, self._told = piece.cursor, piece.told
        self._sent_at = self._loop.time()
        self._unsent = begun(send(_body(piece.content)))
        return piece.last and self._unsent is None

    def _goes_on(self) -> bool:
        return not self._left and not self._door.stopping.is_set() and self._may()

    def due(self, now_seconds: float) -> bool:
        """Whether there is something to say without an event."""
        behind = self._cursor > self._told and now_seconds - self._checkpoint_at >= CHECKPOINT_SECONDS
        return behind or now_seconds - self._sent_at >= COMMENT_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        loop = self._loop
        tail = self._door.tail
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send(_body(b"retry: %d\n" % RETRY_MILLISECONDS + self._greeting))
        self._sent_at = loop.time()
        listener = asyncio.create_task(self._until_disconnect(receive))
        tail.join(self)
        try:
            while self._goes_on():
                self._woken.clear()
                if self._unsent is not None:
                    unsent, self._unsent = self._unsent, None
                    await unsent
                piece = await self._next() or self._word(loop.time())
                if piece:
                    await send(_body(piece))
                    self._sent_at = loop.time()
                elif self._cursor >= tail.position:
                    self._send = send
                    await self._woken.wait()
                    self._send = None
        finally:
            self._send = None
            tail.leave(self)
            listener.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._left = True
        self.wake()

    async def _next(self) -> bytes:
        """The next events as bytes, moving the cursor; nothing when there are none."""
        tail = self._door.tail
        if self._cursor >= tail.position:
            return b""
        piece = tail.after(self._cursor, CHUNK_BYTES, self._matches) or await self._door.read(self._page)
        self._cursor = piece.cursor
        if piece.content:
            self._told = piece.told
        return piece.content

    def _page(self, snapshot: Snapshot) -> Piece:
        """A page of the log, for a reader who has fallen out of the tail."""
        page = read_page(snapshot.db, self._cursor, PAGE_EVENTS, self._filter)
        return joined(page.events, lambda event: block(event, snapshot.log_id), page.scanned_to, CHUNK_BYTES)

    def _word(self, now_seconds: float) -> bytes:
        """What there is to say without an event: a checkpoint, a comment, or nothing yet."""
        if self._cursor > self._told and now_seconds - self._checkpoint_at >= CHECKPOINT_SECONDS:
            self._told, self._checkpoint_at = self._cursor, now_seconds
            return self._checkpoint()
        return COMMENT if now_seconds - self._sent_at >= COMMENT_SECONDS else b""

    def _checkpoint(self) -> bytes:
        place = Checkpoint(self._door.service.store.log_id, self._epoch, self._cursor)
        return _named("checkpoint", self._cursor, place)


def begun(sending: Awaitable[None]) -> Awaitable[None] | None:
    """Run a coroutine as far as it goes without waiting. None: that was to its end; else what is left of it, for a task to await."""
    if not isinstance(sending, Coroutine):
        return sending
    running = cast(Coroutine[Any, None, None], sending)
    try:
        waits_for = running.send(None)
    except StopIteration:
        return None
    except Exception as error:  # noqa: BLE001 - for whoever awaits, as if it had been run there; not for whoever wakes a crowd
        return _failed(error)
    return _rest(running, waits_for)


@types.coroutine
def _rest(sending: Coroutine[Any, None, None], waits_for: Any) -> Generator[Any, None, None]:
    yield waits_for
    yield from sending


@types.coroutine
def _failed(error: Exception) -> Generator[Any, None, None]:
    raise error
    yield


def _body(piece: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": piece, "more_body": True}
