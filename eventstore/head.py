"""Waiting for the log to grow: on threads and on asyncio, inside a process and across processes.

Level, not edge: a wait is for "head > n" and looks at the head itself; wake-ups may merge or get lost, an event may not. Within the process
a commit wakes the waiters directly. Across processes the committing process writes into a small file in shared memory, the *bell*, and the
kernel (inotify) wakes the others, which then read the head from the database. SQLite's own files cannot serve as the bell: they are written before
a commit becomes visible. A look once a second, whatever happened, makes up for a bell that was lost or is out of reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import logging
import os
import select
import stat
import struct
import tempfile
import threading
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Literal

import apsw

from eventstore import forks
from eventstore.errors import StoreError

_log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Interval of the look that needs no bell. Costs one SELECT; bounds what a lost wake-up can cost."""

POLL_SECONDS = 0.02
"""Interval of looks where the kernel has no inotify."""

SETTLE_SECONDS = 0.05
"""How long the bell has to be quiet until a doubt about it is settled by a look: between a commit and its ring lies less, and one more look for
each lone commit costs nothing that could be noticed."""

_Listening = Literal["idle", "doubt", "unannounced"]
"""doubt: a ring said nothing new, but rings of two processes may come in the wrong order, and the later hides the greater. unannounced: the head
had moved without a ring; it may be on its way."""

_IN_MODIFY = 0x0002
_IN_DONT_FOLLOW = 0x0200_0000
_IN_NONBLOCK = 0o4000
_IN_CLOEXEC = 0o2000000
_POSITION = struct.Struct(">Q")


def runtime_folder(data: Path) -> Path:
    """The folder in shared memory that belongs to the data directory `data`, outside it; created when missing, by who may write the log.

    Named by device and inode, so that every spelling of the path, and every user, finds the same one. Holds nothing that matters after a
    restart. Everybody may make a folder of that name first, and the data directory may have had another owner then: one in which a stranger
    could put something, or its owner could not, is left alone, also by root, and a second name is tried, which all find that leave the first
    alone. If that cannot be had either, the answer is a path that cannot exist: what would lie in it is then out of reach, which each who uses the
    folder has to bear anyway.
    """
    base = Path("/dev/shm")
    if not os.access(base, os.W_OK):
        base = Path(tempfile.gettempdir())
    owner, user = data.stat(), os.geteuid()
    name = f"pixelog-{owner.st_dev:x}-{owner.st_ino:x}"
    for_owner = user in (0, owner.st_uid)
    writes = for_owner or os.access(data, os.W_OK, effective_ids=True)
    users = {owner.st_uid} if for_owner or not writes else {owner.st_uid, user}
    for folder, makes in ((base / name, writes), (base / f"{name}-{owner.st_uid}", for_owner)):
        try:
            if makes and not os.path.lexists(folder):
                _make(folder, owner)
            if _is_safe(folder.lstat(), owner, users):
                return folder
        except OSError:
            continue  # not there, no room, or somebody swept it at this moment: then as if it were a stranger's
    return Path(os.devnull) / name


def _make(folder: Path, data: os.stat_result) -> None:
    # Put in place when it is whole: what root makes for another is that one's before anybody can look whose it is.
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        # By descriptor: once it is handed over, its owner may put something else in its place.
        fd = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            # As open as the data directory itself, to the same: whoever may write the log must be able to ring.
            with contextlib.suppress(PermissionError):
                os.fchown(fd, -1, data.st_gid)
            group = 0 if os.fstat(fd).st_gid == data.st_gid else 0o020
            os.fchmod(fd, data.st_mode & 0o777 & ~group)
            if os.geteuid() == 0:
                os.fchown(fd, data.st_uid, data.st_gid)
        finally:
            os.close(fd)
        made.rename(folder)  # takes the place of nothing, or of an empty folder
    except OSError:
        with contextlib.suppress(OSError):
            made.rmdir()
        if not os.path.lexists(folder):  # else another was faster, and it is looked at as any that was there
            raise


def _is_safe(found: os.stat_result, data: os.stat_result, users: Set[int]) -> bool:
    """Whether it belongs to one of the users, and nobody can put anything there who could not write into the data directory. Root is not safe as
    such: what it made while the data was its own is closed to the owner of today."""
    writers = data.st_mode if found.st_gid == data.st_gid else data.st_mode & ~0o020
    return stat.S_ISDIR(found.st_mode) and found.st_uid in users and not found.st_mode & ~writers & (stat.S_IWGRP | stat.S_IWOTH)


