"""Commands playback: the buttons, and jumps."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from api.commands.catalogue import HANDLERS
from api.commands.deciding import Rejected
from api.commands.loop import NewEntry, ReplaceLoop
from api.commands.media import AddMedia, FinishPreparing
from api.commands.playback import Action, Control, Jump
from projections import active, loop, playback
from projections.media import Pack
from projections.plan import Turn
from projections.playback import PlaybackHeld, PlaybackJumped, PlaybackPaused, PlaybackReleased, PlaybackResumed

S = 1_000_000


def fill(bench: Any, slugs: str = "abc", outside: str = "x") -> int:
    """Ready stills, the first ones in the loop; the answer is when it began."""
    for slug in slugs + outside:
        sha = slug * 64
        bench.do(AddMedia(f"{slug}.png", sha, 1, "image/png", "image"))
        pack = Pack(f"p{slug}", 240, 320, 0, "contain", 1)
        bench.do(FinishPreparing(None, slug, sha, "image", "image/png", 1, 1, 1, ((1, 0),), pack, None, "test"))
    now = bench.now_us
    bench.do(ReplaceLoop(tuple(NewEntry(slug) for slug in slugs)))
    return now


def test_pause_and_play(bench: Any) -> None:
    """A pause keeps the turn, play begins it later by the pause's length; each only once."""
    began = fill(bench)
    bench.clock.advance(4)
    paused = bench.now_us
    assert bench.do(Control("pause")) == [PlaybackPaused(Turn("a", began))]
    assert bench.do(Control("pause")) == []
    bench.clock.advance(100)
    now = bench.now_us
    assert bench.do(Control("play")) == [PlaybackResumed(Turn("a", began + now - paused))]
    assert bench.do(Control("play")) == []


def test_toggle_is_the_other_of_both(bench: Any) -> None:
    """As its own event, pause or play."""
    began = fill(bench)
    now = bench.now_us
    assert bench.do(Control("toggle")) == [PlaybackPaused(Turn("a", began))]
    later = bench.now_us
    assert bench.do(Control("toggle")) == [PlaybackResumed(Turn("a", began + later - now))]
    assert bench.ask(playback.get) == playback.plan.Playback(None, False)


def test_hold_and_release(bench: Any) -> None:
    """A hold keeps the item; a release lets the pass under way end, so whole lengths are taken off."""
    began = fill(bench)
    assert bench.do(Control("release")) == []
    assert bench.do(Control("hold")) == [PlaybackHeld(Turn("a", began))]
    assert bench.do(Control("hold")) == []
    bench.clock.advance(47)
    assert bench.do(Control("release")) == [PlaybackReleased(Turn("a", began + 40 * S))]


def test_next_and_previous(bench: Any) -> None:
    """The neighbours in the loop, and around its ends."""
    fill(bench)
    for action, slug, place, cycle in [
        ("next", "b", 1, 0),
        ("next", "c", 2, 0),
        ("next", "a", 0, 1),
        ("previous", "c", 2, 0),
        ("previous", "b", 1, 0),
    ]:
        now = bench.now_us
        assert bench.do(Control(action)) == [PlaybackJumped(slug, action, Turn(slug, now, place, cycle=cycle))]


def test_there_may_be_nowhere_to_go(bench: Any) -> None:
    """One entry, or none: no event."""
    fill(bench, "a", "")
    assert bench.do(Control("next")) == []
    assert bench.do(Control("previous")) == []
    bench.do(ReplaceLoop(()))
    assert bench.do(Control("next")) == []


def test_a_jump_begins_any_item_and_chooses_nothing(bench: Any) -> None:
    """In the loop or not; neither loop nor choice changes. A jump to the item that is on begins it anew."""
    fill(bench)
    before = bench.ask(loop.get)
    for slug, turn in (("c", {"ordinal": 2}), ("c", {"ordinal": 2}), ("x", {"outside": True, "cycle": 1})):
        now = bench.now_us
        assert bench.do(Jump(slug)) == [PlaybackJumped(slug, "jump", Turn(slug, now, **turn))]
    assert bench.ask(loop.get) == before
    assert bench.ask(active.get)[0].slug is None


def test_a_jump_to_nothing_is_refused(bench: Any) -> None:
    """With the field to blame."""
    with pytest.raises(Rejected) as caught:
        bench.do(Jump("x"))
    assert (caught.value.code, [fault.pointer for fault in caught.value.faults]) == ("invalid", ["/slug"])
    assert bench.store.head().position == 0


@pytest.mark.parametrize("paused", [False, True])
def test_an_unknown_button_is_refused(bench: Any, paused: bool) -> None:
    """Also from a program that does not check its types."""
    fill(bench)
    if paused:
        bench.do(Control("pause"))
    with pytest.raises(Rejected) as caught:
        bench.do(Control("stop"))  # type: ignore[arg-type]
    assert caught.value.code == "invalid"


def test_buttons_do_something_on_an_empty_log(bench: Any) -> None:
    """Nothing to play is no error."""
    assert [len(bench.do(Control(action))) for action in get_args(Action)] == [0, 1, 1, 0, 0, 1, 1]


def test_buttons_are_durable() -> None:
    """Each is on the disk before it is answered."""
    assert HANDLERS[Control].durable(Control("next"))
    assert HANDLERS[Jump].durable(Jump("a"))
