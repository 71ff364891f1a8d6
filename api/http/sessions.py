"""Routes of pairing: a code becomes a browser's session, names become programs' tokens; both are listed and taken away.

A secret leaves in the one answer that makes it, and neither the log nor the memory of idempotent requests holds it. With an Idempotency-Key it is
computed from that key and the pairing key, so that the repeat of the request gives it once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import quote

import apsw
import msgspec
from starlette.responses import Response

from api import cursors, secrets
from api.commands.access import AddToken, CloseSession, OpenSession, RemoveToken
from api.commands.deciding import Rejected
from api.execution import Stored
from api.http.access import COOKIE_GONE, cookie, count_attempt, forgive_attempt
from api.http.changes import carry_out, key_of, nothing
from api.http.conditional import area_tag
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import NO_STORE, Items, tagged
from api.http.routing import Route
from eventstore.record import RecordedEvent
from projections import access
from projections.access import Session, Token

T = TypeVar("T", Session, Token)


class Pairing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /pair."""

    code: str


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /tokens."""

    name: str


class SignedIn(msgspec.Struct, frozen=True, rename="camel"):
    """A signed-in browser. `current`: it is the one that asks."""

    id: str
    agent: str | None
    opened_at: str
    current: bool


class MadeToken(msgspec.Struct, frozen=True, rename="camel"):
    """A new token with its secret."""

    name: str
    added_at: str
    token: str


class _Kept(msgspec.Struct, frozen=True):
    """What is remembered of an answer: the resource, and the hash of the secret that went with it."""

    resource: msgspec.Raw
    hash: str


_kept = msgspec.json.Decoder(_Kept).decode
_session = msgspec.json.Decoder(Session).decode
_token = msgspec.json.Decoder(Token).decode


def _secret(call: Call, *purpose: str) -> str:
    """A new secret; for an idempotent request the one that belongs to it."""
    idempotency = key_of(call)
    if idempotency is None:
        return secrets.new_secret()
    key = secrets.pairing_key(call.door.service.data.secrets)
    return secrets.derived_secret(key, call.caller.actor, call.template, idempotency, *purpose)


def _keeping(hash: str, find: Callable[[apsw.Connection], Session | Token | None]) -> Callable[..., Stored]:
    """Answers 201 with what is remembered."""

    def respond(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Stored:
        return Stored(201, msgspec.json.encode({"resource": find(db), "hash": hash}))

    return respond


def _resource(response: Response, hash: str) -> msgspec.Raw:
    """The resource in a remembered answer. Problem: gone, when its secret cannot be had any more."""
    kept = _kept(bytes(response.body))
    if kept.hash != hash:
        raise Problem(
            "gone", "this was done before, and the key that its secret was made of is not there any more; take a new one"
        )
    return kept.resource


def _answer(response: Response, body: object, location: str) -> Response:
    """The remembered answer's headers over another body."""
    headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    return Response(msgspec.json.encode(body), 201, {**headers, **NO_STORE, "Location": location}, "application/json")


# -- browsers -----------------------------------------------------------------------------------------------------------------------------


async def post_pair(call: Call) -> Response:
    """Sign this browser in by a one-time code."""
    count_attempt(call)
    body = await call.decode(Pairing)
    code_hash = secrets.code_hash(body.code)
    if code_hash is None:
        raise _bad_code()
    secret = _secret(call, code_hash)
    hash, id = secrets.hash_of(secret), secrets.new_id()
    command = OpenSession(id, code_hash, hash, call.header("user-agent"))
    respond = _keeping(hash, lambda db: access.session(db, id))
    try:
        response = await carry_out(call, command, respond, request={"code": code_hash})
    except Rejected as error:
        if error.code == "not_found":
            raise _bad_code() from error
        raise
    forgive_attempt(call)
    session = _session(_resource(response, hash))
    answer = _answer(response, _shown(session, session.id), f"/api/v1/sessions/{session.id}")
    answer.headers["Set-Cookie"] = cookie(secret)
    return answer


def _bad_code() -> Problem:
    return Problem(
        "forbidden",
        "this code does not work, or not any more: each works once and for ten minutes; take the one that the panel shows, or one from: "
        "pixelog pair",
    )


