"""Room on the disk: what goes when there is little, in which order, and what is spared.

First what writers left that were killed; then frame packs of removed items, which can be made again; then the contents of removed items, those
removed longest ago first, which cannot. Nothing that an item of the library needs, nothing removed a moment ago, nothing that may be
under way. What is low is said in one place, `api.device.facts`. When to look is not decided here.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import apsw
import msgspec

from api.data import DataDirectory
from api.device.facts import DISK_ENOUGH_BYTES, DISK_LOW_BYTES, Disk, Roots, disk_of
from eventstore.store import EventStore
from projections import media, plays, shedding

UNDO_SECONDS = 600.0
"""What was removed within this time is spared also when there is little room. Who removed the wrong item sees it within minutes; who removed
something to make room does not want to wait for longer."""

UNNAMED_KEPT_SECONDS = 2 * 3600.0
"""With little room, a file that no event names is kept for so long. An upload is named moments after it is whole; the result of a preparation may
wait for an hour until a full disk lets the log name it."""

AGAIN_SECONDS = 300.0
"""When there was nothing to shed, it is looked for again so much later: the look goes through all files."""

FILES_PER_TURN = 50
"""Files shed at once: taking a large one off a card costs some ten milliseconds, and contents go inside a write transaction."""

LEFT_AFTER_SECONDS = 60.0
"""A temporary file is nobody's if its writer is gone and nothing came for so long; a writer in a container cannot be seen from here, but its file is
open or about to be renamed."""

CLOSED_KEPT_SECONDS = 600.0
"""The same when a process of the writer's number lives: it may be another one, or one whose upload failed. Closing and renaming are seconds apart."""

TEMPORARY_KEPT_SECONDS = 3 * 24 * 3600.0
"""The same when nobody says whether it is open: uploads under way expire after a day, and this is three times as old."""

PLAYS_KEPT = 10_000
"""The packs that the newest plays drew from are shed last: they make screens of the past exact."""

_log = logging.getLogger(__name__)

_WRITER = re.compile(r"blob-(\d{1,9})-[0-9a-f]+-\d+")
"""How `eventstore.blobs` names a file that is being written: with the number of the process."""


class _Sheddable(msgspec.Struct, frozen=True):
    """A file that may go. `name` is that of a content, and None for a pack."""

    path: Path
    size_bytes: int
    name: str | None = None


