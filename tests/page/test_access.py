"""The page for those who do not see it, or use no mouse: axe finds nothing on any view, and everything is large enough to be touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tools import check_rules, drop, go, plain, views, wait_count, wait_order, wait_text, when

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.page

TOUCH_PX = 44


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_axe(up: Callable, visit: Callable, size: str) -> None:
    """No view breaks a rule of axe, in light and in dark: empty, full, with a failure, a message, an open sheet, notices, the past, and without
    the service."""
    pixelog = up()
    page = visit(pixelog, size)
    for view in views(page):
        check_rules(page, f"empty {view}")
    drop(page, ("fine.png", "image/png", plain((9, 99, 200))), ("broken.png", "image/png", b"\x89PNG\r\n\x1a\n"))
    pixelog.send("POST", "/messages", {"text": "Tea is ready", "priority": "critical"})
    go(page, "library")
    page.wait_for_selector(".item .pill:not([hidden])")
    wait_count(page, ".item .names", 2)
    for view in views(page):
        check_rules(page, f"full {view}")
    go(page, "library")
    for name in ("fine.png", "broken.png"):
        page.click(f"#library-list [aria-label='Details of {name}']")
        check_rules(page, f"sheet of {name}")
        page.keyboard.press("Escape")
    go(page, "loop")
    page.click("[aria-label='Take fine.png out of the loop']")
    page.wait_for_selector(".toast .undo")
    check_rules(page, "notice")
    go(page, "panel")
    page.click("#past-back")
    wait_text(page, "#now-tag", "Was on")
    check_rules(page, "past")
    pixelog.kill_all()
    page.wait_for_selector("#link[data-link=lost]")
    check_rules(page, "not connected")


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_targets(up: Callable, visit: Callable, size: str) -> None:
    """Empty or not, nothing overflows sideways, and every control is at least 44 px high and wide, or has a label that is."""
    pixelog = up()
    page = visit(pixelog, size)
    _check_targets(page)
    drop(page, ("a name that is so long that it does not fit into one line of any card.png", "image/png", plain((9, 99, 200))))
    go(page, "library")
    wait_count(page, "#library-list li", 1)
    _check_targets(page)


def _check_targets(page: Page) -> None:
    for _ in views(page):
        small = page.evaluate(
            """least => [...document.querySelectorAll("button, a, input, select, textarea")]
                .map((one) => (["checkbox", "radio"].includes(one.type) ? one.closest("label") : one))
                .map((one) => (one.closest(".search") ?? one))
                .filter((one) => one.checkVisibility() && !one.matches(".skip, [hidden]"))
                .map((one) => [one.outerHTML.slice(0, 90), one.getBoundingClientRect()])
                .filter(([, box]) => box.width < least - 0.5 || box.height < least - 0.5)
                .map(([html, box]) => `${html} ${box.width}x${box.height}`)""",
            TOUCH_PX,
        )
        assert small == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_keyboard_keeps_its_place(up: Callable, visit: Callable) -> None:
    """What takes a row away leaves the focus on the same button of the row that is there then, and of the last one at the end."""
    pixelog = up()
    for place, name in enumerate(("one", "two", "three")):
        pixelog.upload(f"{name}.png", plain((40 * place, 80, 120)), addToLoop="true")
    page = visit(pixelog)
    wait_order(page, ["one.png", "two.png", "three.png"])
    page.focus("[aria-label='Take one.png out of the loop']")
    for left in (["two.png", "three.png"], ["three.png"]):
        page.keyboard.press("Enter")
        wait_order(page, left)
        when(page, "label => document.activeElement.ariaLabel === label", f"Take {left[0]} out of the loop")
    page.focus("[aria-label='Details of one.png']")
    page.keyboard.press("Enter")
    page.focus("#item [data-act=remove]")
    page.keyboard.press("Enter")
    when(page, "() => document.activeElement.ariaLabel === 'Details of two.png'")


@pytest.mark.parametrize(("width", "height"), [(320, 256), (360, 300), (375, 330), (412, 430), (568, 320), (640, 360)])
def test_low_screens(up: Callable, visit: Callable, width: int, height: int) -> None:
    """A phone beside another application, lying on its side or with everything four times as large: nothing hangs out at the side."""
    pixelog = up()
    pixelog.upload("one.png", plain((9, 90, 120)), addToLoop="true", makeActive="true")
    pixelog.prepared("one")
    page = visit(pixelog, "phone")
    page.set_viewport_size({"width": width, "height": height})
    for view in views(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
