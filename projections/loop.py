"""Area loop: which items play in which order, and how the order is gone through."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import apsw
import msgspec

from projections import plan
from projections.area import Area, At, turn_table, turn_writes
from projections.plan import Turn
from projections.rows import Clear, Delete, Patch, Put, Table, Write

Mode = Literal["all", "one"]

ENTRIES_MAX = 10_000
"""Entries of one loop: an event that carries them all stays far below the size limit of an event."""


class When(msgspec.Struct, frozen=True, rename={"from_": "from"}, omit_defaults=True, forbid_unknown_fields=True):
    """Days (`mon` … `sun`, empty: every day) and hours (`HH:MM`, `until` exclusive; until ≤ from: overnight) of an entry."""

    days: tuple[str, ...] = ()
    from_: str | None = None
    until: str | None = None


class Entry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """One place in the loop. `rank` orders the entries; gaps between ranks leave room for an entry to be put between two others."""

    slug: str
    rank: int
    repeat: int = 1
    duration_us: int | None = None
    when: When | None = None


class LoopReordered(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The loop is now exactly this."""

    items: tuple[Entry, ...]
    turn: Turn | None = None


class LoopItemAdded(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """An entry was put at place `at` (0 is the first); its rank says so, too."""

    slug: str
    at: int
    item: Entry
    turn: Turn | None = None


class LoopItemRemoved(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The entry of this item was taken out."""

    slug: str
    turn: Turn | None = None


class LoopModeChanged(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """How the loop is gone through: `mode`, `shuffle`, and the seed of the shuffled orders."""

    mode: Mode
    shuffle: bool
    seed: int | None = None
    turn: Turn | None = None


Event = LoopReordered | LoopItemAdded | LoopItemRemoved | LoopModeChanged
EVENTS: dict[str, type[msgspec.Struct]] = {
    "loop.reordered": LoopReordered,
    "loop.item_added": LoopItemAdded,
    "loop.item_removed": LoopItemRemoved,
    "loop.mode_changed": LoopModeChanged,
}

ITEMS = Table(
    "loop_items",
    (
        ("slug", "TEXT", False),
        ("rank", "INTEGER", False),
        ("repeat", "INTEGER", False),
        ("duration", "INTEGER", True),  # µs
        ("hours", "TEXT", True),  # JSON of When
    ),
    derived=("CREATE INDEX loop_by_rank ON loop_items (rank)",),
)
MODE = Table(
    "loop_mode",
    (
        ("only", "INTEGER", False),
        ("mode", "TEXT", False),
        ("shuffle", "INTEGER", False),
        ("seed", "INTEGER", True),
        ("version", "INTEGER", False),
    ),
    seed=((1, "all", 0, None, 0),),
)
TURN = turn_table("loop")
TABLES = (ITEMS, MODE, TURN)
VIEWS = (
    """CREATE VIEW loop AS SELECT row_number() OVER (ORDER BY rank) - 1 AS ordinal, slug, repeat, duration / 1e6 AS duration
    FROM loop_items ORDER BY rank""",
)


def stream(event: Event) -> str:
    """There is one loop."""
    return "loop"


def _put(entry: Entry) -> Put:
    when = None if entry.when is None else msgspec.json.encode(entry.when).decode()
    row = {"rank": entry.rank, "repeat": entry.repeat, "duration": entry.duration_us, "hours": when}
    return Put(ITEMS, (entry.slug,), row)


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    version = Patch(MODE, (1,), {"version": at.version})
    turn = turn_writes(TURN, event.turn, at)
    match event:
        case LoopReordered(items=items):
            return (Clear(ITEMS), *(_put(entry) for entry in items), version, *turn)
        case LoopItemAdded(item=entry):
            return (_put(entry), version, *turn)
        case LoopItemRemoved(slug=slug):
            return (Delete(ITEMS, (slug,)), version, *turn)
        case LoopModeChanged():
            mode = {"mode": event.mode, "shuffle": int(event.shuffle), "seed": event.seed, "version": at.version}
            return (Patch(MODE, (1,), mode), *turn)


# -- queries -------------------------------------------------------------------------------------------------------------------------


class LoopItem(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An entry as callers see it; `duration` in seconds."""

    slug: str
    repeat: int | None = None
    duration: float | None = None
    when: When | None = None


class Loop(msgspec.Struct, frozen=True):
    """The loop as callers see it."""

    items: list[LoopItem]
    mode: Mode
    shuffle: bool
    version: int


_when = msgspec.json.Decoder(When).decode


def entries(db: apsw.Connection) -> tuple[Entry, ...]:
    """The entries in order."""
    rows: list[Any] = db.execute("SELECT slug, rank, repeat, duration, hours FROM loop_items ORDER BY rank").fetchall()
    return tuple(map(_entry, *zip(*rows, strict=True))) if rows else ()


@lru_cache(maxsize=ENTRIES_MAX)
def _entry(slug: str, rank: int, repeat: int, duration_us: int | None, hours: str | None) -> Entry:
    """An entry of a row. Kept, because the loop is read with each command that may change what plays."""
    return Entry(slug, rank, repeat, duration_us, _when(hours) if hours else None)


def mode(db: apsw.Connection) -> tuple[Mode, bool, int | None, int]:
    """Mode, shuffle, seed and version."""
    row: Any = db.execute("SELECT mode, shuffle, seed, version FROM loop_mode").fetchone()
    mode, shuffle, seed, version = row
    return mode, bool(shuffle), seed, version


def item(entry: Entry) -> LoopItem:
    """An entry as callers see it."""
    duration = None if entry.duration_us is None else entry.duration_us / 1_000_000
    return LoopItem(entry.slug, None if entry.repeat == 1 else entry.repeat, duration, entry.when)


def get(db: apsw.Connection) -> Loop:
    """The loop as callers see it."""
    how, shuffle, _, version = mode(db)
    return Loop([item(entry) for entry in entries(db)], how, shuffle, version)


def plan_entries(those: tuple[Entry, ...]) -> tuple[plan.Entry, ...]:
    """The entries in the plan's terms."""
    return tuple(map(_plan_entry, those))


@lru_cache(maxsize=ENTRIES_MAX)
def _plan_entry(entry: Entry) -> plan.Entry:
    when = None if entry.when is None else plan.When(entry.when.days, entry.when.from_, entry.when.until)
    return plan.Entry(entry.slug, entry.repeat, entry.duration_us, when)


def resources(db: apsw.Connection) -> dict[str, Loop]:
    """The loop under its one key."""
    return {"loop": get(db)}


AREA = Area("loop", EVENTS, TABLES, fold, stream, resources, VIEWS)
