"""A whole log in one file, made while others write, and back again.

The file is a plain uncompressed tar, so that any tool can look into it:

    pixelog-backup      {"format": 1, "logId": …}: tells a backup from any other tar
    pixelog.db          the database as it was in one moment, checked, without a write-ahead log
    …                   the files that the caller adds, by their names
    manifest.json       log id, head, chain and epoch; name, size and SHA-256 of every file
    manifest.sha256     the SHA-256 of the manifest; last, so that a file that was cut short has none

Nothing stands under the name asked for before it is complete, on the disk, and read back. The database is copied through SQLite, whose file nobody
may open and close beside it. Which files belong to a log, and where they lie, is the caller's business.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

import apsw
import msgspec

from eventstore import forks
from eventstore.blobs import CHUNK_BYTES, fsync_folder
from eventstore.errors import StoreError, Unusable
from eventstore.reading import read_head
from eventstore.verify import RESTORE, check

FORMAT = 1
MARK = "pixelog-backup"
DATABASE = "pixelog.db"
MANIFEST = "manifest.json"
SEAL = "manifest.sha256"

PAGES_PER_STEP = 1_000
"""Database pages copied between two looks at whether to stop: 4 MiB."""

MANIFEST_BYTES_MAX = 64 * 1024 * 1024
"""A manifest of half a million files; a longer one is not ours."""

_NAME = re.compile(r"(?!\.)[\w.-]+(?:/(?!\.)[\w.-]+){0,3}")


class BadBackup(StoreError):
    """The file is no backup, or not whole. The message says what is wrong with it."""

    code = "bad_backup"


class Cancelled(StoreError):
    """The backup was told to stop; nothing of it is left."""

    code = "cancelled"


class Stored(msgspec.Struct, frozen=True, rename="camel"):
    """A file in a backup."""

    name: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """What a backup holds: a prefix of the log `log_id` up to position `head`, whose hash is `chain` (hex)."""

    format: int
    log_id: str
    head: int
    chain: str
    epoch: int
    created_at: str
    files: tuple[Stored, ...]


class _Mark(msgspec.Struct, frozen=True, rename="camel"):
    """What the first member says."""

    log_id: str


class Store(Protocol):
    """What a backup needs of an event store."""

    log_id: str

    def snapshot(self) -> AbstractContextManager[apsw.Connection]: ...


FilesOf = Callable[[apsw.Connection], Iterable[tuple[str, Path]]]
"""Names and places of the files that go with a log, asked of the copy. They must stay as they are, or go."""

MayGo = Callable[[str], bool]
"""Whether the file of this name may be gone when its turn comes; then it is left out."""


def write(
    store: Store,
    target: Path,
    created_at: str,
    files_of: FilesOf = lambda db: (),
    cancelled: Callable[[], bool] = lambda: False,
    may_go: MayGo = lambda name: False,
) -> Manifest:
    """Write a backup to `target`, replacing an older one of the same log, and return its manifest once it is on the disk and has been read back.
    One at a time into a folder.

    What is there stays until then. A killed process leaves `.NAME.part` and `.NAME.part.db` beside it, which the next backup of that name overwrites
    and removes. Raises BadBackup (the log is damaged, what was written cannot be read back, `target` is something else than a backup of this
    log, or another one is being written there), Cancelled, OSError (no folder, no room, no access).
    """
    with _alone(target.parent):
        return _write(store, target, created_at, files_of, cancelled, may_go)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Raise BadBackup when a backup is being written into the folder. The lock is the folder's own, so that nothing is left of it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadBackup(f"another backup is being written to {folder}; wait for its end") from error
        except OSError:
            pass  # a file system without such locks
        yield
    finally:
        os.close(fd)


def _write(
    store: Store, target: Path, created_at: str, files_of: FilesOf, cancelled: Callable[[], bool], may_go: MayGo
) -> Manifest:
    _check_target(target, store.log_id)
    part = target.with_name(f".{target.name}.part")
    copy = target.with_name(f".{target.name}.part.db")
    try:
        _copy_database(store, copy, cancelled)
        manifest = _pack(store.log_id, part, copy, created_at, files_of, cancelled, may_go)
        if read(part) != manifest:
            raise BadBackup(f"what was written to {target.parent} is not what is read back; check the disk")
        os.replace(part, target)
        fsync_folder(target.parent)
        return manifest
    except apsw.Error as error:
        raise _translated(error, target.parent) from error
    finally:
        for file in (part, copy, copy.with_name(f"{copy.name}-journal")):
            with suppress(OSError):  # why it cannot be written was said
                file.unlink(missing_ok=True)


def _check_target(target: Path, log_id: str) -> None:
    """Raise BadBackup when something is at `target` that a backup of this log must not replace."""
    if not target.exists():
        return
    if not is_backup(target):
        raise BadBackup(f"{target} exists and is no backup; choose another name")
    whose = _log_id(target)
    if whose is None:
        raise BadBackup(f"{target} is a backup that does not say of which log; choose another name")
    if whose != log_id:
        raise BadBackup(f"{target} is the backup of another log ({whose}); choose another name")


def _log_id(path: Path) -> str | None:
    """The log of which a file that begins as a backup says it is one."""
    try:
        with tarfile.open(path, "r:") as tar:
            first = tar.next()
            content = None if first is None or first.size > CHUNK_BYTES else tar.extractfile(first)
            return None if content is None else msgspec.json.decode(content.read(), type=_Mark).log_id
    except (tarfile.TarError, msgspec.MsgspecError, OSError, EOFError):
        return None


def _translated(error: apsw.Error, folder: Path) -> Exception:
    """What an error of SQLite means for who asked for a backup; its own text says little ("not an error" of a full disk)."""
    match error:
        case apsw.FullError():
            return OSError(errno.ENOSPC, "the disk is full", str(folder))
        case apsw.CantOpenError() | apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.AuthError():
            return OSError(errno.EACCES, "no file can be made there", str(folder))
        case apsw.IOError():
            return OSError(errno.EIO, f"the disk refuses ({error})", str(folder))
        case apsw.CorruptError() | apsw.NotADBError() | apsw.SQLError():
            return BadBackup(f"the log is damaged and cannot be backed up: {error}; {RESTORE}")
        case _:
            return error


def _copy_database(store: Store, copy: Path, cancelled: Callable[[], bool]) -> None:
    copy.unlink(missing_ok=True)
    there = apsw.Connection(str(copy))
    try:
        # The file is synced as a whole at the end, and thrown away if anything goes wrong before.
        there.execute("PRAGMA synchronous = OFF").fetchall()
        with store.snapshot() as here:
            read_head(here)  # begins the read transaction: all steps copy one moment
            with there.backup("main", here, "main") as backup:
                while not backup.done:
                    if cancelled():
                        raise Cancelled("the backup was cancelled; nothing of it is left")
                    backup.step(PAGES_PER_STEP)
        there.execute("PRAGMA journal_mode = DELETE").fetchall()
        for problem in check(there, store.log_id):
            raise BadBackup(f"the log is damaged and is not backed up as if it were whole: {problem.message}; {problem.mend}")
    finally:
        there.close()


def _pack(
    log_id: str, part: Path, copy: Path, created_at: str, files_of: FilesOf, cancelled: Callable[[], bool], may_go: MayGo
) -> Manifest:
    stored: list[Stored] = []
    db = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        head = read_head(db)
        with open(part, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            _add_bytes(tar, MARK, msgspec.json.encode({"format": FORMAT, "logId": log_id}))
            for name, path in ((DATABASE, copy), *files_of(db)):
                if cancelled():
                    raise Cancelled("the backup was cancelled; nothing of it is left")
                try:
                    stored.append(_add_file(tar, name, path))
                except FileNotFoundError:  # from opening it: nothing of it is written yet
                    if name == DATABASE or not may_go(name):
                        raise
            manifest = Manifest(FORMAT, log_id, head.position, head.chain.hex(), head.epoch, created_at, tuple(stored))
            written = msgspec.json.encode(manifest)
            _add_bytes(tar, MANIFEST, written)
            _add_bytes(tar, SEAL, hashlib.sha256(written).hexdigest().encode())
            tar.close()
            file.flush()
            os.fsync(file.fileno())
        return manifest
    finally:
        db.close()


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> Stored:
    with open(path, "rb") as file:
        info = tarfile.TarInfo(name)
        info.size = os.fstat(file.fileno()).st_size
        hashing = _Hashing(file)
        tar.addfile(info, hashing)  # type: ignore[arg-type]  # it reads, nothing more
    return Stored(name, info.size, hashing.hash.hexdigest())


class _Hashing:
    """A file that hashes what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self.hash.update(chunk)
        return chunk


