"""Read slice heartbeats: the last beat of each service, and what its silence means."""

from __future__ import annotations

from typing import Any

import pytest

from projections import heartbeats
from projections.heartbeats import Heartbeat, HeartbeatRecorded

SECOND_US = 1_000_000


def test_a_service_shows_its_last_beat(desk: Any) -> None:
    """The newer beat replaces the older one whole, details included; the thresholds appear as instants."""
    here = desk(heartbeats.AREA)
    here.fold(HeartbeatRecorded("camera", "failed", {"why": "no lens"}))
    here.fold(HeartbeatRecorded("camera", "ok"), 5 * SECOND_US)
    assert heartbeats.get(here.db, "camera", here.logtime_us) == Heartbeat(
        service="camera",
        status="ok",
        details=None,
        seen_at="2026-01-01T00:00:05.000000Z",
        stale_after="2026-01-01T00:00:35.000000Z",
        dead_after="2026-01-01T00:02:05.000000Z",
        liveness="alive",
    )


@pytest.mark.parametrize(
    ("silence_us", "expected"),
    [
        (0, "alive"),
        (30 * SECOND_US - 1, "alive"),
        (30 * SECOND_US, "stale"),
        (120 * SECOND_US - 1, "stale"),
        (120 * SECOND_US, "dead"),
    ],
)
def test_silence_makes_stale_then_dead(desk: Any, silence_us: int, expected: str) -> None:
    """By default after 30 and 120 seconds of logtime, each reached on the instant."""
    here = desk(heartbeats.AREA)
    at = here.fold(HeartbeatRecorded("camera", "ok"))
    (beat,) = heartbeats.listing(here.db, at.logtime_us + silence_us)[0]
    assert beat.liveness == expected


def test_thresholds_are_those_of_the_service(desk: Any) -> None:
    """A beat that carries its own is judged by them."""
    here = desk(heartbeats.AREA)
    at = here.fold(HeartbeatRecorded("nightly", "ok", None, 3600 * SECOND_US, 7200 * SECOND_US))
    assert heartbeats.thresholds(here.db, "nightly") == (3600 * SECOND_US, 7200 * SECOND_US)
    beat = heartbeats.get(here.db, "nightly", at.logtime_us + 3600 * SECOND_US)
    assert beat is not None
    assert beat.liveness == "stale"


def test_an_adopted_beat_is_as_old_as_it_says(desk: Any) -> None:
    """Its silence counts from then, not from the adoption."""
    here = desk(heartbeats.AREA)
    at = here.fold(HeartbeatRecorded("polling", "ok", seen_at_us=1_767_225_600_000_000 - 60 * SECOND_US))
    beat = heartbeats.get(here.db, "polling", at.logtime_us)
    assert beat is not None
    assert (beat.seen_at, beat.liveness) == ("2025-12-31T23:59:00.000000Z", "stale")


def test_pages_go_by_name(desk: Any) -> None:
    """Each service appears once, in the order of names, with the total of all."""
    here = desk(heartbeats.AREA)
    for service in ("c", "a", "b"):
        here.fold(HeartbeatRecorded(service, "ok"))
    items, cursor, total = heartbeats.listing(here.db, here.logtime_us, 2)
    assert ([item.service for item in items], cursor, total) == (["a", "b"], "b", 3)
    items, cursor, total = heartbeats.listing(here.db, here.logtime_us, 2, cursor)
    assert ([item.service for item in items], cursor, total) == (["c"], None, 3)


def test_the_state_of_the_area_holds_no_liveness(desk: Any) -> None:
    """What a service's row is does not depend on when one looks."""
    here = desk(heartbeats.AREA)
    here.fold(HeartbeatRecorded("camera", "degraded", {"fps": [1, 2.5, None]}))
    found = heartbeats.resources(here.db)
    assert list(found) == ["camera"]
    assert (found["camera"].liveness, found["camera"].details) == (None, {"fps": [1, 2.5, None]})
    assert here.db.execute("SELECT service, status, dead_after - seen_at FROM heartbeats").fetchall() == [
        ("camera", "degraded", 120 * SECOND_US)
    ]
