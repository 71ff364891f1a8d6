"""Read slice loop: entries in order, mode and version."""

from __future__ import annotations

from typing import Any

from projections import loop, plan
from projections.loop import Entry, Loop, LoopItem, LoopItemAdded, LoopItemRemoved, LoopModeChanged, LoopReordered, When
from projections.plan import Turn

S = 1_000_000


def test_an_untouched_loop_is_empty(desk: Any) -> None:
    """All, in order, version 0."""
    assert loop.get(desk(loop.AREA).db) == Loop([], "all", False, 0)


def test_entries_stand_by_rank(desk: Any) -> None:
    """A whole order, one put between, one moved, one taken out."""
    here = desk(loop.AREA)
    when = When(("mon",), "08:00", "24:00")
    here.fold(LoopReordered((Entry("a", 10), Entry("b", 20, 2, 1_500_000, when))))
    here.fold(LoopItemAdded("c", 1, Entry("c", 15)))
    assert loop.get(here.db).items == [LoopItem("a"), LoopItem("c"), LoopItem("b", 2, 1.5, when)]
    here.fold(LoopItemAdded("a", 2, Entry("a", 30, 3)))
    here.fold(LoopItemRemoved("c"))
    here.fold(LoopItemRemoved("c"))
    assert loop.entries(here.db) == (Entry("b", 20, 2, 1_500_000, when), Entry("a", 30, 3))
    assert loop.plan_entries(loop.entries(here.db)) == (
        plan.Entry("b", 2, 1_500_000, plan.When(("mon",), "08:00", "24:00")),
        plan.Entry("a", 3),
    )
    here.fold(LoopReordered(()))
    assert loop.entries(here.db) == ()


def test_mode_and_seed(desk: Any) -> None:
    """As the event says, whole."""
    here = desk(loop.AREA)
    here.fold(LoopModeChanged("one", True, 7))
    assert loop.mode(here.db) == ("one", True, 7, 1)
    here.fold(LoopModeChanged("all", False))
    assert loop.mode(here.db) == ("all", False, None, 1)


def test_the_turn_is_the_last_one_carried(desk: Any) -> None:
    """An event without one leaves it."""
    here = desk(loop.AREA)
    here.fold(LoopReordered((), Turn("a", 5, 1)))
    here.fold(LoopItemRemoved("x"))
    assert here.db.execute("SELECT position, turn FROM loop_turn").fetchall() == [(1, '{"slug":"a","startedUs":5,"ordinal":1}')]


def test_the_view_counts_from_zero(desk: Any) -> None:
    """Seconds, and places in order."""
    here = desk(loop.AREA)
    here.fold(LoopReordered((Entry("b", 5, 2, 250_000), Entry("a", 9))))
    assert here.db.execute("SELECT * FROM loop").fetchall() == [(0, "b", 2, 0.25), (1, "a", 1, None)]


def test_an_entry_with_hours_reads_as_it_was_asked() -> None:
    """`from` is its name outside; what is not said is left out."""
    import msgspec

    text = b'{"slug":"a","when":{"from":"08:00"}}'
    assert msgspec.json.encode(loop.item(Entry("a", 1, when=When((), "08:00")))) == text
