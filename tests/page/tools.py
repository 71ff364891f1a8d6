"""What the page's tests do to the page, in the words of somebody in front of it."""

from __future__ import annotations

import base64
import io
import os
import random
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from harness import Pixelog, until
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""A browser that talks to nobody but the service under test."""

AXE = Path(__file__).parents[2] / ".make" / "axe.min.js"
"""axe-core, fetched by `make page`."""

VIEWS = ("panel", "loop", "library", "message", "settings")

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

PROXIED = {"X-Forwarded-For": "203.0.113.9"}
"""Makes a request from this machine one that is not counted as its own."""

File = tuple[str, str, bytes]
"""Name, type, content."""


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (240, 320)) -> bytes:
    """A PNG of one colour."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def noise(size: tuple[int, int], seed: int) -> bytes:
    """A PNG that does not compress."""
    out = io.BytesIO()
    Image.frombytes("RGB", size, random.Random(seed).randbytes(size[0] * size[1] * 3)).save(out, "PNG", compress_level=0)
    return out.getvalue()


def drop(page: Page, *files: File) -> None:
    """Drop files onto the page, as a hand with a mouse does."""
    data = [[name, type, base64.b64encode(content).decode()] for name, type, content in files]
    page.evaluate(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, type, text] of files) {
                transfer.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name, { type }));
            }
            for (const kind of ["dragenter", "dragover", "drop"]) {
                document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
            }
        }""",
        data,
    )


def drop_paths(inside: BrowserContext, page: Page, *paths: Path) -> None:
    """Drop files and folders of this machine onto the page, as Chromium itself takes them from a file manager."""
    session = inside.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 100, "y": 100, "data": data})


def paste(page: Page, *files: File) -> None:
    """Paste files, as the clipboard of a file manager gives them."""
    data = [[name, type, base64.b64encode(content).decode()] for name, type, content in files]
    page.evaluate(
        """files => {
            const clipboardData = new DataTransfer();
            for (const [name, type, text] of files) {
                clipboardData.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name, { type }));
            }
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
        }""",
        data,
    )


def throttle(inside: BrowserContext, page: Page, upload_bytes_per_second: int) -> Callable[[int], None]:
    """Make the tab's uploads slow. Answers how to change that; -1 is as fast as it goes."""
    session = inside.new_cdp_session(page)
    session.send("Network.enable")

    def limit(upload_bytes_per_second: int) -> None:
        limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": upload_bytes_per_second}
        session.send("Network.emulateNetworkConditions", limits)

    limit(upload_bytes_per_second)
    return limit


def elsewhere(
    context: Callable[..., BrowserContext], pixelog: Pixelog, size: str = "desk", scheme: str = "light"
) -> tuple[BrowserContext, str]:
    """A browser that is not counted as this machine's own, and the address under which it reaches a pixelog that listens everywhere. On a machine
    without a network it says of each request that it was passed on; a SharedWorker's cannot be made to, so it has none then."""
    host = urlsplit(pixelog.page).hostname or ""
    if not ip_address(host).is_loopback:
        return context(size, scheme), pixelog.page
    inside = context(size, scheme, extra_http_headers=PROXIED)
    inside.add_init_script("delete window.SharedWorker")
    return inside, pixelog.page


def check_rules(page: Page, where: str) -> None:
    """axe finds nothing, in light and in dark."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        told = [
            f"{where}, {scheme}: {one['id']}: {node['target']} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]
        assert told == [], "\n".join(told)


def views(page: Page) -> Iterator[str]:
    """Go to one view after the other."""
    for view in VIEWS:
        go(page, view)
        yield view


def go(page: Page, view: str) -> None:
    """Go to a view: by its tab on a phone; on a desk all are there already."""
    if page.viewport_size and page.viewport_size["width"] < 900:
        page.click(f".tabs a[href='#{view}']")


def order(page: Page) -> list[str]:
    """Names in the loop, in order."""
    return page.locator("#loop-list strong").all_text_contents()


def when(page: Page, script: str, argument: object = None) -> None:
    """Wait until a function of the page answers true. Playwright's own waiting needs `eval`, which the page's policy forbids."""
    until(lambda: page.evaluate(script, argument), script)


def wait_order(page: Page, names: list[str]) -> None:
    """Wait until the loop has this order."""
    until(lambda: order(page) == names, f"the order {names}")


def wait_text(page: Page, selector: str, text: str) -> None:
    """Wait until an element has this text somewhere in it."""
    when(page, "([selector, text]) => Boolean(document.querySelector(selector)?.textContent.includes(text))", [selector, text])


def wait_count(page: Page, selector: str, count: int) -> None:
    """Wait until there are so many of these."""
    until(lambda: page.locator(selector).count() == count, f"{count} of {selector}")


def wait_colour(page: Page, colour: tuple[int, int, int]) -> None:
    """Wait until the middle of the page's panel shows this colour, as RGB565 spreads it."""
    when(
        page,
        """colour => {
            const canvas = document.getElementById("screen");
            const middle = canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
            return colour.every((value, index) => Math.abs(middle[index] - value) <= 8);
        }""",
        list(colour),
    )


# -- how soon a change is seen -------------------------------------------------------------------------------------------------------------

WATCH_MESSAGES = """() => {
    window.seen = {};
    new MutationObserver(() => {
        const now = Date.now();
        for (const text of document.querySelectorAll("#message-list p")) window.seen[text.textContent] ??= now;
    }).observe(document.getElementById("message-list"), { childList: true, subtree: true, characterData: true });
}"""

WATCH_HOLD = """() => {
    const hold = document.getElementById("hold");
    window.clicked = [];
    window.turned = [];
    hold.addEventListener("click", () => window.clicked.push(Date.now()), { capture: true });
    let pressed = hold.ariaPressed;
    new MutationObserver(() => {
        if (hold.ariaPressed !== pressed) window.turned.push(Date.now());
        pressed = hold.ariaPressed;
    }).observe(hold, { attributeFilter: ["aria-pressed"] });
}"""


def seen_from_http_ms(pixelog: Pixelog, tab: Page, changes: int) -> list[float]:
    """Messages by HTTP, as `curl` sends them: from before each request until its text stands in the tab, in order of length. Both clocks are this
    machine's."""
    tab.evaluate(WATCH_MESSAGES)
    sent: dict[str, float] = {}
    for number in range(changes):
        text = f"change {number}"
        sent[text] = time.time() * 1000
        message = pixelog.send("POST", "/messages", {"text": text}).json()
        until(lambda text=text: tab.evaluate("text => text in window.seen", text), text)
        pixelog.send("DELETE", f"/messages/{message['id']}")
    seen = tab.evaluate("window.seen")
    return sorted(seen[text] - moment for text, moment in sent.items())


def seen_from_tab_ms(here: Page, there: Page, changes: int) -> list[float]:
    """A button pressed in one tab: from its click until it is pressed in the other, in order of length."""
    for tab in (here, there):
        tab.evaluate(WATCH_HOLD)
    here.bring_to_front()
    for number in range(changes):
        here.click("#hold")
        for tab in (here, there):
            until(lambda tab=tab, number=number: tab.evaluate("window.turned.length") > number, f"change {number}")
    clicked, turned = here.evaluate("window.clicked"), there.evaluate("window.turned")
    assert (len(clicked), len(turned)) == (changes, changes)
    return sorted(seen - moment for moment, seen in zip(clicked, turned, strict=True))


def percentile(ordered: list[float], percent: int) -> float:
    """The smallest of these that at least so many per cent do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
