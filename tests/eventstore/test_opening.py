"""Opening a log: what is refused and how, what is left untouched, and the file that a new log is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import apsw
import pytest

from eventstore import schema
from eventstore.errors import ReadOnly, Stopped, Unusable
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from tests.eventstore.conftest import event, texts


def contents(folder: Path) -> dict[str, str]:
    """Name and SHA-256 of every file but SQLite's shared-memory index."""
    return {one.name: sha256(one.read_bytes()).hexdigest() for one in folder.iterdir() if not one.name.endswith("-shm")}


def refusal(path: Path, read_only: bool = False) -> tuple[str, str]:
    """Code and message with which opening is refused."""
    with pytest.raises(Unusable) as caught:
        EventStore.open(path, read_only=read_only)
    return caught.value.code, str(caught.value)


def test_a_new_log_is_marked(path: Path) -> None:
    """Any SQLite tool sees whose it is and in which format."""
    EventStore.open(path).close()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA application_id").fetchone() == (0x70786C67,)
    assert db.execute("PRAGMA user_version").fetchone() == (schema.FORMAT,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


def test_a_folder_means_its_database(tmp_path: Path) -> None:
    """The log of a data directory is its pixelog.db."""
    with EventStore.open(tmp_path) as store:
        store.append("s", event())
    with EventStore.open(tmp_path / "pixelog.db") as store:
        assert len(texts(store)) == 1


def test_a_closed_log_is_one_file(path: Path) -> None:
    """The write-ahead log has been brought home."""
    with EventStore.open(path) as store:
        store.append("s", event())
        list(store.read())
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_version_is_refused_byte_for_byte(path: Path, read_only: bool) -> None:
    """Nothing of it changes, neither the database nor its write-ahead log."""
    EventStore.open(path).close()
    db = apsw.Connection(str(path))
    db.execute(f"PRAGMA user_version = {schema.FORMAT + 1}")
    db.close()
    before = contents(path.parent)
    code, message = refusal(path, read_only)
    assert (code, "update pixelog" in message, contents(path.parent)) == ("newer", True, before)


def test_a_newer_version_whose_mark_is_only_in_the_write_ahead_log(path: Path, tmp_path: Path) -> None:
    """As a power cut would leave it: the mark is read there, and both files stay as they are."""
    EventStore.open(path).close()
    db = apsw.Connection(str(path))
    db.wal_autocheckpoint(0)
    db.execute(f"PRAGMA user_version = {schema.FORMAT + 7}")
    cut = tmp_path / "cut"
    cut.mkdir()
    for name in (path.name, f"{path.name}-wal"):
        shutil.copy(path.parent / name, cut / name)
    db.close()
    before = contents(cut)
    assert set(before) == {path.name, f"{path.name}-wal"}
    assert refusal(cut / path.name)[0] == "newer"
    assert contents(cut) == before


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"not a database" * 400, "not_a_log"), (b"SQLite format 3\0" + b"\xff" * 8_176, "not_a_log")],
)
def test_what_is_no_database_is_refused(path: Path, content: bytes, code: str) -> None:
    """With a sentence, and without touching it."""
    path.write_bytes(content)
    assert refusal(path)[0] == code
    assert path.read_bytes() == content


@pytest.mark.parametrize("journal_mode", ["delete", "persist", "wal"])
def test_a_foreign_database_is_refused(path: Path, journal_mode: str) -> None:
    """A SQLite database of another program is left as it was, whatever journal it keeps beside it."""
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA journal_mode = {journal_mode}")
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()
    before = contents(path.parent)
    assert refusal(path)[0] == "not_a_log"
    assert contents(path.parent) == before


def test_a_truncated_log_is_damaged(path: Path) -> None:
    """Half a file says so, and that a backup is the way out."""
    with EventStore.open(path) as store:
        store.append("s", [event()] * 500)
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises((Unusable, apsw.CorruptError)) as caught, EventStore.open(path) as store:
        list(store.read())
    assert not isinstance(caught.value, Unusable) or caught.value.code == "damaged"


def test_a_missing_folder_or_log(path: Path) -> None:
    """The folder must exist; for reading, the log too."""
    assert refusal(path.parent / "no" / "log.db")[0] == "missing"
    assert refusal(path, read_only=True)[0] == "missing"
    assert list(path.parent.iterdir()) == []


AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[2])
from eventstore.store import EventStore
from eventstore.errors import Unusable
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    EventStore.open(sys.argv[1])
except Unusable as error:
    print(error.code)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_cannot_be_written_is_refused(path: Path, what: str) -> None:
    """A folder or a file without the right to write: one code, no traceback."""
    EventStore.open(path).close()
    for folder in path.parents:
        if not os.stat(folder).st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o055)
    path.parent.chmod(0o555 if what == "folder" else 0o777)
    path.chmod(0o444)
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", AS_NOBODY, path, root], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "not_writable\n"


def test_a_read_only_open(path: Path) -> None:
    """Reads, follows the head, refuses to write; works beside a writer."""
    with EventStore.open(path) as writer:
        writer.append("s", event("1"))
        with EventStore.open(path, read_only=True) as reader:
            assert len(texts(reader)) == 1
            with pytest.raises(ReadOnly):
                reader.append("s", event("2"))
            writer.append("s", event("3"))
            assert reader.watch.wait(1, 20)
            assert len(texts(reader)) == 2


def test_a_closed_log_answers_that_it_is_closed(path: Path) -> None:
    """Stopped, for writing and for reading; closing twice is nothing."""
    store = EventStore.open(path)
    store.close()
    store.close()
    with pytest.raises(Stopped, match="closed"):
        store.append("s", event())
    with pytest.raises(Stopped, match="closed"):
        store.head()


def test_a_first_start_cut_short_is_finished_by_the_next(path: Path) -> None:
    """An empty file, or a database without tables, becomes a log."""
    path.touch()
    with EventStore.open(path) as store:
        assert store.append("s", event()).position == 1
    other = path.with_name("other.db")
    db = apsw.Connection(str(other))
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    db.close()
    with EventStore.open(other) as store:
        assert store.append("s", event()).position == 1


def test_a_log_in_memory_is_gone_with_its_object(clock: FakeClock) -> None:
    """Two of them have nothing in common, and nothing is on the disk."""
    with EventStore.open(":memory:", clock=clock) as one, EventStore.open(":memory:", clock=clock) as other:
        one.append("s", event())
        assert (len(texts(one)), len(texts(other))) == (1, 0)
    assert not Path(":memory:").exists()
