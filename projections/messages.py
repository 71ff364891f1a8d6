"""Area messages: short texts for whoever stands before the panel, drawn over the media."""

from __future__ import annotations

from typing import Any, Literal

import apsw
import msgspec

from projections import plan
from projections.area import Area, At
from projections.rows import Delete, Put, Table, Write
from projections.times import rfc3339

Priority = Literal["info", "warning", "critical"]
RANKS: dict[Priority, int] = {"critical": 0, "warning": 1, "info": 2}
"""The drawing order: lower ranks first, then the oldest."""


class MessagePosted(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A text is drawn from now on, for `ttl_us` or until it is dismissed. `swept` are ids of expired messages that go from the table."""

    id: str
    text: str
    priority: Priority
    ttl_us: int | None = None
    swept: tuple[str, ...] = ()


class MessageDismissed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The message is gone before it expired."""

    id: str


Event = MessagePosted | MessageDismissed
EVENTS: dict[str, type[msgspec.Struct]] = {"message.posted": MessagePosted, "message.dismissed": MessageDismissed}

POSTED = Table(
    "messages_posted",
    (
        ("id", "TEXT", False),
        ("position", "INTEGER", False),
        ("rank", "INTEGER", False),
        ("priority", "TEXT", False),
        ("text", "TEXT", False),
        ("posted_at", "INTEGER", False),  # µs
        ("posted_logtime", "INTEGER", False),
        ("expires_at", "INTEGER", True),  # µs
        ("expires_logtime", "INTEGER", True),
    ),
    derived=(
        # The expiry is in the index too: many expired messages in front of the live ones are passed over without reading their rows.
        "CREATE INDEX messages_in_order ON messages_posted (rank, position, expires_logtime)",
        "CREATE INDEX messages_by_expiry ON messages_posted (expires_logtime) WHERE expires_logtime IS NOT NULL",
        "CREATE TABLE messages_count (only INTEGER PRIMARY KEY, total INTEGER NOT NULL) STRICT",
        "INSERT INTO messages_count VALUES (1, 0)",
        """CREATE TRIGGER messages_posted_added AFTER INSERT ON messages_posted BEGIN
            UPDATE messages_count SET total = total + 1; END""",
        """CREATE TRIGGER messages_posted_deleted AFTER DELETE ON messages_posted BEGIN
            UPDATE messages_count SET total = total - 1; END""",
    ),
)
TABLES = (POSTED,)
VIEWS = ("CREATE VIEW messages AS SELECT id, text, priority, posted_at, expires_at FROM messages_posted",)


def stream(event: Event) -> str:
    """Each message has its own stream."""
    return f"messages/{event.id}"


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    if isinstance(event, MessageDismissed):
        return (Delete(POSTED, (event.id,)),)
    row = {
        "position": at.position,
        "rank": RANKS[event.priority],
        "priority": event.priority,
        "text": event.text,
        "posted_at": at.time_us,
        "posted_logtime": at.logtime_us,
        "expires_at": None if event.ttl_us is None else at.time_us + event.ttl_us,
        "expires_logtime": None if event.ttl_us is None else at.logtime_us + event.ttl_us,
    }
    return (*(Delete(POSTED, (id,)) for id in event.swept), Put(POSTED, (event.id,), row))


# -- queries -------------------------------------------------------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A message as callers see it."""

    id: str
    text: str
    priority: Priority
    posted_at: str
    expires_at: str | None = None


_RESOURCE = "id, text, priority, posted_at, expires_at"
_LIVE = "(+expires_logtime IS NULL OR +expires_logtime > ?)"
"""The `+` keeps SQLite from the index by expiry: what is wanted are the first in drawing order, not the few that expire."""


def _resource(row: Any) -> Message:
    id, text, priority, posted_at, expires_at = row
    return Message(id, text, priority, rfc3339(posted_at), None if expires_at is None else rfc3339(expires_at))


def get(db: apsw.Connection, id: str) -> Message | None:
    """The message with this id, unless dismissed or swept; an expired one says so by `expires_at`."""
    row = db.execute(f"SELECT {_RESOURCE} FROM messages_posted WHERE id = ?", (id,)).fetchone()
    return None if row is None else _resource(row)


def is_live(db: apsw.Connection, id: str, logtime_us: int) -> bool:
    """Whether there is a message with this id that has not expired at `logtime_us`."""
    return bool(db.execute(f"SELECT count(*) FROM messages_posted WHERE id = ? AND {_LIVE}", (id, logtime_us)).get)


def live(
    db: apsw.Connection, logtime_us: int, limit: int = 50, cursor: tuple[int, int] | None = None
) -> tuple[list[Message], tuple[int, int] | None, int]:
    """Up to `limit` messages that are live at `logtime_us`, in drawing order, after `cursor` (rank and position of the last one seen); the
    next cursor, and how many are live."""
    rows: list[Any] = db.execute(
        f"SELECT {_RESOURCE}, rank, position FROM messages_posted "
        f"WHERE {_LIVE} AND (rank, position) > (?, ?) ORDER BY rank, position LIMIT ?",
        (logtime_us, *(cursor or (-1, 0)), limit + 1),
    ).fetchall()
    following = (rows[limit - 1][-2], rows[limit - 1][-1]) if len(rows) > limit else None
    return [_resource(row[:-2]) for row in rows[:limit]], following, live_count(db, logtime_us)


def live_count(db: apsw.Connection, logtime_us: int) -> int:
    """How many messages are live at this instant."""
    return db.execute(
        "SELECT total - (SELECT count(*) FROM messages_posted WHERE expires_logtime <= ?) FROM messages_count", (logtime_us,)
    ).get


def expired(db: apsw.Connection, logtime_us: int, limit: int) -> tuple[str, ...]:
    """Ids of messages that have expired but are still in the table, those that expired first."""
    rows: list[Any] = db.execute(
        "SELECT id FROM messages_posted WHERE expires_logtime <= ? ORDER BY expires_logtime, id LIMIT ?", (logtime_us, limit)
    ).fetchall()
    return tuple(id for (id,) in rows)


def last_expiry(db: apsw.Connection, logtime_us: int) -> int:
    """Logtime of the newest expiry that has passed (0: none): beside the log's position, all that the live messages depend on."""
    return db.execute(
        "SELECT coalesce(max(expires_logtime), 0) FROM messages_posted WHERE expires_logtime <= ?", (logtime_us,)
    ).get


def plan_messages(db: apsw.Connection, logtime_us: int, limit: int = 20) -> tuple[plan.Message, ...]:
    """The first `limit` live messages in drawing order, in the plan's terms."""
    rows: list[Any] = db.execute(
        "SELECT id, text, priority, posted_logtime, expires_logtime, position FROM messages_posted "
        f"WHERE {_LIVE} ORDER BY rank, position LIMIT ?",
        (logtime_us, limit),
    ).fetchall()
    return tuple(plan.Message(*row) for row in rows)


def resources(db: apsw.Connection) -> dict[str, Message]:
    """Every message by id that was neither dismissed nor swept; an expired one says so by `expires_at`."""
    rows = db.execute(f"SELECT {_RESOURCE} FROM messages_posted ORDER BY id")
    return {row[0]: _resource(row) for row in rows}  # type: ignore[index]


AREA = Area("messages", EVENTS, TABLES, fold, stream, resources, VIEWS)
