"""Commands loop: replacing it, putting an entry in, taking one out, changing how it is gone through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from api.commands.active import SetActive
from api.commands.deciding import Rejected
from api.commands.loop import RANK_STEP, AddLoopItem, NewEntry, RemoveLoopItem, ReplaceLoop
from api.commands.media import AddMedia, FinishPreparing
from api.commands.playback import Control
from projections import loop, plan, planning
from projections.loop import ENTRIES_MAX, Entry, LoopItemAdded, LoopItemRemoved, LoopModeChanged, LoopReordered, When
from projections.media import Pack
from projections.plan import Turn

S = 1_000_000


def fill(bench: Any, slugs: str = "abcd") -> None:
    """Ready stills, in no loop."""
    for slug in slugs:
        sha = slug * 64
        bench.do(AddMedia(f"{slug}.png", sha, 1, "image/png", "image"))
        pack = Pack(f"p{slug}", 240, 320, 0, "contain", 1)
        bench.do(FinishPreparing(None, slug, sha, "image", "image/png", 1, 1, 1, ((1, 0),), pack, None, "test"))


def replace(slugs: str, **fields: Any) -> ReplaceLoop:
    """The loop with these items."""
    return ReplaceLoop(tuple(NewEntry(slug) for slug in slugs), **fields)


def entries(slugs: str) -> tuple[Entry, ...]:
    """What the log has of a fresh order."""
    return tuple(Entry(slug, (place + 1) * RANK_STEP) for place, slug in enumerate(slugs))


def order(bench: Any) -> str:
    """The loop's slugs."""
    return "".join(entry.slug for entry in bench.ask(loop.entries))


def on(bench: Any) -> Turn:
    """The turn in force now."""
    return bench.ask(lambda db: plan.turn_at(planning.state(db, bench.now_us), bench.now_us))


def refused(bench: Any, command: Any) -> tuple[str, list[str]]:
    """Code and pointers of a refusal, which must leave nothing in the log."""
    head = bench.store.head().position
    with pytest.raises(Rejected) as caught:
        bench.do(command)
    assert bench.store.head().position == head
    return caught.value.code, [fault.pointer for fault in caught.value.faults]


def test_a_first_loop_begins_now(bench: Any) -> None:
    """One event with every entry and the turn; the same again is nothing."""
    fill(bench)
    now = bench.now_us
    assert bench.do(replace("ab")) == [LoopReordered(entries("ab"), Turn("a", now))]
    assert bench.do(replace("ab", mode="all", shuffle=False)) == []


def test_entries_keep_what_was_asked(bench: Any) -> None:
    """Seconds become µs; one pass is left out; hours stand as given."""
    fill(bench)
    when = When(("mon", "fri"), "08:00", "24:00")
    bench.do(ReplaceLoop((NewEntry("a", 3, 1.25), NewEntry("b", 1, None, when), NewEntry("c", None, 0.1))))
    assert bench.ask(loop.entries) == (
        Entry("a", RANK_STEP, 3, 1_250_000),
        Entry("b", 2 * RANK_STEP, 1, None, when),
        Entry("c", 3 * RANK_STEP, 1, 100_000),
    )
    items = bench.ask(loop.get).items
    assert [(item.slug, item.repeat, item.duration) for item in items] == [("a", 3, 1.25), ("b", None, None), ("c", None, 0.1)]


def test_a_new_order_keeps_the_item_on(bench: Any) -> None:
    """The turn goes on from its beginning, at its new place."""
    fill(bench)
    bench.do(replace("abc"))
    began = on(bench).started_us
    bench.clock.advance(12)
    assert on(bench) == Turn("b", began + 10 * S, 1)
    assert bench.do(replace("cab")) == [LoopReordered(entries("cab"), Turn("b", began + 10 * S, 2))]
    assert bench.do(replace("")) == [LoopReordered((), Turn("b", began + 10 * S, 2))]


def test_mode_and_order_in_one_go(bench: Any) -> None:
    """Two events of one area; the last has the turn. Mode alone is one."""
    fill(bench)
    now = bench.now_us
    assert bench.do(replace("ab", mode="one")) == [
        LoopReordered(entries("ab")),
        LoopModeChanged("one", False, None, Turn("a", now)),
    ]
    bench.clock.advance(35)
    # Three whole lengths have played; the one under way is played to its end.
    assert bench.do(replace("ab", mode="all")) == [LoopModeChanged("all", False, None, Turn("a", now + 30 * S))]


