"""Opens the files of an older installation only to read: JSON with its repeated keys told, SQLite from a copy. What cannot be read is said once, with
file and place, and never half used.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import apsw

from api.adopt.findings import Findings

JSON_BYTES_MAX = 256 * 1024 * 1024
"""A file larger than this is no state file of a small display; reading it would take all memory."""


class Unreadable(Exception):
    """A file of the source that cannot be used. `file` is its path within the source, `why` a sentence with the place in it."""

    def __init__(self, file: str, why: str) -> None:
        super().__init__(f"{file}: {why}")
        self.file = file
        self.why = why


class Within:
    """A folder that reading must not leave: a link in it may lead elsewhere in it, but not out. The folder itself may be reached by links.

    Whoever could write to an installation could else have files read that only the one who moves it may read.
    """

    def __init__(self, folder: Path) -> None:
        self._root = Path(os.path.realpath(folder))

    def holds(self, path: Path) -> bool:
        """Whether this path, or where it leads, lies within."""
        return Path(os.path.realpath(path)).is_relative_to(self._root)


def open_regular(path: Path) -> BufferedReader:
    """A file, opened to read; the caller closes it. Raises OSError, also for what is no regular file: a pipe would be waited for without end."""
    _check_regular(path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check_regular(os.fstat(descriptor).st_mode)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file")


def is_regular(path: Path) -> bool:
    """Whether a regular file is there, or behind a link there, for those who may look."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _check_links(path: Path, name: str) -> None:
    """Raise Unreadable when a link in the place of a file leads out of its folder, and out of the installation that the folder is a part of."""
    home = path.parent.parent if path.parent.name in ("media", "config") else path.parent
    if not (Within(path.parent).holds(path) or Within(home).holds(path)):
        raise Unreadable(name, "it is a link that leads out of the installation; put the file itself in its place")


def read_json(path: Path, name: str, findings: Findings) -> dict[str, Any]:
    """The JSON object in a file; of a repeated key the last value counts, and that is told. Raises Unreadable."""
    _check_links(path, name)
    try:
        if path.stat().st_size > JSON_BYTES_MAX:
            raise Unreadable(name, f"it has more than {JSON_BYTES_MAX >> 20} MiB")
        with open_regular(path) as file:
            text = file.read().decode("utf-8-sig")
    except OSError as error:
        raise Unreadable(name, f"it cannot be opened: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(name, f"byte {error.start} is not UTF-8") from error

    def last_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen = set[str]()
            for key, _ in pairs:
                if key in seen:
                    findings.warn(f"{name}#{key}", "IR-0.4", "this key is there more than once; the last value counts")
                seen.add(key)
        return found

    def not_a_number(word: str) -> None:
        findings.warn(name, "IR-0.6", f"{word} is no JSON number; taken as null")

    try:
        value: Any = json.loads(text, object_pairs_hook=last_wins, parse_constant=not_a_number)
    except json.JSONDecodeError as error:
        raise Unreadable(
            name, f"line {error.lineno}, column {error.colno}: {error.msg}; the file is damaged or cut off"
        ) from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(name, "it holds a number or a nesting that no JSON reader takes") from error
    if not isinstance(value, dict):
        raise Unreadable(name, "it is JSON, but not an object")
    return value  # type: ignore[reportUnknownVariableType]


_PARTS = ("", "-wal", "-journal")
"""Endings of the files of a SQLite database that say what is in it: the write-ahead log what is new, the rollback journal what was before."""


@contextmanager
def copied_database(path: Path, name: str) -> Generator[apsw.Connection]:
    """A connection to a copy of a SQLite file with its journals: not even an index of shared memory appears beside the original, and what was
    never committed is rolled back in the copy. Its integrity was checked. Raises Unreadable."""
    for ending in _PARTS:
        _check_links(path.with_name(path.name + ending), name + ending)
    with tempfile.TemporaryDirectory(prefix="pixelog-adopt-") as folder:
        copy = Path(folder) / "source.db"
        try:
            for ending in _PARTS:
                part = path.with_name(path.name + ending)
                if ending == "" or part.exists():
                    with open_regular(part) as file, open(copy.with_name(copy.name + ending), "xb") as into:
                        shutil.copyfileobj(file, into)
        except OSError as error:
            raise Unreadable(name, f"it cannot be copied: {error.strerror}") from error
        try:
            db = apsw.Connection(str(copy))
        except apsw.Error as error:
            raise Unreadable(name, f"it is no SQLite database: {error}") from error
        try:
            db.execute("PRAGMA trusted_schema = 0; PRAGMA cell_size_check = 1; PRAGMA mmap_size = 0").fetchall()
            found: list[Any] = db.execute("PRAGMA integrity_check(1)").fetchall()
            if found != [("ok",)]:
                raise Unreadable(name, f"its integrity check fails: {found[0][0]}")
            yield db
        except (apsw.Error, UnicodeDecodeError) as error:
            raise Unreadable(name, f"it is damaged: {error}") from error
        finally:
            db.close()


def rows(db: apsw.Connection, query: str) -> list[dict[str, Any]]:
    """The rows of a query by column name."""
    cursor = db.execute(query)
    names: list[str] = []
    result: list[dict[str, Any]] = []
    for row in cursor:
        names = names or [column[0] for column in cursor.get_description()]
        result.append(dict(zip(names, row, strict=True)))
    return result


def kinds(db: apsw.Connection) -> dict[str, str]:
    """What is in a database by name: `table` or `view`."""
    return dict(db.execute("SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view')").fetchall())  # type: ignore[reportArgumentType]
