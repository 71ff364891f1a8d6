"""Is the log whole? Every check over what is stored: positions, stream versions, times, the hash chain, the guards, what is kept beside the events,
SQLite's own.

Reads the log in short pages, each its own read transaction, so that a check of a large log does not hold back the write-ahead log while
others write. What was appended after the check began is not looked at. Nothing is mended here; each problem says what would.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator
from functools import cache
from hashlib import sha256
from typing import Any, Literal

import apsw
import msgspec

from eventstore import chain, schema
from eventstore.errors import Unusable
from eventstore.reading import read_head
from eventstore.record import Head

Code = Literal["sqlite", "foreign_key", "guard", "schema", "head", "gap", "version", "logtime", "chain", "tags", "request"]
"""sqlite: SQLite finds its file damaged. foreign_key: a row refers to none. guard: a trigger that keeps the log append-only is missing. schema: a
table or index of the log is not the one that was made, a trigger on it is of another's making, or its id or its birth is not noted. head: the head
row does not fit the last event, or holds what none does. gap: a position is missing. version: a
stream's versions do not count 1, 2, 3 … in the order of positions. logtime: it does not increase. chain: the stored bytes of an event are not those
that its hash was made of. tags: the index of tags is not that of the events. request: a kept answer is not what was written."""

PAGE_EVENTS = 1_000
"""Events checked per read transaction: about 10 ms."""

INTEGRITY_MESSAGES_MAX = 20
"""Complaints of SQLite itself that are passed on; after some, the rest say the same."""

BOOTTIME_US_MAX = 100 * 366 * 86_400 * 1_000_000
"""No machine runs for a hundred years."""

RESTORE = "restore a backup: pixelog restore FILE --replace"
"""What mends the log itself: nothing else knows what was there."""

_UNREADABLE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.SQLError, UnicodeDecodeError, Unusable)
"""What reading a damaged file may meet. Text that is not UTF-8 was never written so."""

_PAGE = """SELECT position, version, schemaversion, logtime, time, id, CAST(stream AS BLOB), CAST(type AS BLOB), CAST(actor AS BLOB),
    CAST(correlationid AS BLOB), CAST(causationid AS BLOB), CAST(tags AS BLOB), CAST(data AS BLOB), chain,
    version = 1 OR EXISTS (SELECT 1 FROM events AS before
        WHERE before.stream = events.stream AND before.version = events.version - 1 AND before.position < events.position)
    FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"""


class Problem(msgspec.Struct, frozen=True):
    """Something that is not as it should be: which kind, a sentence, what would mend it, and the position it is about, if one."""

    code: Code
    message: str
    mend: str
    position: int | None = None


def check(db: apsw.Connection, log_id: str | None) -> Iterator[Problem]:
    """Every problem of the log, as it is found. `db` must not be inside a transaction; it is in use until the iteration ends."""
    try:
        yield from _check_file(db)
        yield from _check_guards(db)
        yield from _check_schema(db)
        yield from strange_triggers(db, _LOG_TABLES, _GUARD_NAMES)
        named = list(_check_name(db, log_id))
        yield from named
        head = read_head(db)
        yield from _check_head(db)
        whole = True
        # Without a name that can be believed, nothing says what the first event's hash is to follow.
        for problem in _check_events(db, head, None if named or log_id is None else chain.start(log_id), 0):
            whole = False
            yield problem
        yield from _check_end(db)
        if whole:
            yield from _check_tags(db, head)
        yield from _check_requests(db)
    except _UNREADABLE as error:
        yield _unreadable(error)


def _unreadable(error: Exception) -> Problem:
    return Problem("sqlite", f"the database cannot be read any further: {error}", RESTORE)


def check_chain(db: apsw.Connection) -> Iterator[Problem]:
    """Every problem of the events themselves, from the log's id to the head row; nothing that is kept beside them."""
    try:
        log_id: Any = db.execute("SELECT value FROM log WHERE key = 'log_id'").get
        yield from _check_events(db, read_head(db), chain.start(str(log_id)), 0)
    except _UNREADABLE as error:
        yield _unreadable(error)


class StartCheck(msgspec.Struct, frozen=True):
    """What a start looked at: the last `position`, and the first problem of the log's end or its guards, if there is one."""

    position: int
    problem: Problem | None = None


def check_start(db: apsw.Connection) -> StartCheck:
    """The cheap check before anything is written: the guards are there, the head row is that of the last event, and that event carries the
    hash of what it holds and of the one before it. One read transaction; the cost does not depend on the length of the log."""
    db.execute("BEGIN")
    try:
        head = read_head(db)
        after = max(0, head.position - 1)
        link: Any = db.execute("SELECT chain FROM events WHERE position = ?", (after,)).get
        if not after:
            link = chain.start(str(db.execute("SELECT value FROM log WHERE key = 'log_id'").get))
        found = [*_check_guards(db), *_check_events(db, head, link, after), *_check_end(db)]
        if link is None:
            found.insert(0, _gap(after, after))
        return StartCheck(head.position, found[0] if found else None)
    except (apsw.SQLError, UnicodeDecodeError) as error:
        return StartCheck(0, _unreadable(error))
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _check_file(db: apsw.Connection) -> Iterator[Problem]:
    for (message,) in db.execute(f"PRAGMA integrity_check({INTEGRITY_MESSAGES_MAX})"):
        if message != "ok":
            yield Problem("sqlite", f"SQLite reports: {message}", RESTORE)
    rows: Any = db.execute("PRAGMA foreign_key_check")
    for table, rowid, parent, _ in rows:
        yield Problem("foreign_key", f"row {rowid} of {table} refers to a row of {parent} that is not there", RESTORE)


