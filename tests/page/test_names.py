"""Names and texts of users are shown to the letter, and never become part of the page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import until
from tools import drop, go, plain, views, wait_count, wait_text

pytestmark = pytest.mark.page

NASTY = [
    "<img src=x onerror=alert(1)>.png",
    '"><script>alert(2)</script>.png',
    "'; alert(3); '.png",
    "a&amp;b&lt;c.png",
    "\u202egnp.olleh\u202c 👩‍👩‍👧 ночь.png",
    "long " * 50 + "!.png",
]
"""Markup, quotes, entities, signs that turn the direction of writing, emoji, and as many characters as a name may have."""


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_nasty_names(up: Callable, visit: Callable, size: str) -> None:
    """File names, messages, jobs and the display's name that look like markup are text everywhere, and make no view wider."""
    pixelog = up()
    assert len(NASTY[-1]) == 255
    page = visit(pixelog, size)
    go(page, "library")
    drop(page, *((name, "image/png", plain((10 * place, 60, 90))) for place, name in enumerate(NASTY)))
    wait_count(page, "#library-list li", len(NASTY))
    wait_count(page, "#loop-list li", len(NASTY))
    too_long = "<img src=x onerror=alert(5)>" * 10 + "a" * 20
    drop(page, (too_long, "image/png", plain((9, 9, 9))))
    wait_text(page, ".upload[data-state=failed]", "A file name has 1 to 255 characters.")
    assert page.text_content(".upload[data-state=failed] strong") == too_long
    held = [item["filename"] for item in pixelog.get("/media")["items"]]
    assert page.locator("#library-list strong").all_text_contents() == held
    texts = ["<b onclick=alert(4)>hello</b>", "x" * 300, *NASTY]
    for text in texts:
        pixelog.send("POST", "/messages", {"text": text, "priority": "info"})
        pixelog.send("POST", "/jobs", {"kind": "odd", "title": text, "input": {"slug": text}})
    pixelog.send("PATCH", "/settings", {"name": "<i>mine</i>"})
    until(lambda: page.locator("#message-list p").all_text_contents() == texts, "every message to the letter")
    wait_text(page, "#name", "<i>mine</i>")
    for _ in views(page):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    go(page, "library")
    for place in range(len(NASTY)):
        page.locator("#library-list li").nth(place).locator("[aria-label^='Details of']").click()
        assert page.text_content("#item-title") == held[place]
        page.keyboard.press("Escape")
    assert page.locator("main i, main b, main script, main img[src=x]").count() == 0


def test_odd_slugs(up: Callable, visit: Callable) -> None:
    """Items whose slugs hold slashes, quotes, blanks and emoji can be shown, moved and removed."""
    pixelog = up()
    slugs = ["a/b?c=d#e", 'it\'s "quoted" 100%', "😀 smile"]
    for place, slug in enumerate(slugs):
        pixelog.upload(f"{place}.png", plain((place, 99, 9)), slug=slug, addToLoop="true")
    page = visit(pixelog)
    go(page, "loop")
    wait_count(page, "#loop-list li", 3)
    page.click(".main:has-text('0.png')")
    wait_text(page, "#now-name", "0.png")
    for place in range(3):
        page.click(f"[aria-label='Take {place}.png out of the loop']")
        wait_count(page, "#loop-list li", 2 - place)
    page.click("[aria-label='Details of 0.png']")
    page.click("#item [data-act=remove]")
    wait_count(page, "#library-list li", 2)
