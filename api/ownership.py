"""Whose the files of a data directory are. What root makes in a directory of another owner is handed over, so that the service can read it.

Only for programs that root runs by hand; the service never runs as root. Links are not followed, and what belongs to a third one stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from eventstore.head import runtime_folder


def hand_over(root: Path, paths: Iterable[Path] | None = None) -> None:
    """Give what root made at these paths below `root` (None: at all, also in the shared memory that goes with it) to the owner of `root`. Does
    nothing for another user than root. Raises OSError."""
    if os.geteuid() != 0 or not root.is_dir():
        return
    owner = root.stat()
    if owner.st_uid == 0:
        return
    shared = runtime_folder(root)
    for path in (*_tree(root), shared, *_tree(shared)) if paths is None else paths:
        try:
            if path.lstat().st_uid == 0:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):  # the latter: a folder in shared memory that cannot be had
            continue  # a running service has files come and go


def _tree(root: Path) -> Iterable[Path]:
    for folder, names, files in os.walk(root):
        yield from (Path(folder) / name for name in (*names, *files))
