"""What the page says when the service refuses: each of its answers, from the real service, becomes a sentence that helps."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import harness
import pytest
from harness import Pixelog, client, run, until
from tools import check_rules, drop, elsewhere, noise, order, paste, plain, wait_count, wait_order, wait_text

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

pytestmark = pytest.mark.page

BAD_CODES_MAX = 10
"""Tries that one address has."""

DISK = "56m"


def _told(page: Page, text: str) -> None:
    """A notice with this text is shown, and spoken."""
    wait_text(page, "#toasts", text)
    wait_text(page, "#spoken", text)


def _changed(page: Page, path: str, **headers: str) -> None:
    """The page's requests for this path say something else than the page meant, as another page's or an older page's would."""

    def change(route: Route) -> None:
        other = {name.replace("_", "-"): value for name, value in headers.items()}
        route.fulfill(response=route.fetch(headers={**route.request.headers, **other}))

    page.route(f"**/api/v1{path}", change)


def _at_home(pixelog: Pixelog) -> str:
    """A client that is let in; the address for those who are not."""
    pixelog.http = client(f"http://127.0.0.1:{urlsplit(pixelog.page).port}")
    return pixelog.announced["pairing"].partition("#")[2]


# -- who may not ---------------------------------------------------------------------------------------------------------------------------


def test_a_stranger_is_brought_to_the_way_in(up: Callable, context: Callable[..., BrowserContext]) -> None:
    """Who opens the page without being signed in gets the field for the code, and after it the page."""
    pixelog = up("--host", "0.0.0.0")
    code = _at_home(pixelog)
    inside, base = elsewhere(context, pixelog, "phone")
    page = inside.new_page()
    page.goto(base)
    page.wait_for_url(f"{base}/pair")
    check_rules(page, "the way in")
    page.fill("#code", code)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{base}/")
    page.wait_for_selector("#link[data-link=live]")


def test_signed_out_elsewhere(up: Callable, context: Callable[..., BrowserContext]) -> None:
    """401: a browser whose session is ended says so, keeps what it shows, and is live again after a new code, without anything else done."""
    pixelog = up("--host", "0.0.0.0")
    code = _at_home(pixelog)
    inside, base = elsewhere(context, pixelog)
    page = inside.new_page()
    page.goto(f"{base}/pair#{code}")
    page.wait_for_selector("#link[data-link=live]")
    (session,) = pixelog.get("/sessions")["items"]
    pixelog.send("DELETE", f"/sessions/{session['id']}")
    page.click("#toggle")
    _told(page, "This browser is not signed in")
    wait_text(page, "#banners", "This browser is not signed in")
    check_rules(page, "signed out")
    made = run("pair", "--json", "--data", str(pixelog.data))
    assert made.returncode == 0, made.stderr
    page.click("#banners a:has-text('Sign in')")
    page.wait_for_url(f"{base}/pair")
    page.fill("#code", made.stdout.partition("#")[2].partition('"')[0])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{base}/")
    page.wait_for_selector("#link[data-link=live]")


def test_too_many_codes(up: Callable, context: Callable[..., BrowserContext]) -> None:
    """403, then 429: a bad code is explained; after too many of them the page says how long to wait."""
    pixelog = up("--host", "0.0.0.0")
    inside, base = elsewhere(context, pixelog, "phone")
    page = inside.new_page()
    page.goto(f"{base}/pair")
    for _ in range(BAD_CODES_MAX):
        page.fill("#code", "AAAA-AAAA-AAAA")
        with page.expect_response("**/api/v1/pair") as answer:
            page.keyboard.press("Enter")
        assert answer.value.status == 403
        wait_text(page, "#said", "This code does not work, or not any more")
        until(lambda: page.is_enabled("#send"), "the button")
    page.keyboard.press("Enter")
    wait_text(page, "#said", "Too many tries. Try again in 5 minutes.")


def test_another_site(up: Callable, visit: Callable) -> None:
    """403: a change on behalf of another page is refused with the reason."""
    page = visit(up())
    _changed(page, "/player/**", origin="http://elsewhere.example")
    page.click("#toggle")
    _told(page, "A page from 'http://elsewhere.example' may not change anything here.")


# -- what may not be -----------------------------------------------------------------------------------------------------------------------


def test_a_file_too_large(up: Callable, visit: Callable) -> None:
    """413: the upload ends with the limit, others go on, and it can be tried again."""
    pixelog = up()
    pixelog.stop()
    (pixelog.data / "pixelog.toml").write_text("[upload]\nmax_bytes = 500000\n")
    pixelog = up()
    page = visit(pixelog)
    drop(page, ("huge.png", "image/png", noise((800, 800), 1)), ("small.png", "image/png", plain((9, 9, 99))))
    wait_text(page, ".upload[data-state=failed]", "This file is too large. A file has at most 500,000 bytes here.")
    wait_text(page, "#library-list", "small.png")
    assert page.is_visible(".upload:has-text('huge.png') button:has-text('Try again')")
    assert [item["slug"] for item in pixelog.get("/media")["items"]] == ["small"]


def test_another_version_of_the_page(up: Callable, visit: Callable) -> None:
    """415: a page that does not speak the service's language asks to be reloaded."""
    page = visit(up())
    _changed(page, "/messages", content_type="text/plain")
    page.fill("#message-text", "hello")
    page.click("#message-send")
    _told(page, "This page and pixelog do not understand each other. Reload the page.")
    assert page.input_value("#message-text") == "hello"