def is_backup(path: Path) -> bool:
    """Whether this is a file that begins as a backup does. Never looks into a file of a log that is open here, which would drop its locks."""
    if forks.is_open(path):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(262)
    except OSError:
        return False
    return head[: len(MARK) + 1] == MARK.encode() + b"\0" and head[257:262] == b"ustar"


def read(path: Path, take: Callable[[str, IO[bytes]], None] | None = None) -> Manifest:
    """Read a backup from end to end, comparing every file with the manifest, and return that. `take(name, file)` gets each file; it may read all
    of it or nothing. Raises BadBackup."""
    if not is_backup(path):
        raise BadBackup(f"{path} is not a backup of pixelog")
    found: dict[str, tuple[int, str]] = {}
    written = b""
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                content = tar.extractfile(info)
                if content is None or not _NAME.fullmatch(info.name) or info.name in found:
                    raise BadBackup(f"{path} holds {info.name!r}, which no backup does")
                if info.name == MANIFEST:
                    if info.size > MANIFEST_BYTES_MAX:
                        raise BadBackup(f"{path} has a manifest of {info.size} bytes, which no backup has")
                    written = content.read()
                    continue
                if info.name == SEAL:
                    if hashlib.sha256(written).hexdigest().encode() != content.read(65):
                        raise BadBackup(f"{path} is damaged: its manifest is not what was written")
                    return _compared(path, msgspec.json.decode(written, type=Manifest), found)
                if info.name == MARK:
                    continue
                hashing = _Hashing(content)
                if take is not None:
                    take(info.name, hashing)  # type: ignore[arg-type]  # it reads, nothing more
                while hashing.read(CHUNK_BYTES):
                    pass
                found[info.name] = (info.size, hashing.hash.hexdigest())
    except (tarfile.TarError, msgspec.MsgspecError, OSError, EOFError) as error:
        raise BadBackup(f"{path} is damaged: {error}") from error
    raise BadBackup(f"{path} was cut short: it has no manifest")


