"""Following the log: catch up from where the reader stands, then follow, in one loop and with one cursor.

The log is the buffer. A slow reader reads older pages, never loses an event and never holds up a writer. The cursor is one integer and moves
on when a filter matches nothing. Nothing is pushed: a wake-up only says that looking is worth it.

How an event comes, so that effects run once:
  replay    at or before the position up to which the subscriber says that it acted already: for state, not for effects
  catch_up  while more was waiting than one page, or had been when the reader began
  live      else: the reader is at the end of the log
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import msgspec

from eventstore.head import HeadWatch
from eventstore.reading import PAGE_EVENTS, Filter, Page
from eventstore.record import Head, RecordedEvent

Mode = Literal["replay", "catch_up", "live"]


class Delivery(msgspec.Struct, frozen=True):
    """One event for a subscriber, and how it comes."""

    event: RecordedEvent
    mode: Mode


class Log(Protocol):
    """What a subscription needs of an event store."""

    watch: HeadWatch

    def head(self) -> Head: ...
    def page(self, after: int, limit: int = PAGE_EVENTS, filter: Filter = ..., until: int | None = None) -> Page: ...


class Subscription:
    """An endless iterator over events after a position. Not for use by several threads at once; `close` may come from any thread."""

    def __init__(self, store: Log, after: int, types: Sequence[str] = (), streams: Sequence[str] = (), handled: int = 0) -> None:
        """`handled`: the subscriber acted on everything up to this position before, perhaps in an earlier life."""
        self._store = store
        self._filter = Filter(tuple(types), tuple(streams))
        self._closed = False
        self._handled = handled
        self._behind_until = store.head().position
        self.cursor = after
        """Everything up to this position was delivered or did not match."""

    def __iter__(self) -> Iterator[RecordedEvent]:
        for delivery in self.deliveries():
            yield delivery.event

    def deliveries(self, timeout_seconds: float | None = None) -> Iterator[Delivery]:
        """Deliveries until `close`; with a timeout, until nothing has matched for that long."""
        waiting_since = time.monotonic()
        while not self._closed:
            page = self._store.page(self.cursor, filter=self._filter)
            if len(page.events) == PAGE_EVENTS:
                self._behind_until = max(self._behind_until, self._store.head().position)
            for event in page.events:
                self.cursor = event.position
                yield Delivery(event, self._mode(event.position))
                if self._closed:
                    return
            if page.events:
                waiting_since = time.monotonic()
            if page.scanned_to > self.cursor:
                self.cursor = page.scanned_to
            elif not page.events and not self._wait(timeout_seconds, waiting_since):
                return

    def _mode(self, position: int) -> Mode:
        if position <= self._handled:
            return "replay"
        return "catch_up" if position <= self._behind_until else "live"

    def _wait(self, timeout_seconds: float | None, since: float) -> bool:
        if timeout_seconds is not None:
            timeout_seconds = since + timeout_seconds - time.monotonic()
            if timeout_seconds <= 0:
                return False
        return self._store.watch.wait(self.cursor, timeout_seconds, lambda: self._closed)

    def close(self) -> None:
        """End the iteration: at once when it waits, else after the event under way."""
        self._closed = True
        self._store.watch.nudge()
