"""Looking back: the slider's reaches, its buttons, and the way back to now."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from harness import Pixelog, until
from tools import go, plain, wait_colour, wait_count, wait_order, wait_text

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.page

RED, BLUE = (200, 30, 30), (30, 30, 200)


def _shown(pixelog: Pixelog, slug: str, colour: tuple[int, int, int]) -> None:
    pixelog.upload(f"{slug}.png", plain(colour), addToLoop="true", makeActive="true")
    pixelog.prepared(slug)
    until(lambda: pixelog.get("/player")["slug"] == slug, f"{slug} on the panel")


def _ago_seconds(page: Page) -> int:
    """How far back the page says that it looks; 0 for now."""
    found = re.search(r"(?:(\d+):)?(\d+)(?: s)? ago", page.text_content("#past-text") or "")
    return int(found[1] or 0) * 60 + int(found[2]) if found else 0


def test_every_reach_moves_by_ten_seconds(up: Callable, visit: Callable) -> None:
    """The buttons go as far as they say however long the slider is, and another reach keeps the moment that is shown."""
    pixelog = up()
    _shown(pixelog, "red", RED)
    page = visit(pixelog)
    for place in range(4):
        page.select_option("#past-span", index=place)
        page.click("#past-back")
        assert 10 <= _ago_seconds(page) <= 12, place
        page.click("#past-back")
        assert 20 <= _ago_seconds(page) <= 23, place
        page.select_option("#past-span", index=(place + 1) % 4)
        assert 20 <= _ago_seconds(page) <= 24, place
        page.click("#past-forward")
        assert 10 <= _ago_seconds(page) <= 15, place
        page.focus("#past-forward")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        wait_text(page, "#past-text", "Now")
        assert page.evaluate("document.activeElement.id") == "past-slider"


def test_what_was_is_further_back_with_every_second(up: Callable, visit: Callable) -> None:
    """The moment stays, and how long ago it was goes on."""
    pixelog = up()
    _shown(pixelog, "red", RED)
    page = visit(pixelog)
    page.click("#past-back")
    moment = (page.text_content("#past-text") or "").partition(" ·")[0]
    until(lambda: _ago_seconds(page) >= 13, "three seconds more")
    assert (page.text_content("#past-text") or "").startswith(moment)


def test_choosing_an_item_ends_looking_back(up: Callable, visit: Callable) -> None:
    """Who wants to see something now sees it now."""
    pixelog = up()
    _shown(pixelog, "blue", BLUE)
    _shown(pixelog, "red", RED)
    page = visit(pixelog)
    page.click("#past-back")
    page.wait_for_selector("body.looking-back")
    page.click("[aria-label='Show blue.png now']")
    page.wait_for_selector("body:not(.looking-back)")
    wait_text(page, "#past-text", "Now")
    wait_colour(page, BLUE)


def test_a_removed_item_is_called_by_its_name(up: Callable, visit: Callable) -> None:
    """Also by a page that was opened after the removal, in the loop and on the panel as they were."""
    pixelog = up()
    pixelog.upload("Été am Meer.png", plain(RED), slug="odd", addToLoop="true", makeActive="true")
    pixelog.prepared("odd")
    until(lambda: pixelog.get("/player")["slug"] == "odd", "it on the panel")
    seen_at = time.monotonic()
    until(lambda: time.monotonic() > seen_at + 3, "three seconds of it")
    pixelog.send("DELETE", "/media/odd")
    page = visit(pixelog, "phone")
    wait_count(page, "#library-list li", 0)
    until(lambda: _back_to(page, "Été am Meer.png"), "its name")
    go(page, "loop")
    wait_order(page, ["Été am Meer.png"])


def _back_to(page: Page, name: str) -> bool:
    """One second back, until that is on."""
    page.focus("#past-slider")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(250)
    return page.text_content("#now-name") == name


def test_a_key_goes_back_from_where_the_page_is(up: Callable, visit: Callable) -> None:
    """The slider goes along with the time that passes, so that its left arrow never leads forward."""
    pixelog = up()
    _shown(pixelog, "red", RED)
    page = visit(pixelog)
    page.click("#past-back")
    until(lambda: _ago_seconds(page) >= 14, "four seconds more")
    page.focus("#past-slider")
    before = _ago_seconds(page)
    page.keyboard.press("ArrowLeft")
    assert before <= _ago_seconds(page) <= before + 3
