"""Signing a browser in: by the link, by typing, and what is said when a code is not good."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tools import PROXIED, check_rules

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.page


def test_a_link_signs_a_browser_in(up: Callable, context: Callable[..., BrowserContext]) -> None:
    """The link opens the page, signed in; its code is in no address any more, and its cookie is out of the reach of scripts."""
    pixelog = up("--host", "0.0.0.0")
    here = f"http://127.0.0.1:{pixelog.page.rpartition(':')[2]}"
    code = pixelog.announced["pairing"].partition("#")[2]
    phone = context("phone", extra_http_headers=PROXIED)
    page = phone.new_page()
    page.goto(f"{here}/pair#{code}")
    page.wait_for_url(f"{here}/")
    page.wait_for_selector("[data-link=live]")
    assert page.evaluate("document.cookie") == ""
    (cookie,) = phone.cookies()
    assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Strict")


def test_a_code_can_be_typed(up: Callable, context: Callable[..., BrowserContext]) -> None:
    """A bad one is explained and can be mended; axe finds nothing before and after."""
    pixelog = up("--host", "0.0.0.0")
    here = f"http://127.0.0.1:{pixelog.page.rpartition(':')[2]}"
    code = pixelog.announced["pairing"].partition("#")[2]
    page = context("phone", extra_http_headers=PROXIED).new_page()
    page.goto(f"{here}/pair")
    check_rules(page, "the way in")
    page.fill("#code", "AAAA-AAAA-AAAA")
    page.keyboard.press("Enter")
    page.wait_for_selector("#said.bad")
    assert "does not work" in page.inner_text("#said")
    assert page.evaluate("document.activeElement.id") == "code"
    check_rules(page, "a bad code")
    page.fill("#code", code.lower().replace("-", " "))
    page.click("#send")
    page.wait_for_url(f"{here}/")
