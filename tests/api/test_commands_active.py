"""Commands active: choosing an item, or none."""

from __future__ import annotations

from typing import Any

import pytest

from api.commands.active import SetActive
from api.commands.catalogue import HANDLERS
from api.commands.deciding import Rejected
from api.commands.loop import NewEntry, ReplaceLoop
from api.commands.media import AddMedia, FinishPreparing, RemoveMedia
from api.commands.playback import Control, Jump
from projections import active
from projections.active import Active, ActiveCleared, ActiveSet
from projections.media import Pack
from projections.plan import Turn


def fill(bench: Any, slugs: str = "abc") -> None:
    """Ready stills, all but `p` in the loop, and `p` still pending."""
    for slug in slugs + "p":
        sha = slug * 64
        bench.do(AddMedia(f"{slug}.png", sha, 1, "image/png", "image"))
        if slug != "p":
            pack = Pack(f"p{slug}", 240, 320, 0, "contain", 1)
            bench.do(FinishPreparing(None, slug, sha, "image", "image/png", 1, 1, 1, ((1, 0),), pack, None, "test"))
    bench.do(ReplaceLoop(tuple(NewEntry(slug) for slug in slugs)))


def test_a_choice_begins_at_once(bench: Any) -> None:
    """At its place in the loop, or outside it."""
    fill(bench)
    bench.clock.advance(3)
    now = bench.now_us
    assert bench.do(SetActive("c")) == [ActiveSet("c", Turn("c", now, 2))]
    assert bench.ask(active.get) == (Active("c"), 1)
    bench.do(ReplaceLoop((NewEntry("a"), NewEntry("b"))))
    bench.clock.advance(11)
    now = bench.now_us
    assert bench.do(SetActive("c")) == [ActiveSet("c", Turn("c", now, outside=True, cycle=2))]


def test_the_choice_that_is_on_changes_nothing(bench: Any) -> None:
    """Asked again while it is on: no event. When its turn is over it begins anew."""
    fill(bench)
    bench.do(SetActive("a"))
    bench.clock.advance(5)
    assert bench.do(SetActive("a")) == []
    bench.clock.advance(6)
    now = bench.now_us
    assert bench.do(SetActive("a")) == [ActiveSet("a", Turn("a", now))]


def test_an_item_that_is_on_by_its_turn_is_begun_anew_when_chosen(bench: Any) -> None:
    """It was not chosen before: choosing is an event, and starts it."""
    fill(bench)
    bench.clock.advance(5)
    now = bench.now_us
    assert bench.do(SetActive("a")) == [ActiveSet("a", Turn("a", now))]


def test_a_pending_choice_is_taken_and_waited_for(bench: Any) -> None:
    """It is no error; asked again while it is waited for, nothing changes; after a jump it is claimed anew."""
    fill(bench)
    now = bench.now_us
    assert bench.do(SetActive("p")) == [ActiveSet("p", Turn("p", now, outside=True, cycle=1))]
    assert bench.do(SetActive("p")) == []
    bench.do(Jump("b"))
    now = bench.now_us
    assert bench.do(SetActive("p")) == [ActiveSet("p", Turn("p", now, outside=True, cycle=2))]


def test_no_choice_begins_the_loop(bench: Any) -> None:
    """From its first entry, now; again it changes nothing."""
    fill(bench)
    bench.do(SetActive("c"))
    bench.clock.advance(2)
    now = bench.now_us
    assert bench.do(SetActive(None)) == [ActiveCleared("c", Turn(None, now))]
    assert bench.do(SetActive(None)) == []
    assert bench.ask(active.get) == (Active(None), 2)


def test_an_unknown_choice_is_refused(bench: Any) -> None:
    """Also one that was removed; the choice stays."""
    fill(bench)
    bench.do(SetActive("b"))
    bench.do(RemoveMedia("c"))
    for slug in ("x", "c", ""):
        with pytest.raises(Rejected) as caught:
            bench.do(SetActive(slug))
        assert (caught.value.code, [fault.pointer for fault in caught.value.faults]) == ("invalid", ["/slug"])
    assert bench.ask(active.get)[0] == Active("b")


def test_a_choice_while_paused_shows_its_beginning(bench: Any) -> None:
    """The pause stays, the turn is new."""
    fill(bench)
    bench.do(Control("pause"))
    bench.clock.advance(60)
    now = bench.now_us
    assert bench.do(SetActive("b")) == [ActiveSet("b", Turn("b", now, 1))]


def test_a_choice_is_durable() -> None:
    """It is on the disk before it is answered."""
    assert HANDLERS[SetActive].durable(SetActive("a"))
