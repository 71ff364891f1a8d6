"""SIGKILL to several processes at work on one directory, round after round: whatever was answered holds, and holds once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.data import DataDirectory

pytest.register_assert_rewrite("tests.faults.killing")

from tests.faults import killing  # noqa: E402 - its assertions tell what they compared


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a directory and what lies beside it; what the directory shares in memory goes at the end."""
    yield tmp_path
    shutil.rmtree(DataDirectory(tmp_path / "data").runtime(), ignore_errors=True)


@pytest.mark.timeout(110)
def test_kills(folder: Path) -> None:
    """Six rounds: nothing answered is lost or there twice, and every kill came while something was under way."""
    tally = killing.rounds(folder, 6, seed=41, whole_every=3)
    print(tally)  # noqa: T201 - what the faults hit
    assert tally.rounds_cut >= 3
    assert tally.acked > 50
    assert tally.checked > 100


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_hundred_kills(folder: Path) -> None:
    """Two hundred rounds, and each kind of work has come to its end, and has been cut off."""
    tally = killing.rounds(folder, 200, seed=42, whole_every=10)
    print(tally)  # noqa: T201 - what the faults hit
    assert tally.rounds_cut >= 150
    assert tally.acked > 10_000
    assert tally.repeated > 1_000
    assert 0 < tally.cut_and_kept < tally.cut
    assert tally.second_kills > 40
    assert tally.followed > 10_000
    for what in ("rebuild", "backup", "snapshot", "checkpoint", "attest"):
        assert tally.did[what] >= 5, what
