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
from pathlib import Path

import apsw
import msgspec

from api.commands.media import PREPARE
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
"""When there was nothing to shed, it is looked for again so much later: the look goes through all files. What could not be removed is let be for as
long."""

WISH_SECONDS = 600.0
"""Room that somebody asked for is made within this time or not at all: who was refused has tried again by then, or has given up."""

FILES_PER_TURN = 50
"""Files shed at once: taking a large one off a card costs some ten milliseconds, and they go inside a write transaction."""

LEFT_AFTER_SECONDS = 60.0
"""A temporary file is nobody's if its writer is gone and nothing came for so long; a writer in a container cannot be seen from here, but its file is
open or about to be renamed."""

CLOSED_KEPT_SECONDS = 600.0
"""The same when a process of the writer's number lives: it may be another one, or one whose upload failed. Closing and renaming are seconds apart."""

TEMPORARY_KEPT_SECONDS = 3 * 24 * 3600.0
"""After so long it goes whoever may have it open: an upload comes to an end within a day, this is three times as old, and a network file system may
say of every file that it is open."""

PLAYS_KEPT = 10_000
"""The packs that the newest plays drew from are shed last: they make screens of the past exact."""

_log = logging.getLogger(__name__)

_WRITER = re.compile(r"blob-(\d{1,9})-[0-9a-f]+-\d+")
"""How `eventstore.blobs` names a file that is being written: with the number of the process."""

_CONTENT = re.compile("[0-9a-f]{64}")
_PACK = re.compile(r"[0-9a-f]{64}\.pack")
"""How contents and packs are named, by the SHA-256 of their bytes. What is called otherwise is none of ours, and is let be."""


class Swept(msgspec.Struct, frozen=True):
    """What came of removing files: whether there may be more to remove, and the first refusal, if one could not be removed."""

    more: bool
    failure: OSError | None = None


class _Sheddable(msgspec.Struct, frozen=True):
    """A file that may go if it is still as it was before `before` (by the wall clock)."""

    path: Path
    size_bytes: int
    is_pack: bool
    before: float


