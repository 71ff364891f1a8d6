"""The plan's state, built from the tables of the areas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw
import pytest

from projections import catalogue, folding, plan, planning
from projections.active import ActiveCleared, ActiveSet
from projections.area import At
from projections.clock import ClockStepped, LogOpened
from projections.loop import Entry, LoopModeChanged, LoopReordered, When
from projections.media import MediaAdded, MediaProcessed, MediaRemoved, MediaUpdated, Pack
from projections.messages import MessageDismissed, MessagePosted
from projections.plan import Turn
from projections.playback import PlaybackHeld, PlaybackJumped, PlaybackPaused
from projections.rows import SqlRows
from projections.settings import SettingChanged

S = 1_000_000


class Log:
    """Tables in memory, with events folded into them a second apart."""

    def __init__(self) -> None:
        self.db = apsw.Connection(":memory:")
        folding.create_tables(self.db)
        self.position = 0

    def fold(self, *events: Any) -> None:
        """Fold these, one after the other."""
        for event in events:
            self.position += 1
            area = catalogue.AREA_OF_TYPE[catalogue.TYPE_OF_STRUCT[type(event)]]
            at = At(self.position, 1, self.position * S, self.position * S + 7)
            SqlRows(self.db).apply(area.fold(event, at))
            self.db.execute("UPDATE projections SET position = ?", (self.position,))

    def state(self, instant_us: int | None = None, turn: Turn | None = None) -> plan.State:
        """The state now, unless asked for another instant."""
        return planning.state(self.db, self.position * S if instant_us is None else instant_us, turn)


@pytest.fixture
def log() -> Iterator[Log]:
    """An empty log."""
    one = Log()
    yield one
    one.db.close()


def added(slug: str) -> MediaAdded:
    """An item of which nothing is known yet."""
    return MediaAdded(slug, f"{slug}.png", "image", "image/png", 1, slug * 64)


def processed(slug: str, delays: Any = ((1, 0),)) -> MediaProcessed:
    """It is ready."""
    return MediaProcessed(
        slug=slug, sha256=slug * 64, kind="image", type="image/png", width=1, height=1, frame_count=sum(n for n, _ in delays),
        delays=delays, packs=(Pack("p", 1, 1, 0, "contain", 1),), thumbnail=None, made_by="x",
    )  # fmt: skip


def test_an_empty_log_is_a_state(log: Log) -> None:
    """With every default, and the address screen."""
    state = log.state()
    assert state == plan.State(
        position=0,
        turn=None,
        entries=(),
        mode="all",
        shuffle_seed=None,
        active=None,
        items={},
        playback=plan.Playback(None, False),
        default_duration_us=10 * S,
        time_zone="UTC",
        clock=plan.Clock(None, False),
        messages=(),
    )
    assert plan.at(state, 5).slug is None


def test_each_area_has_its_part(log: Log) -> None:
    """Everything that decides what plays, in the plan's own terms."""
    log.fold(LogOpened("b", True, True, 0), added("a"), processed("a", ((3, 40_000),)), MediaUpdated("a", duration_us=5 * S))
    log.fold(LoopReordered((Entry("a", 1, 2, 3 * S, When(("sun",), "10:00")),)), LoopModeChanged("one", True, 99))
    log.fold(PlaybackPaused(), PlaybackHeld(), SettingChanged("defaultDuration", 2.5), SettingChanged("timeZone", "Asia/Tokyo"))
    log.fold(MessagePosted("m", "text", "warning", 5 * S))
    assert log.state() == plan.State(
        position=11,
        turn=None,
        entries=(plan.Entry("a", 2, 3 * S, plan.When(("sun",), "10:00")),),
        mode="one",
        shuffle_seed=99,
        active=None,
        items={"a": plan.Item("a", "a" * 64, True, ((3, 40_000),), 5 * S)},
        playback=plan.Playback(7 * S, True),
        default_duration_us=2_500_000,
        time_zone="Asia/Tokyo",
        clock=plan.Clock(7, True),
        messages=(plan.Message("m", "text", "warning", 11 * S, 16 * S, 11),),
    )


def test_items_are_those_that_are_named(log: Log) -> None:
    """By the loop, the choice, the turn and who is waited for; not the rest of the library, nor what was removed."""
    for slug in "abcdef":
        log.fold(added(slug))
    log.fold(LoopReordered((Entry("a", 1), Entry("f", 2))), ActiveSet("b"), MediaRemoved("f", "f.png"))
    assert set(log.state().items) == {"a", "b"}
    assert set(log.state(turn=Turn("c", 5, waiting="d")).items) == {"a", "b", "c", "d"}
    assert log.state().items["a"] == plan.Item("a", "a" * 64, False, ((1, 0),))


def test_the_newest_turn_counts_whichever_area_carried_it(log: Log) -> None:
    """An event without a turn leaves the one before; another one may be put in its place."""
    assert planning.newest_turn(log.db) is None
    for event in (
        ClockStepped(1, True, Turn("f", 6)),
        ActiveSet("a", Turn("a", 1)),
        LoopReordered((), Turn("b", 2)),
        PlaybackJumped("c", "jump", Turn("c", 3, 4, True, 5, "w")),
        SettingChanged("timeZone", "UTC", Turn("d", 4)),
        ActiveCleared("a", Turn(None, 5)),
    ):
        log.fold(event)
        assert planning.newest_turn(log.db) == event.turn
        assert log.state().turn == event.turn
    log.fold(SettingChanged("brightness", 3))
    assert log.state().turn == Turn(None, 5)
    assert log.state(turn=Turn("x", 9)).turn == Turn("x", 9)


def test_a_seed_counts_only_while_shuffled(log: Log) -> None:
    """Whatever stands in its column."""
    log.fold(LoopModeChanged("all", False, 5))
    assert log.state().shuffle_seed is None


def test_only_the_first_live_messages_are_loaded(log: Log) -> None:
    """Of those that are live at the instant; the rest come up as they go."""
    for number in range(planning.MESSAGES_MAX + 5):
        log.fold(MessagePosted(f"{number}", "x", "info", 100 * S if number < 3 else None))
    assert [message.id for message in log.state().messages] == [str(n) for n in range(planning.MESSAGES_MAX)]
    log.fold(MessageDismissed("5"))
    expected = [str(n) for n in range(3, planning.MESSAGES_MAX + 4) if n != 5]
    assert [message.id for message in log.state(104 * S).messages] == expected


def test_reading_again_gives_equal_states(log: Log) -> None:
    """Rows that did not change need not be decoded again: what is kept of them is the same value."""
    log.fold(added("a"), processed("a", ((2, S),)), LoopReordered((Entry("a", 1, when=When((), "08:00")),), Turn("a", 1)))
    first, second = log.state(), log.state()
    assert first == second
    assert plan.at(first, 5 * S) == plan.at(second, 5 * S)
    log.fold(MediaUpdated("a", duration_us=S))
    assert log.state().items["a"].duration_us == S
    assert first.items["a"].duration_us is None


def test_a_moment_maps_logtime_to_the_wall() -> None:
    """By the two times of the last event."""
    assert planning.Moment(3, 100, 5_000).wall_us(150) == 5_050
