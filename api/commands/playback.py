"""Commands of area playback: play, pause, next, previous, jump, hold, release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import apsw
import msgspec

from api.commands.deciding import Context, Fault, Handler, Rejected
from projections import plan, planning
from projections.playback import PlaybackHeld, PlaybackJumped, PlaybackPaused, PlaybackReleased, PlaybackResumed

Action = Literal["play", "pause", "toggle", "next", "previous", "hold", "release"]


class Control(msgspec.Struct, frozen=True):
    """One of the buttons."""

    action: Action


class Jump(msgspec.Struct, frozen=True):
    """Begin this item's turn now, without choosing it for good."""

    slug: str


class State(msgspec.Struct, frozen=True):
    """The plan, and whether the asked-for item exists."""

    plan: plan.State
    known: bool


def load(db: apsw.Connection, command: Control | Jump, now_us: int) -> State:
    """The plan with the item that the command names."""
    state = planning.playing(db)
    if isinstance(command, Control):
        return State(state, known=True)
    named = planning.items(db, {command.slug})
    return State(msgspec.structs.replace(state, items={**state.items, **named}), known=bool(named))


def decide(command: Control | Jump, state: State, context: Context) -> Sequence[msgspec.Struct]:
    """At most one event; none when it is so already, or when there is nothing else to go to."""
    before, now_us = state.plan, context.now_us
    if isinstance(command, Jump):
        if not state.known:
            fault = Fault("/slug", f"there is no item {command.slug!r}")
            raise Rejected("invalid", fault.message, [fault])
        return [PlaybackJumped(command.slug, "jump", plan.started(before, command.slug, now_us))]
    paused, held = before.playback.paused_at_us is not None, before.playback.held
    action = command.action
    if action == "toggle":
        action = "play" if paused else "pause"
    match action:
        case "play":
            return [PlaybackResumed(plan.resumed(before, now_us))] if paused else []
        case "pause":
            return [] if paused else [PlaybackPaused(plan.turn_at(before, now_us))]
        case "hold":
            return [] if held else [PlaybackHeld(plan.turn_at(before, now_us))]
        case "release":
            return [PlaybackReleased(plan.released(before, now_us))] if held else []
        case "next" | "previous":
            turn = plan.next_turn(before, now_us) if action == "next" else plan.previous_turn(before, now_us)
            return [] if turn is None or turn.slug is None else [PlaybackJumped(turn.slug, action, turn)]
        case _:
            raise Rejected("invalid", f"there is no button {action!r}; there are {', '.join(get_args(Action))}")


HANDLERS = {Control: Handler(load, decide), Jump: Handler(load, decide)}
