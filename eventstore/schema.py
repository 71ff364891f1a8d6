"""The store's own tables, the guards that keep the log append-only, and the numbered migrations. No query lives here.

The guards: an UPDATE or a DELETE of an event aborts; an INSERT is taken only at head + 1 and only at the stream's next version. The
last rule is what stops INSERT OR REPLACE, which would otherwise delete the row it replaces without firing a DELETE trigger. `head` is one
row, moved by a trigger with each event, so position and chain cannot disagree with the log.
"""

from __future__ import annotations

from collections.abc import Callable

import apsw

APPLICATION_ID = 0x70786C67  # "pxlg": lets `file` and pixelog tell a log from any other SQLite database
MIGRATIONS: tuple[Callable[[apsw.Connection], None], ...] = ()
"""How a log of format n (the place, from 1) becomes one of format n + 1. Each runs inside a transaction, may assume that format and no other, and
leaves the events as they are. Written once, never changed; see `migrating.py`."""

FORMAT = 1 + len(MIGRATIONS)
"""Version of the tables below (PRAGMA user_version). A database with a higher number is refused untouched."""

TABLES = """
CREATE TABLE log (
    key   TEXT PRIMARY KEY,          -- log_id, created_at
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE head (
    only            INTEGER PRIMARY KEY CHECK (only = 1),
    position        INTEGER NOT NULL,
    chain           BLOB    NOT NULL,
    logtime         INTEGER NOT NULL,
    time            INTEGER NOT NULL,
    boot_id         TEXT    NOT NULL,
    boottime        INTEGER NOT NULL,
    epoch           INTEGER NOT NULL,
    dirty           INTEGER NOT NULL,
    synced_position INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
    position      INTEGER PRIMARY KEY,
    stream        TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    type          TEXT    NOT NULL,
    schemaversion INTEGER NOT NULL,
    id            BLOB    NOT NULL,
    logtime       INTEGER NOT NULL,  -- µs
    time          INTEGER NOT NULL,  -- µs since 1970
    actor         TEXT,
    correlationid TEXT,
    causationid   TEXT,
    tags          TEXT,              -- JSON array of strings
    data          TEXT    NOT NULL,  -- JSON
    chain         BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_by_stream ON events (stream, version);

CREATE TABLE tags (
    tag      TEXT    NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (tag, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE requests (              -- idempotency: primary data, in backups, not in digests
    scope       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,    -- SHA-256 of the decoded request, and the seal over this row
    position    INTEGER NOT NULL,    -- the position that the first answer carried
    first       INTEGER NOT NULL,    -- first event it appended
    count       INTEGER NOT NULL,    -- number of events it appended
    status      INTEGER NOT NULL,
    answer      BLOB    NOT NULL,
    logtime     INTEGER NOT NULL,
    relaxed     INTEGER NOT NULL,    -- 1: may be forgotten after 24 hours
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_relaxed ON requests (logtime) WHERE relaxed = 1;
"""

GUARDS = """
CREATE TRIGGER events_in_order BEFORE INSERT ON events
WHEN NEW.position IS NOT (SELECT position + 1 FROM head)
  OR NEW.version IS NOT (SELECT coalesce(max(version), 0) + 1 FROM events WHERE stream = NEW.stream)
BEGIN SELECT RAISE(ABORT, 'the log is append-only: an event goes to head + 1 and to its stream''s next version'); END;

CREATE TRIGGER events_move_head AFTER INSERT ON events
BEGIN UPDATE head SET position = NEW.position, chain = NEW.chain, logtime = NEW.logtime, time = NEW.time; END;

CREATE TRIGGER events_not_updated BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the log is append-only: events are never changed'); END;

CREATE TRIGGER events_not_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the log is append-only: events are never deleted'); END;

CREATE TRIGGER head_only_forward BEFORE UPDATE OF position ON head
WHEN NEW.position < OLD.position OR NEW.position > OLD.position + 1
BEGIN SELECT RAISE(ABORT, 'the head moves with the events only'); END;

CREATE TRIGGER head_not_deleted BEFORE DELETE ON head
BEGIN SELECT RAISE(ABORT, 'the head is never deleted'); END;

CREATE TRIGGER head_not_inserted BEFORE INSERT ON head WHEN (SELECT count(*) FROM head) > 0
BEGIN SELECT RAISE(ABORT, 'there is one head'); END;
"""


def create(db: apsw.Connection, log_id: str, chain_0: bytes, created_at: str) -> None:
    """Create the tables of an empty log. Runs inside the caller's write transaction."""
    for statement in _statements(TABLES):
        db.execute(statement)
    db.execute("INSERT INTO log VALUES ('log_id', ?), ('created_at', ?)", (log_id, created_at))
    db.execute("INSERT INTO head VALUES (1, 0, ?, 0, 0, '', 0, 0, 0, 0)", (chain_0,))
    for statement in _statements(GUARDS):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {FORMAT}")


def _statements(script: str) -> list[str]:
    """Split a script of ours at lines that end a statement; triggers end with `END;`."""
    statements: list[str] = []
    lines: list[str] = []
    in_trigger = False
    for line in script.splitlines():
        code = line.split("--")[0].rstrip()
        if not code.strip():
            continue
        in_trigger = in_trigger or code.lstrip().startswith("CREATE TRIGGER")
        lines.append(code)
        if code.endswith("END;" if in_trigger else ";"):
            statements.append("\n".join(lines))
            lines, in_trigger = [], False
    return statements
