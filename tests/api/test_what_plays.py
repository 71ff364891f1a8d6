"""What plays: sequences of commands against a clock that moves when told to, asked of the plan as the player asks it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.commands.active import SetActive
from api.commands.loop import AddLoopItem, NewEntry, RemoveLoopItem, ReplaceLoop
from api.commands.media import AddMedia, FailPreparing, FinishPreparing, RemoveMedia, RestoreMedia
from api.commands.playback import Control, Jump
from api.commands.settings import ChangeSettings
from api.execution import Executor
from eventstore.store import EventStore
from projections import active, folding, loop, plan, planning
from projections.loop import When
from projections.media import Pack

S = 1_000_000


class Show:
    """A library of ten-second stills on a bench, and the question what is on."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        self.do, self.wait = bench.do, bench.clock.advance

    def upload(self, *slugs: str, ready: bool = True, **flags: Any) -> None:
        """Items, prepared unless told otherwise."""
        for slug in slugs:
            self.do(AddMedia(f"{slug}.png", slug * 64, 1, "image/png", "image", **flags))
            if ready:
                self.prepare(slug)

    def prepare(self, slug: str) -> None:
        """The worker is done with it."""
        pack = Pack(f"p{slug}", 240, 320, 0, "contain", 1)
        self.do(FinishPreparing(None, slug, slug * 64, "image", "image/png", 1, 1, 1, ((1, 0),), pack, None, "test"))

    def loop(self, slugs: str, **fields: Any) -> None:
        """The loop is now these."""
        self.do(ReplaceLoop(tuple(NewEntry(slug) for slug in slugs), **fields))

    def at(self) -> plan.Showing:
        """The plan's answer now."""
        now_us = self.bench.now_us
        return self.bench.ask(lambda db: plan.at(planning.state(db, now_us), now_us))

    @property
    def on(self) -> str | None:
        """The item on the panel."""
        return self.at().slug

    def each(self, count: int, seconds: float = 10) -> str:
        """What is on now and after each further wait."""
        seen: list[str] = []
        for _ in range(count):
            seen.append(self.on or "-")
            self.wait(seconds)
        return "".join(seen)


@pytest.fixture
def show(bench: Any) -> Show:
    """Four ready items, `abc` in the loop, `x` not, just begun."""
    one = Show(bench)
    one.upload(*"abcx")
    one.loop("abc")
    return one


def test_the_loop_plays_in_order_and_begins_again(show: Show) -> None:
    """Each for its length, without a gap."""
    assert show.each(7) == "abcabca"


def test_an_upload_joins_nothing(show: Show) -> None:
    """What is on stays on, and the new item never comes by itself; asked to, it joins at the end."""
    show.upload("n")
    assert show.each(4) == "abca"
    show.upload("m", add_to_loop=True)
    assert show.each(4) == "bcma"


def test_a_choice_starts_at_once_and_play_goes_on_after_it(show: Show) -> None:
    """With the loop entry that follows it; choice and loop stay as they are."""
    before = show.bench.ask(loop.get)
    show.wait(3)
    show.do(SetActive("b"))
    assert show.at().frame == 0
    assert show.each(4) == "bcab"
    assert show.bench.ask(active.get)[0].slug == "b"
    assert show.bench.ask(loop.get) == before


def test_after_a_choice_outside_the_loop_comes_the_first_entry(show: Show) -> None:
    """Wherever the loop was before."""
    show.wait(12)
    show.do(SetActive("x"))
    assert show.each(4) == "xabc"


def test_no_choice_plays_from_the_first_entry(show: Show) -> None:
    """At once."""
    show.do(SetActive("c"))
    show.wait(4)
    show.do(SetActive(None))
    assert show.each(4) == "abca"


@pytest.mark.parametrize("how", ["one", "hold"])
def test_mode_one_and_a_hold_stay(show: Show, how: str) -> None:
    """However long; other choices and buttons still move; then play goes on at the end of the pass under way."""
    show.wait(12)
    show.loop("abc", mode="one") if how == "one" else show.do(Control("hold"))
    assert show.each(5) == "bbbbb"
    show.do(SetActive("x"))
    assert show.each(3, 100) == "xxx"
    show.do(Control("next"))
    assert show.each(3, 100) == "aaa"
    show.wait(5)
    show.loop("abc", mode="all") if how == "one" else show.do(Control("release"))
    assert show.each(3, 5) == "abb"


