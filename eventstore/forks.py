"""What a forked child must not do with a log that its parent opened: anything. SQLite forbids carrying connections over a fork, even closing them.

The locks of a file belong to a process, and SQLite keeps its own account of them in memory, which the child has a copy of and the locks not. So
in the child every use of an inherited log is refused, closing it does nothing, and its connections are never freed.
"""

from __future__ import annotations

import ctypes
import os
import weakref

import apsw

from eventstore.errors import Stopped

_open: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()


def known(db: apsw.Connection) -> apsw.Connection:
    """Take note of a connection, for the children to come."""
    _open.add(db)
    return db


def check(pid: int) -> None:
    """Raise Stopped in another process than that which opened the log, whose id this was. Looks at no lock: in a child it may be held by a thread
    that is not there."""
    if os.getpid() != pid:
        raise Stopped("this log was opened before a fork; open it anew in this process")


def _in_child() -> None:
    # A connection whose last reference goes is closed by its destructor, at the end of the interpreter at the latest. One reference is
    # therefore never given back: leaked on purpose.
    for db in list(_open):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))


os.register_at_fork(after_in_child=_in_child)
