"""Logs that no use would make in reasonable time."""

from __future__ import annotations

from pathlib import Path

import apsw

from eventstore import chain, schema
from eventstore.record import NewEvent
from eventstore.testing.clock import FakeClock
from eventstore.transaction import Transaction


def start_log_at(path: Path, position: int) -> None:
    """Create a log whose next event goes to `position` + 1, as if that many had been appended. Only the last two are there, which is what a start
    looks at: it opens, and does not verify."""
    log_id = "018cc251-f400-7000-8000-000000000000"
    db = apsw.Connection(str(path))
    try:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        with db:
            schema.create(db, log_id, chain.start(log_id), "2026-01-01T00:00:00+00:00")
            (guard,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'head_only_forward'").fetchone() or ("",)
            db.execute("DROP TRIGGER head_only_forward")
            db.execute("UPDATE head SET position = ?", (position - 2,))
            db.execute(str(guard))
            transaction = Transaction(db, FakeClock().read(), bytes)
            transaction.append("start", [NewEvent("log.planted"), NewEvent("log.planted")])
            transaction.finish(synced=True, relaxed=False)
    finally:
        db.close()