def _check_guards(db: apsw.Connection) -> Iterator[Problem]:
    there: dict[Any, Any] = dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall())  # type: ignore[arg-type]
    for statement in schema.GUARDS.strip().split("\n\n"):
        name = statement.split()[2]
        if there.get(name) != statement.removesuffix(";"):
            what = "has been changed" if name in there else "is missing"
            yield Problem("guard", f"the trigger {name}, which keeps the log append-only, {what}", RESTORE)


@cache
def _made() -> dict[tuple[str, str], str]:
    """The tables and indexes of a log as they are made, by type and name."""
    db = apsw.Connection(":memory:")
    schema.create(db, "", b"", "")
    try:
        return _parts(db)
    finally:
        db.close()


def _parts(db: apsw.Connection) -> dict[tuple[str, str], str]:
    rows: Any = db.execute("SELECT type, name, sql FROM sqlite_schema WHERE type IN ('table', 'index') AND sql IS NOT NULL")
    return {(type, name): " ".join(sql.split()) for type, name, sql in rows}


def _check_schema(db: apsw.Connection) -> Iterator[Problem]:
    there = _parts(db)
    for (type, name), sql in _made().items():
        if there.get((type, name)) != sql:
            what = "is not the one that was made" if (type, name) in there else "is missing"
            yield Problem("schema", f"the {type} {name} of the log {what}", RESTORE)


_LOG_TABLES = frozenset({"log", "head", "events", "tags", "requests"})
_GUARD_NAMES = frozenset(statement.split()[2] for statement in schema.GUARDS.strip().split("\n\n"))


def strange_triggers(
    db: apsw.Connection, tables: Collection[str], made: Collection[str], plain: Callable[[str], str] = str
) -> Iterator[Problem]:
    """Triggers on these tables that are not among those that were made, by name (as `plain` has it): each write of ours runs what they say."""
    rows: Any = db.execute("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger' ORDER BY name").fetchall()
    for name, table in rows:
        if table in tables and plain(name) not in made:
            mend = f"take it out with any SQLite tool, then look again: DROP TRIGGER {name}"
            yield Problem(
                "schema", f"the trigger {name} on {table} was not made by pixelog, and may change what is written", mend
            )


def _check_name(db: apsw.Connection, log_id: str | None) -> Iterator[Problem]:
    """The log's id, on which its first hash is built, and when it was made."""
    rows: Any = db.execute("SELECT key, CAST(value AS BLOB) FROM log").fetchall()
    there: dict[Any, bytes] = dict(rows)
    stored = there.get("log_id")
    if not stored or not stored.isascii():
        yield Problem("schema", f"the log's id {'is none' if stored else 'is missing'}", RESTORE)
    elif stored.decode() != log_id:
        yield Problem("schema", f"the log's id is {stored.decode()!r}, not {log_id!r}", RESTORE)
    if not there.get("created_at"):
        yield Problem("schema", "the note of when the log was made is missing", RESTORE)


def _check_head(db: apsw.Connection) -> Iterator[Problem]:
    """Fields of the head row that no event vouches for hold what they may hold."""
    row: Any = db.execute(
        "SELECT typeof(boot_id) = 'text', boottime BETWEEN 0 AND ?, epoch >= 0, dirty IN (0, 1), synced_position >= 0 FROM head",
        (BOOTTIME_US_MAX,),
    ).fetchone()
    fields = ("boot_id", "boottime", "epoch", "dirty", "synced_position")
    wrong = [name for name, right in zip(fields, row, strict=True) if not right]
    if wrong:
        yield Problem("head", f"the head row holds what none does in: {', '.join(wrong)}", RESTORE)


