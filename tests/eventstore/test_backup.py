"""Backups of a log: one file, whole or not there at all, a prefix of the log, and nothing but what was written comes back."""

from __future__ import annotations

import errno
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import apsw
import pytest

from eventstore import backup
from eventstore.backup import BadBackup, Cancelled
from eventstore.record import NewEvent
from eventstore.store import EventStore
from tests.eventstore.conftest import event


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    """An open log of twenty events in a folder of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    one = EventStore.open(folder)
    for number in range(20):
        one.append("a", NewEvent("thing.happened", f'{{"number":{number}}}'))
    return one


def files(folder: Path) -> list[str]:
    """Names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_a_backup_comes_back_as_it_was(store: EventStore, tmp_path: Path) -> None:
    """Every event with its hash; the manifest says what is in it; nothing else is left beside it."""
    extra = tmp_path / "picture"
    extra.write_bytes(b"x" * 100_000)
    target = tmp_path / "backups" / "b.tar"
    target.parent.mkdir()
    with store:
        manifest = backup.write(store, target, "2026-01-01T00:00:00Z", lambda db: [("blobs/ab/picture", extra)])
        events, head = list(store.read()), store.head()
    assert files(target.parent) == ["b.tar"]
    assert (manifest.log_id, manifest.head, manifest.chain) == (store.log_id, 20, head.chain.hex())
    assert [file.name for file in manifest.files] == ["pixelog.db", "blobs/ab/picture"]
    again = tmp_path / "again"
    again.mkdir()
    assert backup.unpack(target, again) == manifest
    assert (again / "blobs/ab/picture").read_bytes() == extra.read_bytes()
    with EventStore.open(again) as restored:
        assert list(restored.read()) == events
        assert restored.verify() == []
        assert restored.append("a", NewEvent("thing.happened")).position == 21


def test_what_may_go_and_went_is_left_out(store: EventStore, tmp_path: Path) -> None:
    """Between being named and being read; what must not go ends the backup."""
    stays = tmp_path / "stays"
    stays.write_bytes(b"x")
    target = tmp_path / "b.tar"
    named = [("gone", tmp_path / "gone"), ("stays", stays)]
    with store:
        manifest = backup.write(store, target, "now", lambda db: named, may_go=lambda name: name == "gone")
        assert [file.name for file in manifest.files] == ["pixelog.db", "stays"]
        assert backup.read(target) == manifest
        with pytest.raises(FileNotFoundError):
            backup.write(store, target, "later", lambda db: named, may_go=lambda name: name == "stays")
    assert backup.read(target) == manifest


