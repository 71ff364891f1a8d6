"""The data directory: what lies where, and opening it. Says clearly when it cannot be used, and then leaves it as it was."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from eventstore import connection
from eventstore.blobs import BlobStore, fsync_folder, make_folder
from eventstore.clock import Clock
from eventstore.errors import Unusable
from eventstore.head import runtime_folder
from eventstore.store import EventStore

DATABASE = "pixelog.db"
CONFIG = "pixelog.toml"

LOCK_WAIT_SECONDS = 5.0
"""A start waits this long for a dying holder of the service lock: about what an orderly stop takes."""


class DataDirectory:
    """The paths under one data directory. Makes nothing by itself; `create` does."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        self.database = self.root / DATABASE
        self.blobs = self.root / "blobs"
        self.packs = self.root / "packs"
        self.temporary = self.root / "tmp"
        self.secrets = self.root / "secrets"
        self.config = self.root / CONFIG
        self.lock = self.root / "service.lock"
        self.player_lock = self.root / "player.lock"

    def check(self) -> None:
        """Raise Unusable when the database cannot be used by this program; touches nothing."""
        if self.root.exists() and not self.root.is_dir():
            raise Unusable("not_writable", f"{self.root} is a file, not a folder; choose another --data")
        try:
            connection.inspect(self.database)
        except PermissionError as error:
            raise Unusable("not_writable", f"{self.root} cannot be read; check owner and permissions") from error

    def create(self) -> None:
        """Make the folders that are missing. Raises Unusable (not_writable)."""
        try:
            if not self.root.is_dir():
                self.root.mkdir(parents=True, exist_ok=True)
                fsync_folder(self.root.parent)
            for folder in (self.blobs, self.packs, self.temporary):
                make_folder(folder)
            if not self.secrets.is_dir():
                self.secrets.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            why = {errno.EROFS: "it is on a read-only file system", errno.ENOSPC: "the disk is full"}.get(
                error.errno or 0, "check owner and permissions"
            )
            raise Unusable("not_writable", f"{self.root} is not writable: {why}") from error

    def open_store(self, clock: Clock | None = None) -> EventStore:
        """Check, create and open the log. Raises Unusable."""
        self.check()
        begun = self.database.exists() and self.database.stat().st_size > 0
        if not begun and self.blobs.is_dir() and any(path.is_file() for path in self.blobs.rglob("*")):
            raise Unusable(
                "damaged",
                f"{self.database} is {'empty' if self.database.exists() else 'missing'}, but there are files of media; "
                "put it back, or restore a backup: pixelog restore FILE --replace",
            )
        self.create()
        return EventStore.open(self.database, clock=clock)

    def blob_store(self) -> BlobStore:
        """The blobs; the folders must exist."""
        return BlobStore(self.blobs, self.temporary)

    def runtime(self) -> Path:
        """The folder in shared memory that goes with this directory; see `eventstore.head.runtime_folder`."""
        return runtime_folder(self.root)

    def screen(self) -> Path:
        """The file in shared memory in which the player publishes what the panel shows."""
        return self.runtime() / "screen"

    def pack(self, name: str) -> Path:
        """Where the frame pack of this name is, or would be."""
        return self.packs / f"{name}.pack"

    def thumbnail(self, name: str) -> Path:
        """Where the thumbnail of this name is, or would be."""
        return self.packs / f"{name}.png"


class ServiceLock:
    """Held by the one service of a data directory, and another like it by its one player; dies with its process.

    A POSIX record lock, not flock: flock is shared with forked children and would outlive a killed holder through them. Nobody else
    may open and close the lock file in the same process, which would drop it.
    """

    def __init__(self, path: Path, wait_seconds: float = LOCK_WAIT_SECONDS) -> None:
        """Take the lock, waiting for a dying holder. Raises Unusable (locked, not_writable)."""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Unusable("not_writable", f"{path.parent} is not writable: {os.strerror(error.errno or 0).lower()}") from error
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= deadline:
                    holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip()
                    os.close(self._fd)
                    raise Unusable(
                        "locked",
                        f"another pixelog {path.stem} (process {holder or 'unknown'}) is running on {path.parent}; stop it first",
                    ) from error
                time.sleep(0.05)
        with suppress(OSError):  # the number is for the message above; the lock holds on a full disk, too
            os.pwrite(self._fd, f"{os.getpid():<20}".encode(), 0)

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._fd)
