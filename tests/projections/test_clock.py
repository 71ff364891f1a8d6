"""Read slice clock: what the log knows of its own times."""

from __future__ import annotations

from typing import Any

from projections import clock, plan
from projections.clock import ClockState, ClockStepped, LogAttested, LogOpened
from projections.plan import Turn


def test_before_the_first_boot_nothing_is_known(desk: Any) -> None:
    """No offset, no trust."""
    here = desk(clock.AREA)
    assert clock.get(here.db) == plan.Clock(None, False)
    assert clock.boot_id(here.db) is None


def test_a_boot_and_a_step_set_the_offset(desk: Any) -> None:
    """That of their own two times; a step says whether the clock is trusted, and keeps the boot."""
    here = desk(clock.AREA)
    at = here.fold(LogOpened("boot-1", False, True, 0, Turn("a", 1)))
    assert clock.get(here.db) == plan.Clock(at.time_us - at.logtime_us, False)
    at = here.fold(ClockStepped(5, True, Turn("b", 2)), 10)
    assert clock.get(here.db) == plan.Clock(at.time_us - at.logtime_us, True)
    assert clock.resources(here.db) == {"clock": ClockState(True, "boot-1")}
    assert here.db.execute("SELECT position, turn FROM clock_turn").fetchall() == [(2, '{"slug":"b","startedUs":2}')]
    assert here.db.execute("SELECT * FROM clock").fetchall() == [(at.time_us - at.logtime_us, 1, "boot-1")]


def test_attestations_are_kept_by_their_own_position(desk: Any) -> None:
    """They change nothing of the clock."""
    here = desk(clock.AREA)
    here.fold(LogAttested(0, {"loop": "aa"}, {"loop": "ff"}))
    assert here.db.execute("SELECT position, at, digests, fingerprints FROM clock_attested").fetchall() == [
        (1, 0, '{"loop":"aa"}', '{"loop":"ff"}')
    ]
    assert clock.get(here.db) == plan.Clock(None, False)
