"""`kill -9` of everything and of single parts: the next start is unattended and nothing acknowledged is missing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import crashing
import pytest
import samples
from harness import Pixelog, until

ROUNDS = 8


@pytest.mark.timeout(110)
def test_nothing_acknowledged_is_lost_when_everything_is_killed(up: Callable[..., Pixelog]) -> None:
    """Eight times SIGKILL to the whole group under load: the log and the resources have every acknowledged command once."""
    pixelog = up(display="sim:ili9341")
    load = crashing.rounds(pixelog, ROUNDS, seed=11)
    assert len(load.answered) > 200
    pixelog.stop()
    crashing.verified(pixelog.data)


def test_a_part_that_is_killed_starts_again_alone(up: Callable[..., Pixelog]) -> None:
    """A killed part has another process soon, the others keep theirs, and all of it works on. A frozen one does not hold up the end."""
    pixelog = up()
    slug = shows_another(pixelog, 21)
    for seed, part in enumerate(("serve", "player", "worker"), 22):
        before = {name: pixelog.part(name) for name in ("serve", "player", "worker")}
        os.kill(before[part], signal.SIGKILL)
        until(lambda part=part, before=before: pixelog.part(part) != before[part], "another process")
        until(pixelog.ready, "readiness")
        if part != "player":
            assert pixelog.shows(slug)
        slug = shows_another(pixelog, seed)
        after = {name: pixelog.part(name) for name in before}
        assert [name for name in before if after[name] != before[name]] == [part]
    assert pixelog.errors().count("starting it again") == 3
    for part in ("player", "worker"):
        os.kill(pixelog.part(part), signal.SIGSTOP)
    pixelog.stop()


def shows_another(pixelog: Pixelog, seed: int) -> str:
    """Upload a still, and see it on the panel, pixel for pixel."""
    still = samples.png((240, 320), seed)
    slug = pixelog.upload(still.filename, still.content, makeActive="true")["slug"]
    until(lambda: pixelog.shows(slug), f"{slug} on the panel")
    assert pixelog.screen_png()[0].tobytes() == samples.on_panel(still.frames[0]).tobytes()
    return slug
