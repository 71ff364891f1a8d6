"""How files come onto the page: pasted, chosen, taken with the camera, dropped; and what is seen of them until they are ready."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import Pixelog, until
from tools import File, check_rules, drop, drop_paths, go, noise, paste, plain, throttle, wait_count, wait_text

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.page

UPLOAD_BYTES_PER_SECOND = 400_000

WATCH = """() => {
    window.told = {};
    new MutationObserver(() => {
        for (const row of document.querySelectorAll(".upload")) {
            const [name, note] = row.querySelectorAll("strong, small");
            const share = Number(row.querySelector("[role=progressbar]").getAttribute("aria-valuenow"));
            (window.told[name.textContent] ??= []).push([row.dataset.state, note.textContent, share]);
        }
    }).observe(document.getElementById("uploads"), { childList: true, subtree: true, characterData: true, attributes: true });
}"""


def _picture(seed: int) -> bytes:
    """Large enough to be on its way for a second."""
    return noise((420, 320), seed)


def _through_to_ready(pixelog: Pixelog, page: Page, name: str) -> None:
    """The page told of the upload's way: some share sent, then being prepared, then ready; and the item is there."""
    until(
        lambda: [state for state, *_ in page.evaluate("name => window.told[name] ?? []", name)][-1:] == ["ready"],
        f"{name} to be ready",
    )
    told = page.evaluate("name => window.told[name]", name)
    states = list(dict.fromkeys(state for state, *_ in told))
    assert [state for state in states if state != "waiting"] == ["sending", "preparing", "ready"]
    shares = [share for state, note, share in told if state == "sending" and note.startswith("Uploading")]
    assert shares == sorted(shares)
    assert any(0 < share < 100 for share in shares)
    assert any(note.startswith("Preparing for the panel") for _, note, _ in told)
    wait_text(page, "#spoken", f"{name} is ready")
    (item,) = [item for item in pixelog.get("/media")["items"] if item["filename"] == name]
    assert item["status"] == "ready"


@pytest.fixture
def opened(up: Callable, visit: Callable, context: Callable[..., BrowserContext]) -> Callable[[str], tuple[Pixelog, Page]]:
    """`opened(size)`: the library's view on a slow line, watched."""

    def make(size: str) -> tuple[Pixelog, Page]:
        pixelog = up()
        inside = context(size)
        page = visit(pixelog, inside=inside)
        go(page, "library")
        throttle(inside, page, UPLOAD_BYTES_PER_SECOND)
        page.evaluate(WATCH)
        return pixelog, page

    return make


def test_pasted_files(opened: Callable) -> None:
    """Files that a file manager copied are taken in under their names, several at once."""
    pixelog, page = opened("desk")
    files: list[File] = [("one.png", "image/png", _picture(1)), ("two.png", "image/png", _picture(2))]
    paste(page, *files)
    for name, _, content in files:
        _through_to_ready(pixelog, page, name)
        slug = name.removesuffix(".png")
        assert pixelog.http.get(f"/media/{slug}/content").content == content


def test_a_pasted_picture(up: Callable, visit: Callable, context: Callable[..., BrowserContext]) -> None:
    """A picture out of the clipboard, pasted by its key, gets a name that says when it came; text that is pasted stays text."""
    pixelog = up()
    inside = context("desk")
    inside.grant_permissions(["clipboard-read", "clipboard-write"], origin=pixelog.page)
    page = visit(pixelog, inside=inside)
    page.evaluate(
        """async text => {
            const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
            await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
        }""",
        base64.b64encode(plain((9, 120, 200))).decode(),
    )
    page.keyboard.press("Control+V")
    wait_count(page, "#library-list li", 1)
    (item,) = pixelog.get("/media")["items"]
    assert item["filename"].startswith("Pasted ")
    assert item["filename"].endswith(".png")
    assert pixelog.prepared(item["slug"])["status"] == "ready"
    page.evaluate("navigator.clipboard.writeText('Tea is ready')")
    page.focus("#message-text")
    page.keyboard.press("Control+V")
    until(lambda: page.input_value("#message-text") == "Tea is ready", "the text")
    assert pixelog.get("/media")["total"] == 1


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_chosen_files(opened: Callable, size: str) -> None:
    """The button opens the system's chooser for several files, and what is chosen goes through to ready."""
    pixelog, page = opened(size)
    with page.expect_file_chooser() as chooser:
        page.click("#pick")
    assert chooser.value.is_multiple()
    chooser.value.set_files([{"name": "chosen.png", "mimeType": "image/png", "buffer": _picture(3)}])
    _through_to_ready(pixelog, page, "chosen.png")
    wait_count(page, "#library-list li", 1)


