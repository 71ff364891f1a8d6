"""Reading the log in bounded pages, over a connection that the caller lends. Knows the columns of `events`; writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apsw
import msgspec

from eventstore.errors import Unusable
from eventstore.record import Head, RecordedEvent, names

PAGE_EVENTS = 500
"""Events read at once: bounds both memory and the length of a read transaction."""

PAGE_BYTES_MAX = 8 * 1024 * 1024
"""Bytes of data after which a page ends early: events may be large, memory on a small machine is not. One event may go beyond."""

WINDOW_POSITIONS = 20_000
"""Positions looked at in one statement when a filter matches little: about 10 ms of scanning."""

COLUMNS = (
    "position, stream, version, type, schemaversion, id, logtime, time, actor, correlationid, causationid, tags, data, chain"
)
"""The columns of `events` in the order in which `to_event` takes them."""

_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode


class Filter(msgspec.Struct, frozen=True):
    """Which events a reader wants. `types` and `streams` are GLOB patterns (any of them), `stream` one exact name; `since_us` is
    inclusive and `until_us` exclusive on the wall clock's time. Raises Invalid for a pattern where a list of them belongs."""

    types: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    stream: str | None = None
    since_us: int | None = None
    until_us: int | None = None

    def __post_init__(self) -> None:
        names(self.types, "types")
        names(self.streams, "streams")

    def sql(self) -> tuple[str, list[Any]]:
        """A condition for WHERE and its arguments."""
        parts: list[str] = []
        arguments: list[Any] = []
        for column, patterns in (("type", self.types), ("stream", self.streams)):
            if patterns:
                parts.append("(" + " OR ".join([f"{column} GLOB ?"] * len(patterns)) + ")")
                arguments.extend(patterns)
        for condition, value in (
            ("stream = ?", self.stream),
            ("time >= ?", self.since_us),
            ("time < ?", self.until_us),
        ):
            if value is not None:
                parts.append(condition)
                arguments.append(value)
        return " AND ".join(parts) or "1", arguments


EVERYTHING = Filter()


class Page(msgspec.Struct, frozen=True):
    """Some events in order, and the position up to which the log was looked at (the cursor for the next page). `at_end`: that was all there
    is so far."""

    events: list[RecordedEvent]
    scanned_to: int
    at_end: bool = False


def read_head(db: apsw.Connection) -> Head:
    """The head row as it is for this connection now."""
    row: Any = db.execute(
        "SELECT position, chain, logtime, time, boot_id, boottime, epoch, dirty, synced_position FROM head"
    ).fetchone()
    if row is None:
        raise Unusable("damaged", "the log has no head row; restore a backup: pixelog restore FILE")
    position, chain, logtime_us, time_us, boot_id, boottime_us, epoch, dirty, synced_position = row
    return Head(position, chain, logtime_us, time_us, boot_id, boottime_us, epoch, bool(dirty), synced_position)


def to_event(row: Any) -> RecordedEvent:
    """A RecordedEvent from a row of `events` in the order of its columns."""
    (
        position, stream, version, type, schema_version, id, logtime_us, time_us, actor, correlation_id, causation_id, tags, data, chain,
    ) = row  # fmt: skip
    return RecordedEvent(
        position, stream, version, type, schema_version, id, logtime_us, time_us, actor, correlation_id, causation_id,
        _decode_tags(tags) if tags else (), data, chain,
    )  # fmt: skip


def read_page(
    db: apsw.Connection,
    after: int,
    limit: int = PAGE_EVENTS,
    filter: Filter = EVERYTHING,
    until: int | None = None,
) -> Page:
    """Up to `limit` matching events with position > `after` (and ≤ `until`), looking at no more than WINDOW_POSITIONS positions."""
    if limit < 1:
        return Page([], after)
    head = read_head(db).position
    end = min(head, after + WINDOW_POSITIONS, until if until is not None else head)
    where, arguments = filter.sql()
    rows = db.execute(
        f"SELECT {COLUMNS} FROM events WHERE position > ? AND position <= ? AND {where} ORDER BY position LIMIT ?",
        (after, end, *arguments, limit),
    )
    events, whole = _taken(rows)
    scanned_to = max(end, after) if whole and len(events) < limit else events[-1].position
    return Page(events, scanned_to, scanned_to >= head)


def _taken(rows: Iterable[Any]) -> tuple[list[RecordedEvent], bool]:
    """The events of these rows up to PAGE_BYTES_MAX, and whether that was all."""
    events: list[RecordedEvent] = []
    size_bytes = 0
    for row in rows:
        if size_bytes > PAGE_BYTES_MAX:
            return events, False
        event = to_event(row)
        events.append(event)
        size_bytes += len(event.data)
    return events, True


def read_stream(db: apsw.Connection, stream: str, after_version: int, limit: int, until: int) -> list[RecordedEvent]:
    """Up to `limit` events of one stream with version > `after_version`, up to the position `until`, through the stream's own index: the cost
    does not depend on the length of the log. Fewer when they are large; none only at the end."""
    rows = db.execute(
        f"SELECT {COLUMNS} FROM events WHERE stream = ? AND version > ? AND position <= ? ORDER BY version LIMIT ?",
        (stream, after_version, until, limit),
    )
    return _taken(rows)[0]


def version_at(db: apsw.Connection, stream: str, position: int) -> int:
    """The stream's version after `position`; 0 before its first event."""
    if position <= 0:
        return 0
    return db.execute("SELECT coalesce(max(version), 0) FROM events WHERE stream = ? AND position <= ?", (stream, position)).get
