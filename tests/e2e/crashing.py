"""Load by several clients on a running pixelog, a record of what was acknowledged, and the question whether all of it is still there.

Every command carries an Idempotency-Key. One that was cut off before its answer is repeated after the restart with the same key; it must then have
happened exactly once, whether the first attempt reached the log or not.
"""

from __future__ import annotations

import io
import json
import random
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from harness import Pixelog, client, run, until
from PIL import Image

from api import verification
from api.data import DataDirectory
from api.reading import open_for_reading
from projections import plan, planning

CLIENTS = 6

MARK = re.compile(r"mark-\d+-\d+-")

MARKED = ("media.added", "message.posted", "heartbeat.recorded", "job.queued")
"""Events in which the mark of their command stands. The job that prepares an item repeats its file's name."""


class Command(NamedTuple):
    """One request as it can be repeated. `type`: the event that stands at its position if it appended any; `mark`: a text only it has."""

    key: str
    method: str
    path: str
    body: Any
    file: tuple[str, bytes] | None
    type: str
    mark: str | None


class Answer(NamedTuple):
    """What was acknowledged."""

    command: Command
    status: int
    position: int
    body: Any


class Load:
    """Clients that send commands for as long as they are let. `answered` is what was acknowledged, `cut` what never had an answer."""

    def __init__(self, seed: int) -> None:
        self.answered: list[Answer] = []
        self.cut: list[Command] = []
        self.refused: list[str] = []
        self._seed = seed
        self._lock = threading.Lock()
        self._count = 0
        self._slugs: list[str] = []

    def during(
        self, pixelog: Pixelog, seconds: float, *, enduring: bool = False, before_the_end: Callable[[], object] | None = None
    ) -> None:
        """Send until everything is killed, which happens `seconds` after the first answer. `enduring`: clients that are cut off go on with
        the next command."""
        ended = threading.Event()
        clients = [threading.Thread(target=self._client, args=(pixelog.page, index, ended, enduring)) for index in range(CLIENTS)]
        before = len(self.answered)
        for one in clients:
            one.start()
        until(lambda: len(self.answered) > before, "an acknowledged command")
        time.sleep(seconds)
        if before_the_end is not None:
            before_the_end()
        pixelog.kill_all()
        ended.set()
        for one in clients:
            one.join()

    def repeat_cut(self, pixelog: Pixelog) -> int:
        """Send again what had no answer; how many had reached the log all the same."""
        replayed = 0
        for command in self.cut:
            answer = self._send(pixelog.http, command)
            assert answer is not None, command
            assert answer.is_success, answer.text
            replayed += answer.headers.get("idempotency-replayed") == "true"
            self._note(command, answer)
        self.cut.clear()
        return replayed

    def repeat_answered(self, pixelog: Pixelog, count: int) -> None:
        """Send again some that were answered: the first answer comes back, and nothing happens."""
        for first in random.Random(self._seed + len(self.answered)).sample(self.answered, min(count, len(self.answered))):
            answer = self._send(pixelog.http, first.command)
            assert answer is not None
            again = (answer.status_code, int(answer.headers["pixelog-position"]), answer.headers.get("idempotency-replayed"))
            assert again == (first.status, first.position, "true"), (first, answer.text)
            assert (answer.json() if answer.content else None) == first.body

    def _client(self, page: str, index: int, ended: threading.Event, enduring: bool) -> None:
        source = random.Random(f"{self._seed}/{index}/{self._count}")
        with client(page) as http:
            while not ended.is_set():
                command = self._command(source)
                answer = self._send(http, command)
                if answer is None:
                    with self._lock:
                        self.cut.append(command)
                    if not enduring:
                        return
                    time.sleep(0.05)
                    continue
                if answer.status_code == 503:  # it is stopping or starting: not refused for what it says
                    with self._lock:
                        self.cut.append(command)
                    continue
                self._note(command, answer)

    def _command(self, source: random.Random) -> Command:
        with self._lock:
            self._count += 1
            number, slugs = self._count, self._slugs[-12:]
        key, mark = f"key-{self._seed}-{number}", f"mark-{self._seed}-{number}-"
        kind = source.choice(["upload", "loop", "active", "message", "message", "setting", "heartbeat", "job"])
        if kind == "upload" or not slugs:
            return Command(key, "POST", "/media", None, (f"{mark}.png", _picture(number)), "job.queued", mark)
        if kind == "loop":
            items = [{"slug": slug} for slug in source.sample(slugs, source.randrange(1, len(slugs) + 1))]
            return Command(key, "PUT", "/loop", {"items": items}, None, "loop.reordered", None)
        if kind == "active":
            return Command(key, "PUT", "/active", {"slug": source.choice(slugs)}, None, "active.set", None)
        if kind == "message":
            body = {"text": mark, "priority": source.choice(["info", "warning", "critical"])}
            return Command(key, "POST", "/messages", body, None, "message.posted", mark)
        if kind == "setting":
            return Command(key, "PATCH", "/settings", {"defaultDuration": number}, None, "setting.changed", None)
        if kind == "heartbeat":
            body = {"service": f"client-{number % 5}", "status": "ok", "details": {"mark": mark}}
            return Command(key, "POST", "/heartbeats", body, None, "heartbeat.recorded", mark)
        return Command(key, "POST", "/jobs", {"kind": "errand", "title": mark}, None, "job.queued", mark)

    def _send(self, http: httpx.Client, command: Command) -> httpx.Response | None:
        """The answer, or None when the connection broke before it was there whole."""
        headers = {"Idempotency-Key": command.key}
        files = None if command.file is None else {"file": command.file}
        try:
            return http.request(command.method, command.path, json=command.body, files=files, headers=headers)
        except httpx.TransportError:
            return None

    def _note(self, command: Command, answer: httpx.Response) -> None:
        if not answer.is_success:
            self.refused.append(f"{command}: {answer.status_code} {answer.text}")
            return
        body = answer.json() if answer.content else None
        with self._lock:
            self.answered.append(Answer(command, answer.status_code, int(answer.headers["pixelog-position"]), body))
            if command.path == "/media":
                self._slugs.append(body["slug"])


