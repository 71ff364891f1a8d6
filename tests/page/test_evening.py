"""Somebody's first evening with the page, on a phone and at a desk."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from harness import until
from tools import drop, go, order, plain, wait_colour, wait_count, wait_order, wait_text

pytestmark = pytest.mark.page

RED, GREEN = (248, 0, 0), (0, 252, 0)

LOOK_BACK_SECONDS = 10


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_evening(up: Callable, visit: Callable, size: str) -> None:
    """Three files are dropped, one of them broken; ordered by keyboard, shown, written over, paused, removed, brought back, looked back at."""
    pixelog = up()
    page = visit(pixelog, size)
    assert "library is empty" in page.text_content("#library-empty")

    files = [
        ("red.png", "image/png", plain(RED)),
        ("green.png", "image/png", plain(GREEN)),
        ("broken.png", "image/png", b"\x89PNG\r\n\x1a\nthis was cut short"),
    ]
    drop(page, *files)
    go(page, "library")
    page.wait_for_selector(".item .pill:not([hidden])")
    assert page.text_content(".item .pill:not([hidden])") == pixelog.prepared("broken")["error"]
    for slug in ("red", "green"):
        until(lambda slug=slug: pixelog.item(slug)["status"] == "ready", slug)

    go(page, "loop")
    wait_count(page, "#loop-list li", 3)
    before = order(page)
    assert sorted(before) == ["broken.png", "green.png", "red.png"]
    moved = [before[1], before[0], before[2]]
    page.locator("#loop-list .grip").nth(0).focus()
    page.keyboard.press("ArrowDown")
    wait_order(page, moved)
    assert page.text_content("#spoken").strip() == f"{before[0]}, position 2 of 3"
    until(lambda: [item["slug"] + ".png" for item in pixelog.get("/loop")["items"]] == moved, "the order in the log")
    page.keyboard.press("End")
    last = [before[1], before[2], before[0]]
    until(lambda: [item["slug"] + ".png" for item in pixelog.get("/loop")["items"]] == last, "the order in the log")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == f"Move {before[0]}, position 3 of 3"

    page.click("#loop-list .main:has-text('green.png')")
    go(page, "panel")
    wait_text(page, "#now-name", "green.png")
    wait_colour(page, GREEN)

    go(page, "message")
    page.fill("#message-text", "Tea is ready")
    page.check("input[name=priority][value=warning]", force=True)
    page.click("#message-send")
    wait_text(page, "#message-list", "Tea is ready")
    assert [(one["text"], one["priority"]) for one in pixelog.get("/messages")["items"]] == [("Tea is ready", "warning")]

    go(page, "panel")
    page.click("#toggle")
    wait_text(page, "#now-tag", "Paused")
    assert pixelog.get("/dashboard")["player"]["playing"] is False

    go(page, "library")
    page.click("#library-list [aria-label='Details of red.png']")
    page.click("#item [data-act=remove]")
    wait_count(page, "#library-list li", 2)
    assert len(pixelog.get("/loop")["items"]) == 2
    page.click(".toast:has-text('red.png is removed') .undo")
    wait_count(page, "#library-list li", 3)
    until(lambda: [item["slug"] + ".png" for item in pixelog.get("/loop")["items"]] == last, "its place in the loop")

    page.click("#library-list [aria-label='Show red.png now']")
    go(page, "panel")
    wait_colour(page, RED)
    red_until = time.monotonic() + LOOK_BACK_SECONDS + 1
    until(lambda: time.monotonic() > red_until, "eleven seconds of red", 30)
    go(page, "library")
    page.click("#library-list [aria-label='Show green.png now']")
    go(page, "panel")
    wait_colour(page, GREEN)
    page.click("#past-back")
    wait_colour(page, RED)
    wait_text(page, "#past-text", "10 s ago")
    wait_text(page, "#now-name", "red.png")
    page.click("#past-now")
    wait_colour(page, GREEN)
    wait_text(page, "#now-name", "green.png")
