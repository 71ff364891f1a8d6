"""A scripted evening in front of the panel, watched at random moments, and the question whether the log gives each picture back."""

from __future__ import annotations

import io
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import samples
from harness import Pixelog, until
from PIL import Image

from api import past
from api.data import DataDirectory
from eventstore.store import EventStore
from projections.replay import points

SIZE = (240, 320)


class Seen(msgspec.Struct, frozen=True):
    """A picture as /screen.png gave it, with its two headers, and what the evening had just done."""

    pixels: bytes
    time: str
    position: int
    after: str


class Evening:
    """Does things to a running pixelog, one after the other, by a seed."""

    def __init__(self, pixelog: Pixelog, seed: int) -> None:
        self.pixelog = pixelog
        self.doing = "nothing"
        self.done: dict[str, int] = {}
        self.failures: list[str] = []
        self._source = random.Random(seed)
        self._uploaded = 0
        self._removed: list[str] = []

    def prepare(self) -> None:
        """What is in the library when the evening begins."""
        for sample in (
            samples.gif(SIZE),
            samples.jpeg(SIZE),
            samples.webp(SIZE),
            samples.png((320, 200)),
            samples.apng((120, 120)),
        ):
            self.pixelog.upload(sample.filename, sample.content, addToLoop="true")
        self.pixelog.send("PATCH", "/settings", {"defaultDuration": 1.0})
        for slug in ("party", "holiday", "waves"):
            assert self.pixelog.prepared(slug)["status"] == "ready"

    def run(self, seconds: float, restarts: int) -> None:
        """Act for that long; everything is restarted `restarts` times, evenly spread, in turn by SIGTERM and by SIGKILL."""
        begun = time.monotonic()
        due = [begun + seconds * (1 + index) / (1 + restarts) for index in range(restarts)]
        order = list(self._actions())
        self._source.shuffle(order)
        while time.monotonic() < begun + seconds:
            if due and time.monotonic() >= due[0]:
                due.pop(0)
                self._note("restart of everything")
                self.pixelog.stop() if len(due) % 2 else self.pixelog.kill_all()
                self.pixelog.start()
                continue
            if not order:
                order = list(self._actions())
                self._source.shuffle(order)
            name, act = order.pop()
            self._note(name)
            act()
            time.sleep(self._source.uniform(0.03, 0.35))

    def _note(self, name: str) -> None:
        self.doing = name
        self.done[name] = self.done.get(name, 0) + 1

    def _actions(self) -> list[tuple[str, Callable[[], None]]]:
        send, source = self._send, self._source
        rotate = lambda: send("PATCH", "/settings", {"rotation": source.choice([0, 90, 180, 270])})  # noqa: E731
        return [
            ("upload", self._upload),
            ("upload", self._upload),
            ("reorder", self._reorder),
            ("active", lambda: send("PUT", "/active", {"slug": self._any()})),
            ("active", lambda: send("PUT", "/active", {"slug": self._any()})),
            ("no active", lambda: send("PUT", "/active", {"slug": None})),
            ("message", lambda: self._message("info", 1)),
            ("message", lambda: self._message("warning", 2)),
            ("critical message", lambda: self._message("critical", 1)),
            ("message for good", lambda: self._message("info", None)),
            ("dismissal", self._dismiss),
            ("rotation", rotate),
            ("rotation", rotate),
            ("fit", lambda: send("PATCH", "/settings", {"fit": source.choice(["contain", "cover", "stretch"])})),
            ("brightness", lambda: send("PATCH", "/settings", {"brightness": source.choice([8, 60, 100])})),
            ("full brightness", lambda: send("PATCH", "/settings", {"brightness": 100})),
            ("removal", self._remove),
            ("restoring", self._restore),
            ("pause", lambda: send("POST", "/player/pause")),
            ("play", lambda: send("POST", "/player/play")),
            ("play", lambda: send("POST", "/player/play")),
            ("hold", lambda: send("POST", "/player/hold")),
            ("release", lambda: send("POST", "/player/release")),
            ("release", lambda: send("POST", "/player/release")),
            ("next", lambda: send("POST", "/player/next")),
            ("previous", lambda: send("POST", "/player/previous")),
            ("jump", lambda: send("POST", "/player/jump", {"slug": self._any()})),
            ("mode", lambda: send("PUT", "/loop", {"items": self._entries(), "mode": source.choice(["all", "one", "all"])})),
            ("shuffle", lambda: send("PUT", "/loop", {"items": self._entries(), "shuffle": source.choice([True, False])})),
            ("duration", lambda: send("PATCH", f"/media/{self._any()}", {"duration": source.choice([0.4, 2.0, None])})),
            ("stop of the player", lambda: self._end_player(signal.SIGTERM)),
            ("death of the player", lambda: self._end_player(signal.SIGKILL)),
            ("death of the service", lambda: self._end_service()),
        ]

    def _send(self, method: str, path: str, body: Any = None) -> None:
        answer = self.pixelog.http.request(method, path, json=body)
        # An evening may ask for what the state does not allow just now; what must never happen is a fault of the service.
        if answer.status_code >= 500:
            self.failures.append(f"{method} {path} {body}: {answer.status_code} {answer.text}")

    def _slugs(self) -> list[str]:
        return [item["slug"] for item in self.pixelog.get("/media", limit=200)["items"]]

    def _any(self) -> str:
        return self._source.choice(self._slugs())

    def _entries(self) -> list[dict[str, Any]]:
        slugs = self._slugs()
        return [
            {"slug": slug, "repeat": self._source.choice([1, 1, 2])}
            for slug in self._source.sample(slugs, min(len(slugs), self._source.randrange(2, 6)))
        ]

    def _reorder(self) -> None:
        self._send("PUT", "/loop", {"items": self._entries()})

    def _upload(self) -> None:
        self._uploaded += 1
        seed = 100 + self._uploaded
        size = self._source.choice([(240, 320), (100, 60), (320, 240), (64, 64)])
        sample = self._source.choice([samples.png, samples.webp, samples.jpeg])(size, seed)
        data = {"addToLoop": self._source.choice(["true", "false"]), "makeActive": self._source.choice(["true", "false"])}
        self.pixelog.http.post("/media", files={"file": (f"{seed}-{sample.filename}", sample.content)}, data=data)

    def _message(self, priority: str, ttl_seconds: int | None) -> None:
        text = f"{priority} number {self._source.randrange(1000)}: " + "soup is ready " * self._source.randrange(1, 6)
        body = {"text": text, "priority": priority} | ({} if ttl_seconds is None else {"ttlSeconds": ttl_seconds})
        self._send("POST", "/messages", body)

    def _dismiss(self) -> None:
        live = self.pixelog.get("/messages")["items"]
        if live:
            self._send("DELETE", f"/messages/{live[-1]['id']}")

    def _remove(self) -> None:
        slug = self.pixelog.http.get("/player").json().get("slug") or self._any()
        if len(self._slugs()) > 3:
            self._removed.append(slug)
            self._send("DELETE", f"/media/{slug}")

    def _restore(self) -> None:
        if self._removed:
            self._send("POST", f"/media/{self._removed.pop()}/restore")

    def _end_player(self, number: int) -> None:
        os.kill(self.pixelog.part("player"), number)

    def _end_service(self) -> None:
        os.kill(self.pixelog.part("serve"), signal.SIGKILL)
        until(self.pixelog.ready, "the service's return")


