"""Content-addressed files: written once, named by the SHA-256 of their bytes, `<root>/<first two hex digits>/<sha256>`.

A blob is complete and on the disk before the event that names it: temporary file, fsync, rename, fsync of the folder (and of its parent when
the folder is new). What is in the folders is therefore always whole. Who may be removed, and when, is not decided here.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

CHUNK_BYTES = 64 * 1024
"""Bytes read at once when hashing; memory stays flat whatever the size."""


class Blob(msgspec.Struct, frozen=True):
    """A stored blob: its name and its size in bytes. `existed` is true when the content was held already."""

    sha256: str
    size_bytes: int
    existed: bool


def fsync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Create a folder (its parent must exist) and bring its entry to the disk; nothing when it is there."""
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        fsync_folder(folder.parent)


class BlobWriter:
    """Receives bytes in pieces, hashing on the way. Either `commit` it or let the `with` block end: then nothing remains."""

    def __init__(self, store: BlobStore, temporary: Path) -> None:
        self._store = store
        self._temporary = temporary
        self._file: BinaryIO | None = open(temporary, "xb")  # noqa: SIM115 - closed by commit or discard
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, chunk: bytes | memoryview) -> None:
        """Take the next piece."""
        if self._file is None:
            raise ValueError("this blob was committed or discarded")
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def commit(self) -> Blob:
        """Sync and move the blob to its name. Afterwards it is held for good."""
        if self._file is None:
            raise ValueError("this blob was committed or discarded")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        return self._store.take(self._temporary, self._hash.hexdigest(), self.size_bytes)

    def discard(self) -> None:
        """Forget what was written, also what a full disk keeps from being written out."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):
                file.close()
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.discard()


class BlobStore:
    """The blobs under `root`. `temporary` must be on the same file system. Both folders are created when missing."""

    def __init__(self, root: Path, temporary: Path) -> None:
        self.root = root
        self._temporary = temporary
        make_folder(root)
        make_folder(temporary)
        self._serial = 0
        self._settled: set[str] = set()

    def path(self, sha256: str) -> Path:
        """Where the blob of this name is, or would be."""
        return self.root / sha256[:2] / sha256

    def holds(self, sha256: str) -> bool:
        """Whether the blob is there."""
        return self.path(sha256).is_file()

    def freshen(self, sha256: str) -> bool:
        """Whether the blob is there. From now it is young, so that nobody takes it away before the event that is about to name it."""
        with suppress(OSError):  # it is gone, or another user's
            os.utime(self.path(sha256))
        return self.holds(sha256)

    def writer(self) -> BlobWriter:
        """Begin a blob."""
        self._serial += 1
        return BlobWriter(self, self._temporary / f"blob-{os.getpid()}-{id(self):x}-{self._serial}")

    def take(self, file: Path, sha256: str, size_bytes: int) -> Blob:
        """Move a complete, synced file on the same file system to its name."""
        target = self.path(sha256)
        existed = target.is_file()
        target.parent.mkdir(exist_ok=True)
        self._settle(target.parent)
        # In place of one that is there, too: its bytes may have suffered, and it is young again, so that nobody sweeps it away before the event
        # that names it.
        os.replace(file, target)
        fsync_folder(target.parent)
        return Blob(sha256, size_bytes, existed)

    def _settle(self, folder: Path) -> None:
        """Be sure that a folder's own entry is on the disk, whoever made it; asked once for each of the 256."""
        if folder.name not in self._settled:
            fsync_folder(self.root)
            self._settled.add(folder.name)

    def matches(self, sha256: str) -> bool:
        """Whether the blob's bytes still have the hash that is its name. Reads all of it."""
        digest = hashlib.sha256()
        with open(self.path(sha256), "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest() == sha256

    def names(self) -> set[str]:
        """Names of all blobs that are there."""
        return {file.name for folder in self.root.iterdir() if folder.is_dir() for file in folder.iterdir()}

    def remove(self, sha256: str) -> None:
        """Delete the blob; nothing when it is not there."""
        self.path(sha256).unlink(missing_ok=True)