def test_a_pending_item_is_passed_over_until_it_is_ready(show: Show) -> None:
    """In its loop it comes when its turn comes."""
    show.upload("p", ready=False)
    show.loop("apb")
    assert show.each(3) == "aba"
    show.prepare("p")
    assert show.each(3) == "bap"


def test_a_pending_choice_starts_when_it_is_ready(show: Show) -> None:
    """Until then the loop plays from where the choice stands in it; then it begins at once."""
    show.upload("p", ready=False, make_active=True)
    assert show.each(2) == "ab"
    show.wait(3)
    show.prepare("p")
    assert show.each(2) == "pa"


def test_a_pending_choice_gives_way_to_a_jump(show: Show) -> None:
    """Who moved on by hand is not interrupted later."""
    show.upload("p", ready=False, make_active=True)
    show.do(Control("next"))
    on = show.on
    show.prepare("p")
    assert show.on == on


def test_a_failed_choice_is_passed_over(show: Show) -> None:
    """The loop plays; the choice stays what it is."""
    show.upload("p", ready=False, make_active=True)
    show.do(FailPreparing(None, "p", "p" * 64, "not_media", "no"))
    assert show.each(3) == "abc"
    assert show.bench.ask(active.get)[0].slug == "p"


def test_deleting_the_item_on_goes_on_with_the_next(show: Show) -> None:
    """At once, from its beginning."""
    show.wait(13)
    show.do(RemoveMedia("b"))
    assert show.each(4) == "caca"


def test_deleting_the_choice_that_is_on_plays_from_the_first(show: Show) -> None:
    """Nothing is chosen then."""
    show.do(SetActive("b"))
    show.wait(2)
    show.do(RemoveMedia("b"))
    assert show.each(3) == "aca"


def test_deleting_what_is_off_the_panel_disturbs_nothing(show: Show) -> None:
    """Neither the item on nor its end, be it chosen or not."""
    show.do(SetActive("c"))
    show.wait(14)  # a is on for 4 s
    show.do(RemoveMedia("c"))
    show.do(RemoveMedia("x"))
    show.wait(5.9)
    assert show.on == "a"
    show.wait(0.2)
    assert show.on == "b"


def test_a_restored_item_joins_nothing(show: Show) -> None:
    """It is in the library again, no more."""
    show.do(RemoveMedia("b"))
    show.do(RestoreMedia("b", True))
    assert show.each(3) == "aca"


def test_reordering_keeps_the_item_on(show: Show) -> None:
    """Its turn ends as it would have; then comes the entry that follows in the new order."""
    show.wait(14)
    show.loop("cbxa")
    assert show.each(4, 6) == "bxxa"


def test_putting_in_and_taking_out_keeps_the_item_on(show: Show) -> None:
    """Before, after, and the item itself."""
    show.wait(14)
    show.do(AddLoopItem(NewEntry("x"), 0))
    show.do(RemoveLoopItem("b"))
    show.wait(5.9)
    assert show.on == "b"
    show.wait(0.2)
    assert show.each(4) == "cxac"


def test_a_pause_stops_turn_and_length(show: Show) -> None:
    """Nothing moves however long it lasts; then the rest is played."""
    show.wait(14)
    show.do(Control("pause"))
    assert show.each(3, 1000) == "bbb"
    assert show.at().next_change_us is None
    show.do(Control("play"))
    show.wait(5.9)
    assert show.on == "b"
    show.wait(0.2)
    assert show.on == "c"


def test_next_previous_and_jump(show: Show) -> None:
    """Each begins a turn now; what follows is the loop from there; a jump outside ends at the first entry."""
    show.do(Control("next"))
    show.wait(1)
    show.do(Control("next"))
    assert show.each(2) == "ca"
    show.do(Control("previous"))
    assert show.each(2) == "ab"
    show.do(Jump("x"))
    assert show.each(3) == "xab"
    assert show.bench.ask(active.get)[0].slug is None