class Ledger:
    """The log as read back, kept from check to check: nothing that was read once may be otherwise later."""

    def __init__(self) -> None:
        self.events: dict[int, dict[str, Any]] = {}

    def read(self, pixelog: Pixelog) -> None:
        """Take in what is new, and compare a stretch of what is not."""
        after = max(0, len(self.events) - 200)
        while True:
            page = pixelog.get("/events", after=after, limit=200)
            for event in page["items"]:
                known = self.events.setdefault(event["position"], event)
                assert known == event, "an event has changed"
                assert event["position"] <= len(self.events), "a position is missing"
            if not page["items"]:
                break
            after = page["items"][-1]["position"]

    def check(self, load: Load) -> None:
        """Everything acknowledged is there, and nothing that was sent happened twice."""
        texts = {position: json.dumps(event["data"]) for position, event in self.events.items()}
        for command, status, position, _ in load.answered:
            event = self.events.get(position)
            assert event is not None, f"{command} was answered with position {position}, which is not there"
            if command.mark is not None:
                assert (event["type"], command.mark in texts[position]) == (command.type, True), (command, status, event)
        happened: dict[str, int] = {}
        for position, event in self.events.items():
            if event["type"] in MARKED and event["data"].get("kind") != "prepare":
                for mark in set(MARK.findall(texts[position])):
                    happened[mark] = happened.get(mark, 0) + 1
        assert {mark: times for mark, times in happened.items() if times != 1} == {}
        answered = {answer.command.mark for answer in load.answered} - {None}
        assert answered <= happened.keys()


def check_resources(pixelog: Pixelog, load: Load, source: random.Random) -> None:
    """What was acknowledged is in the resources too: every message and job by its id, media with their bytes."""
    made: dict[str, list[Answer]] = {}
    for answer in load.answered:
        made.setdefault(answer.command.path, []).append(answer)
    assert pixelog.get("/media", limit=1)["total"] == len(made.get("/media", []))
    assert pixelog.get("/messages", limit=1)["total"] == len(made.get("/messages", []))
    for answer in source.sample(made.get("/jobs", []), min(5, len(made.get("/jobs", [])))):
        assert pixelog.get(f"/jobs/{answer.body['id']}")["title"] == answer.command.mark
    for answer in source.sample(made.get("/media", []), min(5, len(made.get("/media", [])))):
        assert answer.command.file is not None
        content = pixelog.http.get(f"/media/{answer.body['slug']}/content")
        assert content.content == answer.command.file[1]
    for path in ("/loop", "/active", "/settings"):
        last = max((answer for answer in made.get(path, [])), key=lambda answer: answer.position, default=None)
        if last is None:
            continue
        now = pixelog.get(path)
        if path == "/loop":
            assert [item["slug"] for item in now["items"]] == [item["slug"] for item in last.command.body["items"]]
        else:
            name, value = next(iter(last.command.body.items()))
            assert now[name] == value


def planned_slug(data: Path) -> str | None:
    """What the plan says should be on the panel now."""
    with open_for_reading(DataDirectory(data)) as store, store.snapshot() as db:
        now_us = store.now_us()
        return plan.at(planning.state(db, now_us), now_us).slug


def rejoins(pixelog: Pixelog) -> None:
    """The panel shows what the plan says, without anyone's help."""
    until(lambda: pixelog.shows(planned_slug(pixelog.data)), "the plan on the panel")


def rounds(pixelog: Pixelog, count: int, seed: int) -> Load:
    """Kill the whole group `count` times under load, and hold each restart to all that was acknowledged before. Leaves it running."""
    source = random.Random(seed)
    load, ledger = Load(seed), Ledger()
    for index in range(count):
        load.during(pixelog, source.uniform(0.05, 0.6))
        if index % 2:
            assert_sound(pixelog.data)
        pixelog.start()
        load.repeat_cut(pixelog)
        load.repeat_answered(pixelog, 10)
        assert load.refused == []
        ledger.read(pixelog)
        ledger.check(load)
        check_resources(pixelog, load, source)
        rejoins(pixelog)
        if not index % 2:
            assert_sound(pixelog.data)
    return load


def assert_sound(data: Path) -> None:
    """As `verified`, without a process of its own."""
    report = verification.verify(DataDirectory(data))
    assert (report.ok, report.problems) == (True, ())
    assert report.events > 0


def verified(data: Path) -> None:
    """`pixelog verify` has nothing to say."""
    done = run("verify", "--json", "--data", str(data), seconds=60)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert (answer["ok"], answer["problems"]) == (True, [])


def _picture(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 32), (number % 256, number // 256 % 256, number // 65536)).save(out, "PNG")
    return out.getvalue()
