"""Area heartbeats: which services said that they live, when, and how they are."""

from __future__ import annotations

from typing import Any, Literal

import apsw
import msgspec

from projections.area import Area, At
from projections.rows import Put, Table, Write
from projections.times import rfc3339

Status = Literal["ok", "degraded", "failed"]
Liveness = Literal["alive", "stale", "dead"]

STALE_AFTER_US, DEAD_AFTER_US = 30_000_000, 120_000_000
"""Silence after which a service that names no thresholds of its own counts as stale, and as dead."""


class HeartbeatRecorded(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A service was heard of. Each beat carries the thresholds that hold until the next. `seen_at_us`: of adopted beats, µs since 1970."""

    service: str
    status: Status
    details: dict[str, Any] | None = None
    stale_after_us: int = STALE_AFTER_US
    dead_after_us: int = DEAD_AFTER_US
    seen_at_us: int | None = None


Event = HeartbeatRecorded
EVENTS: dict[str, type[msgspec.Struct]] = {"heartbeat.recorded": HeartbeatRecorded}

SERVICES = Table(
    "heartbeats_services",
    (
        ("service", "TEXT", False),
        ("status", "TEXT", False),
        ("details", "TEXT", True),  # JSON
        ("seen_at", "INTEGER", False),  # µs
        ("seen_logtime", "INTEGER", False),
        ("stale_after", "INTEGER", False),  # µs of silence
        ("dead_after", "INTEGER", False),  # µs of silence
    ),
)
TABLES = (SERVICES,)
VIEWS = (
    """CREATE VIEW heartbeats AS SELECT service, status, details, seen_at, seen_at + stale_after AS stale_after,
    seen_at + dead_after AS dead_after FROM heartbeats_services""",
)


def stream(event: Event) -> str:
    """Each service has its own stream."""
    return f"heartbeats/{event.service}"


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    seen_at_us = at.time_us if event.seen_at_us is None else event.seen_at_us
    row = {
        "status": event.status,
        "details": None if event.details is None else msgspec.json.encode(event.details).decode(),
        "seen_at": seen_at_us,
        # An adopted beat lies in the past: its silence has lasted since then.
        "seen_logtime": at.logtime_us - (at.time_us - seen_at_us),
        "stale_after": event.stale_after_us,
        "dead_after": event.dead_after_us,
    }
    return (Put(SERVICES, (event.service,), row),)


# -- queries -------------------------------------------------------------------------------------------------------------------------


class Heartbeat(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The last beat of a service. `stale_after` and `dead_after` are instants; `liveness` is None where no instant was asked for."""

    service: str
    status: Status
    details: dict[str, Any] | None
    seen_at: str
    stale_after: str
    dead_after: str
    liveness: Liveness | None = None


_COLUMNS = "service, status, details, seen_at, seen_logtime, stale_after, dead_after"


def _resource(row: Any, logtime_us: int | None) -> Heartbeat:
    service, status, details, seen_at, seen_logtime, stale_after, dead_after = row
    return Heartbeat(
        service=service,
        status=status,
        details=None if details is None else msgspec.json.decode(details),
        seen_at=rfc3339(seen_at),
        stale_after=rfc3339(seen_at + stale_after),
        dead_after=rfc3339(seen_at + dead_after),
        liveness=None if logtime_us is None else liveness(logtime_us - seen_logtime, stale_after, dead_after),
    )


def liveness(silence_us: int, stale_after_us: int, dead_after_us: int) -> Liveness:
    """What a silence of this length means under these thresholds; on the threshold it is reached."""
    if silence_us >= dead_after_us:
        return "dead"
    return "stale" if silence_us >= stale_after_us else "alive"


def get(db: apsw.Connection, service: str, logtime_us: int) -> Heartbeat | None:
    """The last beat of this service, judged at `logtime_us`."""
    row = db.execute(f"SELECT {_COLUMNS} FROM heartbeats_services WHERE service = ?", (service,)).fetchone()
    return None if row is None else _resource(row, logtime_us)


def thresholds(db: apsw.Connection, service: str) -> tuple[int, int] | None:
    """The service's thresholds (stale, dead) in µs; None when it was never heard of."""
    row: Any = db.execute("SELECT stale_after, dead_after FROM heartbeats_services WHERE service = ?", (service,)).fetchone()
    return row


def count(db: apsw.Connection) -> int:
    """How many services were heard of."""
    return db.execute("SELECT count(*) FROM heartbeats_services").get


def listing(
    db: apsw.Connection, logtime_us: int, limit: int = 50, cursor: str | None = None
) -> tuple[list[Heartbeat], str | None, int]:
    """Up to `limit` services by name after `cursor` (the last name seen), judged at `logtime_us`; the next cursor, and the number of all."""
    rows: list[Any] = db.execute(
        f"SELECT {_COLUMNS} FROM heartbeats_services WHERE service > ? ORDER BY service LIMIT ?", (cursor or "", limit + 1)
    ).fetchall()
    following = rows[limit - 1][0] if len(rows) > limit else None
    return [_resource(row, logtime_us) for row in rows[:limit]], following, count(db)


def resources(db: apsw.Connection) -> dict[str, Heartbeat]:
    """Every service's last beat by name."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM heartbeats_services ORDER BY service")
    return {row[0]: _resource(row, None) for row in rows}  # type: ignore[index]


AREA = Area("heartbeats", EVENTS, TABLES, fold, stream, resources, VIEWS, overwriting={"heartbeat.recorded": "heartbeats/"})