class Room:
    """Makes room in one data directory. `make` belongs to one thread, `ask` to any."""

    def __init__(
        self,
        data: DataDirectory,
        store: EventStore,
        disk: Callable[[], Disk | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._data, self._store = data, store
        self._disk = disk or (lambda: disk_of(Roots.here(), data.root))
        self._clock, self._now = clock, now
        self._asked_bytes = 0
        self._nothing_until = clock()

    def ask(self, size_bytes: int) -> None:
        """Somebody had no room for this many bytes: have it made if it can be."""
        self._asked_bytes = max(self._asked_bytes, size_bytes)

    def make(self) -> bool:
        """Shed what is needed, if anything is. True when there is more to shed. Raises StoreError, OSError."""
        asked_bytes = self._asked_bytes
        if not any(self._lacking(asked_bytes)) or (not asked_bytes and self._clock() < self._nothing_until):
            return False
        sweep_temporary(self._data.temporary, self._now())
        low_bytes, short_bytes = self._lacking(asked_bytes)
        more = False
        if low_bytes or short_bytes:
            found = self._sheddable()
            # For a file that would not fit even then, nothing is sacrificed.
            fits = sum(one.size_bytes for one in found) >= short_bytes
            more = self._shed(found, max(low_bytes, short_bytes if fits else 0))
        if not more and self._asked_bytes == asked_bytes:
            self._asked_bytes = 0
        return more

    def _lacking(self, asked_bytes: int) -> tuple[int, int]:
        """Bytes until the disk is no longer low, and until there is room for what was asked for; 0 where nothing lacks."""
        disk = self._disk()
        if disk is None or disk.read_only:
            return 0, 0
        low_bytes = DISK_ENOUGH_BYTES - disk.free_bytes if disk.free_bytes < DISK_LOW_BYTES else 0
        return low_bytes, max(0, asked_bytes + DISK_LOW_BYTES - disk.free_bytes) if asked_bytes else 0

    def _shed(self, found: Sequence[_Sheddable], lacking_bytes: int) -> bool:
        """Remove the first of these until so much is free; whether the bound kept it from that."""
        chosen: list[_Sheddable] = []
        left_bytes = lacking_bytes
        for one in found:
            if left_bytes <= 0 or len(chosen) >= FILES_PER_TURN:
                break
            chosen.append(one)
            left_bytes -= one.size_bytes
        if left_bytes > 0 and len(chosen) == len(found):
            self._nothing_until = self._clock() + AGAIN_SECONDS
        for one in chosen:
            if one.name is None:
                one.path.unlink(missing_ok=True)
        contents = [one for one in chosen if one.name is not None]
        gone = [one for one in chosen if one.name is None]
        if contents:
            # Asked again and removed inside a write transaction, so that no event can name one of them meanwhile.
            gone += self._store.transact(lambda transaction: self._remove(transaction.db, contents), durable=False)
        if gone:
            freed_kib = -(-sum(one.size_bytes for one in gone) // 1024)
            what = "the disk is nearly full: %d KiB of what removed media had were cleared away (files: %d)"
            _log.warning(what, freed_kib, len(gone))
        return left_bytes > 0 and len(chosen) < len(found)

    def _remove(self, db: apsw.Connection, contents: Sequence[_Sheddable]) -> list[_Sheddable]:
        since_us = self._undo_since_us()
        originals = media.originals_held(db, since_us)
        before = self._now() - UNDO_SECONDS
        gone: list[_Sheddable] = []
        for one in contents:
            name = one.name or ""
            if name not in originals and not media.names_blob(db, name, since_us) and modified(one.path) < before:
                one.path.unlink(missing_ok=True)
                gone.append(one)
        return gone

    def _undo_since_us(self) -> int:
        return self._store.now_us() - int(UNDO_SECONDS * 1_000_000)

    # -- what may go ---------------------------------------------------------------------------------------------------------------

    def _sheddable(self) -> list[_Sheddable]:
        """All that may go, first what is missed least."""
        since_us = self._undo_since_us()
        with self._store.snapshot(patient=True) as db:
            removed = shedding.removed(db)
            return [*self._packs(db, removed, since_us), *self._contents(db, removed, since_us)]

    def _packs(self, db: apsw.Connection, removed: shedding.Removed, since_us: int) -> list[_Sheddable]:
        held, played = media.packs_held(db), plays.packs(db, PLAYS_KEPT)
        unnamed_before = self._now() - UNNAMED_KEPT_SECONDS
        found: list[tuple[bool, float, _Sheddable]] = []
        for path in self._data.packs.glob("*.pack"):
            stat, at_us = _stat(path), removed.packs.get(path.stem)
            if stat is None or path.stem in held:
                continue
            if stat.st_mtime < unnamed_before if at_us is None else at_us < since_us:
                found.append((path.stem in played, stat.st_mtime, _Sheddable(path, stat.st_size)))
        return [one for *_, one in sorted(found, key=lambda each: each[:2])]

    def _contents(self, db: apsw.Connection, removed: shedding.Removed, since_us: int) -> list[_Sheddable]:
        originals = media.originals_held(db, since_us)
        found: list[tuple[int, _Sheddable]] = []
        for path in self._data.blobs.rglob("*"):
            name, stat, at_us = path.name, _stat(path), removed.contents.get(path.name)
            if stat is None or name in originals or media.names_blob(db, name, since_us):
                continue
            if stat.st_mtime < self._now() - (UNNAMED_KEPT_SECONDS if at_us is None else UNDO_SECONDS):
                found.append((-1 if at_us is None else at_us, _Sheddable(path, stat.st_size, name)))
        return [one for _, one in sorted(found, key=lambda each: each[0])]


# -- files that writers left -------------------------------------------------------------------------------------------------------------


def sweep_temporary(folder: Path, now: float, files_max: int = FILES_PER_TURN) -> bool:
    """Remove the files that nobody is writing any more; whether there may be more. `now`: by the wall clock, as files have it."""
    return remove((path for path in folder.rglob("*") if is_left(path, now)), files_max)


def is_left(path: Path, now: float) -> bool:
    """Whether nobody will go on with a temporary file: nobody has it open, its writer is gone, and nothing came for a while."""
    age_seconds = now - modified(path)
    if age_seconds < LEFT_AFTER_SECONDS or not path.is_file():
        return False
    opened, writer = _is_open(path), _WRITER.fullmatch(path.name)
    if opened:
        return False
    if opened is None or writer is None:
        return age_seconds >= TEMPORARY_KEPT_SECONDS
    return age_seconds >= CLOSED_KEPT_SECONDS or not _lives(int(writer[1]))


def _is_open(path: Path) -> bool | None:
    """Whether any process of this machine, this one too, has the file open; None when that cannot be asked, as of another user's file or on a file
    system without leases. The kernel gives a lease for writing on a file only to who alone has it open (fcntl(2))."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Should somebody open it at this very moment: a signal that does nothing, instead of the one that would end this process.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(fd)  # and with it the lease
    return False


def _lives(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def modified(path: Path) -> float:
    """When a file was last changed, by the wall clock; infinity when it is gone."""
    stat = _stat(path)
    return float("inf") if stat is None else stat.st_mtime


def _stat(path: Path) -> os.stat_result | None:
    """Of a regular file; None for all else."""
    try:
        return path.stat() if path.is_file() else None
    except FileNotFoundError:
        return None


def remove(paths: Iterator[Path], files_max: int) -> bool:
    """Remove up to so many files; whether there may be more."""
    some = list(islice(paths, files_max))
    for path in some:
        path.unlink(missing_ok=True)
    return len(some) == files_max
