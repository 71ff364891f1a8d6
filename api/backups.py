"""Backups of a data directory: which files belong to its log, and how a backup takes the place of a directory.

A backup holds the database, the blob of every item that the log still knows (removed ones too, as long as the file is held), the configuration, and
the secrets only when asked. Frame packs are derived and made again.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw

from api import ownership
from api.data import CONFIG, DataDirectory, ServiceLock
from eventstore import backup, connection
from eventstore.backup import BadBackup, Manifest
from eventstore.blobs import fsync_folder
from eventstore.errors import Unusable
from eventstore.store import EventStore


def write(
    data: DataDirectory, store: EventStore, target: Path, secrets: bool = False, cancelled: Callable[[], bool] = lambda: False
) -> Manifest:
    """Back the directory up into one file, while others write, and while what removed items had is shed. Raises BadBackup, Cancelled, OSError (also
    when the file of an item went that was still there in the backup's moment)."""
    needed: set[str] = set()

    def files(db: apsw.Connection) -> Iterator[tuple[str, Path]]:
        rows: list[Any] = db.execute(
            "SELECT name, max(present) FROM (SELECT sha256 AS name, removed_at IS NULL AS present FROM media_items "
            "UNION ALL SELECT extra ->> '$.pixelogOriginal.sha256', removed_at IS NULL FROM media_items) "
            "WHERE name IS NOT NULL GROUP BY name ORDER BY name"
        ).fetchall()
        for sha256, present in rows:
            path, name = data.blobs / sha256[:2] / sha256, f"blobs/{sha256[:2]}/{sha256}"
            if path.is_file():
                if present:
                    needed.add(name)
                yield name, path
        if data.config.is_file():
            yield CONFIG, data.config
        if secrets and data.secrets.is_dir():
            for path in sorted(data.secrets.iterdir()):
                if path.is_file():
                    yield f"secrets/{path.name}", path

    if target.exists() and not backup.is_backup(target):
        raise BadBackup(f"{target} exists and is no backup; choose another name")
    return backup.write(store, target, datetime.now(UTC).isoformat(), files, cancelled, lambda name: name not in needed)


def restore(file: Path, data: DataDirectory, replace: bool = False) -> Manifest:
    """Make the data directory from a backup. Everything is unpacked beside it and checked before anything is replaced; a directory that holds a log
    with events is replaced only when told to.

    The restored log begins a new epoch, which tells readers who had seen more. Secrets and, if the backup has none, the configuration of a
    directory that is replaced are kept. Raises BadBackup, Unusable (locked, not_empty, not_writable).
    """
    root = data.root
    if not file.is_file():
        raise BadBackup(f"there is no file {file}")
    _check_free(data, replace)
    root.parent.mkdir(parents=True, exist_ok=True)
    fresh = root.with_name(f".{root.name}.restoring")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(mode=0o755)
        manifest = backup.unpack(file, fresh)
        made = DataDirectory(fresh)
        made.create()
        with made.open_store() as store:
            store.transact(lambda transaction: transaction.new_epoch())
        locks = _locked(data)
        try:
            _put_in_place(fresh, data)
        finally:
            for lock in locks:
                lock.release()
        return manifest
    except OSError as error:
        raise Unusable("not_writable", f"{root} cannot be restored: {error.strerror or error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _check_free(data: DataDirectory, replace: bool) -> None:
    if data.root.exists() and not data.root.is_dir():
        raise Unusable("not_writable", f"{data.root} is a file, not a folder; choose another --data")
    for lock in _locked(data):
        lock.release()
    if not replace and _holds_something(data):
        raise Unusable("not_empty", f"{data.root} is not empty; --replace puts the backup in the place of what is there")


def _holds_something(data: DataDirectory) -> bool:
    """Whether there is more than what a first start makes."""
    if not data.root.is_dir():
        return False
    if connection.inspect(data.database) is not None:
        with EventStore.open(data.database, read_only=True) as store:
            if store.head().position:
                return True
    folders = {"blobs", "packs", "tmp", "secrets", "snapshots"}
    ours = {data.database.name, f"{data.database.name}-wal", f"{data.database.name}-shm", data.lock.name, data.player_lock.name}
    for entry in data.root.iterdir():
        if entry.name in folders and entry.is_dir() and not any(one.is_file() for one in entry.rglob("*")):
            continue
        if entry.name not in ours and not entry.name.startswith(f"{data.database.name}."):
            return True
    return False


def _locked(data: DataDirectory) -> list[ServiceLock]:
    """The locks of service and player, so that none runs meanwhile. Raises Unusable (locked)."""
    locks: list[ServiceLock] = []
    try:
        for path in (data.lock, data.player_lock) if data.root.is_dir() else ():
            locks.append(ServiceLock(path, 0.0))
    except Unusable:
        for lock in locks:
            lock.release()
        raise
    return locks


def _put_in_place(fresh: Path, data: DataDirectory) -> None:
    root = data.root
    old = root.with_name(f".{root.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if root.is_dir():
        _keep(data, DataDirectory(fresh))
        before = root.stat()
        fresh.chmod(stat.S_IMODE(before.st_mode))
        if os.geteuid() == 0:
            os.chown(fresh, before.st_uid, before.st_gid)
            ownership.hand_over(fresh)
        os.rename(root, old)
    try:
        os.rename(fresh, root)
    except OSError:
        if old.is_dir():
            os.rename(old, root)
        raise
    fsync_folder(root.parent)
    shutil.rmtree(old, ignore_errors=True)


def _keep(data: DataDirectory, fresh: DataDirectory) -> None:
    """Take over what the backup does not have and the log does not know."""
    if data.config.is_file() and not fresh.config.is_file():
        shutil.copy2(data.config, fresh.config)
    if data.secrets.is_dir() and not any(fresh.secrets.iterdir()):
        shutil.copytree(data.secrets, fresh.secrets, dirs_exist_ok=True)


def opened(path: Path) -> Path:
    """The folder to read from: `path` itself, or, when that is a backup, a folder with what is in it, which goes with this process."""
    if not path.is_file() or not backup.is_backup(path):
        return path
    folder = Path(tempfile.mkdtemp(prefix="pixelog-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    backup.unpack(path, folder)
    DataDirectory(folder).create()
    return folder
