"""Commands heartbeats: a service says how it is, on a real log."""

from __future__ import annotations

from typing import Any

import pytest

from api.commands.catalogue import HANDLERS
from api.commands.deciding import Context, Rejected
from api.commands.heartbeats import RecordHeartbeat, State, decide
from projections import heartbeats
from projections.heartbeats import HeartbeatRecorded

CONTEXT = Context(1, 1, "id", 1, None)
NEW = State(None, full=False)


def nested(levels: int) -> dict[str, Any]:
    """An object in which `levels` containers lie within each other."""
    inner: dict[str, Any] = {}
    for _ in range(levels - 1):
        inner = {"a": inner}
    return inner


def test_every_beat_is_an_event(bench: Any) -> None:
    """The same beat again is news: that it came."""
    for _ in range(2):
        assert bench.do(RecordHeartbeat("camera", "ok", {"fps": 30})) == [HeartbeatRecorded("camera", "ok", {"fps": 30})]
        bench.clock.advance(1)
    (beat,), _, total = bench.ask(lambda db: heartbeats.listing(db, bench.now_us))
    assert (beat.seen_at, beat.liveness, total) == ("2026-01-01T00:00:01.000000Z", "alive", 1)


def test_beats_are_relaxed() -> None:
    """They need not be on the disk before they are answered."""
    assert not HANDLERS[RecordHeartbeat].durable(RecordHeartbeat("camera", "ok"))


def test_thresholds_stay_until_they_are_changed(bench: Any) -> None:
    """A beat without thresholds carries the former ones on."""
    bench.do(RecordHeartbeat("nightly", "ok", None, 3600, 7200))
    assert bench.do(RecordHeartbeat("nightly", "ok")) == [HeartbeatRecorded("nightly", "ok", None, 3_600_000_000, 7_200_000_000)]
    assert bench.do(RecordHeartbeat("nightly", "ok", None, 60)) == [
        HeartbeatRecorded("nightly", "ok", None, 60_000_000, 7_200_000_000)
    ]


def test_stale_comes_before_dead() -> None:
    """Thresholds in the wrong order are refused, also against one that was there."""
    with pytest.raises(Rejected) as caught:
        decide(RecordHeartbeat("a", "ok", None, 300), NEW, CONTEXT)
    assert [fault.pointer for fault in caught.value.faults] == ["/staleAfterSeconds"]
    with pytest.raises(Rejected) as caught:
        decide(RecordHeartbeat("a", "ok", None, None, 10), NEW, CONTEXT)
    assert [fault.pointer for fault in caught.value.faults] == ["/deadAfterSeconds"]


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (RecordHeartbeat("", "ok"), "/service"),
        (RecordHeartbeat("x" * 201, "ok"), "/service"),
        (RecordHeartbeat("a\nb", "ok"), "/service"),
        (RecordHeartbeat("a", "alive"), "/status"),  # type: ignore[arg-type]
        (RecordHeartbeat("a", "ok", {"x": "y" * 16_384}), "/details"),
        (RecordHeartbeat("a", "ok", nested(65)), "/details"),
        (RecordHeartbeat("a", "ok", {"x": object()}), "/details"),
        (RecordHeartbeat("a", "ok", None, 0), "/staleAfterSeconds"),
        (RecordHeartbeat("a", "ok", None, None, 40_000_000), "/deadAfterSeconds"),
    ],
)
def test_what_is_wrong_is_named(command: RecordHeartbeat, pointer: str) -> None:
    """Each bound is refused with the field that broke it."""
    with pytest.raises(Rejected) as caught:
        decide(command, NEW, CONTEXT)
    assert (caught.value.code, [fault.pointer for fault in caught.value.faults]) == ("invalid", [pointer])


def test_what_just_fits_is_right() -> None:
    """Details of exactly 16 KiB and 64 levels, and a name of 200 characters."""
    details = {"x": "y" * (16_384 - len('{"x":""}'))}
    assert len(decide(RecordHeartbeat("ä" * 200, "ok", details), NEW, CONTEXT)) == 1
    assert len(decide(RecordHeartbeat("a", "ok", nested(64)), NEW, CONTEXT)) == 1


def test_made_up_services_stop_at_the_bound() -> None:
    """A new one is refused when all places are taken; a known one goes on."""
    with pytest.raises(Rejected) as caught:
        decide(RecordHeartbeat("a", "ok"), State(None, full=True), CONTEXT)
    assert caught.value.code == "too_many"
    assert len(decide(RecordHeartbeat("a", "ok"), State((1, 2), full=False), CONTEXT)) == 1
