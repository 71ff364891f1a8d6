"""Commands of area display: note what the player reports of itself, its panel and what it played."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from api.commands import bounds, plays
from api.commands.deciding import Context, Fault, Handler, Rejected
from api.commands.plays import COUNT_MAX, Played
from projections.display import (
    DisplayAttached,
    DisplayFallback,
    DisplayLost,
    PlayerShown,
    PlayerStarted,
    PlayerStopped,
)

FACTS_MAX = 200
"""Facts in one report: what gathers in the seconds in which a busy log does not answer."""

PIXELS_MAX = 10_000
"""Width or height of a panel: beyond every screen that is driven pixel by pixel."""


class Started(PlayerStarted, frozen=True, tag_field="fact", tag="started", rename="camel", forbid_unknown_fields=True):
    """The player began; the fields of every fact are those of its event."""


class Stopped(PlayerStopped, frozen=True, tag_field="fact", tag="stopped", rename="camel", forbid_unknown_fields=True):
    """The player ended in order."""


class Shown(PlayerShown, frozen=True, tag_field="fact", tag="shown", rename="camel", forbid_unknown_fields=True):
    """Another item came onto the panel."""


class Attached(DisplayAttached, frozen=True, tag_field="fact", tag="attached", rename="camel", forbid_unknown_fields=True):
    """A panel takes pictures."""


class Lost(DisplayLost, frozen=True, tag_field="fact", tag="lost", rename="camel", forbid_unknown_fields=True):
    """The panel takes no more pictures."""


class Fallback(
    DisplayFallback, frozen=True, tag_field="fact", tag="fallback", rename={"from_": "from"}, forbid_unknown_fields=True
):
    """Another driver is used in place of the wanted one."""


Fact = Started | Stopped | Shown | Attached | Lost | Fallback | Played

_EVENTS: dict[type[msgspec.Struct], type[msgspec.Struct]] = {
    Started: PlayerStarted,
    Stopped: PlayerStopped,
    Shown: PlayerShown,
    Attached: DisplayAttached,
    Lost: DisplayLost,
    Fallback: DisplayFallback,
}


class RecordFacts(msgspec.Struct, frozen=True):
    """Note these facts in this order, all or none."""

    facts: tuple[Fact, ...]


def load(db: apsw.Connection, command: RecordFacts, now_us: int) -> None:
    """Nothing: facts are not judged against the state."""


def decide(command: RecordFacts, state: None, context: Context) -> Sequence[msgspec.Struct]:
    """One event for each fact."""
    if len(command.facts) > FACTS_MAX:
        raise Rejected("too_many", f"a report has at most {FACTS_MAX} facts, not {len(command.facts)}")
    bounds.refuse([fault for place, fact in enumerate(command.facts) for fault in _faults(fact, f"/facts/{place}")])
    return [_event(fact) for fact in command.facts]


def _event(fact: Fact) -> msgspec.Struct:
    if isinstance(fact, Played):
        return plays.event(fact)
    return _EVENTS[fact.__class__](*msgspec.structs.astuple(fact))


def _faults(fact: Fact, where: str) -> list[Fault]:
    match fact:
        case Played():
            return plays.faults(fact, where)
        case Started():
            return [*bounds.number(f"{where}/pid", fact.pid, 0, COUNT_MAX), *bounds.name(f"{where}/bootId", fact.boot_id)]
        case Stopped():
            return bounds.text(f"{where}/why", fact.why)
        case Shown():
            return _faults_shown(fact, where)
        case Attached():
            return [
                *bounds.name(f"{where}/driver", fact.driver),
                *bounds.number(f"{where}/width", fact.width, 1, PIXELS_MAX),
                *bounds.number(f"{where}/height", fact.height, 1, PIXELS_MAX),
                *bounds.text(f"{where}/address", fact.address),
                *bounds.name(f"{where}/fallbackFrom", fact.fallback_from),
            ]
        case Lost():
            return [*bounds.name(f"{where}/driver", fact.driver), *bounds.text(f"{where}/error", fact.error)]
        case Fallback():
            names = [*bounds.name(f"{where}/from", fact.from_), *bounds.name(f"{where}/to", fact.to)]
            return [*names, *bounds.text(f"{where}/why", fact.why)]


def _faults_shown(fact: Shown, where: str) -> list[Fault]:
    return [
        *bounds.text(f"{where}/slug", fact.slug, characters_min=1),
        *bounds.text(f"{where}/sha256", fact.sha256, 64),
        *bounds.number(f"{where}/turnStartedUs", fact.turn_started_us, -COUNT_MAX, COUNT_MAX),
        *bounds.number(f"{where}/plannedUs", fact.planned_us, 0, COUNT_MAX),
        *bounds.number(f"{where}/appliedPosition", fact.applied_position, 0, COUNT_MAX),
        *bounds.number(f"{where}/loopIndex", fact.loop_index, 0, COUNT_MAX),
    ]


def durable(command: RecordFacts) -> bool:
    """Whether the report holds more than what was shown and played."""
    return not all(isinstance(fact, Shown | Played) for fact in command.facts)


HANDLERS = {RecordFacts: Handler(load, decide, durable)}
