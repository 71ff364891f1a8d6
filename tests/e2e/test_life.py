"""Starting, stopping, dying and coming back, as real processes."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import samples
from harness import ROOT, STOP_SECONDS, Pixelog, client, command, environment, lives, named, run, until

START_SECONDS = 10.0
"""A start takes less than one second; this is patience with a busy machine, and a bound all the same."""

QUICK_SECONDS = 3.0
"""From the command to a playing panel and an address, on a directory that was used before."""


def test_ends_in_order_and_says_so(up: Callable[..., Pixelog]) -> None:
    """SIGTERM and SIGINT each end all parts with code 0 and well in time, and the player says that it stopped."""
    for number in (signal.SIGTERM, signal.SIGINT):
        pixelog = up()
        until(pixelog.screen, "the first picture")
        assert pixelog.stop(number) < STOP_SECONDS - 1
    log = run("log", "--json", "--type", "player.*", "--data", str(pixelog.data)).stdout.splitlines()
    assert [json.loads(line)["type"] for line in log] == ["player.started", "player.shown", "player.stopped"] * 2


def test_a_killed_supervisor_takes_its_parts_with_it(up: Callable[..., Pixelog]) -> None:
    """SIGKILL to the supervisor alone: service, player and worker end by themselves, and the next start finds the directory free."""
    pixelog = up()
    assert pixelog.process is not None
    parts = [pixelog.part(name) for name in ("serve", "player", "worker")]
    supervisor = pixelog.process.pid
    os.kill(supervisor, signal.SIGKILL)
    again = up()
    assert not [pid for pid in parts if lives(pid)]
    assert again.started_seconds < START_SECONDS
    until(lambda: again.get("/player")["display"]["state"] == "attached", "the panel")
    pixelog.kill_all()


def test_the_demonstration_fills_an_empty_library_only_and_then_starts_quickly(up: Callable[..., Pixelog]) -> None:
    """--demo fills an empty directory and plays; the next start takes less than three seconds and adds nothing, also once all was removed."""
    pixelog = up("--demo")
    assert pixelog.announced["items"] == pixelog.get("/media")["total"] >= 4
    slugs = [item["slug"] for item in pixelog.get("/media")["items"]]
    assert sorted(slugs) == sorted(item["slug"] for item in pixelog.get("/loop")["items"])
    assert pixelog.prepared(pixelog.get("/loop")["items"][0]["slug"])["status"] == "ready"
    again = pixelog
    for _ in range(3):  # another job on this machine may make one start slow
        again.stop()
        again = up("--demo")
        assert until(again.screen, "the panel").ram
        if again.started_seconds < QUICK_SECONDS:
            break
    assert again.started_seconds < QUICK_SECONDS
    until(lambda: again.get("/player")["slug"] in slugs, "an item on the panel")
    assert again.announced["items"] == len(slugs)
    for slug in slugs:
        again.send("DELETE", f"/media/{slug}")
    again.stop()
    assert up("--demo").announced["items"] == 0


def test_a_part_that_cannot_live_is_started_ever_more_slowly(up: Callable[..., Pixelog]) -> None:
    """A player that dies at each start is started again, each time after a longer wait, and the service never notices."""
    pixelog = up()
    service = pixelog.part("serve")
    started: list[float] = []
    for _ in range(4):
        player = pixelog.part("player")
        started.append(time.monotonic())
        os.kill(player, signal.SIGKILL)
        until(lambda player=player: not lives(player), "its end")
    waits = [later - earlier for earlier, later in itertools.pairwise(started)]
    assert [wait >= least for wait, least in zip(waits, (0.1, 0.5, 1.0), strict=True)] == [True, True, True], waits
    assert pixelog.part("serve") == service


@contextmanager
def alone(data: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """One part as its own process, ended by SIGTERM; it must end with 0 in time."""
    process = subprocess.Popen(
        command(*arguments, "--data", str(data)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    try:
        yield process
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        process.wait(STOP_SECONDS)
        assert process.stderr is not None
        process.stderr.close()


def test_each_part_runs_alone(tmp_path: Path) -> None:
    """Service, player and worker started one by one, each its own process, play what is uploaded; without a player there is no screen."""
    data = tmp_path / "data"
    still = samples.png((240, 240), 51)
    with alone(data, "serve", "--port", "0") as service:
        assert service.stderr is not None
        page = service.stderr.readline().rpartition(" ")[2].strip()
        with client(page) as http:
            assert http.get("/screen.png").status_code == 503
            assert http.get("/screen.png").json()["type"].endswith("no-player")
            slug = http.post("/media", files={"file": (still.filename, still.content)}, data={"makeActive": "true"}).json()[
                "slug"
            ]
            with alone(data, "player", "--display", "sim:st7789", "--size", "240x240"), alone(data, "worker"):
                until(lambda: http.get("/player").json()["slug"] == slug, "the item on the panel")
                until(lambda: http.get("/player").json().get("frame") == 0, "its frame")
                assert http.get("/screen.png").status_code == 200
            until(lambda: http.get("/screen.png").status_code == 503, "the panel's end")
            assert http.get("/active").json() == {"slug": slug}


def test_everyday_commands_with_and_without_a_service(up: Callable[..., Pixelog], tmp_path: Path) -> None:
    """The same commands from a shell work beside a running service, whose panel follows, and on a directory at rest."""
    data = tmp_path / "data"
    files = []
    for seed in (61, 62):
        one = samples.png((240, 320), seed)
        files.append(tmp_path / one.filename)
        files[-1].write_bytes(one.content)

    def pixelog(*arguments: str) -> object:
        done = run(*arguments, "--json", "--data", str(data))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    pixelog("add", str(files[0]))
    pixelog("loop", "add", "still-61")
    with up(data=data) as running:
        pixelog("add", str(files[1]))
        pixelog("activate", "still-62")
        until(lambda: running.shows("still-62"), "what the shell chose")
        pixelog("message", "hello from a shell")
        assert [message["text"] for message in running.get("/messages")["items"]] == ["hello from a shell"]
        pixelog("rm", "still-62")
        until(lambda: running.shows("still-61"), "what is left")
        running.stop()
    pixelog("restore", "still-62")
    listed = pixelog("ls")
    assert isinstance(listed, dict)
    assert {item["slug"] for item in listed["items"]} == {"still-61", "still-62"}
    status = pixelog("status")
    assert isinstance(status, dict)
    assert named(os.getpid(), "serve", data) is False