def _compared(path: Path, manifest: Manifest, found: dict[str, tuple[int, str]]) -> Manifest:
    if manifest.format > FORMAT:
        raise Unusable("newer", f"{path} was written by a newer pixelog; update pixelog")
    wanted = {file.name: (file.size_bytes, file.sha256) for file in manifest.files}
    if wanted.keys() != found.keys():
        wrong = sorted(wanted.keys() ^ found.keys())[0]
        raise BadBackup(f"{path} is damaged: {wrong} {'is missing' if wrong in wanted else 'is not in its manifest'}")
    for name, is_ in found.items():
        if is_ != wanted[name]:
            raise BadBackup(f"{path} is damaged: {name} is not what was backed up")
    return manifest


def unpack(path: Path, folder: Path) -> Manifest:
    """Unpack a backup into an existing empty folder, check the log in it, and bring it to the disk. Raises BadBackup; then the folder holds
    rubbish."""
    made: set[Path] = {folder}

    def take(name: str, file: IO[bytes]) -> None:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        made.update(parent for parent in target.parents if parent.is_relative_to(folder))
        with open(target, "xb") as out:
            while chunk := file.read(CHUNK_BYTES):
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())

    manifest = read(path, take)
    for parent in made:
        fsync_folder(parent)
    _check_database(path, folder / DATABASE, manifest)
    return manifest


def _check_database(path: Path, database: Path, manifest: Manifest) -> None:
    if not database.is_file():
        raise BadBackup(f"{path} holds no database")
    try:
        db = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            for problem in check(db, manifest.log_id):
                raise BadBackup(f"the log in {path} is damaged: {problem.message}")
            head = read_head(db)
        finally:
            db.close()
    except apsw.Error as error:
        raise BadBackup(f"the database in {path} cannot be read: {error}") from error
    if (head.position, head.chain.hex()) != (manifest.head, manifest.chain):
        raise BadBackup(f"the log in {path} does not end where its manifest says")
