"""Commands of area access: offer a pairing, sign a browser in and out, give a program a token and take it away. They carry hashes only."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from api.commands import bounds
from api.commands.deciding import Context, Handler, Rejected
from projections import access
from projections.access import SessionClosed, SessionOffered, SessionOpened, TokenAdded, TokenRemoved

OFFER_TTL_US = 10 * 60 * 1_000_000
"""Ten minutes: time to fetch the phone, not to find the code on a photograph of the panel."""

SESSIONS_MAX = 200
"""Browsers signed in at once: a household and its guests many times over."""

TOKENS_MAX = 200
"""Tokens at once."""

AGENT_CHARACTERS_MAX = 200


class OfferSession(msgspec.Struct, frozen=True):
    """Make a one-time code good; `code_hash` is its SHA-256 in hex."""

    id: str
    code_hash: str


class OpenSession(msgspec.Struct, frozen=True):
    """Sign a browser in that knows a code."""

    id: str
    code_hash: str
    token_hash: str
    agent: str | None = None


class CloseSession(msgspec.Struct, frozen=True):
    """Sign a browser out."""

    id: str


class AddToken(msgspec.Struct, frozen=True):
    """Let a program call with a token."""

    name: str
    token_hash: str


class RemoveToken(msgspec.Struct, frozen=True):
    """Take a program's token away."""

    name: str


Command = OfferSession | OpenSession | CloseSession | AddToken | RemoveToken


class State(msgspec.Struct, frozen=True):
    """The open offer with the asked-for code, whether the session or token is there, and how many there are."""

    offer: str | None
    exists: bool
    count: int


def load(db: apsw.Connection, command: Command, now_us: int) -> State:
    """What deciding about this command needs."""
    match command:
        case OfferSession():
            return State(None, False, 0)
        case OpenSession():
            return State(access.open_offer(db, command.code_hash, now_us), False, len(access.sessions(db)))
        case CloseSession():
            return State(None, any(one.id == command.id for one in access.sessions(db)), 0)
        case AddToken() | RemoveToken():
            names = [one.name for one in access.tokens(db)]
            return State(None, command.name in names, len(names))


def decide(command: Command, state: State, context: Context) -> Sequence[msgspec.Struct]:
    """One event."""
    match command:
        case OfferSession():
            return [SessionOffered(command.id, command.code_hash, OFFER_TTL_US)]
        case OpenSession():
            if state.offer is None:
                raise Rejected("not_found", "this code is not good, or not any more; make a new one: pixelog pair")
            if state.count >= SESSIONS_MAX:
                raise Rejected("too_many", f"{SESSIONS_MAX} browsers are signed in; sign one out first")
            agent = None if command.agent is None else command.agent[:AGENT_CHARACTERS_MAX]
            return [SessionOpened(command.id, state.offer, command.token_hash, agent)]
        case CloseSession():
            if not state.exists:
                raise Rejected("not_found", f"there is no session {command.id!r}")
            return [SessionClosed(command.id)]
        case AddToken():
            bounds.refuse(bounds.name("/name", command.name))
            if state.exists:
                raise Rejected("conflict", f"there is a token {command.name!r} already; remove it first, or choose another name")
            if state.count >= TOKENS_MAX:
                raise Rejected("too_many", f"there are {TOKENS_MAX} tokens; remove one first")
            return [TokenAdded(command.name, command.token_hash)]
        case RemoveToken():
            if not state.exists:
                raise Rejected("not_found", f"there is no token {command.name!r}")
            return [TokenRemoved(command.name)]


HANDLERS = {command: Handler(load, decide) for command in (OfferSession, OpenSession, CloseSession, AddToken, RemoveToken)}
