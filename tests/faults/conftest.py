"""The long forms: the same scenarios as the end-to-end tests, longer and with more seeds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from harness import Pixelog


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Pixelog]]:
    """`up(*options, display=…, data=…)`: a running pixelog; what of it still runs at the end is killed."""
    running: list[Pixelog] = []

    def make(*options: str, display: str = "sim", data: Path | None = None) -> Pixelog:
        one = Pixelog(data or tmp_path / "data", *options, display=display)
        running.append(one)
        return one.start()

    yield make
    for one in running:
        one.clear()
