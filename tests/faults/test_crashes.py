"""Fifty times SIGKILL to everything under load, and single parts killed at random in between."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

import crashing
import pytest
from harness import Pixelog

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
