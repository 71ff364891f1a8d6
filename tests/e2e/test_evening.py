"""What the panel showed can be had again from the log, pixel for pixel: a whole evening, then fifty of its moments."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import evening
import httpx
import pytest
from harness import Pixelog, run
from PIL import Image

SECONDS = 15.0
MOMENTS = 50
SEED = 20260704


@pytest.mark.timeout(110)
def test_replay_gives_back_what_the_panel_showed(up: Callable[..., Pixelog], tmp_path: Path) -> None:
    """Fifty moments of an evening with restarts: `replay screen` equals the recorded /screen.png in every pixel, by all three ways."""
    pixelog = up(display="sim:ili9341")
    acted, seen = evening.watched(pixelog, SECONDS, MOMENTS, SEED, restarts=2)
    assert acted.failures == []
    assert len(seen) == MOMENTS
    assert len({one.pixels for one in seen}) >= MOMENTS // 3
    with_http = seen[:: MOMENTS // 3][:3]
    for one in with_http:
        answer = httpx.get(
            f"{pixelog.page}/api/v1/history/screen.png", params={"at": one.time, "through": one.position}, timeout=30
        )
        assert answer.status_code == 200, answer.text
        assert (answer.headers["pixelog-screen-exact"], int(answer.headers["pixelog-position"])) == ("true", one.position)
        assert Image.open(io.BytesIO(answer.content)).convert("RGB").tobytes() == one.pixels
    pixelog.stop()
    assert evening.differences(pixelog.data, seen, tmp_path) == []
    for index, one in enumerate(seen[5 :: MOMENTS // 3][:3]):
        out = tmp_path / f"cli-{index}.png"
        done = run(
            "replay", "screen", "--at", one.time, "--through", str(one.position), "-o", str(out), "--data", str(pixelog.data)
        )
        assert done.returncode == 0, done.stderr
        assert Image.open(out).convert("RGB").tobytes() == one.pixels
    assert run("verify", "--json", "--data", str(pixelog.data)).returncode == 0
