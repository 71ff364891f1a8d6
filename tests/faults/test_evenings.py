"""Evenings on each kind of panel: what was seen can be had again from the log, pixel for pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import evening
import pytest
from harness import Pixelog

pytestmark = pytest.mark.long

SECONDS = 90.0
MOMENTS = 200


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("display", "seed"), [("sim", 1), ("sim:ili9341", 2), ("sim:st7789", 3)])
def test_replay_gives_back_what_the_panel_showed(up: Callable[..., Pixelog], tmp_path: Path, display: str, seed: int) -> None:
    """Two hundred moments of an evening with six restarts of everything: each equals its `replay screen` in every pixel."""
    pixelog = up(display=display)
    acted, seen = evening.watched(pixelog, SECONDS, MOMENTS, seed, restarts=6)
    assert acted.failures == []
    assert len({one.pixels for one in seen}) >= MOMENTS // 4
    pixelog.stop()
    assert evening.differences(pixelog.data, seen, tmp_path) == []
