"""The sheet of one item: what can be done with it is done by mouse and by keyboard, and it closes as sheets do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import until
from tools import check_rules, plain, wait_text

pytestmark = pytest.mark.page


def test_what_a_sheet_can_do(up: Callable, visit: Callable) -> None:
    """A file is downloaded as it came, its seconds are typed, it joins the loop and leaves it; notices and their ways back are in the sheet while
    it is open, and on the page after it; Escape closes the sheet, and so does a click beside it."""
    pixelog = up()
    content = plain((9, 99, 200))
    pixelog.upload("still.png", content)
    pixelog.prepared("still")
    page = visit(pixelog)
    details = page.locator("#library-list [aria-label='Details of still.png']")
    details.click()
    with page.expect_download() as download:
        page.click("#item a:has-text('Download')")
    assert download.value.suggested_filename == "still.png"
    assert Path(download.value.path()).read_bytes() == content

    page.click("#item input[type=number]")
    page.keyboard.type("4.5")
    page.keyboard.press("Tab")
    until(lambda: pixelog.item("still")["duration"] == 4.5, "the seconds")
    page.click("#item [data-act=loop]")
    wait_text(page, "#item [data-act=loop]", "In the loop")
    assert page.evaluate("document.activeElement.dataset.act") == "loop"
    page.keyboard.press("Enter")
    wait_text(page, "#item [data-act=loop]", "Add to loop")
    assert pixelog.get("/loop")["items"] == []
    check_rules(page, "the sheet with a notice in it")
    page.click("#item .toast:has-text('still.png is out of the loop') .undo")
    wait_text(page, "#item [data-act=loop]", "In the loop")
    page.click("#item [data-act=loop]")
    wait_text(page, "#item .toast", "still.png is out of the loop")

    page.keyboard.press("Escape")
    page.wait_for_selector("body > div .toast:has-text('still.png is out of the loop')")
    assert page.evaluate("[...document.body.childNodes].every((one) => one.nodeType !== Node.TEXT_NODE || !one.data.trim())")
    assert page.is_hidden("#item")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Details of still.png"
    details.click()
    page.mouse.click(5, 5)
    assert page.is_hidden("#item")


def test_removed_elsewhere(up: Callable, visit: Callable) -> None:
    """A sheet whose item is removed by somebody else closes."""
    pixelog = up()
    pixelog.upload("still.png", plain((9, 99, 200)))
    page = visit(pixelog)
    page.click("#library-list [aria-label='Details of still.png']")
    pixelog.send("DELETE", "/media/still")
    page.wait_for_selector("#item", state="hidden")
