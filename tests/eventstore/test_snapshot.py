"""Kept states: used when everything is right, discarded on any doubt, and never more than a few."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore import snapshot

CHAIN = {position: bytes([position]) * 32 for position in range(1, 100)}
KEY = b"fold 1"


def load(folder: Path, until: int, key: bytes = KEY) -> tuple[int, bytes] | None:
    """What is kept at or before `until`."""
    return snapshot.load(folder, until, key, CHAIN.get)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with states at 10, 20 and 30."""
    for position in (10, 20, 30):
        snapshot.save(tmp_path / "s", position, KEY, CHAIN[position], b"state %d" % position, keep=8)
    return tmp_path / "s"


def test_the_newest_at_or_before_is_found(folder: Path) -> None:
    """Exactly there, between two, after the last, before the first."""
    assert load(folder, 20) == (20, b"state 20")
    assert load(folder, 29) == (20, b"state 20")
    assert load(folder, 99) == (30, b"state 30")
    assert load(folder, 9) is None
    assert load(folder / "nothing", 9) is None
    assert snapshot.positions(folder) == [30, 20, 10]


def test_no_more_than_a_few_are_kept(folder: Path) -> None:
    """The newest."""
    snapshot.save(folder, 40, KEY, CHAIN[40], b"", keep=2)
    assert snapshot.positions(folder) == [40, 30]


def test_a_wrong_key_is_discarded(folder: Path) -> None:
    """A state under another fold is no state."""
    assert load(folder, 25, b"fold 2") is None
    assert snapshot.positions(folder) == [30]


def test_another_log_is_discarded(folder: Path) -> None:
    """The chain at the position must be that of this log."""
    assert snapshot.load(folder, 30, KEY, {30: CHAIN[30], 20: b"x" * 32}.get) == (30, b"state 30")
    assert snapshot.load(folder, 20, KEY, {20: b"x" * 32}.get) is None
    assert snapshot.positions(folder) == [30]


def test_every_truncation_and_every_flipped_bit_is_discarded(folder: Path) -> None:
    """The one before is used instead."""
    path = folder / "30.snapshot"
    raw = path.read_bytes()
    for size in range(len(raw)):
        path.write_bytes(raw[:size])
        assert load(folder, 30) == (20, b"state 20")
        assert not path.exists()
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(changed)
        assert load(folder, 30) == (20, b"state 20")
        assert not path.exists()


def test_files_of_other_names_are_let_be(folder: Path) -> None:
    """Neither read nor removed."""
    (folder / "notes.txt").write_text("mine")
    (folder / "x.snapshot").write_text("mine")
    snapshot.save(folder, 40, KEY, CHAIN[40], b"", keep=1)
    assert sorted(path.name for path in folder.iterdir()) == ["40.snapshot", "notes.txt", "x.snapshot"]
