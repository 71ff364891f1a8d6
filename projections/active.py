"""Area active: the item that was chosen last."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from projections.area import Area, At, turn_table, turn_writes
from projections.plan import Turn
from projections.rows import Patch, Table, Write


class ActiveSet(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """This item was chosen; its turn begins at once."""

    slug: str
    turn: Turn | None = None


class ActiveCleared(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """No item is chosen; `slug` was."""

    slug: str | None = None
    turn: Turn | None = None


Event = ActiveSet | ActiveCleared
EVENTS: dict[str, type[msgspec.Struct]] = {"active.set": ActiveSet, "active.cleared": ActiveCleared}

ACTIVE = Table(
    "active_item",
    (("only", "INTEGER", False), ("slug", "TEXT", True), ("version", "INTEGER", False)),
    seed=((1, None, 0),),
)
TURN = turn_table("active")
TABLES = (ACTIVE, TURN)
VIEWS = ("CREATE VIEW active AS SELECT slug FROM active_item",)


def stream(event: Event) -> str:
    """There is one choice."""
    return "active"


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    slug = event.slug if isinstance(event, ActiveSet) else None
    return (Patch(ACTIVE, (1,), {"slug": slug, "version": at.version}), *turn_writes(TURN, event.turn, at))


# -- queries -------------------------------------------------------------------------------------------------------------------------


class Active(msgspec.Struct, frozen=True):
    """The choice as callers see it."""

    slug: str | None


def get(db: apsw.Connection) -> tuple[Active, int]:
    """The choice and its version."""
    row: Any = db.execute("SELECT slug, version FROM active_item").fetchone()
    return Active(row[0]), row[1]


def resources(db: apsw.Connection) -> dict[str, Active]:
    """The choice under its one key."""
    return {"active": get(db)[0]}


AREA = Area("active", EVENTS, TABLES, fold, stream, resources, VIEWS)
