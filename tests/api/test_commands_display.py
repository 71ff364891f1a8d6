"""Commands display: the player's report, on a real log."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.commands.catalogue import HANDLERS
from api.commands.deciding import Context, Rejected
from api.commands.display import FACTS_MAX, Attached, Fallback, Lost, RecordFacts, Shown, Started, Stopped, decide
from api.commands.plays import Played
from projections import display, plays

CONTEXT = Context(1, 1, "id", 1, None)
SHOWN = Shown("cat", 1, 2, 3)
PLAYED = Played("cat", "cat.gif", "ab" * 32, 1, 2, 3, 0, True)


def test_one_report_becomes_events_of_two_areas(bench: Any) -> None:
    """Facts are noted in their order, in one batch, each in its stream."""
    facts = (Started(7, "boot-1"), Attached("sim", 240, 320), SHOWN, PLAYED, Lost("sim", "gone"), Stopped())
    outcome = bench.run(RecordFacts(facts))
    assert [(event.type, event.stream) for event in outcome.events] == [
        ("player.started", "player"),
        ("display.attached", "display"),
        ("player.shown", "player"),
        ("player.played", "plays"),
        ("display.lost", "display"),
        ("player.stopped", "player"),
    ]
    assert bench.ask(display.geometry) == (240, 320)
    assert bench.ask(display.get).slug == "cat"
    assert [play.slug for play in bench.ask(plays.listing)[0]] == ["cat"]


def test_a_report_is_read_from_json() -> None:
    """Each fact names itself under `fact`; its other fields are those of its event; unknown fields are refused."""
    body = b'{"facts": [{"fact": "fallback", "from": "st7789", "to": "sim", "why": "no SPI"}]}'
    assert msgspec.json.decode(body, type=RecordFacts) == RecordFacts((Fallback("st7789", "sim", "no SPI"),))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body.replace(b"why", b"because"), type=RecordFacts)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"facts": [{"fact": "exploded"}]}', type=RecordFacts)


def test_the_events_are_not_the_facts() -> None:
    """What is appended has the event's own struct, without the tag of the report."""
    (event,) = decide(RecordFacts((SHOWN,)), None, CONTEXT)
    assert event.__class__ is display.PlayerShown
    assert msgspec.json.encode(event) == b'{"slug":"cat","turnStartedUs":1,"plannedUs":2,"appliedPosition":3}'


def test_only_shown_and_played_are_relaxed() -> None:
    """One durable fact makes the whole report durable."""
    durable = HANDLERS[RecordFacts].durable
    assert not durable(RecordFacts((SHOWN, PLAYED)))
    assert durable(RecordFacts((SHOWN, Stopped())))


def test_an_empty_report_changes_nothing(bench: Any) -> None:
    """No fact, no event."""
    assert bench.do(RecordFacts(())) == []


def test_a_report_has_a_bound() -> None:
    """As many facts as the bound are taken, one more is refused."""
    assert len(decide(RecordFacts((SHOWN,) * FACTS_MAX), None, CONTEXT)) == FACTS_MAX
    with pytest.raises(Rejected) as caught:
        decide(RecordFacts((SHOWN,) * (FACTS_MAX + 1)), None, CONTEXT)
    assert caught.value.code == "too_many"


@pytest.mark.parametrize(
    ("fact", "pointer"),
    [
        (Attached("sim", 0, 320), "/facts/1/width"),
        (Attached("sim", 320, 10_001), "/facts/1/height"),
        (Attached("", 320, 240), "/facts/1/driver"),
        (Lost("sim", "x" * 2001), "/facts/1/error"),
        (Fallback("a", "", "why"), "/facts/1/to"),
        (Started(-1), "/facts/1/pid"),
        (Stopped("x\0"), "/facts/1/why"),
        (Shown("cat", 1, -1, 1), "/facts/1/plannedUs"),
        (Shown("cat", 1, 1, 2**60), "/facts/1/appliedPosition"),
    ],
)
def test_what_is_wrong_is_named(fact: Any, pointer: str) -> None:
    """One wrong fact refuses the report, with its place in it."""
    with pytest.raises(Rejected) as caught:
        decide(RecordFacts((SHOWN, fact)), None, CONTEXT)
    assert (caught.value.code, [fault.pointer for fault in caught.value.faults]) == ("invalid", [pointer])
