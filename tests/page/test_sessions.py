"""The browsers that are signed in, on the page: who they are, signing them out, and being signed out."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from harness import Pixelog, client, run, until
from tools import check_rules, go, wait_count, wait_text

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.page

PHONE = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36"
ODD = "<img src=x onerror=alert(1)>"


def _code(pixelog: Pixelog) -> str:
    made: subprocess.CompletedProcess[str] = run("pair", "--json", "--data", str(pixelog.data))
    assert made.returncode == 0, made.stderr
    return made.stdout.partition("#")[2].partition('"')[0]


@pytest.fixture
def paired(up: Callable, context: Callable[..., BrowserContext]) -> tuple[Pixelog, Page]:
    """A service for this machine alone, and a phone that was signed in all the same."""
    pixelog = up()
    page = context("phone", user_agent=PHONE).new_page()
    page.goto(f"{pixelog.page}/pair#{_code(pixelog)}")
    page.wait_for_selector("#link[data-link=live]")
    return pixelog, page


def test_signing_out(paired: tuple[Pixelog, Page], visit: Callable) -> None:
    """A browser finds itself in the list and signs itself out by two presses; it is at the way in then, and every other page's list is shorter."""
    pixelog, page = paired
    desk = visit(pixelog)
    wait_count(desk, "#access-list li", 1)
    assert desk.text_content("#access-list strong") == "Chrome on Android"
    wait_text(desk, "#access-help", "This browser needs no signing in.")
    go(page, "settings")
    wait_text(page, "#access-list", "This browser, since")
    check_rules(page, "signed-in browsers")
    button = page.get_by_role("button", name="Sign out Chrome on Android")
    button.click()
    assert pixelog.get("/sessions")["total"] == 1
    check_rules(page, "sure?")
    page.get_by_role("button", name="Really? Chrome on Android").press("Tab")
    assert button.is_visible()
    button.click()
    page.get_by_role("button", name="Really? Chrome on Android").press("Enter")
    page.wait_for_url(f"{pixelog.page}/pair")
    assert pixelog.get("/sessions")["total"] == 0
    assert page.context.cookies() == []
    wait_count(desk, "#access-list li", 0)


def test_signing_another_out(paired: tuple[Pixelog, Page], browser: Browser, visit: Callable) -> None:
    """Another browser is seen as soon as it is signed in, whatever it calls itself, and can be signed out from here."""
    pixelog, page = paired
    go(page, "settings")
    wait_count(page, "#access-list li", 1)
    with client(f"http://127.0.0.1:{urlsplit(pixelog.page).port}") as other:
        signed = other.post("/pair", json={"code": _code(pixelog)}, headers={"User-Agent": ODD})
        assert signed.status_code == 201
    wait_count(page, "#access-list li", 2)
    assert page.locator("#access-list strong").all_text_contents() == ["Browser on another machine", "Chrome on Android"]
    page.click("#access-list li:has-text('another machine') button")
    page.click("#access-list button:has-text('Really?')")
    wait_count(page, "#access-list li", 1)
    until(lambda: [one["id"] for one in pixelog.get("/sessions")["items"]] != [signed.json()["id"]], "the other's end")
    assert pixelog.get("/sessions")["total"] == 1
    assert page.get_attribute("#link", "data-link") == "live"
