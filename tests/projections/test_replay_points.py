"""Points of the log: how they are written, and that the two mappings between the wall clock and logtime undo each other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.clock import Reading
from eventstore.record import NewEvent
from eventstore.store import EventStore
from projections.replay import points
from projections.replay.points import Answer, BadPoint, Instant, Time
from projections.times import parse_rfc3339

NOON_US = parse_rfc3339("2026-01-31T12:00:00Z")
SECOND_US = 1_000_000


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.wall_us, self.boottime_us, self.boot = NOON_US, 5 * SECOND_US, "a"

    def read(self) -> Reading:
        return Reading(self.wall_us, self.boottime_us, self.boot, True)

    def advance(self, us: int, step_us: int = 0) -> None:
        """Let time pass; `step_us` moves the wall clock besides."""
        self.boottime_us += us
        self.wall_us += us + step_us


def log_of(moves: list[tuple[int, int]]) -> EventStore:
    """A log with one event before and one after each move of the clock."""
    clock = HandClock()
    store = EventStore.open(":memory:", clock=clock)
    store.append("s", NewEvent("thing.happened"))
    for us, step_us in moves:
        clock.advance(us, step_us)
        store.append("s", NewEvent("thing.happened"))
    return store


def resolve(store: EventStore, point: str, through: int | None = None, now_us: int = NOON_US) -> Instant:
    with store.reading() as db:
        return points.resolve(db, point, through, now_us)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("head", "head"),
        ("0", 0),
        ("1234", 1234),
        ("2026-01-31T12:00:00Z", Time(NOON_US)),
        ("2026-01-31T13:00:00.000001+01:00", Time(NOON_US + 1)),
        ("-10m", Time(NOON_US - 600 * SECOND_US)),
        ("10m-ago", Time(NOON_US - 600 * SECOND_US)),
        ("10m ago", Time(NOON_US - 600 * SECOND_US)),
        ("-1h30m", Time(NOON_US - 5400 * SECOND_US)),
        ("-0.5s", Time(NOON_US - 500_000)),
        ("2d-ago", Time(NOON_US - 172_800 * SECOND_US)),
    ],
)
def test_a_point_is_a_position_a_time_a_time_ago_or_head(text: str, meant: object) -> None:
    """Every way of writing a point is read as what it says."""
    assert points.parse(text, NOON_US) == meant


@pytest.mark.parametrize("text", ["", "yesterday", "-10", "10m", "-10x", "-m", "--5s", "2026-13-01T00:00:00Z", "1.5", "-5s-ago"])
def test_anything_else_is_refused_with_what_would_be_right(text: str) -> None:
    """A text that is no point is answered with the forms that are."""
    with pytest.raises(BadPoint, match=r"write a position \(1234\)"):
        points.parse(text, NOON_US)


def test_a_position_is_the_instant_of_its_event() -> None:
    """Position, logtime and wall time are those of the event; head is the last one."""
    store = log_of([(SECOND_US, 0), (SECOND_US, 0)])
    first = resolve(store, "1")
    assert resolve(store, "2") == Instant(2, first.logtime_us + SECOND_US, NOON_US + SECOND_US)
    assert resolve(store, "head") == resolve(store, "3")
    assert resolve(store, "head", through=2) == resolve(store, "2")
    assert resolve(store, "0") == Instant(0, 0, 0)


def test_a_position_that_is_not_there_is_refused() -> None:
    """Beyond the head, or beyond --through, there is nothing to show."""
    store = log_of([(SECOND_US, 0)])
    with pytest.raises(BadPoint, match="position 3 is beyond 2"):
        resolve(store, "3")
    with pytest.raises(BadPoint, match="--through"):
        resolve(store, "2", through=1)
    with pytest.raises(BadPoint, match="no position 9"):
        resolve(store, "head", through=9)


def test_a_time_is_after_the_last_event_until_then() -> None:
    """Between two events the first of them is the last that had happened; after the log's end its last one."""
    store = log_of([(10 * SECOND_US, 0), (10 * SECOND_US, 0)])
    first_us = resolve(store, "1").logtime_us
    assert resolve(store, "2026-01-31T12:00:04Z") == Instant(1, first_us + 4 * SECOND_US, NOON_US + 4 * SECOND_US)
    assert resolve(store, "2026-01-31T12:00:10Z").position == 2
    assert resolve(store, "2026-01-31T12:01:00Z") == Instant(3, first_us + 60 * SECOND_US, NOON_US + 60 * SECOND_US)
    assert resolve(store, "-50s", now_us=NOON_US + 60 * SECOND_US).position == 2


