"""`kill -9` of everything and of single parts: the next start is unattended and nothing acknowledged is missing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import crashing
import pytest
import samples
from harness import Pixelog, lives, until

ROUNDS = 8


@pytest.mark.timeout(110)
def test_nothing_acknowledged_is_lost_when_everything_is_killed(up: Callable[..., Pixelog]) -> None:
    """Eight times SIGKILL to the whole group under load: the log and the resources have every acknowledged command once."""
    pixelog = up(display="sim:ili9341")
    load = crashing.rounds(pixelog, ROUNDS, seed=11)
    assert len(load.answered) > 200
    pixelog.stop()
    crashing.verified(pixelog.data)


@pytest.mark.parametrize("part", ["serve", "player", "worker"])
def test_a_part_that_is_killed_starts_again_alone(up: Callable[..., Pixelog], part: str) -> None:
    """The killed part has another process soon, the others keep theirs, and all of it works on."""
    pixelog = up()
    first = samples.png((240, 320), 21)
    slug = pixelog.upload(first.filename, first.content, makeActive="true")["slug"]
    until(lambda: pixelog.shows(slug), "the first item")
    before = {name: pixelog.part(name) for name in ("serve", "player", "worker")}
    os.kill(before[part], signal.SIGKILL)
    until(lambda: pixelog.part(part) != before[part] and not lives(before[part]), "another process")
    until(pixelog.ready, "readiness")
    second = samples.png((240, 320), 22)
    slug = pixelog.upload(second.filename, second.content, makeActive="true")["slug"]
    until(lambda: pixelog.shows(slug), "the second item")
    assert pixelog.screen_png()[0].tobytes() == samples.on_panel(second.frames[0]).tobytes()
    after = {name: pixelog.part(name) for name in before}
    assert [name for name in before if after[name] != before[name]] == [part]
    assert "starting it again" in pixelog.errors()


def test_a_stopped_part_does_not_hold_up_the_end(up: Callable[..., Pixelog]) -> None:
    """With player and worker frozen by SIGSTOP, SIGTERM ends everything within five seconds all the same."""
    pixelog = up()
    for name in ("player", "worker"):
        os.kill(pixelog.part(name), signal.SIGSTOP)
    pixelog.stop()