def test_leaving_mode_one_with_another_order_fits_that_order(bench: Any) -> None:
    """The turn that is released stands at its place in the new loop."""
    fill(bench)
    bench.do(replace("ab", mode="one"))
    now = on(bench).started_us
    assert bench.do(replace("cba", mode="all"))[-1].turn == Turn("a", now, 2)


def test_shuffling_takes_a_seed_once(bench: Any) -> None:
    """The seed is made when shuffling begins, kept while it lasts, and dropped with it."""
    fill(bench)
    bench.do(replace("abcd"))
    (first,) = bench.do(replace("abcd", shuffle=True))
    assert (first.mode, first.shuffle) == ("all", True)
    assert first.seed is not None
    (second,) = bench.do(replace("abcd", mode="one"))
    assert (second.shuffle, second.seed) == (True, first.seed)
    (third,) = bench.do(replace("abcd", shuffle=False))
    assert (third.shuffle, third.seed) == (False, None)
    (fourth,) = bench.do(replace("abcd", shuffle=True))
    assert fourth.seed not in (None, first.seed)


@pytest.mark.parametrize(
    ("items", "pointers"),
    [
        ([NewEntry("a"), NewEntry("x"), NewEntry("y")], ["/items/1/slug", "/items/2/slug"]),
        ([NewEntry("a"), NewEntry("b"), NewEntry("a")], ["/items/2/slug"]),
        ([NewEntry("a", 0)], ["/items/0/repeat"]),
        ([NewEntry("a", 1001)], ["/items/0/repeat"]),
        ([NewEntry("a", duration=0.09)], ["/items/0/duration"]),
        ([NewEntry("a", duration=float("nan"))], ["/items/0/duration"]),
        ([NewEntry("a", duration=float("inf"))], ["/items/0/duration"]),
        ([NewEntry("a", when=When(("mon", "mo")))], ["/items/0/when/days"]),
        ([NewEntry("a", when=When((), "24:00", "7:00"))], ["/items/0/when/from", "/items/0/when/until"]),
        ([NewEntry("a", when=When((), "٠٧:٠٠"))], ["/items/0/when/from"]),
        ([NewEntry("a", 0, 0.0), NewEntry("x")], ["/items/0/repeat", "/items/0/duration", "/items/1/slug"]),
    ],
)
def test_everything_that_is_wrong_is_named(bench: Any, items: Sequence[NewEntry], pointers: list[str]) -> None:
    """Every fault in one answer, nothing in the log."""
    fill(bench)
    assert refused(bench, ReplaceLoop(tuple(items))) == ("invalid", pointers)


def test_an_unknown_mode_is_refused(bench: Any) -> None:
    """Also from a program that does not check its types."""
    fill(bench)
    assert refused(bench, replace("a", mode="some")) == ("invalid", ["/mode"])


def test_a_loop_has_a_bound(bench: Any) -> None:
    """One entry beyond it is too many, before anything else is looked at."""
    items = tuple(NewEntry(str(number)) for number in range(ENTRIES_MAX + 1))
    assert refused(bench, ReplaceLoop(items)) == ("too_many", [])


def test_an_old_version_is_refused(bench: Any) -> None:
    """Each event of the loop counts one; a refused or empty command counts none."""
    fill(bench)
    bench.do(replace("ab", mode="one", expected_version=0))
    assert bench.ask(loop.get).version == 2
    bench.do(replace("ab", expected_version=2))
    for command in (replace("a", expected_version=1), AddLoopItem(NewEntry("c"), None, 3), RemoveLoopItem("a", 1)):
        assert refused(bench, command) == ("stale", [])


