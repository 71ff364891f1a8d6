"""What the failures of a machine mean to the person at the shell: no room, no permission, a file system that may only be read. What else fails
surfaces as it is.
"""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

import apsw

from eventstore.errors import Unusable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_NO_SUCH_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS)

BAD_INPUT, UNUSABLE = 2, 3
"""Exit codes; see `main`."""


class Failed(Exception):
    """A failure of the machine: its exit code, and the sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def failed(error: Exception, data: Path) -> Failed | None:
    """What to say of an error, with what to do; None when it is none of the machine's. `data`: the data directory in use."""
    if isinstance(error, Unusable):
        hint = owner_hint(data) if error.code == "not_writable" else ""
        return Failed(UNUSABLE, f"{error}{hint}") if hint else None
    if isinstance(error, apsw.FullError):
        return Failed(UNUSABLE, f"the disk of {data}, or that of temporary files, is full; free some space and try again")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return Failed(
            UNUSABLE,
            f"the log of {data} is damaged ({error}); see pixelog verify, restore a backup: pixelog restore FILE --replace",
        )
    if isinstance(error, apsw.IOError):
        return Failed(UNUSABLE, f"the log of {data} cannot be read or written ({error}); check the card")
    if not isinstance(error, OSError):
        return None
    file = None if error.filename is None else Path(os.fsdecode(error.filename2 or error.filename))
    code = UNUSABLE if file is None or _lies_in(file, data) else BAD_INPUT
    if error.errno in _FULL:
        return Failed(code, f"the disk of {file or data} is full; free some space and try again")
    if error.errno in _FORBIDDEN:
        return Failed(code, f"{file or data}: permission denied; check owner and permissions{owner_hint(file or data)}")
    # A file that is missing within the data directory is no mistake of whoever typed the command.
    if error.errno in _NO_SUCH_PLACE and file is not None and (code == BAD_INPUT or error.errno != errno.ENOENT):
        return Failed(code, f"{file}: {os.strerror(error.errno).lower()}")
    return None


def owner_hint(path: Path) -> str:
    """How to run the command as the one who may write here; empty when that would change nothing."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    try:
        owner = path.stat().st_uid
    except OSError:
        return "; try it with sudo" if os.geteuid() else ""
    if os.geteuid() in (0, owner) or os.access(path, os.W_OK):
        return ""
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:  # of another machine, or of a container
        return f"; it belongs to user {owner}"
    return f"; it belongs to {name}: sudo {f'-u {name} ' if owner else ''}pixelog …"


def _lies_in(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))