def open_shared(path: Path, flags: int, mode: int = 0o666) -> int:
    """A descriptor of a file in the folder that `runtime_folder` gave; the caller closes it. Not through a link, and only of a regular file with
    one name that belongs to this user, to root or to the folder's owner: who may write into the folder must not make others write elsewhere.
    With O_CREAT among the `flags` it is made when missing; what root makes belongs to the folder's owner. Raises OSError."""
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe in its place must not hold us up
    try:
        fd, made = os.open(path, flags & ~os.O_CREAT), False
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
        fd, made = os.open(path, flags | os.O_EXCL, mode), True
    try:
        folder, found = path.parent.stat(), os.fstat(fd)
        if made and os.geteuid() == 0:
            os.fchown(fd, folder.st_uid, folder.st_gid)
        elif not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid not in (os.geteuid(), 0, folder.st_uid):
            raise PermissionError(errno.EPERM, "not a file of this log", str(path))
    except BaseException:
        os.close(fd)
        raise
    return fd


def begin_runtime(folder: Path, bell: str) -> None:
    """A new log begins: what lies in its folder in shared memory was left by another data directory that had this inode before. Bells of other
    logs beside this one stay; they may be in use."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name == bell or path.suffix != ".bell":
            with contextlib.suppress(OSError):  # somebody else's: then it is as if it were not ours
                path.unlink()


class Bell:
    """The file that commits touch. `ring` is a write of eight bytes; failing to ring never fails a commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = open_shared(path, os.O_RDWR | os.O_CREAT)
        except OSError:
            self._fd = -1  # out of reach (another owner): the others find out at their next look

    @property
    def in_reach(self) -> bool:
        """Whether it can be rung from here."""
        return self._fd >= 0

    def ring(self, position: int) -> None:
        """Wake whoever waits in other processes."""
        if self._fd >= 0:
            try:
                os.pwrite(self._fd, _POSITION.pack(position), 0)
            except OSError:
                return  # the others find out at their next look

    def position(self) -> int:
        """What the last ring said; 0 when there was none, or the bell is out of reach."""
        try:
            raw = os.pread(self._fd, _POSITION.size, 0) if self._fd >= 0 else b""
        except OSError:
            return 0
        return _POSITION.unpack(raw)[0] if len(raw) == _POSITION.size else 0

    def watch(self) -> int | None:
        """A new inotify descriptor that becomes readable when the bell rings, or None. The caller closes it."""
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            fd = libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        except (OSError, AttributeError):
            return None
        if fd < 0:
            return None
        if libc.inotify_add_watch(fd, os.fsencode(self.path), _IN_MODIFY | _IN_DONT_FOLLOW) < 0:
            os.close(fd)
            return None
        return fd

    def close(self) -> None:
        """Release the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class HeadWatch:
    """The newest position that this process knows of, and everyone who waits for it to move.

    `look` reads the head position from the database. The listener thread for other processes starts with the first wait and ends with
    `close`.
    """

    def __init__(self, look: Callable[[], int], bell: Bell | None) -> None:
        self._look = look
        self._bell = bell
        self._position = 0
        self._changed = threading.Condition()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._next_callback = 0
        self._listener: threading.Thread | None = None
        self._state: _Listening = "doubt"
        self._pid = os.getpid()
        self._closed = False
        self._released = False
        self.missed = 0
        """Times that the head had moved and nobody announced it, found by the look that needs no bell."""
        self.failed_looks = 0
        """Looks at the head that failed; the next one came a moment later."""
        self._stop_r, self._stop_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @property
    def position(self) -> int:
        """The newest head position known here; the log may be further."""
        return self._position

    @property
    def closed(self) -> bool:
        """Whether the log was closed: nothing will be announced any more."""
        return self._closed

    def ring(self, position: int) -> None:
        """Tell other processes that the head is at `position`. Called after the commit."""
        if self._bell is not None:
            self._bell.ring(position)

    def announce(self, position: int) -> None:
        """The head is at `position`: wake whoever waits in this process. Called after the commit, never before."""
        with self._changed:
            if position <= self._position:
                return
            self._position = position
            self._changed.notify_all()
            callbacks = list(self._callbacks.values())
        self._tell(callbacks, position)

    @staticmethod
    def _tell(callbacks: Sequence[Callable[[int], None]], position: int) -> None:
        for callback in callbacks:
            try:
                callback(position)
            except Exception:  # noqa: BLE001
                # Whoever announces has committed, and a listener's fault must not turn that into an error.
                _log.exception("a listener of the log failed at position %d", position)

    def nudge(self) -> None:
        """Let every wait ask its `given_up` again."""
        if os.getpid() != self._pid:
            return  # in a forked child nobody waits, and the lock may be held for ever
        with self._changed:
            self._changed.notify_all()

    def wait(self, after: int, timeout_seconds: float | None = None, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Block until the head is beyond `after`; False when the time is over, the waits were released, the log was closed, or `given_up` said
        so when `nudge` made it look."""
        self._listen()
        with self._changed:
            self._changed.wait_for(
                lambda: self._position > after or self._closed or self._released or given_up(), timeout_seconds
            )
            return self._position > after

    def release(self) -> None:
        """End the blocking waits of this process, those to come too: for a process that was told to stop and waits for nothing any more."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    async def wait_async(self, after: int, timeout_seconds: float | None = None) -> bool:
        """As `wait`, for asyncio."""
        self._listen()
        loop = asyncio.get_running_loop()
        moved = asyncio.Event()

        def wake(_: int) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and this wait with it
                loop.call_soon_threadsafe(moved.set)

        handle = self.on_move(wake)
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._position <= after and not self._closed:
                    await moved.wait()
                    moved.clear()
        except TimeoutError:
            pass
        finally:
            self.off_move(handle)
        return self._position > after

    def on_move(self, callback: Callable[[int], None]) -> int:
        """Call `callback(position)` whenever the head has moved, on the thread that noticed; it must be quick. Returns a handle."""
        self._listen()
        with self._changed:
            self._next_callback += 1
            self._callbacks[self._next_callback] = callback
            return self._next_callback

    def off_move(self, handle: int) -> None:
        """Undo `on_move`."""
        if os.getpid() != self._pid:
            return
        with self._changed:
            self._callbacks.pop(handle, None)

    def _listen(self) -> None:
        forks.check(self._pid)
        with self._changed:
            if self._listener is not None or self._closed:
                return
            listener = threading.Thread(target=self._run, name="pixelog-head", daemon=True)
            listener.start()  # where no thread is to be had, the next wait asks again
            self._listener = listener

    def _run(self) -> None:
        fd = self._bell.watch() if self._bell is not None else None
        poll = select.poll()
        poll.register(self._stop_r, select.POLLIN)
        if fd is not None:
            poll.register(fd, select.POLLIN)
        deaf = fd is None and self._bell is not None and self._bell.in_reach
        interval_seconds = POLL_SECONDS if deaf else LOOK_SECONDS
        rung = True
        try:
            while not self._closed:
                self._state = self._next(self._state, rung)
                rung = bool(poll.poll((interval_seconds if self._state == "idle" else SETTLE_SECONDS) * 1000))
                for one in (fd, self._stop_r):  # the latter is shared with forked children, and may hold what says nothing
                    if one is not None:
                        with contextlib.suppress(BlockingIOError):
                            os.read(one, 65_536)  # swallow merged wake-ups; the level is read next
        finally:
            if fd is not None:
                os.close(fd)

    def _next(self, state: _Listening, rung: bool) -> _Listening:
        """What to do when the bell rang, or when it was quiet for as long as the state says."""
        told = self._bell.position() if self._bell is not None else 0
        if rung and 0 < told <= self._position:
            return "doubt"  # our own ring, or one that has been taken in; unless it hides that of another process, a moment older
        if state == "unannounced" and not rung:
            self.missed += told < self._position
            return "idle"
        before = self._position
        self._take_in()
        found = not rung and state == "idle" and self._position > before
        return "unannounced" if found and self._bell is not None else "idle"

    def _take_in(self) -> None:
        try:
            position = self._look()
        except (apsw.Error, StoreError):
            self.failed_looks += 1  # the next look is at most a second away
            return
        self.announce(position)

    def close(self) -> None:
        """End every wait and the listener thread. In a forked child: nothing, it has neither."""
        if os.getpid() != self._pid:
            return
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            callbacks = list(self._callbacks.values())
        self._tell(callbacks, self._position)
        os.write(self._stop_w, b".")
        if self._listener is not None:
            self._listener.join(timeout=5)
        os.close(self._stop_r)
        os.close(self._stop_w)
        if self._bell is not None:
            self._bell.close()
