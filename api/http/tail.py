"""The newest events, encoded once for all who follow, and the wake-ups of those who wait for more.

A ring of encoded events, kept while somebody follows. It is a cache, not a queue: whoever falls behind it reads the log. Lives on the event loop;
only the notice that the head has moved comes from other threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import apsw
import msgspec

from eventstore.reading import read_head, read_page
from eventstore.record import RecordedEvent
from eventstore.store import EventStore
from projections.envelope import cloud_event

RING_EVENTS = 2_000
"""Events kept at least: what a reader on a slow line may miss in a second or two of a busy log."""

RING_BYTES_MAX = 8 * 1024 * 1024
"""Bytes kept at most: events may be large, memory on a small machine is not."""

PAGE_EVENTS = 200
"""Events read and encoded at once on the event loop: about 3 ms."""

CROWD = 50
"""From so many followers on, wake-ups are gathered: waking each for every event costs more than sending it."""

GATHER_SECONDS = 0.02
"""How long a crowd's wake-up waits for more events."""

TICK_SECONDS = 0.5
"""Interval at which followers are looked at that have something to say without an event."""


class Follower(Protocol):
    """Whoever follows. Both are called on the event loop and must be quick."""

    def wake(self) -> None: ...
    def due(self, now_seconds: float) -> bool: ...


def block(event: RecordedEvent, device: str) -> bytes:
    """An event as a server-sent event: an unnamed message whose id is the position."""
    return b"id: %d\ndata: %b\n\n" % (event.position, msgspec.json.encode(cloud_event(event, device)))


class Tail:
    """The end of the log for followers of one process."""

    def __init__(self, store: EventStore, db: apsw.Connection) -> None:
        """`db` is the event loop's read connection. Call on the event loop; end with `close`."""
        self._store = store
        self._db = db
        self._loop = asyncio.get_running_loop()
        self._followers: set[Follower] = set()
        self._blocks: list[bytes] = []
        self._bytes = 0
        self._before = 0  # position before the first block
        self._noticed = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._joined: tuple[int, int, bytes] = (0, 0, b"")
        self._handle = store.watch.on_move(self._notice)

    @property
    def position(self) -> int:
        """The position of the newest event here."""
        return self._before + len(self._blocks)

    def join(self, follower: Follower) -> None:
        """Follow from now on."""
        if not self._followers:
            self._forget(read_head(self._db).position)
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        self._followers.add(follower)
        self._pump()

    def leave(self, follower: Follower) -> None:
        """Follow no longer."""
        self._followers.discard(follower)
        if not self._followers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def after(self, cursor: int, bytes_max: int) -> tuple[bytes, int] | None:
        """The blocks after `cursor`, about `bytes_max` of them at most, and the position of the last one. None: they are not here any more."""
        if cursor < self._before:
            return None
        end = self.position
        if self._joined[:2] == (cursor, end):
            return self._joined[2], end
        size = 0
        for place in range(cursor - self._before, len(self._blocks)):
            size += len(self._blocks[place])
            if size > bytes_max:
                end = self._before + place + 1
                break
        joined = b"".join(self._blocks[cursor - self._before : end - self._before])
        self._joined = (cursor, end, joined)
        return joined, end

    def close(self) -> None:
        """Wake everybody a last time and stop listening."""
        self._closed = True
        self._store.watch.off_move(self._handle)
        if self._timer is not None:
            self._timer.cancel()
        self.wake_all()

    def wake_all(self) -> None:
        """Let every follower look around."""
        for follower in tuple(self._followers):
            follower.wake()

    def _notice(self, position: int) -> None:
        """The head has moved. On any thread."""
        if self._noticed or not self._followers:
            return
        self._noticed = True
        self._call_soon(self._gather if len(self._followers) > CROWD else self._pump)

    def _call_soon(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            pass  # the loop has ended, and every follower with it

    def _gather(self) -> None:
        self._loop.call_later(GATHER_SECONDS, self._pump)

    def _pump(self) -> None:
        """Take in what is new. Cleared first: what is committed from here on gives a notice of its own."""
        self._noticed = False
        if self._closed:
            return
        position = self.position
        head = read_head(self._db).position
        if head - position > RING_EVENTS:
            self._forget(head - PAGE_EVENTS)
        events = read_page(self._db, self.position, PAGE_EVENTS).events
        for event in events:
            encoded = block(event, self._store.log_id)
            self._blocks.append(encoded)
            self._bytes += len(encoded)
        self._trim()
        if len(events) == PAGE_EVENTS:
            self._loop.call_soon(self._pump)
        if self.position > position:
            self.wake_all()

    def _trim(self) -> None:
        """Cut in large pieces, so that cutting costs nothing per event."""
        if len(self._blocks) < 2 * RING_EVENTS and self._bytes <= RING_BYTES_MAX:
            return
        keep, size = 0, 0
        for encoded in reversed(self._blocks[-RING_EVENTS:]):
            size += len(encoded)
            if size > RING_BYTES_MAX // 2:
                break
            keep += 1
        gone = len(self._blocks) - keep
        self._bytes -= sum(len(encoded) for encoded in self._blocks[:gone])
        del self._blocks[:gone]
        self._before += gone

    def _forget(self, position: int) -> None:
        """Begin anew after `position`."""
        self._blocks.clear()
        self._bytes = 0
        self._before = position

    def _tick(self) -> None:
        now = self._loop.time()
        for follower in tuple(self._followers):
            if follower.due(now):
                follower.wake()
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
