"""Which files SQLite has open in this process, and what its locks do not survive: a fork, and another opening of the same file.

The locks of a file belong to a process, and SQLite keeps its own account of them in memory. A forked child has a copy of the account and the locks
not; SQLite forbids carrying connections over a fork, even closing them. So in the child every use of an inherited log is refused, closing it does
nothing, its connections are never freed, and the same file is not opened anew: the child would take locks for held that are not. And whoever opens
and closes a file beside SQLite drops its locks, so what would look into a file asks here first.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterable
from pathlib import Path

import apsw

from eventstore.errors import Stopped, Unusable

_Inode = tuple[int, int]

_open: weakref.WeakKeyDictionary[apsw.Connection, str] = weakref.WeakKeyDictionary()
_inherited: frozenset[_Inode] = frozenset()


def known(db: apsw.Connection, path: str | Path = ":memory:") -> apsw.Connection:
    """Take note of a connection and the database that it opens, for the children to come."""
    _open[db] = str(path)
    return db


def forget(db: apsw.Connection) -> None:
    """The connection is about to be closed."""
    _open.pop(db, None)


def check(pid: int) -> None:
    """Raise Stopped in another process than that which opened the log, whose id this was. Looks at no lock: in a child it may be held by a thread
    that is not there."""
    if os.getpid() != pid:
        raise Stopped(
            "this log was opened before a fork and can be used in the parent only; open it in processes that begin by spawn"
        )


def check_inherited(path: Path) -> None:
    """Raise Unusable when a log that the parent had open at the fork is to be opened anew."""
    if _inherited and not _inherited.isdisjoint(_inodes([str(path)])):
        raise Unusable(
            "locked",
            f"{path} was open in the parent when this process was forked, and SQLite's locks do not survive that; "
            'fork before it is opened, or begin the process anew (multiprocessing: "spawn" or "forkserver")',
        )


def is_open(path: Path) -> bool:
    """Whether this is a file of a log that is open in this process: one that must not be opened and closed beside it."""
    return not _inodes([str(path)]).isdisjoint(_inodes(_files()))


def _files() -> list[str]:
    return [path + end for path in set(_open.copy().values()) if path != ":memory:" for end in ("", "-wal", "-shm")]


def _inodes(paths: Iterable[str]) -> frozenset[_Inode]:
    found: set[_Inode] = set()
    for path in paths:
        try:
            state = os.stat(path)
        except OSError:
            continue
        found.add((state.st_dev, state.st_ino))
    return frozenset(found)


def _in_child() -> None:
    # A connection whose last reference goes is closed by its destructor, at the end of the interpreter at the latest. One reference is
    # therefore never given back: leaked on purpose.
    global _inherited
    _inherited |= _inodes(_files())
    for db in list(_open):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))


os.register_at_fork(after_in_child=_in_child)
