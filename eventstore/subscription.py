"""Following the log: catch up from where the reader stands, then follow, in one loop and with one cursor.

The log is the buffer. A slow reader reads older pages, never loses an event and never holds up a writer. The cursor is one integer and moves
on when a filter matches nothing. Nothing is pushed: a wake-up only says that looking is worth it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import msgspec

from eventstore.head import HeadWatch
from eventstore.reading import PAGE_EVENTS, Filter, Page
from eventstore.record import Head, RecordedEvent

Mode = Literal["catch_up", "live"]


class Delivery(msgspec.Struct, frozen=True):
    """One event for a subscriber. `mode`: catch_up while older than the head at the start of the page, live afterwards."""

    event: RecordedEvent
    mode: Mode


class Log(Protocol):
    """What a subscription needs of an event store."""

    watch: HeadWatch

    def head(self) -> Head: ...
    def page(self, after: int, limit: int = PAGE_EVENTS, filter: Filter = ..., until: int | None = None) -> Page: ...


class Subscription:
    """An endless iterator over events after a position. Not for use by several threads at once; `close` may come from any thread."""

    def __init__(self, store: Log, after: int, types: Sequence[str] = (), streams: Sequence[str] = ()) -> None:
        self._store = store
        self._filter = Filter(tuple(types), tuple(streams))
        self._closed = False
        self._caught_up_to = store.head().position
        self.cursor = after
        """Everything up to this position was delivered or did not match."""

    def __iter__(self) -> Iterator[RecordedEvent]:
        for delivery in self.deliveries():
            yield delivery.event

    def deliveries(self, timeout_seconds: float | None = None) -> Iterator[Delivery]:
        """Deliveries without end; with a timeout, until nothing new has come for that long."""
        while not self._closed:
            page = self._store.page(self.cursor, filter=self._filter)
            for event in page.events:
                self.cursor = event.position
                yield Delivery(event, "catch_up" if event.position <= self._caught_up_to else "live")
                if self._closed:
                    return
            if page.scanned_to > self.cursor:
                self.cursor = page.scanned_to
            elif not page.events and not self._store.watch.wait(self.cursor, timeout_seconds):
                return

    def close(self) -> None:
        """End the iteration after the event under way."""
        self._closed = True