def _shown(session: Session, own: str | None) -> SignedIn:
    return SignedIn(session.id, session.agent, session.opened_at, session.id == own)


async def list_sessions(call: Call) -> Response:
    """Signed-in browsers, the newest first."""
    own = call.caller.session
    limit, cursor = call.limit(), call.cursor(tuple[str, str])

    def follows(one: Session) -> bool:
        return cursor is None or one.opened_at < cursor[0] or (one.opened_at == cursor[0] and one.id > cursor[1])

    def page(db: apsw.Connection) -> Items:
        every = access.sessions(db)
        found = [one for one in every if follows(one)]
        following = (found[limit - 1].opened_at, found[limit - 1].id) if len(found) > limit else None
        return _items([_shown(one, own) for one in found[:limit]], following, len(every))

    return _answered(call, page)


async def get_session(call: Call) -> Response:
    """One signed-in browser."""
    id, own = call.parameters["id"], call.caller.session
    return _answered(call, lambda db: _shown(_there(access.session(db, id), f"session {id!r}"), own))


async def delete_session(call: Call) -> Response:
    """Sign a browser out."""
    return await _sign_out(call, call.parameters["id"])


async def delete_own_session(call: Call) -> Response:
    """Sign this browser out."""
    own = call.caller.session
    if own is None:
        raise Problem("not_found", "whoever asks this has no session of its own: this machine and programs need none")
    return await _sign_out(call, own)


async def _sign_out(call: Call, id: str) -> Response:
    response = await carry_out(call, CloseSession(id), nothing)
    if id == call.caller.session:
        response.headers["Set-Cookie"] = COOKIE_GONE
    return response


# -- programs -----------------------------------------------------------------------------------------------------------------------------


async def post_token(call: Call) -> Response:
    """Make a token for a program. The answer alone has it."""
    body = await call.decode(NewToken)
    token = secrets.TOKEN_PREFIX + _secret(call, body.name)
    hash = secrets.hash_of(token)
    respond = _keeping(hash, lambda db: access.token(db, body.name))
    response = await carry_out(call, AddToken(body.name, hash), respond, request={"name": body.name})
    made = _token(_resource(response, hash))
    return _answer(response, MadeToken(made.name, made.added_at, token), f"/api/v1/tokens/{quote(made.name, safe='')}")


async def list_tokens(call: Call) -> Response:
    """Tokens by name, without their secrets."""
    limit, cursor = call.limit(), call.cursor(str)

    def page(db: apsw.Connection) -> Items:
        every = access.tokens(db)
        found = [one for one in every if cursor is None or one.name > cursor]
        return _items(found[:limit], found[limit - 1].name if len(found) > limit else None, len(every))

    return _answered(call, page)


async def get_token(call: Call) -> Response:
    """One token, without its secret."""
    name = call.parameters["name"]
    return _answered(call, lambda db: _there(access.token(db, name), f"token {name!r}"))


async def delete_token(call: Call) -> Response:
    """Take a program's token away."""
    return await carry_out(call, RemoveToken(call.parameters["name"]), nothing)


# -- what both share ----------------------------------------------------------------------------------------------------------------------


def _items(items: Sequence[object], following: object | None, total: int) -> Items:
    return Items(items, None if following is None else cursors.encode(following), total)


def _answered(call: Call, query: Callable[[apsw.Connection], object]) -> Response:
    """What the query gives, under a tag: it depends on the area, and on which of the sessions asks. Few may exist, so it is cheap."""
    with call.door.snapshot() as snapshot:
        body = query(snapshot.db)
        return tagged(call, snapshot, area_tag(snapshot, call.target, "access", also=call.caller.session or ""), lambda: body)


def _there(found: T | None, what: str) -> T:
    if found is None:
        raise Problem("not_found", f"there is no {what}")
    return found


ROUTES = (
    Route("POST", "/pair", post_pair),
    Route("GET", "/sessions", list_sessions),
    Route("GET", "/sessions/{id}", get_session),
    Route("DELETE", "/sessions/{id}", delete_session),
    Route("DELETE", "/session", delete_own_session),
    Route("GET", "/tokens", list_tokens),
    Route("POST", "/tokens", post_token),
    Route("GET", "/tokens/{name}", get_token),
    Route("DELETE", "/tokens/{name}", delete_token),
)
