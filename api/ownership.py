"""Whose the files of a data directory are. What root makes in a directory of another owner is handed over, so that the service can read it.

Only for programs that root runs by hand; the service never runs as root. The owner controls the folder, and may put something else in any place of
it at any moment. So every name is opened once, through the folder that it was found in and not through a link, and what was opened is judged and
given: root's own, no file with a second name (the other may lie anywhere; where fs.protected_hardlinks is off, anybody can give root's files
names), nothing of a third one. Opened without rights to its content (O_PATH): closing one that has those would end SQLite's locks on a database that
this process has open.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from eventstore.head import runtime_folder

DEPTH_MAX = 16
"""Folders within folders that are looked at. pixelog's own are three deep; the rest is the owner's, who could make more than can be open at once."""

_PASSED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""A running service has files come and go; the second is also a folder in shared memory that cannot be had, and a link in the place of a folder."""


def hand_over(root: Path, paths: Iterable[Path] | None = None) -> None:
    """Give what root made at these paths below `root` (None: at all, also in the shared memory that goes with it) to the owner of `root`. Does
    nothing for another user than root. Needs /proc. Raises OSError, ValueError for a path that is not below `root`."""
    if os.geteuid() != 0 or not root.is_dir():
        return
    with _opened(str(root), None, os.O_DIRECTORY) as folder:
        owner = None if folder is None else os.fstat(folder)
        if folder is None or owner is None or owner.st_uid == 0:
            return
        if paths is None:
            _give_below(folder, owner, DEPTH_MAX)
            with _opened(str(runtime_folder(root)), None) as shared:
                if shared is not None and _give(shared, owner):
                    _give_below(shared, owner, DEPTH_MAX)
        else:
            for path in paths:
                _give_at(folder, path.relative_to(root).parts, owner)


@contextmanager
def _opened(name: str, folder: int | None, flags: int = os.O_NOFOLLOW) -> Generator[int | None]:
    """What has this name in the folder, a link as itself; None when there is nothing any more."""
    try:
        opened = os.open(name, os.O_PATH | os.O_CLOEXEC | flags, dir_fd=folder)
    except OSError as error:
        if error.errno not in _PASSED:
            raise
        yield None
        return
    try:
        yield opened
    finally:
        os.close(opened)


def _give_at(folder: int, parts: tuple[str, ...], owner: os.stat_result) -> None:
    """Give what is to be found by these names, one within the other."""
    if ".." in parts:
        raise ValueError("the path leads upwards")
    with _opened(parts[0] if parts else ".", folder) as opened:
        if opened is None:
            return
        if parts[1:]:
            _give_at(opened, parts[1:], owner)
        else:
            _give(opened, owner)


def _give_below(folder: int, owner: os.stat_result, depth: int) -> None:
    """Give all that is in the folder, and in its folders."""
    for name in os.listdir(_path(folder)):
        with _opened(name, folder) as opened:
            if opened is not None and _give(opened, owner) and depth > 1:
                _give_below(opened, owner, depth - 1)


def _give(opened: int, owner: os.stat_result) -> bool:
    """Give it, if it may be given; the answer is whether it is a folder."""
    found = os.fstat(opened)
    is_folder = stat.S_ISDIR(found.st_mode)
    if found.st_uid == 0 and (is_folder or found.st_nlink == 1):
        os.chown(_path(opened), owner.st_uid, owner.st_gid)
    return is_folder


def _path(opened: int) -> str:
    """What leads to the very thing that was opened, a link as itself, whatever has its name now (proc(5))."""
    return f"/proc/self/fd/{opened}"
