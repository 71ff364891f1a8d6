"""Somebody's first evening with the page, on a phone and at a desk: from the link on the panel to the plug that was pulled."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from harness import Pixelog, client, run, until
from PIL import Image, ImageChops
from tools import (
    check_rules,
    drop,
    elsewhere,
    go,
    noise,
    order,
    plain,
    throttle,
    views,
    wait_colour,
    wait_count,
    wait_order,
    wait_text,
)

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Request

pytestmark = pytest.mark.page

RED, GREEN = (248, 0, 0), (0, 252, 0)

LOOK_BACK_SECONDS = 10

MIDDLE_PERCENT = range(20, 91)
"""What counts as the middle of an upload."""

POLICY_HOLES = re.compile(r"unsafe|\*|data: *;? *script|https?:")


@dataclass
class Witness:
    """What a tab did beside what is seen: the addresses that it asked, and what its console complained of."""

    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (self.errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def hosts(self) -> set[str]:
        return {urlsplit(url).netloc for url in self.asked if not url.startswith(("data:", "blob:"))}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("size", ["phone", "desk"])
def test_evening(up: Callable, context: Callable[..., BrowserContext], size: str, tmp_path: Path) -> None:
    """Paired by link, three files dropped, one of them broken; ordered by keyboard, shown, written over, paused, removed, brought back, looked
    back at; the service killed in mid-upload and started again. Nothing is asked of another host, and axe finds nothing on any view."""
    pixelog = up("--host", "0.0.0.0")
    inside, base = elsewhere(context, pixelog, size)
    witness = Witness()
    page = _paired(pixelog, inside, base, witness)
    for view in views(page):
        check_rules(page, f"empty {view}")

    _three_files(pixelog, page)
    _order(pixelog, page)
    _show_and_write(pixelog, page)
    _remove_and_undo(pixelog, page)
    _look_back(pixelog, page, tmp_path / "then.png")
    for view in views(page):
        check_rules(page, f"full {view}")
    assert witness.errors == []

    _killed_in_mid_upload(up, pixelog, inside, page)
    unexpected = [text for text in witness.errors if not re.search(r"net::ERR_(CONNECTION|EMPTY|INCOMPLETE)", text)]
    assert unexpected == []
    assert witness.hosts() == {urlsplit(base).netloc}


def _paired(pixelog: Pixelog, inside: BrowserContext, base: str, witness: Witness) -> Page:
    """By the link, as a scanned code opens it. The page's policy is strict."""
    pixelog.http = client(f"http://127.0.0.1:{urlsplit(base).port}")
    page = inside.new_page()
    witness.watch(page)
    assert inside.request.get(f"{base}/api/v1/dashboard").status == 401
    page.goto(f"{base}/pair#{pixelog.announced['pairing'].partition('#')[2]}")
    page.wait_for_url(f"{base}/")
    page.wait_for_selector("#link[data-link=live]")
    policy = inside.request.get(f"{base}/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert POLICY_HOLES.findall(policy) == []
    assert pixelog.get("/sessions")["total"] == 1
    return page


def _three_files(pixelog: Pixelog, page: Page) -> None:
    go(page, "library")
    assert "library is empty" in page.text_content("#library-empty")
    drop(
        page,
        ("red.png", "image/png", plain(RED)),
        ("green.png", "image/png", plain(GREEN)),
        ("broken.png", "image/png", b"\x89PNG\r\n\x1a\nthis was cut short"),
    )
    page.wait_for_selector(".item .pill:not([hidden])")
    why = pixelog.prepared("broken")["error"]
    assert page.text_content(".item .pill:not([hidden])") == why
    wait_text(page, ".upload[data-state=failed]", why)
    for slug in ("red", "green"):
        assert pixelog.prepared(slug)["status"] == "ready"
    page.click("#library-list [aria-label='Details of broken.png']")
    check_rules(page, "the sheet of what failed")
    page.keyboard.press("Escape")


def _order(pixelog: Pixelog, page: Page) -> None:
    """By keyboard; what is spoken is the name and the place that it has now."""

    def kept(names: list[str]) -> bool:
        return [f"{item['slug']}.png" for item in pixelog.get("/loop")["items"]] == names

    go(page, "loop")
    wait_count(page, "#loop-list li", 3)
    one, two, three = order(page)
    assert page.get_attribute("#spoken", "aria-live") == "assertive"
    page.locator("#loop-list .grip").nth(0).focus()
    page.keyboard.press("ArrowDown")
    wait_order(page, [two, one, three])
    assert page.text_content("#spoken").strip() == f"{one}, position 2 of 3"
    until(lambda: kept([two, one, three]), "the order in the log")
    page.keyboard.press("End")
    until(lambda: kept([two, three, one]), "the order in the log")
    assert page.text_content("#spoken").strip() == f"{one}, position 3 of 3"
    page.keyboard.press("Home")
    until(lambda: kept([one, two, three]), "the order in the log")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == f"Move {one}, position 1 of 3"


def _show_and_write(pixelog: Pixelog, page: Page) -> None:
    page.click("#loop-list .main:has-text('green.png')")
    go(page, "panel")
    wait_text(page, "#now-name", "green.png")
    wait_colour(page, GREEN)

    go(page, "message")
    page.click("#set-priority label:has-text('Warning')")
    page.locator("#message-text").press_sequentially("Tea is ready")
    page.keyboard.press("Enter")
    wait_text(page, "#message-list", "Tea is ready")
    assert [(one["text"], one["priority"]) for one in pixelog.get("/messages")["items"]] == [("Tea is ready", "warning")]

    go(page, "panel")
    page.click("#toggle")
    wait_text(page, "#now-tag", "Paused")
    assert pixelog.get("/dashboard")["player"]["playing"] is False


def _remove_and_undo(pixelog: Pixelog, page: Page) -> None:
    """What was removed comes back to its place in the loop."""
    before = [item["slug"] for item in pixelog.get("/loop")["items"]]
    go(page, "library")
    page.click("#library-list [aria-label='Details of red.png']")
    check_rules(page, "the sheet of what is ready")
    page.click("#item [data-act=remove]")
    wait_count(page, "#library-list li", 2)
    assert len(pixelog.get("/loop")["items"]) == 2
    check_rules(page, "a notice with a way back")
    page.click(".toast:has-text('red.png is removed') .undo")
    wait_count(page, "#library-list li", 3)
    until(lambda: [item["slug"] for item in pixelog.get("/loop")["items"]] == before, "its place in the loop")


def _look_back(pixelog: Pixelog, page: Page, file: Path) -> None:
    """Ten seconds back the page shows, to the pixel, what `pixelog replay screen` has for that time."""
    page.click("#library-list [aria-label='Show red.png now']")
    go(page, "panel")
    wait_colour(page, RED)
    red_until = time.monotonic() + LOOK_BACK_SECONDS + 1
    until(lambda: time.monotonic() > red_until, "eleven seconds of red", 30)
    go(page, "library")
    page.click("#library-list [aria-label='Show green.png now']")
    go(page, "panel")
    wait_colour(page, GREEN)

    moments: list[str] = []

    def note(request: Request) -> None:
        moments.extend(parse_qs(urlsplit(request.url).query).get("at", []) if "/history/screen.png" in request.url else [])

    page.on("request", note)
    page.click("#past-back")
    wait_colour(page, RED)
    wait_text(page, "#past-text", "10 s ago")
    wait_text(page, "#now-name", "red.png")
    assert page.is_hidden("#toggle")
    replayed = run("replay", "screen", "--at", moments[-1], "-o", str(file), "--data", str(pixelog.data))
    assert replayed.returncode == 0, replayed.stderr
    then = Image.open(file).convert("RGB")
    assert ImageChops.difference(_canvas(page), then).getbbox() is None
    check_rules(page, "the past")
    page.click("#past-now")
    wait_colour(page, GREEN)
    wait_text(page, "#now-name", "green.png")


def _canvas(page: Page) -> Image.Image:
    width, height, values = page.evaluate(
        """() => {
            const { width, height } = document.getElementById("screen");
            const { data } = document.getElementById("screen").getContext("2d").getImageData(0, 0, width, height);
            return [width, height, [...data]];
        }"""
    )
    return Image.frombytes("RGBA", (width, height), bytes(values)).convert("RGB")


def _killed_in_mid_upload(up: Callable, pixelog: Pixelog, inside: BrowserContext, page: Page) -> None:
    """The page says so, sends the file again from its start, and is where it was, without being reloaded or paired again."""
    go(page, "library")
    slow = throttle(inside, page, 300_000)
    content = noise((800, 600), 1)
    drop(page, ("holiday.png", "image/png", content))
    percent = (
        "() => Number(document.querySelector('.upload[data-state=sending] [role=progressbar]')?.getAttribute('aria-valuenow'))"
    )
    until(lambda: page.evaluate(percent) in MIDDLE_PERCENT, "the middle of the upload")
    assert pixelog.get("/media")["total"] == 3
    port = int(pixelog.page.rpartition(":")[2])
    pixelog.kill_all()
    wait_text(page, ".upload[data-state=broken]", "sent again from its start")
    page.wait_for_selector("#link[data-link=lost]")
    wait_text(page, "#link", "Not connected")
    assert "cannot be reached" in page.text_content("#banners")
    for view in views(page):
        check_rules(page, f"{view} without the service")

    go(page, "library")
    slow(-1)
    page.evaluate("window.unbroken = true")
    again = up("--host", "0.0.0.0", port=port)
    again.http = client(f"http://127.0.0.1:{port}")
    page.wait_for_selector("#link[data-link=live]")
    wait_text(page, "#library-list", "holiday.png")
    item = again.prepared("holiday")
    assert (item["status"], item["size"]) == ("ready", len(content))
    assert again.get("/media")["total"] == 4
    page.wait_for_selector(".upload[data-state=ready]:has-text('holiday.png')")
    assert [item["slug"] for item in again.get("/loop")["items"]][-1] == "holiday"
    assert page.evaluate("window.unbroken") is True
    assert again.get("/sessions")["total"] == 1
    assert again.http.get("/media/holiday/content").content == content
