"""Fixtures of the end-to-end tests; what they need lies beside them, in modules that the long forms use too."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

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
