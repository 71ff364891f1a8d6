"""Area clock: what the log knows of its own times: each boot, each step of the wall clock, each attestation."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from projections import plan
from projections.area import Area, At, turn_table, turn_writes
from projections.plan import Turn
from projections.rows import Patch, Put, Table, Write


class LogOpened(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The first append of a boot. `clean`: nothing relaxed was unsynced before. `synchronised`: the kernel trusts the wall clock."""

    boot_id: str
    synchronised: bool
    clean: bool
    epoch: int
    turn: Turn | None = None


class ClockStepped(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The wall clock moved against the boot-time clock by `step_us`, or its standing with the kernel changed."""

    step_us: int
    synchronised: bool
    turn: Turn | None = None


class LogAttested(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The digests of the projections as they were after `at` (an earlier position), by area, under these fingerprints."""

    at: int
    digests: dict[str, str]
    fingerprints: dict[str, str]


Event = LogOpened | ClockStepped | LogAttested
EVENTS: dict[str, type[msgspec.Struct]] = {
    "log.opened": LogOpened,
    "clock.stepped": ClockStepped,
    "log.attested": LogAttested,
}

CLOCK = Table(
    "clock_state",
    (
        ("only", "INTEGER", False),
        ("offset", "INTEGER", True),  # wall − logtime, µs, as of the last boot or step
        ("synchronised", "INTEGER", False),
        ("boot_id", "TEXT", True),
        ("opened_at", "INTEGER", True),  # position
    ),
    seed=((1, None, 0, None, None),),
)
ATTESTED = Table(
    "clock_attested",
    (
        ("position", "INTEGER", False),
        ("at", "INTEGER", False),
        ("digests", "TEXT", False),
        ("fingerprints", "TEXT", False),
    ),
)
TURN = turn_table("clock")
TABLES = (CLOCK, ATTESTED, TURN)
VIEWS = ("CREATE VIEW clock AS SELECT offset, synchronised, boot_id FROM clock_state",)


def stream(event: Event) -> str:
    """The log speaks of itself in one stream."""
    return "log"


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    offset = at.time_us - at.logtime_us
    match event:
        case LogOpened():
            row = {"offset": offset, "synchronised": int(event.synchronised), "boot_id": event.boot_id, "opened_at": at.position}
            return (Patch(CLOCK, (1,), row), *turn_writes(TURN, event.turn, at))
        case ClockStepped():
            row = {"offset": offset, "synchronised": int(event.synchronised)}
            return (Patch(CLOCK, (1,), row), *turn_writes(TURN, event.turn, at))
        case LogAttested():
            digests = msgspec.json.encode(event.digests).decode()
            fingerprints = msgspec.json.encode(event.fingerprints).decode()
            return (Put(ATTESTED, (at.position,), {"at": event.at, "digests": digests, "fingerprints": fingerprints}),)


# -- queries -------------------------------------------------------------------------------------------------------------------------


class ClockState(msgspec.Struct, frozen=True, rename="camel"):
    """Whether the kernel trusts the wall clock, and the boot in which the log was last opened."""

    synchronised: bool
    boot_id: str | None


def get(db: apsw.Connection) -> plan.Clock:
    """The clock in the plan's terms."""
    row: Any = db.execute("SELECT offset, synchronised FROM clock_state").fetchone()
    return plan.Clock(row[0], bool(row[1]))


def boot_id(db: apsw.Connection) -> str | None:
    """The boot of the last `log.opened`."""
    return db.execute("SELECT boot_id FROM clock_state").get


def resources(db: apsw.Connection) -> dict[str, ClockState]:
    """The clock under its one key."""
    return {"clock": ClockState(get(db).trusted, boot_id(db))}


AREA = Area("clock", EVENTS, TABLES, fold, stream, resources, VIEWS)
