"""Builds the plan's `State` from the tables of the areas, through their queries. Reads only; decides nothing."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import apsw
import msgspec

from projections import active, clock, loop, messages, plan, playback, settings
from projections.folding import folded_to
from projections.plan import Turn

MESSAGES_MAX = 20
"""Live messages in a state: far more than a panel can show; those after them cannot be seen anyway."""

_TURNS = " UNION ALL ".join(
    f"SELECT position, turn FROM {area}_turn" for area in ("media", "loop", "active", "playback", "settings", "clock")
)
_turn = msgspec.json.Decoder(Turn).decode
_delays = msgspec.json.Decoder(tuple[tuple[int, int], ...]).decode
_STILL = ((1, 0),)


def newest_turn(db: apsw.Connection) -> Turn | None:
    """The turn that the newest plan-relevant event carried."""
    row: Any = db.execute(f"SELECT turn FROM ({_TURNS}) WHERE turn IS NOT NULL ORDER BY position DESC LIMIT 1").fetchone()
    return None if row is None else _turn(row[0])


def items(db: apsw.Connection, slugs: set[str]) -> dict[str, plan.Item]:
    """These items, as far as the library has them, in the plan's terms."""
    rows: list[Any] = db.execute(
        "SELECT slug, sha256, status, delays, duration FROM media_items WHERE removed_at IS NULL "
        "AND slug IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(sorted(slugs)).decode(),),
    ).fetchall()
    return {row[0]: _item(*row) for row in rows}


@lru_cache(maxsize=loop.ENTRIES_MAX)
def _item(slug: str, sha256: str | None, status: str, delays: str | None, duration_us: int | None) -> plan.Item:
    """An item of a row. Kept, because a state is built anew with each event that matters, from much the same rows."""
    return plan.Item(slug, sha256, status == "ready", _delays(delays) if delays else _STILL, duration_us)


def playing(db: apsw.Connection, turn: Turn | None = None) -> plan.State:
    """The state after the last event that this connection sees, without messages: all that decides whose turn it is. `turn` replaces the newest
    turn (one that the plan itself has answered since)."""
    entries = loop.plan_entries(loop.entries(db))
    mode, shuffle, seed, _ = loop.mode(db)
    turn = turn or newest_turn(db)
    chosen = active.get(db)[0].slug
    values: dict[str, Any] = settings.get(db)
    slugs = {entry.slug for entry in entries} | {slug for slug in (chosen, turn.slug if turn else None) if slug is not None}
    if turn is not None and turn.waiting is not None:
        slugs.add(turn.waiting)
    return plan.State(
        position=folded_to(db),
        turn=turn,
        entries=entries,
        mode=mode,
        shuffle_seed=seed if shuffle else None,
        active=chosen,
        items=items(db, slugs),
        playback=playback.get(db),
        default_duration_us=round(values["defaultDuration"] * 1_000_000),
        time_zone=values["timeZone"],
        clock=clock.get(db),
        messages=(),
    )


def state(db: apsw.Connection, instant_us: int, turn: Turn | None = None) -> plan.State:
    """As `playing`, with the messages that are live at `instant_us`. With more than MESSAGES_MAX live messages, load it again when one has
    expired."""
    return msgspec.structs.replace(playing(db, turn), messages=messages.plan_messages(db, instant_us, MESSAGES_MAX))


class Moment(msgspec.Struct, frozen=True):
    """How far the log goes for a reader: the last event's position, logtime and wall time."""

    position: int
    logtime_us: int
    time_us: int

    def wall_us(self, logtime_us: int) -> int:
        """The wall clock's time at a logtime after the last event."""
        return self.time_us + logtime_us - self.logtime_us


def moment(db: apsw.Connection) -> Moment:
    """The end of the log, as this connection sees it."""
    row: Any = db.execute("SELECT position, logtime, time FROM head").fetchone()
    return Moment(*row)
