"""Area plays: proof of play. One row for each turn of an item that was on the panel; items that are gone keep theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw
import msgspec

from projections.area import Area, At
from projections.rows import Put, Table, Write
from projections.times import rfc3339


class PlayerPlayed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """An item was on the panel from `started_us` to `ended_us` (logtime). `complete`: its turn ended by itself.

    Name and hash are those of that moment, so that the proof outlives the item; `pack` names the frames that were drawn.
    """

    slug: str
    filename: str
    sha256: str | None
    started_us: int
    ended_us: int
    frames_shown: int
    frames_dropped: int
    complete: bool
    pack: str | None = None


Event = PlayerPlayed
EVENTS: dict[str, type[msgspec.Struct]] = {"player.played": PlayerPlayed}

PLAYED = Table(
    "plays_played",
    (
        ("position", "INTEGER", False),
        ("slug", "TEXT", False),
        ("filename", "TEXT", False),
        ("sha256", "TEXT", True),
        ("started_at", "INTEGER", False),  # µs
        ("ended_at", "INTEGER", False),  # µs
        ("frames_shown", "INTEGER", False),
        ("frames_dropped", "INTEGER", False),
        ("complete", "INTEGER", False),
        ("pack", "TEXT", True),
    ),
    derived=(
        "CREATE INDEX plays_by_start ON plays_played (started_at, position)",
        "CREATE INDEX plays_by_slug ON plays_played (slug, started_at, position)",
        "CREATE TABLE plays_count (only INTEGER PRIMARY KEY, total INTEGER NOT NULL) STRICT",
        "INSERT INTO plays_count VALUES (1, 0)",
        "CREATE TRIGGER plays_played_added AFTER INSERT ON plays_played BEGIN UPDATE plays_count SET total = total + 1; END",
    ),
)
TABLES = (PLAYED,)
VIEWS = (
    """CREATE VIEW plays AS SELECT position, slug, filename, sha256, started_at, ended_at, (ended_at - started_at) / 1e6 AS duration,
    frames_shown, frames_dropped, complete FROM plays_played""",
)


def stream(event: Event) -> str:
    """There is one panel's record."""
    return "plays"


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    wall_us = at.time_us - at.logtime_us
    row = {
        "slug": event.slug,
        "filename": event.filename,
        "sha256": event.sha256,
        "started_at": event.started_us + wall_us,
        "ended_at": event.ended_us + wall_us,
        "frames_shown": event.frames_shown,
        "frames_dropped": event.frames_dropped,
        "complete": int(event.complete),
        "pack": event.pack,
    }
    return (Put(PLAYED, (at.position,), row),)


# -- queries -------------------------------------------------------------------------------------------------------------------------


class Play(msgspec.Struct, frozen=True, rename="camel"):
    """One proof of play. `position` is that of the fact in the log, `duration` in seconds."""

    position: int
    slug: str
    filename: str
    sha256: str | None
    started_at: str
    ended_at: str
    duration: float
    frames_shown: int
    frames_dropped: int
    complete: bool


_COLUMNS = "position, slug, filename, sha256, started_at, ended_at, frames_shown, frames_dropped, complete"


def _resource(row: Any) -> Play:
    position, slug, filename, sha256, started_at, ended_at, shown, dropped, complete = row
    seconds = (ended_at - started_at) / 1_000_000
    return Play(position, slug, filename, sha256, rfc3339(started_at), rfc3339(ended_at), seconds, shown, dropped, bool(complete))


def _matches(from_us: int | None, to_us: int | None, slug: str | None) -> tuple[str, list[Any]]:
    """A condition for plays that began in [from, to), of this item."""
    parts, arguments = ["true"], list[Any]()
    for condition, value in (("started_at >= ?", from_us), ("started_at < ?", to_us), ("slug = ?", slug)):
        if value is not None:
            parts.append(condition)
            arguments.append(value)
    return " AND ".join(parts), arguments


def listing(
    db: apsw.Connection,
    *,
    limit: int = 50,
    cursor: tuple[int, int] | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
    slug: str | None = None,
) -> tuple[list[Play], tuple[int, int] | None, int]:
    """Up to `limit` plays, the newest first, after `cursor` (start and position of the last one seen); the next cursor, and the number of
    matches. `from_us` ≤ start < `to_us`, µs since 1970."""
    where, arguments = _matches(from_us, to_us, slug)
    if arguments:
        total = db.execute(f"SELECT count(*) FROM plays_played WHERE {where}", arguments).get
    else:
        total = db.execute("SELECT total FROM plays_count").get
    if cursor is not None:
        where += " AND (started_at, position) < (?, ?)"
        arguments += cursor
    rows: list[Any] = db.execute(
        f"SELECT {_COLUMNS} FROM plays_played WHERE {where} ORDER BY started_at DESC, position DESC LIMIT ?",
        (*arguments, limit + 1),
    ).fetchall()
    following = (rows[limit - 1][4], rows[limit - 1][0]) if len(rows) > limit else None
    return [_resource(row) for row in rows[:limit]], following, total


def each(db: apsw.Connection, from_us: int | None = None, to_us: int | None = None, slug: str | None = None) -> Iterator[Play]:
    """Every match in the order of time, one after the other; the connection is in use until the last."""
    where, arguments = _matches(from_us, to_us, slug)
    for row in db.execute(f"SELECT {_COLUMNS} FROM plays_played WHERE {where} ORDER BY started_at, position", arguments):
        yield _resource(row)


def packs(db: apsw.Connection, limit: int) -> set[str]:
    """Names of the packs that the newest `limit` plays drew from: the last to be shed."""
    rows: list[Any] = db.execute("SELECT pack FROM plays_played ORDER BY position DESC LIMIT ?", (limit,)).fetchall()
    return {pack for (pack,) in rows if pack is not None}


def resources(db: apsw.Connection) -> dict[str, Play]:
    """Every play by the position of its fact."""
    return {
        str(play.position): play for play in map(_resource, db.execute(f"SELECT {_COLUMNS} FROM plays_played ORDER BY position"))
    }


AREA = Area("plays", EVENTS, TABLES, fold, stream, resources, VIEWS)
