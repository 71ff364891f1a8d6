"""Read slice display: what the player and its panel said last."""

from __future__ import annotations

from typing import Any

from projections import display
from projections.display import (
    DisplayAttached,
    DisplayFallback,
    DisplayLost,
    Panel,
    PlayerShown,
    PlayerStarted,
    PlayerStopped,
)

SECOND_US = 1_000_000


def test_before_any_fact_there_is_no_panel(desk: Any) -> None:
    """An empty log knows no geometry and no player."""
    here = desk(display.AREA)
    assert display.geometry(here.db) is None
    assert display.panel(here.db) == Panel("none", None, None, None)
    assert not display.get(here.db).running


def test_a_panel_that_is_lost_keeps_its_size(desk: Any) -> None:
    """Frames are still made for it; the reason stands beside."""
    here = desk(display.AREA)
    here.fold(DisplayAttached("ili9341", 240, 320, "http://pi.local:8420"))
    assert display.panel(here.db) == Panel("attached", "ili9341", 240, 320, "http://pi.local:8420")
    here.fold(DisplayLost("ili9341", "the bus does not answer"))
    assert display.panel(here.db).state == "lost"
    assert display.panel(here.db).error == "the bus does not answer"
    assert display.geometry(here.db) == (240, 320)


def test_a_fallback_is_told_until_the_wanted_panel_is_back(desk: Any) -> None:
    """The panel in use says what it stands in for and why; attaching the wanted one clears both."""
    here = desk(display.AREA)
    here.fold(DisplayFallback("st7789", "sim", "no SPI device"))
    here.fold(DisplayAttached("sim", 240, 240, None, "st7789"))
    assert display.panel(here.db) == Panel("attached", "sim", 240, 240, None, "st7789", "no SPI device")
    here.fold(DisplayAttached("st7789", 240, 240))
    assert display.panel(here.db) == Panel("attached", "st7789", 240, 240)


def test_what_was_shown_last_is_told_in_wall_time(desk: Any) -> None:
    """The turn's start and the planned instant are logtimes in the fact and times of day for people."""
    here = desk(display.AREA)
    here.fold(PlayerStarted(77, "boot-1"))
    at = here.fold(PlayerShown("cat", here.logtime_us + SECOND_US, here.logtime_us + 2 * SECOND_US, 41, "ab", 3), 3 * SECOND_US)
    player = display.get(here.db)
    assert player.running
    assert (player.slug, player.sha256, player.loop_index) == ("cat", "ab", 3)
    assert player.started_at == "2026-01-01T00:00:01.000000Z"
    assert player.shown_at == "2026-01-01T00:00:02.000000Z"
    assert (player.applied_position, player.shown_position) == (41, 41)
    assert at.position == 2
    here.fold(PlayerStopped())
    assert not display.get(here.db).running
    assert display.get(here.db).slug == "cat"


def test_the_two_speakers_have_a_stream_each() -> None:
    """Player's facts and panel's facts do not share a version."""
    assert display.stream(PlayerStarted()) == "player"
    assert display.stream(DisplayLost("sim", "gone")) == "display"


def test_one_view_shows_both(desk: Any) -> None:
    """SQL over `display` is one row, also before the first fact."""
    here = desk(display.AREA)
    assert here.db.execute("SELECT state, width, shown_slug FROM display").fetchall() == [("none", None, None)]
    here.fold(PlayerShown(None, here.logtime_us, here.logtime_us, 1))
    here.fold(DisplayAttached("sim", 320, 240))
    assert here.db.execute("SELECT state, width, shown_slug, shown_position FROM display").fetchall() == [
        ("attached", 320, None, 1)
    ]
    assert sorted(display.resources(here.db)) == ["display", "player"]
