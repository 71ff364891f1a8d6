"""What the page's tests do to the page, in the words of somebody in front of it."""

from __future__ import annotations

import base64
import io
import os
import random
from typing import TYPE_CHECKING

from harness import until
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

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