class _Wish(msgspec.Struct, frozen=True):
    """Bytes that somebody had no room for, and until when that counts."""

    size_bytes: int
    until: float


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
        self._wish: _Wish | None = None
        self._nothing_until = clock()
        self._stuck: set[Path] = set()
        self._stuck_until = clock()
        self._failure: OSError | None = None

    def ask(self, size_bytes: int) -> None:
        """Somebody had no room for this many bytes: have it made if it can be."""
        wish = self._wish
        if wish is None or size_bytes >= wish.size_bytes or self._clock() >= wish.until:
            self._wish = _Wish(size_bytes, self._clock() + WISH_SECONDS)

    def make(self) -> bool:
        """Shed what is needed, if anything is. True when there is more to shed. Raises StoreError; OSError when something could not be removed, after
        all else is done, and again at each look until nothing lacks any more."""
        wish = self._wish
        asked_bytes = 0 if wish is None or self._clock() >= wish.until else wish.size_bytes
        if not any(self._lacking(asked_bytes)):
            self._forget(wish)
            self._stuck.clear()
            self._failure = None
            return False
        if not asked_bytes and self._clock() < self._nothing_until:
            return self._said(more=False)
        if self._clock() >= self._stuck_until:
            self._stuck.clear()
            self._failure = None
        self._note(sweep_temporary(self._data.temporary, self._now()).failure)
        low_bytes, short_bytes = self._lacking(asked_bytes)
        more = False
        if low_bytes or short_bytes:
            found = self._sheddable()
            # For a file that would not fit even then, nothing is sacrificed.
            fits = sum(one.size_bytes for one in found) >= short_bytes
            more = self._shed(found, max(low_bytes, short_bytes if fits else 0))
        if not more:
            self._forget(wish)
        return self._said(more)

    def _forget(self, wish: _Wish | None) -> None:
        if self._wish is wish:
            self._wish = None

    def _note(self, failure: OSError | None) -> None:
        """Keep the first refusal: it is said when everything else is done."""
        if failure is not None:
            if self._failure is None:
                self._stuck_until = self._clock() + AGAIN_SECONDS
            self._failure = self._failure or failure

    def _said(self, more: bool) -> bool:
        if self._failure is not None:
            raise self._failure.with_traceback(None)
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
        if not found or lacking_bytes <= 0:
            if lacking_bytes > 0:
                self._nothing_until = self._clock() + AGAIN_SECONDS
            return False
        # Asked again and removed inside a write transaction, so that no event can name one of them meanwhile.
        tried, gone = self._store.transact(lambda transaction: self._remove(transaction.db, found, lacking_bytes), durable=False)
        freed_bytes = sum(one.size_bytes for one in gone)
        if gone:
            what = "the disk is nearly full: %d KiB of what removed media had were cleared away (files: %d)"
            _log.warning(what, -(-freed_bytes // 1024), len(gone))
        if freed_bytes < lacking_bytes and tried == len(found):
            self._nothing_until = self._clock() + AGAIN_SECONDS
        return freed_bytes < lacking_bytes and tried < len(found)

    def _remove(self, db: apsw.Connection, found: Sequence[_Sheddable], lacking_bytes: int) -> tuple[int, list[_Sheddable]]:
        """How many were tried, and which of them are gone."""
        since_us = self._undo_since_us()
        originals, packs = media.originals_held(db, since_us), media.packs_held(db)
        tried, left_bytes, gone = 0, lacking_bytes, list[_Sheddable]()
        for one in found[:FILES_PER_TURN]:
            if left_bytes <= 0:
                break
            tried += 1
            name = one.path.stem
            try:
                if one.is_pack:
                    removed = name not in packs and _remove_pack(one.path, one.before)
                else:
                    held = name in originals or media.names_blob(db, name, since_us)
                    removed = not held and remove_content(one.path, one.before, self._data.temporary)
            except OSError as error:
                self._note(error)
                self._stuck.add(one.path)
                continue
            if removed:
                gone.append(one)
                left_bytes -= one.size_bytes
        return tried, gone

    def _undo_since_us(self) -> int:
        return self._store.now_us() - int(UNDO_SECONDS * 1_000_000)

    # -- what may go ---------------------------------------------------------------------------------------------------------------

    def _sheddable(self) -> list[_Sheddable]:
        """All that may go, first what is missed least."""
        since_us = self._undo_since_us()
        with self._store.snapshot(patient=True) as db:
            removed = shedding.removed(db)
            found = [*self._packs(db, removed, since_us), *self._contents(db, removed, since_us)]
        return [one for one in found if one.path not in self._stuck]

    def _packs(self, db: apsw.Connection, removed: shedding.Removed, since_us: int) -> list[_Sheddable]:
        held, played = media.packs_held(db), plays.packs(db, PLAYS_KEPT)
        # One that a removed item had may have been made again, and wait to be named.
        waiting = shedding.has_running(db, PREPARE)
        found: list[tuple[bool, float, _Sheddable]] = []
        for path in self._data.packs.glob("*.pack"):
            stat, at_us = _stat(path), removed.packs.get(path.stem)
            if stat is None or path.stem in held or not _PACK.fullmatch(path.name) or (at_us is not None and at_us >= since_us):
                continue
            before = self._now() - (UNNAMED_KEPT_SECONDS if at_us is None or waiting else UNDO_SECONDS)
            if stat.st_mtime < before:
                found.append((path.stem in played, stat.st_mtime, _Sheddable(path, stat.st_size, True, before)))
        return [one for *_, one in sorted(found, key=lambda each: each[:2])]

    def _contents(self, db: apsw.Connection, removed: shedding.Removed, since_us: int) -> list[_Sheddable]:
        originals = media.originals_held(db, since_us)
        found: list[tuple[int, _Sheddable]] = []
        for path in contents_under(self._data.blobs):
            name, stat, at_us = path.name, _stat(path), removed.contents.get(path.name)
            if stat is None or name in originals or media.names_blob(db, name, since_us):
                continue
            before = self._now() - (UNNAMED_KEPT_SECONDS if at_us is None else UNDO_SECONDS)
            if stat.st_mtime < before:
                found.append((-1 if at_us is None else at_us, _Sheddable(path, stat.st_size, False, before)))
        return [one for _, one in sorted(found, key=lambda each: each[0])]


# -- contents ----------------------------------------------------------------------------------------------------------------------------


def contents_under(folder: Path) -> Iterator[Path]:
    """The files of contents; what is called otherwise is passed over."""
    return (path for path in folder.rglob("*") if _CONTENT.fullmatch(path.name))


def remove_content(path: Path, before: float, temporary: Path) -> bool:
    """Remove a content that was last changed before then; False when it is younger, or gone already. `temporary`: on the same file system.

    Who is about to name a content makes it young. So that this cannot come between the look and the removal, it is put aside first, where nobody
    takes it up, and back when it turns out to be young. Call it inside a write transaction, after asking whether anything names it.
    """
    if not modified(path) < before:
        return False
    aside = temporary / f"blob-{os.getpid()}-0-0"  # as a writer's file, so that it is swept if this process is killed right here
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        if path.exists():
            raise
        return False
    if modified(aside) < before:
        aside.unlink()
        return True
    if path.exists():  # it came again meanwhile
        aside.unlink()
    else:
        os.rename(aside, path)
    return False


def _remove_pack(path: Path, before: float) -> bool:
    if not modified(path) < before:
        return False
    path.unlink(missing_ok=True)
    return True


# -- files that writers left -------------------------------------------------------------------------------------------------------------


def sweep_temporary(folder: Path, now: float, files_max: int = FILES_PER_TURN) -> Swept:
    """Remove the files that nobody is writing any more. `now`: by the wall clock, as files have it."""
    return remove((path for path in folder.rglob("*") if is_left(path, now)), files_max)


def is_left(path: Path, now: float) -> bool:
    """Whether nobody will go on with a temporary file: nobody has it open, its writer is gone, and nothing came for a while."""
    age_seconds = now - modified(path)
    if age_seconds < LEFT_AFTER_SECONDS:
        return False
    if age_seconds >= TEMPORARY_KEPT_SECONDS:
        return True
    opened, writer = _is_open(path), _WRITER.fullmatch(path.name)
    if opened is None or opened or writer is None:
        return False
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
    """Of a regular file; None for all else, and for what cannot be looked at."""
    try:
        return path.stat() if path.is_file() else None
    except OSError:
        return None


def remove(paths: Iterator[Path], files_max: int) -> Swept:
    """Remove up to so many files. One that cannot be removed does not keep the others."""
    removed, failure = 0, None
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            failure = failure or error
            continue
        removed += 1
        if removed == files_max:
            break
    return Swept(removed == files_max, failure)
