"""The store's tail as server-sent events: each event encoded once for all who follow over HTTP, and a tick for those who have something else to say.

What is new, how much of it is kept and when who is woken is the store's business. Lives on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import apsw
import msgspec

from eventstore.reading import read_head
from eventstore.record import RecordedEvent
from eventstore.store import EventStore
from eventstore.tail import Forms, LoopTail
from projections.envelope import cloud_event

PAGE_EVENTS = 200
"""Events looked at and encoded at once for one reader: about 3 ms."""

TICK_SECONDS = 0.5
"""Interval at which followers are looked at that have something to say without an event."""


class Follower(Protocol):
    """Whoever follows. Both are called on the event loop and must be quick."""

    def wake(self) -> None: ...
    def due(self, now_seconds: float) -> bool: ...


class Piece(msgspec.Struct, frozen=True):
    """Events as bytes to send, and how far a reader is with them."""

    content: bytes
    told: int
    """Position of the last event in it; 0 when none is."""
    cursor: int
    """Everything up to here was looked at."""
    last: bool = False
    """Whether the tail has nothing beyond."""


def block(event: RecordedEvent, device: str) -> bytes:
    """An event as a server-sent event: an unnamed message whose id is the position."""
    return b"id: %d\ndata: %b\n\n" % (event.position, msgspec.json.encode(cloud_event(event, device)))


def joined(events: Iterable[RecordedEvent], form: Callable[[RecordedEvent], bytes], cursor: int, bytes_max: int) -> Piece:
    """Matching events as one piece of about `bytes_max` at most. `cursor`: up to where was looked, if all of them are in it."""
    blocks: list[bytes] = []
    size = told = 0
    for event in events:
        blocks.append(form(event))
        told = event.position
        size += len(blocks[-1])
        if size > bytes_max:
            cursor = told
            break
    return Piece(b"".join(blocks), told, cursor)


class Tail:
    """The end of the log for followers over HTTP."""

    def __init__(self, store: EventStore, db: apsw.Connection) -> None:
        """`db` is the event loop's read connection. Call on the event loop; end with `close`."""
        self._db = db
        self._loop = asyncio.get_running_loop()
        self._tail = store.tail
        self._here = LoopTail(store.tail, db)
        self._blocks = Forms(store.tail, lambda event: block(event, store.log_id))
        self._followers: set[Follower] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last: tuple[int, int, Piece | None] = (0, 0, None)

    @property
    def position(self) -> int:
        """The position of the newest event here."""
        return self._tail.position

    def join(self, follower: Follower) -> None:
        """Follow from now on."""
        if not self._followers:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        self._followers.add(follower)
        self._here.join(follower.wake, read_head(self._db).position)

    def leave(self, follower: Follower) -> None:
        """Follow no longer."""
        self._followers.discard(follower)
        self._here.leave(follower.wake)
        if not self._followers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def after(self, cursor: int, bytes_max: int, matches: Callable[[RecordedEvent], bool] | None = None) -> Piece | None:
        """The matching events after `cursor`, about `bytes_max` at most. None: they are not here any more."""
        tail = self._tail
        position = tail.position
        last_cursor, last_position, piece = self._last
        if cursor == last_cursor and position == last_position and matches is None:
            return piece
        events = tail.after(cursor, PAGE_EVENTS)
        if events is None:
            return None
        end = events[-1].position if events else cursor
        piece = joined(events if matches is None else filter(matches, events), self._blocks.of, end, bytes_max)
        if piece.cursor >= position:
            piece = msgspec.structs.replace(piece, last=True)
        if matches is None:
            self._last = (cursor, position, piece)
        return piece

    def close(self) -> None:
        """Wake everybody a last time and stop listening."""
        if self._timer is not None:
            self._timer.cancel()
        self.wake_all()
        self._here.end()

    def wake_all(self) -> None:
        """Let every follower look around."""
        self._here.wake_all()

    def _tick(self) -> None:
        now = self._loop.time()
        for follower in tuple(self._followers):
            if follower.due(now):
                follower.wake()
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
