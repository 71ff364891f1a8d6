"""Opening a log: what is refused and how, what is left untouched, and the file that a new log is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import apsw
import pytest

from eventstore import connection, schema, verify
from eventstore.errors import ReadOnly, Stopped, Unusable
from eventstore.head import runtime_folder
from eventstore.record import NewEvent
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from tests.eventstore.conftest import event, texts

ROOT = str(Path(__file__).parent.parent.parent)


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


def test_a_new_log_inherits_nothing_in_shared_memory(path: Path) -> None:
    """A folder there is named by an inode, which the file system gives to the next directory: only bells of other logs, perhaps in use, stay."""
    shared = runtime_folder(path.parent)
    for name in ("screen", f"{path.name}.bell", "other.db.bell"):
        (shared / name).write_bytes(b"\0\0\0\0\0\0\0\x63")
    with EventStore.open(path) as store:
        store.append("s", NewEvent("t"))
        assert sorted(file.name for file in shared.iterdir()) == [f"{path.name}.bell", "other.db.bell"]
        assert (shared / f"{path.name}.bell").read_bytes() == b"\0\0\0\0\0\0\0\x01"
    (shared / "screen").write_bytes(b"live")
    with EventStore.open(path):
        assert (shared / "screen").read_bytes() == b"live"


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


def test_a_relative_path_is_meant_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process goes afterwards changes nothing."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    with EventStore.open(tmp_path / "there" / "log.db") as other:
        other.append("s", event("other"))
    monkeypatch.chdir(tmp_path / "here")
    with EventStore.open("log.db") as store:
        store.append("s", event("mine"))
        monkeypatch.chdir(tmp_path / "there")
        with store.reading() as one, store.reading() as two, store.reading() as three:
            assert [db.execute("SELECT data FROM events").get for db in (one, two, three)] == [event("mine").data] * 3


@pytest.mark.parametrize("missing", [True, False])
def test_a_lost_database_is_not_begun_anew(path: Path, missing: bool) -> None:
    """Its write-ahead log may hold all of it; opening would delete that."""
    store = EventStore.open(path)
    store.append("s", event("kept"))
    lost = path.with_name("lost")
    lost.mkdir()
    shutil.copy(f"{path}-wal", lost / f"{path.name}-wal")
    store.close()
    if not missing:
        (lost / path.name).touch()
    before = contents(lost)
    for read_only in (False, True):
        code, message = refusal(lost / path.name, read_only)
        assert code == "damaged"
        assert ("is missing" if missing else "is empty") in message
    assert contents(lost) == before


def test_an_old_journal_hides_nothing(path: Path) -> None:
    """A rollback journal that is over, as a file system check may leave it, is no first start: a newer log stays untouched, one of ours opens."""
    with EventStore.open(path) as store:
        store.append("s", event("x"))
    Path(f"{path}-journal").touch()
    with EventStore.open(path, read_only=True) as store:
        assert store.head().position == 1
    with EventStore.open(path) as store:
        assert store.append("s", event("y")).position == 2
    db = apsw.Connection(str(path))
    db.execute(f"PRAGMA user_version = {schema.FORMAT + 1}")
    db.close()
    Path(f"{path}-journal").touch()
    before = contents(path.parent)
    assert refusal(path)[0] == "newer"
    assert contents(path.parent) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_reading_where_nothing_may_be_written() -> None:
    """A log that was closed in order is read on a write-protected card; one that was not says what to do."""
    script = (
        "import os, sys\nfrom eventstore.store import EventStore\nfrom eventstore.errors import Unusable\nos.setuid(65534)\n"
        "try:\n"
        "    with EventStore.open(sys.argv[1], read_only=True) as store: print([e.type for e in store.read()], store.verify())\n"
        "except Unusable as error: print(error.code, error)\n"
    )
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        path = Path(name) / "log.db"

        def said() -> str:
            done = subprocess.run(
                [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=30, env={"PYTHONPATH": ROOT}
            )
            assert not done.stderr
            return done.stdout.strip()

        with EventStore.open(path) as store:
            store.append("s", event("x"))
        assert said() == "['note.taken'] []"
        store = EventStore.open(path)
        store.append("s", event("y"))
        shutil.copy(f"{path}-wal", Path(name) / "kept")
        store.close()
        shutil.move(Path(name) / "kept", f"{path}-wal")
        assert said().startswith("not_writable")
        assert "copy its folder" in said()


FOLLOWING = """
import os, sys
sys.path.insert(0, sys.argv[2])
from eventstore.store import EventStore
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with EventStore.open(sys.argv[1], read_only=True) as store:
    while True:
        print(store.head().position, len(list(store.read())), store.verify(), flush=True)
        if not sys.stdin.readline():
            break
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
def test_a_reader_without_rights_sees_what_its_owner_writes() -> None:
    """A log that lay there unused when it was opened for reading is read as it is at each time: while its owner has it open, and after that."""
    with tempfile.TemporaryDirectory(prefix="pixelog-test-") as name:
        os.chmod(name, 0o755)
        path = Path(name) / "log.db"

        def write() -> EventStore:
            store = EventStore.open(path)
            store.append("s", [event(str(number)) for number in range(300)])
            return store

        write().close()
        command = [sys.executable, "-c", FOLLOWING, path, Path(__file__).parent.parent.parent]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdin is not None
            assert reader.stdout is not None

            def said(first: bool = False) -> str:
                if not first:
                    print(file=reader.stdin, flush=True)
                return reader.stdout.readline().strip()  # type: ignore[union-attr]

            assert said(first=True) == "300 300 []"
            owner = write()
            assert said() == "600 600 []"
            owner.append("s", event("x"))
            assert said() == "601 601 []"
            owner.close()
            assert said() == "601 601 []"
            write().close()
            assert said() == "901 901 []"
            reader.stdin.close()
            assert reader.wait(30) == 0