def watched(pixelog: Pixelog, seconds: float, moments: int, seed: int, restarts: int) -> tuple[Evening, list[Seen]]:
    """Run an evening, and look at the screen at `moments` random instants of it."""
    evening = Evening(pixelog, seed)
    evening.prepare()
    source = random.Random(seed + 1)
    begun = time.monotonic()
    due = sorted(begun + source.uniform(0.02, 0.97) * seconds for _ in range(moments))
    seen: list[Seen] = []
    actor_error: list[BaseException] = []

    def act() -> None:
        try:
            evening.run(seconds, restarts)
        except BaseException as error:
            actor_error.append(error)
            raise

    actor = threading.Thread(target=act)
    actor.start()
    for moment in due:
        time.sleep(max(0.0, moment - time.monotonic()))
        picture = None
        while picture is None and (actor.is_alive() or time.monotonic() < begun + seconds):
            after = evening.doing
            picture = _look(pixelog, after)
        if picture is not None:
            seen.append(picture)
    actor.join()
    assert not actor_error
    while len(seen) < moments:
        picture = until(lambda: _look(pixelog, "the end"), "a picture at the end")
        seen.append(picture)
        time.sleep(0.05)
    return evening, seen


def _look(pixelog: Pixelog, after: str) -> Seen | None:
    """The screen now; None while something is being restarted."""
    try:
        answer = httpx.get(f"{pixelog.page}/api/v1/screen.png", timeout=5, verify=False)
    except httpx.HTTPError:
        time.sleep(0.01)
        return None
    if answer.status_code != 200:
        time.sleep(0.01)
        return None
    image = Image.open(io.BytesIO(answer.content)).convert("RGB")
    return Seen(image.tobytes(), answer.headers["pixelog-screen-time"], int(answer.headers["pixelog-position"]), after)


def differences(data: Path, seen: list[Seen], keep: Path) -> list[str]:
    """What the log gives back otherwise than it was seen, one sentence each; both pictures are kept in `keep` to look at."""
    found: list[str] = []
    directory = DataDirectory(data)
    store = EventStore.open(directory.database)
    try:
        for index, one in enumerate(seen):
            with store.reading() as db:
                instant = points.resolve(db, one.time, one.position, 0)
            again = past.screen(directory, store, instant)
            assert again is not None
            image = Image.open(io.BytesIO(again.png())).convert("RGB")
            if image.tobytes() == one.pixels and again.exact and again.position == one.position:
                continue
            image.save(keep / f"{index}-replayed.png")
            Image.frombytes("RGB", image.size, one.pixels).save(keep / f"{index}-seen.png")
            differs = sum(a != b for a, b in zip(image.tobytes(), one.pixels, strict=True))
            found.append(
                f"picture {index} at {one.time} through {one.position} after {one.after}: {differs} bytes differ, exact {again.exact} {again.why}, "
                f"slug {again.slug}, position {again.position}"
            )
    finally:
        store.close()
    return found
