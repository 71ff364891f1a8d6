"""Ways back: each works until it is used or its time is over, whatever fails or happens in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from harness import Pixelog, until
from tools import go, order, plain, wait_count, wait_order, wait_text

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.page


def _loaded(pixelog: Pixelog, *names: str) -> None:
    for place, name in enumerate(names):
        pixelog.upload(f"{name}.png", plain((20 * place, 90, 140)), addToLoop="true")
        pixelog.prepared(name)


def _remove(page: Page, name: str) -> None:
    page.click(f"#library-list [aria-label='Details of {name}']")
    page.click("[data-act=remove]")
    page.wait_for_selector("#item:not([open])", state="attached")


def _in_log(pixelog: Pixelog) -> list[tuple[str, float | None]]:
    return [(item["slug"], item.get("duration")) for item in pixelog.get("/loop")["items"]]


def _failing(page: Page, path: str, status: int = 503) -> None:
    """The next request to this path is refused."""
    page.route(f"**/api/v1{path}", lambda route: route.fulfill(status=status, json={"detail": "not now"}), times=1)


def test_an_undo_that_failed_can_be_tried_again(up: Callable, visit: Callable) -> None:
    """Cut short in the middle, it is on offer still; the second time all is as it was: the item, its place and its length."""
    pixelog = up()
    _loaded(pixelog, "one", "two", "three")
    pixelog.send("POST", "/loop/items", {"slug": "two", "at": 1, "duration": 33})
    page = visit(pixelog)
    wait_order(page, ["one.png", "two.png", "three.png"])
    _remove(page, "two.png")
    wait_order(page, ["one.png", "three.png"])
    _failing(page, "/loop/items")
    page.click(".undo")
    wait_text(page, ".toast.bad", "Not now.")
    assert _in_log(pixelog) == [("one", None), ("three", None)]
    page.click(".toast:not(.bad) .undo")
    wait_order(page, ["one.png", "two.png", "three.png"])
    assert _in_log(pixelog) == [("one", None), ("two", 33), ("three", None)]
    wait_count(page, ".toast:not(.bad)", 0)


def test_what_somebody_else_brought_back_is_put_where_it_was(up: Callable, visit: Callable) -> None:
    """An item that is in the library again takes its place in the loop by the undo all the same."""
    pixelog = up()
    _loaded(pixelog, "one", "two")
    page = visit(pixelog)
    wait_order(page, ["one.png", "two.png"])
    _remove(page, "one.png")
    wait_order(page, ["two.png"])
    pixelog.send("POST", "/media/one/restore")
    page.click(".undo")
    wait_order(page, ["one.png", "two.png"])
    wait_count(page, ".toast", 0)


def test_many_removals_are_one_notice(up: Callable, visit: Callable) -> None:
    """Six items removed, and six taken out of the loop, one right after the other: one press brings six back; failures beside push nothing out."""
    pixelog = up()
    names = [f"{number}.png" for number in range(6)]
    _loaded(pixelog, *(name.removesuffix(".png") for name in names))
    page = visit(pixelog)
    wait_order(page, names)
    for name in names:
        page.click(f"[aria-label='Take {name} out of the loop']")
    wait_text(page, ".toast", "6 items are out of the loop.")
    for number in range(6):
        _failing(page, "/player/next")
        page.click("#next")
        wait_count(page, ".toast.bad", 1)
        assert page.locator(".toast").count() == 2, number
    page.click(".toast:not(.bad) .undo")
    wait_order(page, names)
    for name in names:
        _remove(page, name)
    wait_text(page, ".toast:not(.bad)", "6 items are removed.")
    page.click(".toast:not(.bad) .undo")
    wait_order(page, names)
    assert pixelog.get("/media")["total"] == 6


def test_the_focus_comes_back_from_a_notice(up: Callable, visit: Callable) -> None:
    """By the keyboard alone: where it was before, or its view when that is gone, never nowhere."""
    pixelog = up()
    _loaded(pixelog, "one")
    page = visit(pixelog)
    wait_order(page, ["one.png"])
    out = "[aria-label='Take one.png out of the loop']"
    page.focus(out)
    page.keyboard.press("Enter")
    wait_order(page, [])
    until(lambda: page.evaluate("document.activeElement.id") == "loop", "the view of what is gone")
    page.focus(".undo")
    page.keyboard.press("Enter")
    wait_order(page, ["one.png"])
    wait_count(page, ".toast", 0)
    assert page.evaluate("document.activeElement.id") == "loop"
    page.focus("#message-text")
    page.keyboard.type("Tea")
    page.focus("#message-send")
    page.keyboard.press("Enter")
    wait_text(page, "#message-list", "Tea")
    assert page.evaluate("document.activeElement.id") == "message-send"
    page.focus("#message-list button")
    page.keyboard.press("Enter")
    wait_count(page, "#message-list li", 0)
    assert page.evaluate("document.activeElement.id") == "message"


def test_a_name_turns_no_sentence_around(up: Callable, visit: Callable) -> None:
    """Signs that override the direction of writing stay in the name, and out of what is said with it."""
    pixelog = up()
    pixelog.upload("\u202egpj.abc.png", plain((1, 90, 9)), slug="odd")
    page = visit(pixelog, "phone")
    go(page, "library")
    page.click("#library-list .tools .plain")
    page.click("[data-act=remove]")
    wait_text(page, ".toast", "gpj.abc.png is removed.")
    assert "\u202e" not in (page.text_content(".toast") or "")
    assert order(page) == []


def test_one_that_cannot_be_undone_stops_no_other(up: Callable, visit: Callable) -> None:
    """Of several taken out, one item is removed elsewhere meanwhile: the others come back, and that one stays on offer."""
    pixelog = up()
    _loaded(pixelog, "one", "two", "three")
    page = visit(pixelog)
    wait_order(page, ["one.png", "two.png", "three.png"])
    for name in ("one.png", "two.png"):
        page.click(f"[aria-label='Take {name} out of the loop']")
    wait_text(page, ".toast", "2 items are out of the loop.")
    pixelog.send("DELETE", "/media/two")
    page.click(".undo")
    wait_order(page, ["one.png", "three.png"])
    wait_text(page, ".toast.bad", "two")
    assert page.locator(".undo:visible").count() == 1


def test_each_message_has_its_own_way_back(up: Callable, visit: Callable) -> None:
    """Notices that read alike are about different things."""
    pixelog = up()
    page = visit(pixelog)
    for text in ("first", "second"):
        pixelog.send("POST", "/messages", {"text": text})
    wait_count(page, "#message-list li", 2)
    for left in (1, 0):
        page.click("#message-list li:first-child button")
        wait_count(page, "#message-list li", left)
    assert page.locator(".undo:visible").count() == 2
    page.locator(".undo:visible").first.click()
    wait_text(page, "#message-list", "first")
    wait_count(page, "#message-list li", 1)