def test_the_camera(opened: Callable) -> None:
    """A phone offers its camera: a chooser that asks for a picture to be taken, which goes through to ready."""
    pixelog, page = opened("phone")
    button = page.get_by_role("button", name="Take a picture")
    with page.expect_file_chooser() as chooser:
        button.click()
    field = chooser.value.element
    assert (field.get_attribute("capture"), field.get_attribute("accept")) == ("environment", "image/*")
    chooser.value.set_files([{"name": "IMG_0001.jpg", "mimeType": "image/jpeg", "buffer": _picture(4)}])
    _through_to_ready(pixelog, page, "IMG_0001.jpg")


def test_no_camera_at_a_desk(up: Callable, visit: Callable) -> None:
    """Where there is a mouse there is no button for a camera."""
    assert visit(up(), "desk").is_hidden("#camera")


def test_the_same_again(up: Callable, visit: Callable) -> None:
    """A file that is held already is said to be, and is not there twice."""
    pixelog = up()
    pixelog.upload("first.png", plain((1, 2, 3)))
    page = visit(pixelog)
    drop(page, ("second.png", "image/png", plain((1, 2, 3))))
    wait_text(page, ".upload", "It was in the library already")
    assert pixelog.get("/media")["total"] == 1


FOLDER_MAX = 500
"""Files that are looked at in what is dropped at once."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture, a picture further down, and a file that is none."""
    folder = tmp_path / "<b>holiday"
    (folder / "second day").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "beach.png").write_bytes(plain((200, 180, 20)))
    (folder / "second day" / "hill.png").write_bytes(plain((20, 180, 20)))
    (folder / "diary.txt").write_text("rain")
    return folder


def test_a_dropped_folder(
    up: Callable, visit: Callable, context: Callable[..., BrowserContext], folder: Path, tmp_path: Path
) -> None:
    """Of a folder the pictures are taken, from whatever depth, beside a file that is dropped with it; a sentence says how many there were."""
    pixelog = up()
    inside = context("desk")
    page = visit(pixelog, inside=inside)
    beside = tmp_path / "beside.png"
    beside.write_bytes(plain((9, 9, 200)))
    drop_paths(inside, page, folder, beside)
    wait_text(page, "#toasts", "2 pictures among 3 files in <b>holiday.")
    wait_count(page, "#library-list li", 3)
    assert {item["filename"] for item in pixelog.get("/media")["items"]} == {"beach.png", "hill.png", "beside.png"}
    for slug in ("beach", "hill", "beside"):
        assert pixelog.prepared(slug)["status"] == "ready"
    assert page.is_hidden("#veil")
    check_rules(page, "a folder was dropped")


def test_a_folder_without_pictures(up: Callable, visit: Callable, context: Callable[..., BrowserContext], folder: Path) -> None:
    """A folder without a picture is said to be one, and nothing is sent."""
    pixelog = up()
    inside = context("desk")
    page = visit(pixelog, inside=inside)
    drop_paths(inside, page, folder / "empty")
    wait_text(page, "#toasts .bad", "0 pictures among 0 files in empty")
    assert pixelog.get("/media")["total"] == 0
    assert page.is_hidden("#uploads")


def test_a_folder_with_too_much(up: Callable, visit: Callable, context: Callable[..., BrowserContext], tmp_path: Path) -> None:
    """So many files are looked at and no more, and the page says so."""
    pixelog = up()
    inside = context("desk")
    page = visit(pixelog, inside=inside)
    folder = tmp_path / "letters"
    folder.mkdir()
    for number in range(FOLDER_MAX + 1):
        (folder / f"{number}.txt").write_text("")
    drop_paths(inside, page, folder)
    wait_text(page, "#toasts .bad", f"0 pictures among the first {FOLDER_MAX} files in letters.")
    assert pixelog.get("/media")["total"] == 0


def test_taken_off_the_list(opened: Callable) -> None:
    """An upload that is taken off the list is broken off, and nothing of it is kept."""
    pixelog, page = opened("desk")
    drop(page, ("never mind.png", "image/png", noise((800, 800), 5)))
    page.wait_for_selector(".upload[data-state=sending]")
    page.click("[aria-label='Take never mind.png off the list of uploads']")
    wait_count(page, ".upload", 0)
    until(lambda: not list((pixelog.data / "tmp").iterdir()), "what had come to be thrown away")
    assert pixelog.get("/media")["total"] == 0


def test_removed_while_it_was_prepared(up: Callable, visit: Callable) -> None:
    """The line of an upload goes with its item, whoever removed that; with a failed one, too."""
    pixelog = up()
    page = visit(pixelog)
    drop(page, ("broken.png", "image/png", b"no picture"))
    page.wait_for_selector(".upload[data-state=failed]")
    drop(page, *((f"{number}.png", "image/png", noise((900, 900), number)) for number in range(4)))
    until(lambda: pixelog.get("/media")["total"] == 5, "all five")
    for slug in ("broken", "3", "2"):
        pixelog.send("DELETE", f"/media/{slug}")
    wait_count(page, ".upload", 0)
    assert pixelog.get("/media")["total"] == 2
