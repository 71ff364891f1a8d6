"""From one item to the next: at once, and with nothing in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import samples
from harness import Pixelog, until

SIZE = (240, 320)
SWITCHES = 20


class Watcher:
    """Reads the published screen as fast as it can on a thread of its own, and keeps each different picture."""

    def __init__(self, pixelog: Pixelog) -> None:
        self.pictures: list[bytes] = []
        self.reads = 0
        self._pixelog = pixelog
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        sequence = None
        while not self._ended.is_set():
            self.reads += 1
            newest = self._pixelog.screen_sequence()
            if newest == sequence:
                time.sleep(0.0005)
                continue
            sequence = newest
            screen = self._pixelog.screen()
            self.pictures.append(b"" if screen is None else screen.ram)


def shown(pixelog: Pixelog) -> bytes:
    """The panel's memory now."""
    screen = until(pixelog.screen, "a picture")
    return screen.ram


def test_no_black_frame_lies_between_two_items(up: Callable[..., Pixelog]) -> None:
    """Through twenty switches by activation, next, jump and removal the panel holds frames of the items and nothing else."""
    pixelog = up(display="sim:ili9341")
    pixelog.send("PATCH", "/settings", {"defaultDuration": 600})
    known: dict[str, set[bytes]] = {}
    for sample in (samples.png(SIZE, 31), samples.png(SIZE, 32), samples.webp(SIZE, 33), samples.png(SIZE, 34)):
        slug = pixelog.upload(sample.filename, sample.content, addToLoop="true", makeActive="true")["slug"]
        pixelog.prepared(slug)
        until(lambda slug=slug: pixelog.shows(slug), f"{slug} on the panel")
        known[slug] = set()
        until(
            lambda slug=slug, sample=sample: known[slug].add(shown(pixelog)) or len(known[slug]) == len(sample.frames),
            f"{slug} whole",
        )
    slugs = list(known)
    allowed = set().union(*known.values())
    removed: list[str] = []
    with Watcher(pixelog) as watcher:
        for index in range(SWITCHES):
            before = pixelog.get("/player")["slug"]
            if index % 5 == 4:
                pixelog.send("DELETE", f"/media/{before}")
                removed.append(before)
            elif index % 5 == 0 and removed:
                pixelog.send("POST", f"/media/{removed[-1]}/restore")
                pixelog.send("POST", "/loop/items", {"slug": removed[-1]})
                pixelog.send("PUT", "/active", {"slug": removed.pop()})
            elif index % 5 == 2:
                pixelog.send("POST", "/player/next")
            else:
                there = [slug for slug in slugs if slug not in removed and slug != before]
                pixelog.send("PUT", "/active", {"slug": there[index % len(there)]})
            until(lambda before=before: pixelog.get("/player")["slug"] not in (before, None), "another item", 5)
    assert len(watcher.pictures) > SWITCHES
    assert [len(picture) for picture in watcher.pictures if picture not in allowed] == []


def test_what_is_removed_leaves_the_panel_at_once(up: Callable[..., Pixelog]) -> None:
    """Deleting the item on the panel brings the next of the loop; deleting the last brings the address screen."""
    pixelog = up()
    first, second = samples.png(SIZE, 41), samples.png(SIZE, 42)
    slugs = [pixelog.upload(one.filename, one.content, addToLoop="true")["slug"] for one in (first, second)]
    for slug in slugs:
        pixelog.prepared(slug)
    pixelog.send("PUT", "/active", {"slug": slugs[0]})
    until(lambda: pixelog.shows(slugs[0]), "the first item")
    pixelog.send("DELETE", f"/media/{slugs[0]}")
    until(lambda: pixelog.shows(slugs[1]), "the second item", 1.0)
    assert pixelog.screen_png()[0].tobytes() == samples.on_panel(second.frames[0]).tobytes()
    assert pixelog.get("/active") == {"slug": None}
    pixelog.send("DELETE", f"/media/{slugs[1]}")
    until(lambda: pixelog.shows(None), "the address screen", 1.0)
    assert pixelog.screen_png()[0].tobytes() != samples.on_panel(second.frames[0]).tobytes()
