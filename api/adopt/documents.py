"""Opens the files of an older installation only to read: JSON with its repeated keys told, SQLite from a copy. What cannot be read is said once, with
file and place, and never half used.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
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
        text = path.read_bytes().decode("utf-8-sig")
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


@contextmanager
def copied_database(path: Path, name: str) -> Generator[apsw.Connection]:
    """A connection to a copy of a SQLite file with its write-ahead log: not even an index of shared memory appears beside the original. Its
    integrity was checked. Raises Unreadable."""
    wal = path.with_name(f"{path.name}-wal")
    _check_links(path, name)
    _check_links(wal, f"{name}-wal")
    with tempfile.TemporaryDirectory(prefix="pixelog-adopt-") as folder:
        copy = Path(folder) / "source.db"
        try:
            shutil.copyfile(path, copy)
            if wal.is_file():
                shutil.copyfile(wal, copy.with_name("source.db-wal"))
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


def has_table(db: apsw.Connection, name: str) -> bool:
    """Whether there is a table of this name."""
    return bool(db.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,)).get)