def test_any_tar_tool_can_look_into_it(store: EventStore, tmp_path: Path) -> None:
    """Plain members; the database in it needs nothing beside it."""
    with store:
        backup.write(store, tmp_path / "b.tar", "now")
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert tar.getnames() == ["pixelog-backup", "pixelog.db", "manifest.json", "manifest.sha256"]
        database = tar.extractfile("pixelog.db")
        assert database is not None
        (tmp_path / "pixelog.db").write_bytes(database.read())
    db = apsw.Connection(f"file:{tmp_path}/pixelog.db?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    assert db.execute("SELECT count(*) FROM events").get == 20
    db.close()


def test_each_backup_under_load_is_a_prefix_of_the_log(store: EventStore, tmp_path: Path) -> None:
    """While a thread appends all the time; the log goes on meanwhile."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.append("b", NewEvent("thing.happened"))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        manifests: list[backup.Manifest] = []
        for number in range(5):
            assert store.watch.wait(manifests[-1].head if manifests else 0, 20)  # the thread has had its turn since
            manifests.append(backup.write(store, tmp_path / f"{number}.tar", "now"))
    finally:
        stop.set()
        thread.join()
    heads = [manifest.head for manifest in manifests]
    assert heads == sorted(set(heads))
    for number, manifest in enumerate(manifests):
        folder = tmp_path / str(number)
        folder.mkdir()
        backup.unpack(tmp_path / f"{number}.tar", folder)
        assert store.page(manifest.head - 1, 1).events[0].chain.hex() == manifest.chain
    store.close()


def test_a_log_in_memory_can_be_backed_up(tmp_path: Path) -> None:
    """The same code, without a file to copy."""
    with EventStore.open(":memory:") as store:
        store.append("a", NewEvent("thing.happened"))
        assert backup.write(store, tmp_path / "b.tar", "now").head == 1
    assert backup.read(tmp_path / "b.tar").head == 1


def test_a_cancelled_backup_leaves_nothing(store: EventStore, tmp_path: Path) -> None:
    """Neither the file nor its beginnings; one of that name from before stays."""
    target = tmp_path / "backups" / "b.tar"
    target.parent.mkdir()
    with store, pytest.raises(Cancelled):
        backup.write(store, target, "now", cancelled=lambda: True)
    assert files(target.parent) == []


def test_a_file_that_cannot_be_read_ends_the_backup(store: EventStore, tmp_path: Path) -> None:
    """Nothing is left, and the backup from before is as it was."""
    target = tmp_path / "backups" / "b.tar"
    target.parent.mkdir()
    with store:
        backup.write(store, target, "now")
        before = target.read_bytes()
        with pytest.raises(FileNotFoundError):
            backup.write(store, target, "later", lambda db: [("gone", tmp_path / "gone")])
    assert files(target.parent) == ["b.tar"]
    assert target.read_bytes() == before


def test_a_damaged_log_is_not_backed_up_as_if_it_were_whole(store: EventStore, tmp_path: Path) -> None:
    """The copy is checked before it is packed."""
    with store:
        store.transact(lambda t: t.db.execute("DROP TRIGGER events_not_updated") and None)
        store.transact(lambda t: t.db.execute("UPDATE events SET data = '{}' WHERE position = 3") and None)
        with pytest.raises(BadBackup, match="damaged"):
            backup.write(store, tmp_path / "b.tar", "now")
    assert files(tmp_path) == ["data"]


@pytest.fixture
def made(store: EventStore, tmp_path: Path) -> Path:
    """A backup file."""
    with store:
        backup.write(store, tmp_path / "b.tar", "now")
    return tmp_path / "b.tar"


def test_every_truncation_is_noticed(made: Path, tmp_path: Path) -> None:
    """Wherever the file was cut short."""
    raw = made.read_bytes()
    end = raw.rindex(b"manifest.json")
    for size in (0, 1, 300, 511, 512, 1024, 5000, len(raw) // 2, end, end + 512, end + 600):
        made.write_bytes(raw[:size])
        with pytest.raises(BadBackup):
            backup.read(made)


def test_every_flipped_bit_is_noticed_or_harmless(made: Path) -> None:
    """In the files, their names, the manifest: never taken for what was backed up. Padding and times do not matter."""
    raw, whole = made.read_bytes(), backup.read(made)
    noticed = 0
    for place in range(0, len(raw), max(1, len(raw) // 400)):
        changed = bytearray(raw)
        changed[place] ^= 1 << (place % 8)
        made.write_bytes(changed)
        try:
            assert backup.read(made) == whole
        except BadBackup:
            noticed += 1
    assert noticed > 300


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../evil", ".hidden"])
def test_names_that_lead_elsewhere_are_refused(made: Path, tmp_path: Path, name: str) -> None:
    """Nothing is written outside the folder."""
    forged = tmp_path / "forged.tar"
    with tarfile.open(forged, "w") as tar:
        for member in ("pixelog-backup", name):
            tar.addfile(tarfile.TarInfo(member))
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    with pytest.raises(BadBackup, match="no backup does"):
        backup.unpack(forged, folder)
    assert files(tmp_path / "deep") == ["folder"]
    assert files(folder) == []


def test_other_files_are_no_backups(tmp_path: Path) -> None:
    """A text, an empty file, another tar, a folder, nothing."""
    (tmp_path / "text").write_text("hello " * 100)
    (tmp_path / "empty").write_bytes(b"")
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("readme"))
    assert not any(backup.is_backup(tmp_path / name) for name in ("text", "empty", "other.tar", "", "nothing"))


def test_a_store_backs_itself_up(store: EventStore, tmp_path: Path) -> None:
    """Without anything beside the log."""
    with store:
        assert store.backup(tmp_path / "b.tar") == backup.read(tmp_path / "b.tar")


def test_only_a_backup_of_the_same_log_is_replaced(store: EventStore, tmp_path: Path) -> None:
    """One of another log, one that does not say whose it is, and any other file stay as they are, byte for byte."""
    target = tmp_path / "b.tar"
    with store:
        first = backup.write(store, target, "now")
        store.append("a", NewEvent("thing.happened"))
        assert backup.write(store, target, "later").head == first.head + 1
    before = target.read_bytes()
    with EventStore.open(tmp_path / "another") as another:
        with pytest.raises(
            backup.BadBackup, match=rf"b.tar is the backup of another log \({first.log_id}\); choose another name"
        ):
            backup.write(another, target, "now")
        assert target.read_bytes() == before
        for content, said in (
            (before.replace(b"logId", b"logIx", 1), "does not say of which log"),
            (b"a letter", "is no backup"),
        ):
            target.write_bytes(content)
            with pytest.raises(backup.BadBackup, match=said):
                backup.write(another, target, "now")
            assert target.read_bytes() == content
    assert [name for name in files(tmp_path) if ".part" in name] == []


@pytest.mark.parametrize(
    ("error", "number", "said"),
    [
        (apsw.FullError("not an error"), errno.ENOSPC, "the disk is full"),
        (apsw.IOError("disk I/O error"), errno.EIO, r"the disk refuses \(disk I/O error\)"),
        (apsw.CantOpenError("unable to open database file"), errno.EACCES, "no file can be made there"),
    ],
)
def test_what_the_disk_refuses_is_said(
    error: Exception, number: int, said: str, store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an OSError with its number, not as SQLite puts it; what was there stays, and nothing else is left."""
    (tmp_path / "kept").mkdir()
    target = tmp_path / "kept" / "b.tar"

    def refuses(*_: object) -> None:
        raise error

    with store:
        backup.write(store, target, "now")
        before = target.read_bytes()
        monkeypatch.setattr(backup, "_copy_database", refuses)
        with pytest.raises(OSError, match=said) as refused:
            backup.write(store, target, "later")
    assert refused.value.errno == number
    assert target.read_bytes() == before
    assert files(target.parent) == ["b.tar"]


def test_a_folder_that_takes_no_files_is_said(store: EventStore) -> None:
    """Nothing can be made in /proc, whoever asks."""
    with store, pytest.raises(OSError, match="no file can be made there"):
        backup.write(store, Path("/proc/x.tar"), "now")


def test_a_look_at_a_file_of_an_open_log_takes_none_of_its_locks(store: EventStore) -> None:
    """A backup onto the log itself is refused without opening it: else another program would be the last to close, and delete the write-ahead log."""
    assert store.path is not None
    store.append("s", event())
    for name in (store.path, Path(f"{store.path}-wal"), Path(f"{store.path}-shm")):
        with pytest.raises(BadBackup, match="exists and is no backup"):
            store.backup(name)
        with pytest.raises(BadBackup, match="is not a backup"):
            backup.read(name)
        subprocess.run([sys.executable, "-c", VISIT, str(store.path)], check=True, timeout=60)
        assert Path(f"{store.path}-wal").exists()
    assert store.append("s", event()).position == store.head().position


def test_one_backup_at_a_time_into_a_folder(store: EventStore, tmp_path: Path) -> None:
    """A second one at the same time is refused in a sentence; the first ends whole."""
    store.append("s", event())
    target, said = tmp_path / "b.tar", list[str]()

    def meets() -> bool:
        if not said:
            for name in ("b.tar", "c.tar"):
                with pytest.raises(BadBackup, match="another backup is being written") as refused:
                    store.backup(tmp_path / name)
                said.append(str(refused.value))
        return False

    backup.write(store, target, "2026-01-01T00:00:00Z", cancelled=meets)
    assert len(said) == 2
    assert backup.read(target).head == store.head().position
    assert sorted(file.name for file in tmp_path.glob("*b.tar*")) == ["b.tar"]
    store.backup(target)


VISIT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("SELECT count(*) FROM events").fetchone()
db.close()
"""