def test_a_full_disk_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is whole and opens when there is room: the mend must not be an older backup."""
    EventStore.open(path).close()
    full = os.statvfs_result((4096, 4096, 100, 0, 0, 10, 10, 10, 0, 255))
    monkeypatch.setattr(connection.os, "statvfs", lambda _: full)
    said = connection.unusable(path, apsw.IOError("disk I/O error"))
    assert said is not None
    assert (said.code, "is full; free some space" in str(said)) == ("not_writable", True)


def test_a_missing_folder_or_log(path: Path) -> None:
    """The folder must exist; for reading, the log too."""
    assert refusal(path.parent / "no" / "log.db")[0] == "missing"
    assert refusal(path, read_only=True)[0] == "missing"
    assert list(path.parent.iterdir()) == []


AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[2])
from eventstore.head import runtime_folder
from eventstore.record import NewEvent
from eventstore.store import EventStore
from eventstore.errors import Unusable
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    EventStore.open(sys.argv[1])
except Unusable as error:
    print(error.code)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
@pytest.mark.parametrize(
    ("what", "mode", "file_mode"),
    [("folder", 0o555, 0o444), ("file", 0o777, 0o444), ("way", 0o700, 0o644)],
    ids=lambda one: str(one),
)
def test_what_cannot_be_written_is_refused(what: str, mode: int, file_mode: int) -> None:
    """A folder or a file without the right to write, or a folder that lets nobody in: one code, no traceback."""
    # Not under pytest's own folder, which every other run of pytest on this machine closes to others when it begins.
    with tempfile.TemporaryDirectory(prefix="pixelog-test-") as name:
        path = Path(name) / "log.db"
        EventStore.open(path).close()
        path.parent.chmod(mode)
        path.chmod(file_mode)
        command = [sys.executable, "-c", AS_NOBODY, path, Path(__file__).parent.parent.parent]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.stderr, done.returncode) == ("not_writable\n", "", 0), what


def changed(path: Path, *statements: str, events: int = 5) -> Path:
    """A log of some events, changed by a plain SQLite connection with the guards taken off and put back."""
    with EventStore.open(path) as store:
        for number in range(events):
            store.append("s", event(str(number)))
    db = apsw.Connection(str(path))
    guards = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in guards:
        db.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        db.execute(statement)
    for _, sql in guards:
        db.execute(str(sql))
    db.close()
    return path


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE events SET data = '{}' WHERE position = 5", "event 5 is not what was written: its hash does not fit (position 5)"),
        ("UPDATE events SET actor = 'x' WHERE position = 5", "event 5 is not what was written: its hash does not fit (position 5)"),
        ("UPDATE events SET chain = zeroblob(32) WHERE position = 4", "event 5 is not what was written: its hash does not fit (position 5)"),
        ("DELETE FROM events WHERE position = 5", "event 5 is missing from the log (position 5)"),
        ("DELETE FROM events WHERE position = 4", "event 4 is missing from the log (position 4)"),
        ("DELETE FROM events", "event 4 is missing from the log (position 4)"),
        ("UPDATE head SET position = 4", "the hash and the logtime and the time in the head row are not those of the last event (position 4)"),
        ("UPDATE head SET (position, chain, logtime, time) = (SELECT position, chain, logtime, time FROM events WHERE position = 4)",
         "the head row is at 4, but there are events up to 5 (position 5)"),
        ("UPDATE head SET position = 9", "event 8 is missing from the log (position 8)"),
        ("UPDATE head SET position = 0", "the hash in the head row is not that of the last event (position 0)"),
        ("UPDATE head SET chain = zeroblob(32)", "the hash in the head row is not that of the last event (position 5)"),
        ("UPDATE head SET logtime = logtime + 1", "the logtime in the head row is not that of the last event (position 5)"),
    ],
)  # fmt: skip
def test_a_log_whose_end_is_not_whole_is_not_written_on(path: Path, statement: str, said: str) -> None:
    """What is wrong, where, and the mend; nothing of it changes, and the check of everything can still be made."""
    before = contents(changed(path, statement).parent)
    code, message = refusal(path)
    assert code == "damaged"
    assert said in message
    assert "restore a backup: pixelog restore FILE" in message
    assert contents(path.parent) == before
    with EventStore.open(path, read_only=True) as store:
        assert store.verify() != []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DROP TRIGGER head_not_deleted; DELETE FROM head", "the log has no head row; restore a backup"),
        ("DROP TABLE head", "no such table: head"),
        ("DROP TABLE events", "no such table: events"),
        (
            "DROP TRIGGER events_not_updated",
            "the trigger events_not_updated, which keeps the log append-only, is missing; restore",
        ),
    ],
)
def test_a_log_that_lacks_a_part_is_not_written_on(path: Path, statement: str, said: str) -> None:
    """A row, a table or a guard that is gone; whoever took off a guard could have changed anything since."""
    changed(path)
    db = apsw.Connection(str(path))
    db.execute(statement).fetchall()
    db.close()
    code, message = refusal(path)
    assert (code, said in message) == ("damaged", True), message


@pytest.mark.parametrize("events", [0, 1, 2, 3])
def test_a_whole_end_is_written_on(path: Path, events: int) -> None:
    """However short the log is; what was looked at is known, and a log opened to read only is not looked at."""
    changed(path, events=events)
    with EventStore.open(path) as store:
        assert store.started == verify.StartCheck(events)
        assert store.append("s", event()).position == events + 1
    with EventStore.open(path, read_only=True) as store:
        assert store.started is None


def test_the_check_of_a_start_does_not_depend_on_the_length_of_the_log(path: Path) -> None:
    """It takes as many steps for ten thousand events as for ten, give or take the depth of a tree."""
    steps: list[int] = []
    with EventStore.open(path) as store:
        for many in (10, 10_000):
            while store.head().position < many:
                store.append("s", [event()] * min(1_000, many - store.head().position), durable=False)
            with store.reading() as db:
                counted: list[None] = []
                db.set_progress_handler(lambda counted=counted: bool(counted.append(None)), 1)
                assert verify.check_start(db).problem is None
                db.set_progress_handler(None)
                steps.append(len(counted))
    assert 100 < steps[0] < 2_000
    assert abs(steps[1] - steps[0]) < 50


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


@pytest.mark.parametrize("read_only", [True, False])
def test_a_refused_opening_leaves_nothing_open(path: Path, read_only: bool) -> None:
    """However often it is tried."""
    EventStore.open(path).close()
    db = apsw.Connection(str(path))
    db.execute("DROP TABLE log")
    db.close()

    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = files()
    for _ in range(5):
        with pytest.raises(Unusable):
            EventStore.open(path, read_only=read_only)
    assert files() == before