def test_an_entry_is_put_at_its_place(bench: Any) -> None:
    """The end, the beginning, the middle; beyond the end is the end. The ranks leave room."""
    fill(bench)
    now = bench.now_us
    assert bench.do(AddLoopItem(NewEntry("a"))) == [LoopItemAdded("a", 0, Entry("a", RANK_STEP), Turn("a", now))]
    assert bench.do(AddLoopItem(NewEntry("b"), 99)) == [LoopItemAdded("b", 1, Entry("b", 2 * RANK_STEP), Turn("a", now))]
    half = RANK_STEP // 2
    assert bench.do(AddLoopItem(NewEntry("c"), 0)) == [LoopItemAdded("c", 0, Entry("c", half), Turn("a", now, 1))]
    assert bench.do(AddLoopItem(NewEntry("d"), 1)) == [
        LoopItemAdded("d", 1, Entry("d", (half + RANK_STEP) // 2), Turn("a", now, 2))
    ]
    assert order(bench) == "cdab"


def test_an_entry_that_is_there_stays_moves_or_changes(bench: Any) -> None:
    """Without a place it stays where it is; what is so already appends nothing; a change in place keeps its rank."""
    fill(bench)
    bench.do(replace("abc"))
    now = on(bench).started_us
    assert bench.do(AddLoopItem(NewEntry("b"))) == []
    assert bench.do(AddLoopItem(NewEntry("b"), 1)) == []
    assert bench.do(AddLoopItem(NewEntry("c"), 7)) == []
    changed = Entry("b", 2 * RANK_STEP, 2)
    assert bench.do(AddLoopItem(NewEntry("b", 2))) == [LoopItemAdded("b", 1, changed, Turn("a", now))]
    assert bench.do(AddLoopItem(NewEntry("a", 1), 2)) == [LoopItemAdded("a", 2, Entry("a", 4 * RANK_STEP), Turn("a", now, 2))]
    assert order(bench) == "bca"


def test_many_moves_to_one_spot_write_the_order_anew(bench: Any) -> None:
    """When there is no rank left between two neighbours, the whole order is said once with fresh ranks."""
    fill(bench)
    bench.do(replace("abcd"))
    kinds: list[str] = []
    expected = "abcd"
    for _ in range(25):
        last = expected[-1]
        expected = expected[0] + last + expected[1:-1]
        kinds += [event.__class__.__name__ for event in bench.do(AddLoopItem(NewEntry(last), 1))]
        assert order(bench) == expected
    assert kinds.count("LoopReordered") == 1
    assert kinds.count("LoopItemAdded") == 24


@pytest.mark.parametrize(
    ("command", "pointers"),
    [
        (AddLoopItem(NewEntry("x")), ["/slug"]),
        (AddLoopItem(NewEntry("a"), -1), ["/at"]),
        (AddLoopItem(NewEntry("a", 0)), ["/repeat"]),
        (AddLoopItem(NewEntry("a", when=When(("sunday",)))), ["/when/days"]),
    ],
)
def test_a_bad_entry_is_refused(bench: Any, command: AddLoopItem, pointers: list[str]) -> None:
    """With the field of this body."""
    fill(bench)
    assert refused(bench, command) == ("invalid", pointers)


def test_taking_out_the_item_on_lets_it_end(bench: Any) -> None:
    """Its turn goes on; then comes the entry that followed."""
    fill(bench)
    bench.do(replace("abc"))
    now = on(bench).started_us
    bench.clock.advance(2)
    assert bench.do(RemoveLoopItem("a")) == [LoopItemRemoved("a", Turn("a", now, 0))]
    bench.clock.advance(9)
    assert on(bench) == Turn("b", now + 10 * S, 0)
    assert refused(bench, RemoveLoopItem("a")) == ("not_found", [])


def test_a_change_of_the_loop_while_held_keeps_the_hold(bench: Any) -> None:
    """Neither order nor length ends a held item."""
    fill(bench)
    bench.do(replace("ab"))
    now = on(bench).started_us
    bench.do(Control("hold"))
    bench.clock.advance(100)
    bench.do(ReplaceLoop((NewEntry("b"), NewEntry("a", duration=1))))
    assert on(bench) == Turn("a", now, 1)


def test_the_choice_is_not_touched_by_the_loop(bench: Any) -> None:
    """A chosen item stays chosen when it leaves the loop."""
    fill(bench)
    bench.do(replace("ab"))
    bench.do(SetActive("b"))
    bench.do(replace("a"))
    assert bench.ask(lambda db: planning.state(db, bench.now_us)).active == "b"
