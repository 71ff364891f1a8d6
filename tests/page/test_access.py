"""The page for those who do not see it, or use no mouse: axe finds nothing on any view, and everything is large enough to be touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tools import drop, go, plain, wait_count, wait_text

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.page

AXE = Path(__file__).parents[2] / ".make" / "axe.min.js"
"""axe-core, fetched by `make page`."""

VIEWS = ("panel", "loop", "library", "message", "settings")

TOUCH_PX = 44


def _check(page: Page, where: str) -> None:
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
    told = [
        f"{where}: {one['id']}: {node['target']} {node['failureSummary']}" for one in found["violations"] for node in one["nodes"]
    ]
    assert told == [], "\n".join(told)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["phone", "desk"])
def test_axe(up: Callable, visit: Callable, size: str, scheme: str) -> None:
    """No view breaks a rule of axe: empty, full, with a failure, a message, an open sheet, notices, the past, and without the service."""
    pixelog = up()
    page = visit(pixelog, size, scheme)
    for view in VIEWS:
        go(page, view)
        _check(page, f"empty {view}")
    drop(page, ("fine.png", "image/png", plain((9, 99, 200))), ("broken.png", "image/png", b"\x89PNG\r\n\x1a\n"))
    pixelog.send("POST", "/messages", {"text": "Tea is ready", "priority": "critical"})
    go(page, "library")
    page.wait_for_selector(".item .pill:not([hidden])")
    wait_count(page, ".item .names", 2)
    for view in VIEWS:
        go(page, view)
        _check(page, f"full {view}")
    go(page, "library")
    for name in ("fine.png", "broken.png"):
        page.click(f"#library-list [aria-label='Details of {name}']")
        _check(page, f"sheet of {name}")
        page.keyboard.press("Escape")
    go(page, "loop")
    page.click("[aria-label='Take fine.png out of the loop']")
    page.wait_for_selector(".toast .undo")
    _check(page, "notice")
    go(page, "panel")
    page.click("#past-back")
    wait_text(page, "#now-tag", "Was on")
    _check(page, "past")
    pixelog.kill_all()
    page.wait_for_selector("#link[data-link=lost]")
    _check(page, "not connected")


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_targets(up: Callable, visit: Callable, size: str) -> None:
    """Nothing overflows sideways, and every control is at least 44 px high and wide, or has a label that is."""
    pixelog = up()
    page = visit(pixelog, size)
    drop(page, ("a name that is so long that it does not fit into one line of any card.png", "image/png", plain((9, 99, 200))))
    go(page, "library")
    wait_count(page, "#library-list li", 1)
    for view in VIEWS:
        go(page, view)
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
