"""Brings a log of an older format to the present one: all numbered steps in one transaction, with a copy beside it until the outcome is checked.

A step that fails is rolled back with all before it. An outcome that does not pass the check, also one that a killed process left unchecked, is
replaced by the copy. Either way the log is as it was, and the start says so. No step is written here; they are `schema.MIGRATIONS`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import apsw

from eventstore import schema
from eventstore.blobs import fsync_folder
from eventstore.errors import Unusable
from eventstore.verify import check_chain


def migrate(db: apsw.Connection, path: Path, version: int) -> None:
    """Bring the log behind this writing connection from format `version` to schema.FORMAT; nothing when it has it. Raises Unusable."""
    copy = path.with_name(f"{path.name}.before-{schema.FORMAT}")
    if version == schema.FORMAT and not copy.exists():
        return
    if version < schema.FORMAT:
        before = _marks(db)
        _copy(db, copy)
        try:
            _run(db)
        except Exception as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            copy.unlink(missing_ok=True)
            raise _failed(path, error) from error
        after = _marks(db)
        problem = "events or head are not what they were" if after != before else _problem(db)
    else:
        problem = _problem(db)
    if problem is not None:
        _restore(db, copy)
        copy.unlink()
        raise _failed(path, problem)
    copy.unlink()
    fsync_folder(path.parent)


def _run(db: apsw.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    version: int = db.pragma("user_version")  # another process may have been quicker
    for step in schema.MIGRATIONS[version - 1 :]:
        step(db)
    db.execute(f"PRAGMA user_version = {schema.FORMAT}")
    db.execute("COMMIT")


def _marks(db: apsw.Connection) -> Any:
    """What no migration may change: the log's name, length and end."""
    return db.execute(
        "SELECT (SELECT value FROM log WHERE key = 'log_id'), (SELECT count(*) FROM events), position, chain, epoch FROM head"
    ).fetchone()


def _problem(db: apsw.Connection) -> str | None:
    """What is wrong with the database as a whole or with the events, if anything. The chain is followed through the whole log, once:
    after that the copy is gone."""
    said: Any = db.execute("PRAGMA quick_check(1)").get
    if said != "ok":
        return str(said)
    if db.execute("PRAGMA foreign_key_check").fetchall():
        return "a row refers to none"
    return next((problem.message for problem in check_chain(db)), None)


def _copy(db: apsw.Connection, copy: Path) -> None:
    part = copy.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)
    there = apsw.Connection(str(part))
    try:
        there.execute("PRAGMA synchronous = OFF").fetchall()
        with there.backup("main", db, "main") as backup:
            while not backup.done:
                backup.step(-1)
        there.execute("PRAGMA journal_mode = DELETE").fetchall()
    finally:
        there.close()
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(part, copy)
    fsync_folder(copy.parent)


def _restore(db: apsw.Connection, copy: Path) -> None:
    """Put the copy back page by page, through SQLite, so that every other connection sees a transaction like any other."""
    there = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        with db.backup("main", there, "main") as backup:
            while not backup.done:
                backup.step(-1)
    finally:
        there.close()


def _failed(path: Path, why: object) -> Unusable:
    return Unusable(
        "migration",
        f"{path} could not be brought to format {schema.FORMAT} ({why}); it is as it was: use the pixelog that wrote it",
    )
