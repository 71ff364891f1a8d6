"""Area playback: pause, hold and jumps, which move the plan without changing the loop or the choice."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from projections import plan
from projections.area import Area, At, turn_table, turn_writes
from projections.plan import Turn
from projections.rows import Patch, Table, Write


class PlaybackPaused(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Frames and turns stand still from here."""

    turn: Turn | None = None


class PlaybackResumed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """They go on from where they stood."""

    turn: Turn | None = None


class PlaybackJumped(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """This item's turn begins now. `why` is next, previous or jump."""

    slug: str
    why: str
    turn: Turn | None = None


class PlaybackHeld(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The present item stays until it is released."""

    turn: Turn | None = None


class PlaybackReleased(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The present pass ends as usual, then play goes on."""

    turn: Turn | None = None


Event = PlaybackPaused | PlaybackResumed | PlaybackJumped | PlaybackHeld | PlaybackReleased
EVENTS: dict[str, type[msgspec.Struct]] = {
    "playback.paused": PlaybackPaused,
    "playback.resumed": PlaybackResumed,
    "playback.jumped": PlaybackJumped,
    "playback.held": PlaybackHeld,
    "playback.released": PlaybackReleased,
}

PLAYBACK = Table(
    "playback_state",
    (("only", "INTEGER", False), ("paused_at", "INTEGER", True), ("held", "INTEGER", False)),  # paused_at: logtime µs
    seed=((1, None, 0),),
)
TURN = turn_table("playback")
TABLES = (PLAYBACK, TURN)
VIEWS = ("CREATE VIEW playback AS SELECT paused_at IS NULL AS playing, held FROM playback_state",)


def stream(event: Event) -> str:
    """There is one panel's playback."""
    return "playback"


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    turn = turn_writes(TURN, event.turn, at)
    change: dict[str, Any]
    match event:
        case PlaybackPaused():
            change = {"paused_at": at.logtime_us}
        case PlaybackResumed():
            change = {"paused_at": None}
        case PlaybackHeld():
            change = {"held": 1}
        case PlaybackReleased():
            change = {"held": 0}
        case PlaybackJumped():
            return turn
    return (Patch(PLAYBACK, (1,), change), *turn)


# -- queries -------------------------------------------------------------------------------------------------------------------------


class PlaybackState(msgspec.Struct, frozen=True):
    """Whether the plan moves, and whether it stays with its item."""

    playing: bool
    held: bool


def get(db: apsw.Connection) -> plan.Playback:
    """The state in the plan's terms."""
    row: Any = db.execute("SELECT paused_at, held FROM playback_state").fetchone()
    return plan.Playback(row[0], bool(row[1]))


def resources(db: apsw.Connection) -> dict[str, PlaybackState]:
    """The state under its one key."""
    state = get(db)
    return {"playback": PlaybackState(state.paused_at_us is None, state.held)}


AREA = Area("playback", EVENTS, TABLES, fold, stream, resources, VIEWS)
