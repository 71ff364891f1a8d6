"""Area access: who may call from elsewhere. One-time offers to pair, the browsers that took one, and the tokens of programs.

The log holds hashes only. A secret is shown once, where it was made; what an event says of it can recognise it and cannot give it back.
"""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from projections.area import Area, At
from projections.rows import Delete, Put, Table, Write
from projections.times import rfc3339


class SessionOffered(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A one-time code was made; `code_hash` is its SHA-256 in hex. It is good for `ttl_us`."""

    id: str
    code_hash: str
    ttl_us: int


class SessionOpened(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A browser was signed in by an offer, which is used up. `token_hash` recognises its cookie; `agent` is what it calls itself."""

    id: str
    offer: str
    token_hash: str
    agent: str | None = None


class SessionClosed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A browser was signed out."""

    id: str


class TokenAdded(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A program may call with the token that has this hash."""

    name: str
    token_hash: str


class TokenRemoved(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """It may no more."""

    name: str


Event = SessionOffered | SessionOpened | SessionClosed | TokenAdded | TokenRemoved
EVENTS: dict[str, type[msgspec.Struct]] = {
    "session.offered": SessionOffered,
    "session.opened": SessionOpened,
    "session.closed": SessionClosed,
    "token.added": TokenAdded,
    "token.removed": TokenRemoved,
}

OFFERS = Table(
    "access_offers",
    (
        ("code_hash", "TEXT", False),
        ("id", "TEXT", False),
        ("expires_logtime", "INTEGER", False),
        ("position", "INTEGER", False),
    ),
    derived=(
        "CREATE INDEX access_offers_by_id ON access_offers (id)",
        "CREATE INDEX access_offers_by_position ON access_offers (position)",
    ),
)
SESSIONS = Table(
    "access_sessions",
    (
        ("id", "TEXT", False),
        ("token_hash", "TEXT", False),
        ("agent", "TEXT", True),
        ("opened_at", "INTEGER", False),  # µs
    ),
    derived=("CREATE INDEX access_sessions_by_hash ON access_sessions (token_hash)",),
)
TOKENS = Table(
    "access_tokens",
    (
        ("name", "TEXT", False),
        ("token_hash", "TEXT", False),
        ("added_at", "INTEGER", False),  # µs
    ),
    derived=("CREATE INDEX access_tokens_by_hash ON access_tokens (token_hash)",),
)
SPENT = Table("access_spent", (("offer", "TEXT", False), ("position", "INTEGER", False)))
"""Offers that were taken. A row of its own, because a fold knows an offer by its id and the offers are kept by their hash."""
TABLES = (OFFERS, SESSIONS, TOKENS, SPENT)
VIEWS = (
    "CREATE VIEW sessions AS SELECT id, agent, opened_at FROM access_sessions",
    "CREATE VIEW tokens AS SELECT name, added_at FROM access_tokens",
)


def stream(event: Event) -> str:
    """Tokens by name; offers and sessions by id."""
    match event:
        case TokenAdded(name=name) | TokenRemoved(name=name):
            return f"access/token/{name}"
        case SessionOffered(id=id) | SessionOpened(id=id) | SessionClosed(id=id):
            return f"access/session/{id}"


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    match event:
        case SessionOffered():
            row = {"id": event.id, "expires_logtime": at.logtime_us + event.ttl_us, "position": at.position}
            return (Put(OFFERS, (event.code_hash,), row),)
        case SessionOpened():
            row = {"token_hash": event.token_hash, "agent": event.agent, "opened_at": at.time_us}
            return (Put(SPENT, (event.offer,), {"position": at.position}), Put(SESSIONS, (event.id,), row))
        case SessionClosed():
            return (Delete(SESSIONS, (event.id,)),)
        case TokenAdded():
            return (Put(TOKENS, (event.name,), {"token_hash": event.token_hash, "added_at": at.time_us}),)
        case TokenRemoved():
            return (Delete(TOKENS, (event.name,)),)


# -- queries -------------------------------------------------------------------------------------------------------------------------


class Session(msgspec.Struct, frozen=True, rename="camel"):
    """A signed-in browser."""

    id: str
    agent: str | None
    opened_at: str


class Token(msgspec.Struct, frozen=True, rename="camel"):
    """A program's token, without its secret."""

    name: str
    added_at: str


def open_offer(db: apsw.Connection, code_hash: str, logtime_us: int) -> str | None:
    """The offer with this code, if it is neither spent nor over."""
    return db.execute(
        "SELECT id FROM access_offers WHERE code_hash = ? AND expires_logtime > ? AND id NOT IN (SELECT offer FROM access_spent)",
        (code_hash, logtime_us),
    ).get


class Offer(msgspec.Struct, frozen=True):
    """A one-time code that was offered and not taken, by its hash; good before `expires_us` (logtime)."""

    id: str
    code_hash: str
    expires_us: int


def link(address: str, code: str) -> str:
    """What signs a browser in when it is opened. The code stands behind the #, which a browser sends to nobody."""
    return f"{address}/pair#{code}"


def last_offer(db: apsw.Connection) -> Offer | None:
    """The offer made last, unless it was taken. It may be over."""
    row: Any = db.execute("SELECT id, code_hash, expires_logtime FROM access_offers ORDER BY position DESC LIMIT 1").fetchone()
    if row is None or db.execute("SELECT count(*) FROM access_spent WHERE offer = ?", (row[0],)).get:
        return None
    return Offer(*row)


def newest_offer(db: apsw.Connection, logtime_us: int) -> str | None:
    """The offer made last, if it is neither spent nor over."""
    offer = last_offer(db)
    return None if offer is None or offer.expires_us <= logtime_us else offer.id


def session_of(db: apsw.Connection, token_hash: str) -> str | None:
    """The session whose cookie has this hash."""
    return db.execute("SELECT id FROM access_sessions WHERE token_hash = ?", (token_hash,)).get


def token_of(db: apsw.Connection, token_hash: str) -> str | None:
    """The name of the token with this hash."""
    return db.execute("SELECT name FROM access_tokens WHERE token_hash = ?", (token_hash,)).get


def is_paired(db: apsw.Connection) -> bool:
    """Whether any browser is signed in."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM access_sessions)").get)


def session(db: apsw.Connection, id: str) -> Session | None:
    """A signed-in browser, or None."""
    return next((one for one in sessions(db) if one.id == id), None)


def token(db: apsw.Connection, name: str) -> Token | None:
    """A program's token, or None."""
    return next((one for one in tokens(db) if one.name == name), None)


def sessions(db: apsw.Connection) -> list[Session]:
    """Every signed-in browser, the newest first."""
    rows: list[Any] = db.execute("SELECT id, agent, opened_at FROM access_sessions ORDER BY opened_at DESC, id").fetchall()
    return [Session(id, agent, rfc3339(opened_at)) for id, agent, opened_at in rows]


def tokens(db: apsw.Connection) -> list[Token]:
    """Every token by name."""
    rows: list[Any] = db.execute("SELECT name, added_at FROM access_tokens ORDER BY name").fetchall()
    return [Token(name, rfc3339(added_at)) for name, added_at in rows]


def resources(db: apsw.Connection) -> dict[str, Session | Token]:
    """Sessions and tokens, each under its kind and name."""
    found: dict[str, Session | Token] = {f"session/{one.id}": one for one in sessions(db)}
    return found | {f"token/{one.name}": one for one in tokens(db)}


AREA = Area("access", EVENTS, TABLES, fold, stream, resources, VIEWS)
