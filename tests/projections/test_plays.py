"""Read slice plays: the record of what was on the panel."""

from __future__ import annotations

from typing import Any

from projections import plays
from projections.plays import Play, PlayerPlayed

SECOND_US = 1_000_000
TIME_US = 1_767_225_600_000_000


def played(slug: str, start_us: int, pack: str | None = None) -> PlayerPlayed:
    return PlayerPlayed(slug, f"{slug}.gif", "ab" * 32, start_us, start_us + 2_500_000, 75, 1, True, pack)


def test_a_play_is_told_in_wall_time(desk: Any) -> None:
    """Start and end are those of the panel, not of the report."""
    here = desk(plays.AREA)
    start_us = here.logtime_us
    here.fold(played("cat", start_us), 10 * SECOND_US)
    assert plays.listing(here.db)[0] == [
        Play(
            position=1,
            slug="cat",
            filename="cat.gif",
            sha256="ab" * 32,
            started_at="2026-01-01T00:00:00.000000Z",
            ended_at="2026-01-01T00:00:02.500000Z",
            duration=2.5,
            frames_shown=75,
            frames_dropped=1,
            complete=True,
        )
    ]


def test_pages_go_back_in_time(desk: Any) -> None:
    """The newest start comes first, whatever order the reports came in; each play appears once."""
    here = desk(plays.AREA)
    base_us = here.logtime_us
    for number in (2, 0, 1, 4, 3):
        here.fold(played(f"p{number}", base_us + number * SECOND_US))
    items, cursor, total = plays.listing(here.db, limit=3)
    assert ([item.slug for item in items], total) == (["p4", "p3", "p2"], 5)
    items, cursor, total = plays.listing(here.db, limit=3, cursor=cursor)
    assert ([item.slug for item in items], cursor, total) == (["p1", "p0"], None, 5)
    assert [play.slug for play in plays.each(here.db)] == ["p0", "p1", "p2", "p3", "p4"]


def test_plays_are_found_by_time_and_item(desk: Any) -> None:
    """The first instant is included, the last is not; totals count matches only."""
    here = desk(plays.AREA)
    base_us = here.logtime_us
    for number, slug in enumerate(("a", "b", "a", "b")):
        here.fold(played(slug, base_us + number * SECOND_US))
    from_us, to_us = TIME_US + SECOND_US, TIME_US + 3 * SECOND_US
    items, _, total = plays.listing(here.db, from_us=from_us, to_us=to_us)
    assert ([item.position for item in items], total) == ([3, 2], 2)
    items, _, total = plays.listing(here.db, slug="b")
    assert ([item.position for item in items], total) == ([4, 2], 2)
    assert [play.position for play in plays.each(here.db, from_us, None, "a")] == [3]


def test_the_newest_plays_name_the_packs_to_keep(desk: Any) -> None:
    """Only packs of the last plays count, each once."""
    here = desk(plays.AREA)
    for pack in ("old", "one", None, "two", "one"):
        here.fold(played("a", here.logtime_us, pack))
    assert plays.packs(here.db, 4) == {"one", "two"}


def test_state_and_view_hold_every_play(desk: Any) -> None:
    """Plays are keyed by the position of their fact."""
    here = desk(plays.AREA)
    here.fold(played("a", here.logtime_us))
    here.fold(played("b", here.logtime_us))
    assert {key: play.slug for key, play in plays.resources(here.db).items()} == {"1": "a", "2": "b"}
    assert here.db.execute("SELECT slug, duration FROM plays ORDER BY position").fetchall() == [("a", 2.5), ("b", 2.5)]
