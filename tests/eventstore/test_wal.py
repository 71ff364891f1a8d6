"""Flipped bits in a write-ahead log at rest: each that hides a commit is noticed, and nothing that a power cut leaves is taken for one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from eventstore import wal
from eventstore.record import NewEvent
from eventstore.store import EventStore

FRAME_BYTES = 24 + 512

Cut = Callable[..., Path]


@pytest.fixture
def cut(tmp_path: Path) -> Cut:
    """`cut(*statements)`: a database with small pages as a power cut leaves it after these, each a commit, in its write-ahead log."""

    def made(*statements: str, before: str = "SELECT 1") -> Path:
        path = tmp_path / "living.db"
        db = apsw.Connection(str(path))
        db.execute("PRAGMA page_size = 512; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0").fetchall()
        db.execute("CREATE TABLE notes (text); PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        db.execute(before).fetchall()
        for statement in statements:
            db.execute(statement)
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", f"{tmp_path / 'cut.db'}{end}")
        db.close()
        return tmp_path / "cut.db"

    return made


def written(database: Path, raw: bytes) -> Path:
    """The database with this write-ahead log."""
    Path(f"{database}-wal").write_bytes(raw)
    return database


def begins(place: int) -> int:
    """Where the header or frame begins that this byte is of."""
    return 0 if place < 32 else 32 + (place - 32) // FRAME_BYTES * FRAME_BYTES


def rows(database: Path) -> list[str]:
    """What SQLite sees of it. The last to close would bring the log home: looked at in a copy."""
    looked = database.with_name("looked.db")
    for end in ("", "-wal"):
        shutil.copy(f"{database}{end}", f"{looked}{end}")
    db = apsw.Connection(str(looked))
    try:
        return [str(text) for (text,) in db.execute("SELECT text FROM notes ORDER BY rowid")]
    finally:
        db.close()


def test_every_bit_is_noticed(cut: Cut) -> None:
    """Of header and frames, page numbers, sizes, salts and checksums included, with the place of what it is in."""
    database = cut("INSERT INTO notes VALUES ('one')", "INSERT INTO notes VALUES ('two')")
    whole = Path(f"{database}-wal").read_bytes()
    assert len(whole) == 32 + 2 * FRAME_BYTES
    assert wal.flipped(database) is None
    for place in range(len(whole)):
        bit = place * 5 % 8
        raw = bytearray(whole)
        raw[place] ^= 1 << bit
        found = wal.flipped(written(database, bytes(raw)))
        assert found == begins(place), place


def test_a_bit_is_certain_where_the_log_goes_on_behind_it(cut: Cut) -> None:
    """In the header, but for its round, and in every frame but the last: those are what a start refuses to write behind."""
    database = cut(*[f"INSERT INTO notes VALUES ('{number}')" for number in range(3)])
    whole = Path(f"{database}-wal").read_bytes()
    assert wal.flipped(database, certain=True) is None
    for place in range(len(whole)):
        raw = bytearray(whole)
        raw[place] ^= 1 << place * 5 % 8
        found = wal.flipped(written(database, bytes(raw)), certain=True)
        assert found == (None if 12 <= place < 16 or place >= len(whole) - FRAME_BYTES else begins(place)), place


def test_half_a_new_header_over_an_old_one_is_not_certain(cut: Cut) -> None:
    """As a broken write leaves it: the next round's number may differ in one bit from the old one's."""
    database = cut("INSERT INTO notes VALUES ('one')", "INSERT INTO notes VALUES ('two')")
    raw = bytearray(Path(f"{database}-wal").read_bytes())
    raw[15] ^= 1
    assert wal.flipped(written(database, bytes(raw))) == 0
    assert wal.flipped(database, certain=True) is None


@pytest.mark.parametrize("place", [8, 33, 32 + 20, 32 + 24 + 500, 32 + FRAME_BYTES + 100])
def test_what_sqlite_makes_of_it(cut: Cut, place: int) -> None:
    """It passes over all that comes from there on, and says nothing: why this look is needed."""
    database = cut("INSERT INTO notes VALUES ('one')", "INSERT INTO notes VALUES ('two')")
    assert rows(database) == ["one", "two"]
    raw = bytearray(Path(f"{database}-wal").read_bytes())
    raw[place] ^= 1
    assert rows(written(database, bytes(raw))) == (["one"] if place >= 32 + FRAME_BYTES else [])
    assert wal.flipped(database) == begins(place)


def test_a_log_that_was_cut_off_anywhere(cut: Cut) -> None:
    """The end of a file that is not all there is no flipped bit."""
    database = cut("INSERT INTO notes VALUES ('one')", "INSERT INTO notes VALUES ('two')")
    whole = Path(f"{database}-wal").read_bytes()
    for size in range(len(whole)):
        assert wal.flipped(written(database, whole[:size])) is None
    assert wal.flipped(database.with_name("other.db")) is None


def test_a_torn_frame(cut: Cut) -> None:
    """A sector that was not written, or whose old content is there, changes many bits."""
    database = cut("INSERT INTO notes VALUES ('one')", "INSERT INTO notes VALUES ('two')")
    whole = Path(f"{database}-wal").read_bytes()
    for first in (32 + FRAME_BYTES, 32 + FRAME_BYTES + 24, 32 + FRAME_BYTES + 300):
        for filling in (b"\x00", b"\xff", b"\xa5"):
            torn = whole[:first] + filling * (len(whole) - first)
            assert wal.flipped(written(database, torn)) is None
    two = bytearray(whole)
    two[100] ^= 3
    assert wal.flipped(written(database, bytes(two))) is None


def test_a_bit_that_hides_no_commit(cut: Cut) -> None:
    """In frames after the last commit, such as an interrupted transaction leaves, nothing is lost by it."""
    database = cut("INSERT INTO notes VALUES ('one')", "INSERT INTO notes VALUES ('" + "x" * 2_000 + "')")
    whole = Path(f"{database}-wal").read_bytes()
    frames = (len(whole) - 32) // FRAME_BYTES
    assert frames > 3
    unfinished = bytearray(whole[: 32 + (frames - 1) * FRAME_BYTES])
    unfinished[32 + FRAME_BYTES + 200] ^= 1
    assert wal.flipped(written(database, bytes(unfinished))) is None
    assert rows(database) == ["one"]


def test_what_an_earlier_round_left(cut: Cut) -> None:
    """After a checkpoint the file is written anew from its beginning; old frames behind are none of it."""
    database = cut(
        "INSERT INTO notes VALUES ('new')",
        before="INSERT INTO notes VALUES ('" + "x" * 5_000 + "'); PRAGMA wal_checkpoint(RESTART)",
    )
    whole = Path(f"{database}-wal").read_bytes()
    assert len(whole) > 32 + 5 * FRAME_BYTES
    assert wal.flipped(database) is None
    raw = bytearray(whole)
    raw[32 + 2 * FRAME_BYTES + 77] ^= 1
    assert wal.flipped(written(database, bytes(raw))) is None


def test_a_log_that_is_in_use(tmp_path: Path) -> None:
    """Looked at while it is written, also in the same process, nothing is found, and the writer keeps its locks."""
    with EventStore.open(tmp_path / "log.db") as store, EventStore.open(tmp_path / "log.db") as other:
        for number in range(50):
            (store, other)[number % 2].append("s", NewEvent("t", f'"{number}"'), durable=number % 3 == 0)
            assert wal.flipped(tmp_path / "log.db") is None
        assert store.verify() == []