def test_shuffled_cycles_hold_each_entry_once(show: Show) -> None:
    """Whatever the seed; the item on stays on when shuffling begins."""
    show.upload(*"defgh")
    show.loop("abcdefgh")
    show.wait(25)
    show.loop("abcdefgh", shuffle=True)
    assert show.on == "c"
    seen = show.each(60)
    place = {one: seen.index(one) for one in "abcdefgh"}
    assert len(place) == 8
    rest = seen[8 - 1 :]  # wherever the first cycle was entered, from here on two whole cycles lie within
    starts = [
        start for start in range(8) if sorted(rest[start : start + 8]) == sorted(rest[start + 8 : start + 16]) == list("abcdefgh")
    ]
    assert starts
    assert all(one != other for one, other in pairwise(seen))


def test_hours_are_kept_in_the_zone_that_is_set(show: Show) -> None:
    """The clock of the bench says midnight in London; the entry for 01:00 comes an hour later, in Paris at once."""
    night = When((), "01:00", "01:01")
    show.do(ReplaceLoop((NewEntry("a"), NewEntry("b", when=night))))
    assert show.each(3) == "aaa"
    show.wait(3600 - 30 + 5)
    assert set(show.each(5)) == {"a", "b"}
    show.wait(60)
    assert show.each(3) == "aaa"


def test_a_loop_outside_its_hours_shows_the_address_until_they_open(show: Show) -> None:
    """The plan names the instant at which that changes; then the entry begins at its first frame."""
    show.do(ReplaceLoop((NewEntry("b", when=When((), "00:01", "00:02")),)))
    show.wait(10)
    idle = show.at()
    assert idle.slug is None
    show.wait(50)
    assert (show.on, show.at().turn.started_us) == ("b", idle.next_change_us)


def test_an_untrusted_clock_ignores_hours_and_says_so(show: Show) -> None:
    """A boot without time: the entry plays at its first frame, and the answer says that its hours are ignored."""
    show.do(ReplaceLoop((NewEntry("b", when=When((), "12:00", "13:00")),)))
    show.wait(10)
    assert (show.on, show.at().hours_ignored) == (None, False)
    show.do(ChangeSettings({"brightness": 60}))  # a boot goes on from the last event
    clock = show.bench.clock
    clock.reading = msgspec.structs.replace(clock.reading, boot_id="boot-2", boottime_us=7, synchronised=False, wall_us=1_000)
    now = show.bench.now_us
    show.do(ChangeSettings({"brightness": 50}))
    showing = show.at()
    assert (showing.slug, showing.hours_ignored, showing.turn.started_us) == ("b", True, now)


def test_a_step_of_the_clock_into_the_hours_begins_at_the_first_entry(show: Show) -> None:
    """The command that notices it is judged with the new time."""
    show.do(ReplaceLoop((NewEntry("b", when=When((), "12:00", "13:00")), NewEntry("a", when=When((), "12:00", "13:00")))))
    show.wait(25)
    assert show.on is None
    clock = show.bench.clock
    clock.reading = msgspec.structs.replace(clock.reading, wall_us=clock.reading.wall_us + 12 * 3600 * S)
    now = show.bench.now_us
    show.do(ChangeSettings({"brightness": 50}))
    assert (show.on, show.at().turn.started_us) == ("b", now)


def test_nothing_to_play_is_the_address_screen(show: Show) -> None:
    """An empty loop with no choice; a lone choice stays on."""
    show.do(RemoveLoopItem("a"))
    show.loop("")
    assert show.each(2) == "a-"
    show.do(SetActive("x"))
    assert show.each(3, 100) == "xxx"


def test_a_restart_goes_on_where_it_was(show: Show, tmp_path: Path) -> None:
    """The same boot: the plan has not stopped. Another boot: it goes on from the last event, as if the power had not been away."""
    show.wait(14)
    expected = show.at()
    clock = show.bench.clock
    show.bench.store.close()
    store = show.bench.store = EventStore.open(tmp_path / "pixelog.db", clock=clock)
    folding.prepare(store)
    show.bench.executor = Executor(store)
    assert show.at() == expected
    show.do(Control("hold"))
    show.do(Control("release"))
    clock.reading = msgspec.structs.replace(
        clock.reading, boot_id="boot-2", boottime_us=3 * S, wall_us=clock.reading.wall_us + 9 * 3600 * S
    )
    show.do(ChangeSettings({"brightness": 50}))
    assert (show.on, show.at().turn.started_us) == (expected.slug, expected.turn.started_us)
    show.wait(5.9)
    assert show.on == "b"
    show.wait(0.2)
    assert show.on == "c"