def _check_events(db: apsw.Connection, head: Head, link: bytes | None, after: int) -> Iterator[Problem]:
    """Each event after `after` against the one before it, as stored: a changed event is reported once, not all that follow. `link`: the hash of the
    event at `after`, or of the start; None when there is none."""
    position = after
    logtime_us = time_us = None
    while position < head.position:
        found: list[Problem] = []
        before = position
        # Row by row, since an event may be large; what was found is said when the statement has ended, and with it its read transaction.
        for row in db.execute(_PAGE, (position, head.position, PAGE_EVENTS)):
            at, version, event_logtime_us, stored, follows = row[0], row[1], row[3], row[13], row[14]
            if at != position + 1:
                found.append(_gap(position + 1, at - 1))
                link = None
            if not follows:
                found.append(
                    Problem("version", f"event {at} has version {version}, which does not follow in its stream", RESTORE, at)
                )
            if isinstance(logtime_us, int) and isinstance(event_logtime_us, int) and event_logtime_us <= logtime_us:
                found.append(
                    Problem("logtime", f"event {at} has a logtime that is not after that of the event before it", RESTORE, at)
                )
            if link is not None and _link(link, row) != stored:
                found.append(Problem("chain", f"event {at} is not what was written: its hash does not fit", RESTORE, at))
            position, logtime_us, time_us, link = at, event_logtime_us, row[4], stored
        yield from found
        if position == before:
            yield _gap(position + 1, head.position)
            return
    pairs = (("hash", head.chain, link), ("logtime", head.logtime_us, logtime_us), ("time", head.time_us, time_us))
    wrong = [name for name, said, is_ in pairs if is_ is not None and said != is_]
    if wrong:
        yield Problem(
            "head",
            f"the {' and the '.join(wrong)} in the head row {'is not that' if len(wrong) == 1 else 'are not those'} of the last event",
            RESTORE,
            head.position,
        )


def _gap(first: int, last: int) -> Problem:
    missing = f"event {first} is" if first == last else f"events {first} to {last} are"
    return Problem("gap", f"{missing} missing from the log", RESTORE, first)


def _link(before: bytes, row: Any) -> bytes | None:
    """The hash that this row should carry; None when a value is such as was never written: another type, out of bounds, not UTF-8."""
    position, version, schema_version, logtime_us, time_us, id, *texts, data, _, _ = row
    try:
        stream, type, actor, correlation_id, causation_id, tags = (None if text is None else text.decode() for text in texts)
    except UnicodeDecodeError:
        return None
    if stream is None or type is None or not isinstance(id, bytes) or len(id) != 16 or data is None:
        return None
    try:
        header = chain.header(
            position, version, schema_version, logtime_us, time_us, id, stream, type, actor, correlation_id, causation_id, tags
        )  # fmt: skip
    except struct.error:
        return None
    return chain.link(before, header, sha256(data).digest())


def _check_end(db: apsw.Connection) -> Iterator[Problem]:
    row: Any = db.execute(
        "SELECT position, synced_position, (SELECT coalesce(max(position), 0) FROM events) FROM head"
    ).fetchone()
    head, synced, last = row
    if head < last:
        yield Problem("head", f"the head row is at {head}, but there are events up to {last}", RESTORE, head + 1)
    if synced > head:
        yield Problem("head", f"events up to {synced} were on the disk, but the head row is at {head}", RESTORE, head + 1)


def _check_tags(db: apsw.Connection, head: Head) -> Iterator[Problem]:
    """Each tag of an event is in the index of tags, and nothing else is."""
    position, expected = 0, 0
    while True:
        rows: list[Any] = db.execute(
            "SELECT position, CAST(tags AS BLOB) FROM events WHERE position > ? AND position <= ? AND tags IS NOT NULL "
            "ORDER BY position LIMIT ?",
            (position, head.position, PAGE_EVENTS),
        ).fetchall()
        for position, raw in rows:
            try:
                tags = msgspec.json.decode(raw, type=set[str])
            except msgspec.DecodeError:
                # Written so: its hash fits. Whoever reads the event fails here, and the index has nothing to be compared with.
                yield Problem(
                    "tags", f"the tags of event {position} are not a list of texts: it cannot be read", RESTORE, position
                )
                return
            expected += len(tags)
            for tag in tags:
                if not db.execute("SELECT count(*) FROM tags WHERE tag = ? AND position = ?", (tag, position)).get:
                    yield Problem(
                        "tags", f"the tag {tag!r} of event {position} is missing from the index of tags", RESTORE, position
                    )
        if not rows:
            break
    there: int = db.execute("SELECT count(*) FROM tags WHERE position <= ?", (head.position,)).get
    if there > expected:
        yield Problem("tags", f"the index of tags has {there} entries; by the events it is {expected}", RESTORE)


def _check_requests(db: apsw.Connection) -> Iterator[Problem]:
    """Each answer that is kept for a repeat is what was written, and names positions of the log. One from before there were seals has none."""
    rows: Any = db.execute(
        """SELECT CAST(scope AS BLOB), CAST(key AS BLOB), fingerprint, position, first, count, status, answer, logtime, relaxed,
            (SELECT position FROM head) FROM requests"""
    )
    found = 0
    for scope, key, kept, *numbers, head in rows:
        try:
            whole = len(kept) == 32 or chain.seal(scope, key, kept[:-32], *numbers) == kept[-32:]
        except (struct.error, TypeError):
            whole = False
        position, first, count, *_ = numbers
        if not whole or not 0 <= position <= head or (count and not 1 <= first == position - count + 1):
            name = key.decode(errors="replace")
            yield Problem("request", f"the answer kept under the key {name!r} is not what was written", RESTORE)
            found += 1
            if found == INTEGRITY_MESSAGES_MAX:
                return
