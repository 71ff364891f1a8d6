"""Two times: logtime, which only the boot-time clock moves, and what the wall clock said."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore.clock import Reading, SystemClock, logtime_at
from eventstore.record import Head
from eventstore.store import EventStore
from eventstore.testing.clock import TIME_US, FakeClock
from tests.eventstore.conftest import event, problems

SECOND = 1_000_000
YEARS_10 = 10 * 365 * 86_400 * SECOND

STEPS = {"to 1970": -TIME_US, "-1 h": -3_600 * SECOND, "-1 s": -SECOND, "+1 h": 3_600 * SECOND, "+10 years": YEARS_10}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_the_wall_clock_mid_run(store: EventStore, clock: FakeClock, step: str) -> None:
    """Logtime goes on as time really passes; the event's time says what the wall clock read."""
    store.append("s", event())
    clock.step_wall(STEPS[step])
    clock.advance(7 * SECOND)
    store.append("s", event())
    one, two = store.read()
    assert (one.logtime_us, two.logtime_us) == (1, 1 + 7 * SECOND)
    assert two.time_us == TIME_US + STEPS[step] + 7 * SECOND
    assert store.now_us() == two.logtime_us + 1


@pytest.mark.parametrize("step", STEPS)
def test_a_start_with_a_wrong_clock(path: Path, clock: FakeClock, step: str) -> None:
    """A boot that believes another year goes on in logtime where the log ended; order, retries and versions are unaffected."""
    with EventStore.open(path, clock=clock) as store:
        first = store.append("s", event("1"), idempotency_key="k")
    clock.reboot(wall_us=TIME_US + STEPS[step])
    with EventStore.open(path, clock=clock) as store:
        assert store.append("s", event("1"), idempotency_key="k").events == first.events
        store.append("s", event("2"), 1)
        clock.advance(5)
        clock.reboot(wall_us=TIME_US)
        store.append("s", event("3"), 2)
        assert [one.logtime_us for one in store.read()] == [1, 2, 3]
        assert [one.time_us - TIME_US for one in store.read()] == [0, STEPS[step], 0]
        assert problems(store) == []


def test_logtime_increases_within_a_standing_instant(store: EventStore, clock: FakeClock) -> None:
    """Events at one reading of the clock are a microsecond apart, and what follows is as far from them as the clock says."""
    store.append("s", [event()] * 5)
    clock.advance(100)
    store.append("s", event())
    assert [one.logtime_us for one in store.read()] == [1, 2, 3, 4, 5, 101]


def test_logtime_of_a_reading() -> None:
    """The same boot: by the boot-time clock, at least one more. Another boot: one more."""
    head = Head(4, b"", 1_000, 0, "a", 500, 0, False, 0)
    assert [logtime_at(head, Reading(0, boottime, "a", True)) for boottime in (700, 501, 500, 400)] == [
        1_200,
        1_001,
        1_001,
        1_001,
    ]
    assert logtime_at(head, Reading(0, 900_000, "b", True)) == 1_001


def test_the_machines_own_clock() -> None:
    """Microseconds since 1970, a boot id, and a boot-time clock that does not go back."""
    clock = SystemClock()
    one, two = clock.read(), clock.read()
    assert one.wall_us > 1_600_000_000 * SECOND
    assert one.boottime_us <= two.boottime_us
    assert one.boot_id == two.boot_id != ""


def test_a_wall_clock_before_1970(store: EventStore, clock: FakeClock) -> None:
    """Even a negative time is kept as it was read, and verifies."""
    clock.set_wall(-5 * SECOND)
    assert store.append("s", event()).events[0].time_us == -5 * SECOND
