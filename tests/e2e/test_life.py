"""Starting, stopping, dying and coming back, as real processes."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from harness import Pixelog, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_in_order_and_says_so(up: Callable[..., Pixelog], number: signal.Signals) -> None:
    """A signal ends all parts with code 0, and the player says that it stopped."""
    pixelog = up()
    until(lambda: pixelog.screen() is not None, "the first picture")
    assert pixelog.stop(number) < 2.0
    with up() as again:
        types = [event["type"] for event in again.get("/events", type="player.*")["items"]]
    assert types[:3] == ["player.started", "player.shown", "player.stopped"]
    assert types.count("player.stopped") == 1
