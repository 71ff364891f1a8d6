"""Commands over HTTP: the idempotency key, the precondition, the position in the answer.

The answer's bytes are made inside the command's transaction, from the tables as they are after it, and kept with the key. A repeat gets the
same bytes; `Location` is made from them again, so it is the same, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import apsw
import msgspec
from starlette.responses import Response

from api.commands.deciding import Fault
from api.execution import Repeat, Stored
from api.http.conditional import Versioned
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import POSITION
from eventstore.record import Origin, RecordedEvent

KEY_BYTES_MAX = 128
"""Bytes of an idempotency key: a UUID and some words."""

Respond = Callable[[apsw.Connection, tuple[RecordedEvent, ...]], Stored]


def answering(query: Callable[[apsw.Connection], object], status: int = 200) -> Respond:
    """Answers with what this query gives after the change."""
    return lambda db, events: Stored(status, msgspec.json.encode(query(db)))


def nothing(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Stored:
    """Answers 204."""
    return Stored(204, b"")


async def carry_out(
    call: Call,
    command: msgspec.Struct,
    respond: Respond,
    *,
    resource: Versioned | None = None,
    locate: Callable[[bytes], str] | None = None,
    request: object = None,
) -> Response:
    """Carry out a command and answer after its commit.

    `resource` is what `If-Match` speaks of. `locate` gives the `Location` of a 201 from its body. `request` is what makes the request
    recognisable when that is not the command. Raises what `Door.execute` raises.
    """
    tags: list[str] = []
    if_match = call.header("if-match")

    def answer(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Stored:
        if resource is not None:
            tags[:] = [resource.check(if_match, db, events)]
        return respond(db, events)

    outcome = await call.door.execute(
        command, answer, Origin(call.caller.actor), _repeat(call, command if request is None else request)
    )
    stored = outcome.answer
    headers = {POSITION: str(outcome.position)}
    if outcome.replayed:
        headers["Idempotency-Replayed"] = "true"
    elif tags and stored.status != 204:
        headers["ETag"] = tags[0]
    if locate is not None and stored.status == 201:
        headers["Location"] = locate(stored.body)
    if stored.status == 204:
        return Response(None, 204, headers)
    return Response(stored.body, stored.status, headers, "application/json")


def key_of(call: Call) -> str | None:
    """The request's idempotency key. Problem: invalid."""
    key = call.header("idempotency-key")
    if key is not None and not 0 < len(key.encode("latin-1")) <= KEY_BYTES_MAX:
        message = f"an idempotency key has 1 to {KEY_BYTES_MAX} bytes"
        raise Problem("invalid", message, [Fault("Idempotency-Key", message)])
    return key


def _repeat(call: Call, request: object) -> Repeat | None:
    """Key and fingerprint: SHA-256 over method, route, parameters and the decoded request, whatever the order of its fields was."""
    key = key_of(call)
    if key is None:
        return None
    text = msgspec.json.encode([call.method, call.template, dict(call.parameters), request], order="sorted")
    return Repeat(key, hashlib.sha256(text).digest())