def test_a_time_before_everything_is_position_zero() -> None:
    """Nothing had happened; that holds for an empty log at any time."""
    assert resolve(log_of([]), "2026-01-31T11:59:59Z").position == 0
    empty = EventStore.open(":memory:")
    assert resolve(empty, "2026-01-31T12:00:00Z").position == 0
    assert resolve(empty, "head") == Instant(0, 0, 0)


def test_through_says_how_far_the_log_was_known() -> None:
    """With --through the last known event's stretch has no end, whatever came later."""
    store = log_of([(10 * SECOND_US, -5 * SECOND_US), (10 * SECOND_US, 0)])
    first_us = resolve(store, "1").logtime_us
    assert resolve(store, "2026-01-31T12:00:12Z", through=1) == Instant(1, first_us + 12 * SECOND_US, NOON_US + 12 * SECOND_US)
    assert resolve(store, "2026-01-31T12:00:12Z").position == 2


def test_a_time_that_was_shown_twice_lists_both_and_takes_the_last() -> None:
    """After the clock was set back an hour, ten past twelve came twice."""
    hour_us = 3600 * SECOND_US
    store = log_of([(hour_us // 2, 0), (1, -hour_us), (hour_us, 0)])
    instant = resolve(store, "2026-01-31T12:10:00Z")
    first_us = resolve(store, "1").logtime_us
    again_us = resolve(store, "3").logtime_us + 2400 * SECOND_US - 1
    assert instant.answers == (Answer(1, first_us + 600 * SECOND_US), Answer(3, again_us))
    assert (instant.position, instant.logtime_us, instant.skipped) == (3, again_us, False)
    (sentence,) = points.describe(instant)
    assert sentence == "the wall clock showed 2026-01-31T12:10:00.000000Z 2 times (after positions 1, 3); this is the last"


def test_events_of_one_instant_are_one_answer() -> None:
    """A batch has one wall time and logtimes a microsecond apart: that is one answer, after the last of them."""
    clock = HandClock()
    store = EventStore.open(":memory:", clock=clock)
    store.append("s", [NewEvent("thing.happened")] * 5)
    instant = resolve(store, "2026-01-31T12:00:00Z")
    assert (instant.position, instant.answers) == (5, ())


def test_a_time_that_the_clock_jumped_over_is_the_last_instant_before() -> None:
    """The clock was set forward an hour between two events: half past twelve was never shown."""
    store = log_of([(10 * SECOND_US, 3600 * SECOND_US)])
    instant = resolve(store, "2026-01-31T12:30:00Z")
    assert instant == Instant(1, resolve(store, "2").logtime_us - 1, NOON_US + 1800 * SECOND_US, skipped=True)
    assert "never showed" in points.describe(instant)[0]


moves = st.lists(
    st.tuples(st.integers(1, 10**9), st.sampled_from([0, 0, 0, 700, -700, 10**8, -(10**8), 10**12, -(10**12)])), max_size=12
)


@settings(max_examples=200, deadline=None)
@given(moves, st.data())
def test_what_the_clock_showed_leads_back_to_the_instant(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    """For every logtime at or after that of `through`, the wall time resolved through the same position gives exactly that logtime."""
    through = data.draw(st.integers(1, len(steps) + 1))
    beyond_us = data.draw(st.integers(0, 10**13))
    with log_of(steps) as store, store.reading() as db:
        logtime_us = points.at_position(db, through).logtime_us + beyond_us
        time_us = points.time_of(db, logtime_us, through)
        assert time_us is not None
        instant = points.at_time(db, time_us, through)
    assert (instant.position, instant.logtime_us) == (through, logtime_us)


@settings(max_examples=200, deadline=None)
@given(moves, st.data())
def test_an_instant_shows_the_time_that_was_asked_for(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    """Whatever time was shown at some instant, the instant found for it showed it too, and its position is the last event until then."""
    with log_of(steps) as store, store.reading() as db:
        first_us = points.at_position(db, 1).logtime_us
        head = len(steps) + 1
        last_us = points.at_position(db, head).logtime_us
        asked_us = data.draw(st.integers(first_us, last_us + 10**9))
        time_us = points.time_of(db, asked_us, head)
        assert time_us is not None
        instant = points.at_time(db, time_us, head)
        assert not instant.skipped
        assert instant.logtime_us >= asked_us
        assert points.time_of(db, instant.logtime_us, head) == time_us
        assert points.position_at(db, instant.logtime_us, head) == instant.position