def test_a_bad_value(up: Callable, visit: Callable) -> None:
    """422: a setting out of its bounds is refused with the bounds, and the field shows what is so."""
    pixelog = up()
    page = visit(pixelog)
    page.fill("#set-defaultDuration", "0")
    page.keyboard.press("Tab")
    _told(page, "A picture stays for 0.1 to 86,400 seconds.")
    until(lambda: page.input_value("#set-defaultDuration") == "10", "what is so")
    assert pixelog.get("/settings")["defaultDuration"] == 10


# -- what cannot be now --------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _log_held(pixelog: Pixelog) -> Iterator[None]:
    """Another program writes to the log for as long as the block lasts."""
    with contextlib.closing(sqlite3.connect(pixelog.data / "pixelog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_busy_log(up: Callable, visit: Callable) -> None:
    """503: a change that cannot be made now is said to be so; an upload waits by itself, and is taken in when it can be."""
    pixelog = up()
    page = visit(pixelog)
    with _log_held(pixelog):
        page.click("#toggle")
        drop(page, ("patient.png", "image/png", plain((99, 9, 9))))
        wait_text(page, "#toasts", "Another process is writing to the log")
        page.wait_for_selector(".upload[data-state=broken]")
    wait_text(page, "#library-list", "patient.png")
    assert pixelog.prepared("patient")["status"] == "ready"
    assert pixelog.get("/media")["total"] == 1


def test_a_full_disk(up: Callable, visit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """507: an upload for which there is no room fails with what to do about it; when there is room, the same one can be tried again."""
    plain_command = harness.command

    def on_a_small_disk(*arguments: str) -> list[str]:
        data = arguments[arguments.index("--data") + 1]
        mount = f'mkdir -p "$0" && mount -t tmpfs -o size={DISK} tmpfs "$0" && exec "$@"'
        return ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, data, *plain_command(*arguments)]

    monkeypatch.setattr(harness, "command", on_a_small_disk)
    pixelog = up()
    page = visit(pixelog)
    first, second = noise((2000, 1800), 1), noise((2000, 1800), 2)
    assert pixelog.upload("first.png", first)["slug"] == "first"
    paste(page, ("second.png", "image/png", second), ("third.png", "image/png", noise((2000, 1800), 3)))
    wait_text(
        page,
        ".upload[data-state=failed]",
        "The disk is full. What you remove makes room after ten minutes; or make room on the card.",
    )
    assert page.is_visible(".upload[data-state=failed] button:has-text('Try again')")


# -- two hands at once ---------------------------------------------------------------------------------------------------------------------


def _three(pixelog: Pixelog) -> None:
    for number, name in enumerate(("one", "two", "three")):
        pixelog.upload(f"{name}.png", plain((40 * number, 80, 120)), addToLoop="true")
        pixelog.prepared(name)


CONFLICT = "Somebody else changed it at the same moment, so this was not done. It is shown as it is now."


def test_two_tabs_order_at_once(up: Callable, visit: Callable, context: Callable[..., BrowserContext]) -> None:
    """While one hand carries an item, another browser moves one: who comes second is told, sees the fresh order, and can move in it."""
    pixelog = up()
    _three(pixelog)
    here, there = (visit(pixelog, inside=context()) for _ in range(2))
    for page in (here, there):
        wait_order(page, ["one.png", "two.png", "three.png"])
    grip = here.locator("#loop-list .grip").nth(0).bounding_box()
    target = here.locator("#loop-list li").nth(2).bounding_box()
    here.mouse.move(grip["x"] + 20, grip["y"] + 30)
    here.mouse.down()
    here.mouse.move(grip["x"] + 20, target["y"] + 34, steps=6)
    there.locator("#loop-list .grip").nth(2).focus()
    there.keyboard.press("Home")
    fresh = ["three.png", "one.png", "two.png"]
    until(lambda: [f"{item['slug']}.png" for item in pixelog.get("/loop")["items"]] == fresh, "the other's move")
    here.mouse.up()
    _told(here, CONFLICT)
    for page in (here, there):
        wait_order(page, fresh)
    assert [f"{item['slug']}.png" for item in pixelog.get("/loop")["items"]] == fresh
    check_rules(here, "the conflict")
    here.locator("#loop-list .grip").nth(0).focus()
    here.keyboard.press("ArrowDown")
    for page in (here, there):
        wait_order(page, ["one.png", "three.png", "two.png"])


def test_a_move_that_comes_second(up: Callable, visit: Callable) -> None:
    """412: a move that another overtakes on its way is not made, nor are those of the same walk after it; the fresh order is shown."""
    pixelog = up()
    _three(pixelog)
    page = visit(pixelog)
    wait_order(page, ["one.png", "two.png", "three.png"])
    sent: list[int] = []

    def overtake(route: Route) -> None:
        if not sent:
            pixelog.send("POST", "/loop/items", {"slug": "three", "at": 0})
        sent.append(1)
        route.continue_()

    page.route("**/api/v1/loop/items", overtake)
    with page.expect_response("**/api/v1/loop/items") as answer:
        page.locator("#loop-list .grip").nth(0).focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
    assert answer.value.status == 412
    _told(page, CONFLICT)
    wait_order(page, ["three.png", "one.png", "two.png"])
    assert len(sent) == 1
    assert [item["slug"] for item in pixelog.get("/loop")["items"]] == ["three", "one", "two"]
    assert order(page) == ["three.png", "one.png", "two.png"]
    wait_count(page, ".toast", 1)
