"""What keeps a log's files small and its queries quick while nobody is in a hurry. Each call is one bounded piece of work; when to call is the
caller's business. Nothing of what is kept here may be seen in the log.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from eventstore.errors import ReadOnly
from eventstore.store import EventStore
from eventstore.transaction import RELAXED_KEYS_KEPT_US, Transaction

WAL_BYTES_ALARM = 64 * 1024 * 1024
"""A write-ahead log beyond this cannot be brought home: some reader has kept its snapshot for long. The usual size is 4 MiB."""

CHECKPOINT_WAIT_MS = 50
"""How long a checkpoint in idle time waits for a lock: whoever has it is not idle."""

VACUUM_PAGES = 256
"""Free pages given back to the file system in one transaction: 1 MiB, a few milliseconds."""

FREE_PAGES_KEPT = 1_024
"""Free pages that stay: what was deleted makes room for what comes, without growing the file again."""

KEYS_PER_STEP = 500
"""Idempotency keys forgotten in one transaction, a few milliseconds."""


class Files(msgspec.Struct, frozen=True):
    """Sizes of a log's files in bytes, and how much of the database is free pages."""

    database_bytes: int
    wal_bytes: int
    free_pages: int


def files(store: EventStore) -> Files:
    """How large everything is now. Looks at names and sizes only: opening SQLite's files would drop its locks."""
    if store.path is None:
        return Files(0, 0, 0)
    with store.reading() as db:
        free_pages: int = db.pragma("freelist_count")
    return Files(_size(store.path), _size(Path(f"{store.path}-wal")), free_pages)


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def checkpoint(store: EventStore) -> bool:
    """Bring the write-ahead log into the database and cut it back to nothing, unless somebody is in the way. Whether it was.

    Raises Stopped when a sync failed, which ends writing as a failed commit does; OutOfSpace, ReadOnly: the log still has everything.
    """
    if store.path is None:
        return True
    if store.writer is None:
        raise ReadOnly("this log was opened for reading only")
    return store.writer.checkpoint(CHECKPOINT_WAIT_MS)


def optimise(store: EventStore) -> None:
    """Let SQLite look again at indexes that have changed much, some rows of each (`analysis_limit`)."""
    store.transact(lambda transaction: transaction.db.execute("PRAGMA optimize").fetchall() and None, durable=False)


def give_back(store: EventStore) -> int:
    """Give some free pages back to the file system; how many."""

    def work(transaction: Transaction) -> int:
        db: Any = transaction.db
        free: int = db.pragma("freelist_count")
        if free <= FREE_PAGES_KEPT:
            return 0
        db.execute(f"PRAGMA incremental_vacuum({min(VACUUM_PAGES, free - FREE_PAGES_KEPT)})").fetchall()
        return free - db.pragma("freelist_count")

    return store.transact(work, durable=False)


def forget_keys(store: EventStore) -> int:
    """Forget idempotency keys of relaxed commands that are older than a day; how many."""

    def work(transaction: Transaction) -> int:
        transaction.db.execute(
            "DELETE FROM requests WHERE (scope, key) IN (SELECT scope, key FROM requests WHERE relaxed = 1 AND logtime < ? LIMIT ?)",
            (transaction.now_us - RELAXED_KEYS_KEPT_US, KEYS_PER_STEP),
        )
        return transaction.db.changes()

    return store.transact(work, durable=False)
