"""Commands of area plays. It has none of its own: proof of play comes among the facts that the player reports (see `display`)."""

from __future__ import annotations

import msgspec

from api.commands import bounds
from api.commands.deciding import Fault, Handler
from projections.plays import PlayerPlayed

COUNT_MAX = 2**53
"""Instants in µs and counts of frames: what every reader of JSON takes as a whole number."""


class Played(PlayerPlayed, frozen=True, tag_field="fact", tag="played", rename="camel", forbid_unknown_fields=True):
    """An item was on the panel; the fields are those of the event."""


def event(fact: Played) -> PlayerPlayed:
    """The event that notes the fact."""
    return PlayerPlayed(*msgspec.structs.astuple(fact))


def faults(fact: Played, where: str) -> list[Fault]:
    """What is wrong with the fact; `where` is its place in the request."""
    wrong = [
        *bounds.text(f"{where}/slug", fact.slug, characters_min=1),
        *bounds.text(f"{where}/filename", fact.filename),
        *bounds.text(f"{where}/sha256", fact.sha256, 64),
        *bounds.text(f"{where}/pack", fact.pack, bounds.NAME_CHARACTERS_MAX),
        *bounds.number(f"{where}/startedUs", fact.started_us, 0, COUNT_MAX),
        *bounds.number(f"{where}/framesShown", fact.frames_shown, 0, COUNT_MAX),
        *bounds.number(f"{where}/framesDropped", fact.frames_dropped, 0, COUNT_MAX),
    ]
    if not fact.started_us <= fact.ended_us <= COUNT_MAX:
        wrong.append(Fault(f"{where}/endedUs", "must not lie before startedUs"))
    return wrong


HANDLERS: dict[type, Handler] = {}
