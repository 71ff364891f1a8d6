"""Commands plays: proof of play among the facts, on a real log."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.commands.display import RecordFacts
from api.commands.plays import Played, event, faults
from projections import plays
from projections.plays import PlayerPlayed

FINE = Played("cat", "cat.gif", "ab" * 32, 10, 20, 3, 1, True, "cd" * 32)


def test_a_proof_outlives_its_item(bench: Any) -> None:
    """Name and hash come from the fact; no item of that slug need exist."""
    bench.do(RecordFacts((msgspec.structs.replace(FINE, started_us=bench.now_us, ended_us=bench.now_us),)))
    ((play,), _, total) = bench.ask(plays.listing)
    assert (play.slug, play.filename, play.sha256, play.complete, total) == ("cat", "cat.gif", "ab" * 32, True, 1)
    assert bench.ask(lambda db: plays.packs(db, 10)) == {"cd" * 32}


def test_the_event_has_every_field_of_the_fact() -> None:
    """Nothing is lost or moved on the way."""
    assert event(FINE) == PlayerPlayed("cat", "cat.gif", "ab" * 32, 10, 20, 3, 1, True, "cd" * 32)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"slug": ""}, "/facts/0/slug"),
        ({"sha256": "a" * 65}, "/facts/0/sha256"),
        ({"ended_us": 9}, "/facts/0/endedUs"),
        ({"started_us": -1}, "/facts/0/startedUs"),
        ({"frames_shown": -1}, "/facts/0/framesShown"),
        ({"frames_dropped": 2**60}, "/facts/0/framesDropped"),
        ({"pack": "x" * 201}, "/facts/0/pack"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], pointer: str) -> None:
    """Each bound is named with the field that broke it."""
    assert [fault.pointer for fault in faults(msgspec.structs.replace(FINE, **change), "/facts/0")] == [pointer]
