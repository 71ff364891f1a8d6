"""Following the log: catch up from where the reader stands, then follow, in one loop and with one cursor.

The log is the buffer. A reader reads pages of the log until it has seen the end; from then on it is fed from the tail that all share (`tail.py`),
and from the log again when it has fallen out of that. It never loses an event, gets none twice and never holds up a writer. The cursor is one
integer and moves on when a filter matches nothing. Nothing is pushed: a wake-up only says that looking is worth it.

How an event comes, so that effects run once:
  replay    at or before the position up to which the subscriber says that it acted already: for state, not for effects
  catch_up  while a page or more was waiting, and what was in the log when the first iteration began
  live      else: the reader is at the end of the log
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Literal, Protocol

import msgspec

from eventstore.errors import Stopped
from eventstore.head import HeadWatch
from eventstore.reading import PAGE_EVENTS, Filter, Page
from eventstore.record import Head, RecordedEvent, names
from eventstore.tail import Tail, matcher

Mode = Literal["replay", "catch_up", "live"]


class Delivery(msgspec.Struct, frozen=True):
    """One event for a subscriber, and how it comes."""

    event: RecordedEvent
    mode: Mode


class Log(Protocol):
    """What a subscription needs of an event store."""

    watch: HeadWatch
    tail: Tail

    def head(self) -> Head: ...
    def page(self, after: int, limit: int = PAGE_EVENTS, filter: Filter = ..., until: int | None = None) -> Page: ...


class Subscription:
    """An endless iterator over events after a position, for threads (`for`) and for asyncio (`async for`). One iteration at a time; `close`
    may come from any thread. Iterating again goes on from the cursor."""

    def __init__(self, store: Log, after: int, types: Sequence[str] = (), streams: Sequence[str] = (), handled: int = 0) -> None:
        """`handled`: the subscriber acted on everything up to this position before, perhaps in an earlier life."""
        self._store = store
        self._filter = Filter(names(types, "types"), names(streams, "streams"))
        self._matches = matcher(self._filter)
        self._closed = False
        self._wake: Callable[[], object] = store.watch.nudge
        self._handled = handled
        self._behind_until = store.head().position
        self._began = False
        self._seen_end: int | None = None
        """The end of the log, when the last page of it that was read went there."""
        self.cursor = after
        """Everything up to this position was delivered or did not match."""

    def __iter__(self) -> Iterator[RecordedEvent]:
        for delivery in self.deliveries():
            yield delivery.event

    async def __aiter__(self) -> AsyncIterator[RecordedEvent]:
        async with aclosing(self.deliveries_async()) as deliveries:
            async for delivery in deliveries:
                yield delivery.event

    def deliveries(self, timeout_seconds: float | None = None) -> Generator[Delivery]:
        """Deliveries until `close`; with a timeout, until nothing has matched for that long and the end of the log was seen."""
        tail = self._store.tail
        token: object = None
        patience = _Patience(timeout_seconds)
        try:
            while not self._closed:
                before = self.cursor
                if token is not None:
                    tail.reach(before)
                page = (self._from_tail() if token is not None else None) or self._from_log()
                yield from self._hand_out(page)
                patience.renew(bool(page.events))
                if self._seen_end is not None and token is None:
                    token = tail.join(self._seen_end)
                if token is not None and patience.over():
                    return
                if self.cursor == before and not self._store.watch.wait(before, patience.left(), lambda: self._closed):
                    return
        except Stopped:
            if not self._store.watch.closed:
                raise
        finally:
            if token is not None:
                tail.leave(token)

    async def deliveries_async(self, timeout_seconds: float | None = None) -> AsyncGenerator[Delivery]:
        """As `deliveries`, for asyncio: nothing blocks the event loop, pages of the log are read on a thread."""
        loop, here = asyncio.get_running_loop(), self._store.tail.on_loop()
        moved = asyncio.Event()
        wake = self._wake = lambda: loop.call_soon_threadsafe(moved.set)
        joined = False
        patience = _Patience(timeout_seconds)
        try:
            while not self._closed and not self._store.watch.closed:
                before = self.cursor
                moved.clear()
                page = (self._from_tail() if joined else None) or await asyncio.to_thread(self._from_log)
                for delivery in self._hand_out(page):
                    yield delivery
                patience.renew(bool(page.events))
                if joined and patience.over():
                    return
                if self._seen_end is not None and not joined:
                    here.join(moved.set, self._seen_end)
                    joined = True
                elif self.cursor == before and not await _set_within(moved, patience.left()):
                    return
        except Stopped:
            if not self._store.watch.closed:
                raise
        finally:
            if joined:
                here.leave(moved.set)
            if self._wake is wake:
                self._wake = self._store.watch.nudge

    def _from_tail(self) -> Page | None:
        """What the tail has after the cursor; None when it has that no longer."""
        tail, start = self._store.tail, self.cursor
        events = tail.after(start, PAGE_EVENTS)
        if events is None:
            return None
        self._note_waiting(start, max(tail.position, self._store.watch.position))
        matches = self._matches
        matching = events if matches is None else [event for event in events if matches(event)]
        return Page(matching, events[-1].position if events else start)

    def _from_log(self) -> Page:
        """A page of the log after the cursor, for this reader alone."""
        start = self.cursor
        page = self._store.page(start, filter=self._filter)
        self._store.tail.count_own_page()
        head = self._store.head().position
        self._note_waiting(start, head)
        if not self._began:
            self._began, self._behind_until = True, head
        self._seen_end = min(page.scanned_to, head) if page.at_end else None
        return page

    def _note_waiting(self, start: int, end: int) -> None:
        if end - start >= PAGE_EVENTS:
            self._behind_until = max(self._behind_until, end)

    def _hand_out(self, page: Page) -> Iterator[Delivery]:
        """Deliver a page; the cursor goes along."""
        for event in page.events:
            self.cursor = event.position
            yield Delivery(event, self._mode(event.position))
            if self._closed:
                return
        self.cursor = max(self.cursor, page.scanned_to)

    def _mode(self, position: int) -> Mode:
        if position <= self._handled:
            return "replay"
        return "catch_up" if position <= self._behind_until else "live"

    def close(self) -> None:
        """End the iteration: at once when it waits, else after the event under way."""
        self._closed = True
        with suppress(RuntimeError):  # the event loop has ended, and the iteration with it
            self._wake()


class _Patience:
    """How long a reader still waits for a match."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._since = time.monotonic()

    def renew(self, matched: bool) -> None:
        if matched:
            self._since = time.monotonic()

    def left(self) -> float | None:
        """Seconds; None: for ever."""
        return None if self._seconds is None else max(0.0, self._since + self._seconds - time.monotonic())

    def over(self) -> bool:
        return self.left() == 0


async def _set_within(moved: asyncio.Event, seconds: float | None) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await moved.wait()
    except TimeoutError:
        return False
