"""Fixtures of the page's tests: real Chromium before a real `pixelog up`, on a panel that is emulated down to its memory.

Playwright and Chromium are needed by these tests alone, so nothing of them is imported before a test asks for a browser.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
sys.path.insert(0, str(Path(__file__).parent))

from harness import Pixelog
from tools import ARGUMENTS, CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WAIT_MS = 20_000
"""Patience with what has to happen soon; a machine under load is slow."""

SIZES = {"phone": (360, 780), "desk": (1440, 900)}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; each opens contexts of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """`context(size, scheme)`: a fresh profile of that size and colour scheme; closed at the end."""
    opened: list[BrowserContext] = []

    def make(size: str = "desk", scheme: str = "light", **options: object) -> BrowserContext:
        width, height = SIZES[size]
        one = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]
            has_touch=size == "phone",
            **options,  # type: ignore[arg-type]
        )
        one.set_default_timeout(WAIT_MS)
        opened.append(one)
        return one

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Pixelog]]:
    """`up(*options)`: a running pixelog with an emulated ILI9341; killed at the end."""
    running: list[Pixelog] = []

    def make(*options: str, port: int = 0) -> Pixelog:
        one = Pixelog(tmp_path / "data", *options, display="sim:ili9341", port=port)
        running.append(one)
        return one.start()

    yield make
    for one in running:
        if one.process is not None:
            one.kill_all()


@pytest.fixture
def visit(context: Callable[..., BrowserContext]) -> Iterator[Callable[..., Page]]:
    """`visit(pixelog, size, scheme, inside=…)`: the page in a tab, once it is live. Any error in its console fails the test at its end."""
    complaints: list[str] = []

    def make(pixelog: Pixelog, size: str = "desk", scheme: str = "light", inside: BrowserContext | None = None) -> Page:
        page = (inside or context(size, scheme)).new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if "Content Security Policy" in message.text else None)
        page.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.goto(pixelog.page)
        page.wait_for_selector("#link[data-link=live]")
        return page

    yield make
    assert complaints == []
