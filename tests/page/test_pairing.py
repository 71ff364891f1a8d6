"""Signing a browser in: by the link, by typing, and what is said when a code is not good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.page

AXE = Path(__file__).parents[2] / ".make" / "axe.min.js"
"""axe-core, fetched by `make page`."""

ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}
"""A browser that reaches the service through a proxy: never counted as this machine, wherever the test runs."""


def test_a_link_signs_a_browser_in(up: Callable, context: Callable[..., BrowserContext]) -> None:
    """The link opens the page, signed in; its code is in no address any more, and its cookie is out of the reach of scripts."""
    pixelog = up("--host", "0.0.0.0")
    here = f"http://127.0.0.1:{pixelog.page.rpartition(':')[2]}"
    code = pixelog.announced["pairing"].partition("#")[2]
    phone = context("phone", extra_http_headers=ELSEWHERE)
    page = phone.new_page()
    page.goto(f"{here}/pair#{code}")
    page.wait_for_url(f"{here}/")
    page.wait_for_selector("[data-link=live]")
    assert page.evaluate("document.cookie") == ""
    (cookie,) = phone.cookies()
    assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Strict")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_code_can_be_typed(up: Callable, context: Callable[..., BrowserContext], scheme: str) -> None:
    """A bad one is explained and can be mended; axe finds nothing before and after."""
    pixelog = up("--host", "0.0.0.0")
    here = f"http://127.0.0.1:{pixelog.page.rpartition(':')[2]}"
    code = pixelog.announced["pairing"].partition("#")[2]
    page = context("phone", scheme, extra_http_headers=ELSEWHERE).new_page()
    page.goto(f"{here}/pair")
    page.evaluate(AXE.read_text())
    assert page.evaluate("axe.run(document)")["violations"] == []
    page.fill("#code", "AAAA-AAAA-AAAA")
    page.keyboard.press("Enter")
    page.wait_for_selector("#said.bad")
    assert "does not work" in page.inner_text("#said")
    assert page.evaluate("document.activeElement.id") == "code"
    assert page.evaluate("axe.run(document)")["violations"] == []
    page.fill("#code", code.lower().replace("-", " "))
    page.click("#send")
    page.wait_for_url(f"{here}/")
