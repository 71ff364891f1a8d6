"""Fifty times SIGKILL to everything under load, and single parts killed at random in between."""

from __future__ import annotations

import io
import os
import random
import signal
import threading
import time
from collections.abc import Callable

import crashing
import pytest
import samples
from harness import Pixelog, until

pytestmark = pytest.mark.long

ROUNDS = 50


@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost_when_everything_is_killed(up: Callable[..., Pixelog]) -> None:
    """Fifty rounds: the log and the resources have every acknowledged command once, and each start is unattended."""
    pixelog = up(display="sim:ili9341")
    load = crashing.rounds(pixelog, ROUNDS, seed=12)
    assert len(load.answered) > 2_000
    pixelog.stop()
    crashing.verified(pixelog.data)


@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_when_parts_are_killed(up: Callable[..., Pixelog]) -> None:
    """While clients send, a random part is killed every few hundred milliseconds; everything is killed now and then."""
    pixelog = up(display="sim:st7789")
    source = random.Random(13)
    ended = threading.Event()

    def strike() -> None:
        while not ended.is_set():
            time.sleep(source.uniform(0.1, 0.6))
            process = pixelog.process
            if process is None or not pixelog.page:
                continue
            part = source.choice(["serve", "player", "worker"])
            try:
                os.kill(pixelog.part(part), signal.SIGKILL)
            except (ProcessLookupError, AssertionError):
                continue

    load = crashing.Load(14)
    ledger = crashing.Ledger()
    for _ in range(15):
        striker = threading.Thread(target=strike)
        ended.clear()
        striker.start()

        def rest(one: threading.Thread = striker) -> None:
            ended.set()
            one.join()

        load.during(pixelog, 2.5, enduring=True, before_the_end=rest)
        pixelog.start()
        load.repeat_cut(pixelog)
        load.repeat_answered(pixelog, 20)
        assert load.refused == []
        ledger.read(pixelog)
        ledger.check(load)
        crashing.rejoins(pixelog)
        crashing.verified(pixelog.data)
    assert len(load.answered) > 500


@pytest.mark.timeout(120)
def test_a_worker_that_is_killed_at_work_is_followed_by_one_that_takes_it_up(up: Callable[..., Pixelog]) -> None:
    """A long animation is being prepared when the worker is killed: the next worker takes the job up as another attempt, and it is played."""
    pixelog = up()
    frames = [samples.drawn((900, 1200), seed) for seed in range(12)]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:] * 6, duration=40, lossless=True)
    slug = pixelog.upload("long.webp", out.getvalue(), makeActive="true")["slug"]
    until(lambda: pixelog.get("/events", type="job.progressed")["items"], "the beginning")
    before = {name: pixelog.part(name) for name in ("serve", "player", "worker")}
    os.kill(before["worker"], signal.SIGKILL)
    item = until(lambda: (one := pixelog.item(slug))["status"] in ("ready", "failed") and one, "the end", 60)
    assert item["status"] == "ready"
    assert {name: pixelog.part(name) == pid for name, pid in before.items()} == {"serve": True, "player": True, "worker": False}
    claims = pixelog.get("/events", type="job.claimed", limit=50)["items"]
    assert len(claims) >= 2
    until(lambda: pixelog.shows(slug), "the animation on the panel")
    assert not list((pixelog.data / "packs").glob(".prepare-*"))
