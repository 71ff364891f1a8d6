"""The newest events of an open log, read and decoded once for everybody in the process who follows it.

A ring of events, kept while somebody follows. It is a cache of the log, never a queue: a follower is a cursor, and one whose cursor has fallen
out of the ring reads the log. So the tail loses nothing, repeats nothing and holds nobody up, whatever it forgets. Whoever wants more than the
ring has takes it in for all; there is no thread of its own. `Tail` serves threads, `LoopTail` the followers on one event loop.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import apsw

from eventstore.errors import StoreError
from eventstore.head import LOOK_SECONDS, HeadWatch
from eventstore.reading import EVERYTHING, PAGE_EVENTS, Filter, read_page
from eventstore.record import RecordedEvent

T = TypeVar("T")

Follower = Callable[[], None]
"""Called on the event loop when there is something new in the tail; must be quick."""

RING_EVENTS = 2_000
"""Events kept at least (twice as many at most): what a slow follower may miss in a second or two of a busy log."""

RING_BYTES_MAX = 8 * 1024 * 1024
"""Memory of the ring at most, as `weight` estimates it: events may be large, memory on a small machine is not."""

EVENT_BYTES = 1_000
"""Memory of an event beside its data: about 750 bytes of object, names and hash, and the frame of a form that `Forms` keeps of it."""

LOOP_PAGE_EVENTS = 200
"""Events taken in at once on an event loop: about 3 ms, for which everything else there waits."""

TURN_SECONDS = 0.002
"""When an event loop finds a thread taking events in, it looks again so much later instead of waiting."""

CROWD = 100
"""With more followers than this on one event loop wake-ups are gathered: waking each of a crowd for every event costs more than serving it."""

GATHER_SECONDS = 0.02
"""Time between two wake-ups of a crowd at least."""


def matcher(filter: Filter) -> Callable[[RecordedEvent], bool] | None:
    """Whether an event matches, decided as SQLite decides it for a page of the log (its own GLOB); None when every event does."""
    if filter == EVERYTHING:
        return None
    types, streams = ([_text(pattern) for pattern in patterns] for patterns in (filter.types, filter.streams))

    def matches(event: RecordedEvent) -> bool:
        return (
            (not types or _any(types, event.type))
            and (not streams or _any(streams, event.stream))
            and (filter.stream is None or event.stream == filter.stream)
            and (filter.since_us is None or event.time_us >= filter.since_us)
            and (filter.until_us is None or event.time_us < filter.until_us)
        )

    return matches


def _any(patterns: list[str], value: str) -> bool:
    value = _text(value)
    return any(apsw.strglob(pattern, value) == 0 for pattern in patterns)


def _text(value: str) -> str:
    """What GLOB sees of a text: it ends at the first NUL."""
    return value.partition("\0")[0] if "\0" in value else value


def weight(event: RecordedEvent) -> int:
    """About how many bytes of memory an event takes in the ring; the data twice, for the form that a reader may keep of it."""
    return EVENT_BYTES + 2 * sys.getsizeof(event.data)


class Tail:
    """The ring. Thread-safe. What it says holds between `join` and `leave`."""

    def __init__(
        self,
        watch: HeadWatch,
        reading: Callable[[], AbstractContextManager[apsw.Connection]],
        lock: threading.RLock | None = None,
    ) -> None:
        """`reading` lends connections. `lock`: the one that it needs itself, where there is such a one (a log in memory)."""
        self.watch = watch
        self._reading = reading
        self._turn = (
            lock or threading.RLock()
        )  # held while the log is read; one lock with `reading`'s, so that no two can be taken crosswise
        self._lock = threading.RLock()  # for the fields below; never held while reading
        self._followers: set[object] = set()
        self._ring: tuple[int, list[RecordedEvent]] = (0, [])
        """The position before the first event, and the events. A list only grows; to forget, it is replaced. So readers need no lock."""
        self._bytes = 0
        self._loops: dict[asyncio.AbstractEventLoop, LoopTail] = {}
        self.pages = 0
        """Pages of the log that were read for all."""
        self.own_pages = 0
        """Pages of the log that a subscription read for itself: at its start, and when it had fallen out of the ring."""

    @property
    def position(self) -> int:
        """Position of the newest event here; the log may be further."""
        before, events = self._ring
        return before + len(events)

    @property
    def before(self) -> int:
        """Position before the oldest event here."""
        return self._ring[0]

    @property
    def followers(self) -> int:
        """How many follow; an event loop counts as one."""
        return len(self._followers)

    def join(self, at: int) -> object:
        """Follow; returns what `leave` wants. `at` is the end of the log as the caller has just seen it: there the ring begins for the first."""
        token = object()
        with self._lock:
            if not self._followers:
                self._begin(at)
            self._followers.add(token)
        return token

    def leave(self, token: object) -> None:
        """Follow no longer. The last one to leave empties the ring."""
        with self._lock:
            self._followers.discard(token)
            if not self._followers:
                self._begin(self.position)

    def after(self, cursor: int, limit: int = PAGE_EVENTS) -> list[RecordedEvent] | None:
        """Events after `cursor`, as far as they are here. None: they are here no longer, the log has them."""
        before, events = self._ring
        return None if cursor < before else events[cursor - before : cursor - before + limit]

    def reach(self, cursor: int) -> None:
        """See to it that the ring goes beyond `cursor`, if the log is known to. May read up to RING_EVENTS. Raises what reading raises."""
        if cursor < self.position or self.position >= self.watch.position:
            return
        with self._turn:
            while self.position <= cursor and self.position < self.watch.position:
                with self._reading() as db:
                    if not self._take_in(db, PAGE_EVENTS):
                        return

    def take_in(self, db: apsw.Connection, limit: int) -> bool:
        """Take in one page over the caller's connection, without ever waiting for others. False: a thread is at it just now."""
        if self.position >= self.watch.position:
            return True
        if not self._turn.acquire(blocking=False):
            return False
        try:
            self._take_in(db, limit)
        finally:
            self._turn.release()
        return True

    def on_loop(self) -> LoopTail:
        """The followers on the running event loop; it lasts while somebody follows there."""
        loop = asyncio.get_running_loop()
        with self._lock:
            for ended in [one for one in self._loops if one.is_closed()]:
                self._loops.pop(ended).end()
            return self._loops.setdefault(loop, LoopTail(self))

    def count_own_page(self) -> None:
        """Note that a subscription read a page for itself."""
        with self._lock:
            self.own_pages += 1

    def _take_in(self, db: apsw.Connection, limit: int) -> bool:
        """Read one page into the ring, which is the caller's turn; whether there was something new."""
        begin = self.position
        if self.watch.position - begin > RING_EVENTS:
            begin = max(begin, self.watch.position - limit)  # who is that far behind reads the log anyway
        events = read_page(db, begin, limit).events
        with self._lock:
            self.pages += 1
            if not self._followers:
                return False
            if begin != self.position:
                self._begin(begin)
            self._ring[1].extend(events)
            self._bytes += sum(map(weight, events))
            self._trim()
        return bool(events)

    def _trim(self) -> None:
        """Cut in large pieces, so that cutting costs next to nothing per event."""
        before, events = self._ring
        if len(events) < 2 * RING_EVENTS and self._bytes <= RING_BYTES_MAX:
            return
        keep = size = 0
        for event in reversed(events[-RING_EVENTS:]):
            if size + weight(event) > RING_BYTES_MAX // 2:
                break
            size += weight(event)
            keep += 1
        gone = len(events) - keep
        self._ring, self._bytes = (before + gone, events[gone:]), size

    def _begin(self, position: int) -> None:
        self._ring, self._bytes = (position, []), 0


