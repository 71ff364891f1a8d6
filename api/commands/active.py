"""Commands of area active: choose an item, or none."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from api.commands.deciding import Context, Fault, Handler, Rejected
from projections import plan, planning
from projections.active import ActiveCleared, ActiveSet
from projections.plan import Turn


class SetActive(msgspec.Struct, frozen=True):
    """Choose this item; None: none."""

    slug: str | None


class State(msgspec.Struct, frozen=True):
    """The plan, and whether the asked-for item exists."""

    plan: plan.State
    known: bool


def load(db: apsw.Connection, command: SetActive, now_us: int) -> State:
    """The plan with the item that the command names."""
    state = planning.playing(db)
    if command.slug is None:
        return State(state, known=True)
    named = planning.items(db, {command.slug})
    return State(msgspec.structs.replace(state, items={**state.items, **named}), known=bool(named))


def decide(command: SetActive, state: State, context: Context) -> Sequence[msgspec.Struct]:
    """The choice, with the turn that it begins. Nothing when the item is chosen and on, or nothing was chosen."""
    before = state.plan
    if not state.known:
        fault = Fault("/slug", f"there is no item {command.slug!r}")
        raise Rejected("invalid", fault.message, [fault])
    if command.slug is None:
        return [] if before.active is None else [ActiveCleared(before.active, Turn(None, context.now_us))]
    if before.active == command.slug:
        turn = plan.turn_at(before, context.now_us)
        if command.slug in (turn.slug, turn.waiting):
            return []
    after = msgspec.structs.replace(before, active=command.slug)
    return [ActiveSet(command.slug, plan.started(after, command.slug, context.now_us))]


HANDLERS = {SetActive: Handler(load, decide)}