class Forms(Generic[T]):
    """What readers of one kind make of an event (its bytes on a line, say): made once for all of them, and forgotten with the event. For use
    on one thread."""

    def __init__(self, tail: Tail, make: Callable[[RecordedEvent], T]) -> None:
        self._tail = tail
        self._make = make
        self._made: dict[int, T] = {}
        self._before = 0

    def of(self, event: RecordedEvent) -> T:
        """The form of an event."""
        known = self._made.get(event.position)
        if known is None:
            known = self._make(event)
            if self._before != self._tail.before:
                self._before = self._tail.before
                self._made = {position: form for position, form in self._made.items() if position > self._before}
            if event.position > self._before:
                self._made[event.position] = known
        return known


class LoopTail:
    """The tail for followers on one event loop: the log is read once for all of them, then they are woken, a crowd less often than a few.

    Made and used on the loop. With a connection `db` of its own it reads on the loop itself, in small pages; without one, on a thread.
    """

    def __init__(self, tail: Tail, db: apsw.Connection | None = None) -> None:
        self.tail = tail
        self._db = db
        self._loop = asyncio.get_running_loop()
        self._followers: set[Follower] = set()
        self._token: object = None
        self._handle = 0
        self._told = 0
        self._pumped_at = 0.0
        self._noticed = False
        self._reading = self._again = False
        self.failed = 0
        """Reads of the log that failed; the next one came at most LOOK_SECONDS later."""

    def join(self, follower: Follower, at: int) -> None:
        """Follow; `at` as for `Tail.join`."""
        if not self._followers:
            self._token = self.tail.join(at)
            self._told = min(at, self.tail.position)
            self._noticed = False
            self._handle = self.tail.watch.on_move(self._notice)
        self._followers.add(follower)
        self._pump()

    def leave(self, follower: Follower) -> None:
        """Follow no longer."""
        self._followers.discard(follower)
        if not self._followers:
            self.end()

    def end(self) -> None:
        """Nobody follows here any more. On the loop, or after it was closed, on any thread."""
        self._followers.clear()
        if self._token is not None:
            self.tail.watch.off_move(self._handle)
            self.tail.leave(self._token)
            self._token = None

    def wake_all(self) -> None:
        """Let every follower look around."""
        for follower in tuple(self._followers):
            follower()

    def _notice(self, position: int) -> None:
        """The head has moved, or the log was closed. On any thread."""
        if self._noticed:
            return
        self._noticed = True
        crowd = len(self._followers) > CROWD and not self.tail.watch.closed
        try:
            self._loop.call_soon_threadsafe(self._gather if crowd else self._pump)
        except RuntimeError:
            self.end()  # the loop was closed, and nobody there can leave any more

    def _gather(self) -> None:
        wait_seconds = self._pumped_at + GATHER_SECONDS - self._loop.time()
        if wait_seconds > 0:
            self._loop.call_later(wait_seconds, self._pump)
        else:
            self._pump()

    def _pump(self) -> None:
        """Take in what is new. Cleared first: what is committed from here on gives a notice of its own."""
        self._noticed = False
        self._pumped_at = self._loop.time()
        if not self._followers:
            return
        if self.tail.watch.closed:
            self.wake_all()
        elif self._reading:
            self._again = True  # the thread may have looked before this was committed
        elif self.tail.position >= self.tail.watch.position:
            self._tell(self.tail.position)  # somebody else was first
        elif self._db is None:
            self._read_elsewhere()
        else:
            self._read_here(self._db)

    def _read_here(self, db: apsw.Connection) -> None:
        before = self.tail.position
        try:
            done = self.tail.take_in(db, LOOP_PAGE_EVENTS)
        except (apsw.Error, StoreError):
            self._try_later()
            return
        if not done:
            self._loop.call_later(TURN_SECONDS, self._pump)
        self._tell(before)

    def _read_elsewhere(self) -> None:
        before = self.tail.position
        self._reading = True

        def read(done: asyncio.Future[Any]) -> None:
            again, self._reading, self._again = self._again, False, False
            if done.cancelled():
                return
            error = done.exception()
            if error is None:
                self._tell(before)
                if again:
                    self._pump()
            elif isinstance(error, (apsw.Error, StoreError)):
                self._try_later()
            else:
                raise error

        self._loop.run_in_executor(None, self.tail.reach, before).add_done_callback(read)

    def _try_later(self) -> None:
        self.failed += 1
        self._loop.call_later(LOOK_SECONDS, self._pump)

    def _tell(self, before: int) -> None:
        """Wake everybody if there is something new, and read on if that was not all; `before` is how far the ring went before the read."""
        position = self.tail.position
        if before < position < self.tail.watch.position:
            self._loop.call_soon(self._pump)
        if position > self._told:
            self._told = position
            self.wake_all()
