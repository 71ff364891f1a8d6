"""Routes of messages: texts drawn over the media."""

from __future__ import annotations

from typing import Annotated

import apsw
import msgspec
from starlette.responses import Response

from api import cursors
from api.commands.messages import DismissMessage, PostMessage
from api.execution import Stored
from api.http.changes import carry_out, nothing
from api.http.conditional import area_tag
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import Items, tagged
from api.http.routing import Route
from eventstore.record import RecordedEvent
from projections import messages
from projections.messages import Priority

Seconds = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]


class NewMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Body of POST."""

    text: str
    priority: Priority = "info"
    ttl_seconds: Seconds | None = None


class _Id(msgspec.Struct, frozen=True):
    id: str


_id_of = msgspec.json.Decoder(_Id).decode


async def post_message(call: Call) -> Response:
    """Draw a text over the media."""
    body = await call.decode(NewMessage)
    command = PostMessage(body.text, body.priority, body.ttl_seconds)
    return await carry_out(call, command, _posted, locate=lambda made: f"/api/v1/messages/{_id_of(made).id}")


def _posted(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Stored:
    return Stored(201, msgspec.json.encode(messages.get(db, events[-1].stream.partition("/")[2])))


async def list_messages(call: Call) -> Response:
    """Live messages in drawing order."""
    limit, cursor = call.limit(), call.cursor(tuple[int, int])
    with call.door.snapshot() as snapshot:
        db, now_us = snapshot.db, snapshot.now_us
        tag = area_tag(snapshot, call.target, "messages", also=messages.last_expiry(db, now_us))

        def page() -> Items:
            items, following, total = messages.live(db, now_us, limit, cursor)
            return Items(items, None if following is None else cursors.encode(following), total)

        return tagged(call, snapshot, tag, page)


async def get_message(call: Call) -> Response:
    """One live message."""
    with call.door.snapshot() as snapshot:
        id = call.parameters["id"]
        message = messages.get(snapshot.db, id) if messages.is_live(snapshot.db, id, snapshot.now_us) else None
        if message is None:
            raise Problem("not_found", f"there is no message {id!r}, or it has expired")
        return tagged(call, snapshot, area_tag(snapshot, call.target, "messages"), lambda: message)


async def delete_message(call: Call) -> Response:
    """Take a message away."""
    return await carry_out(call, DismissMessage(call.parameters["id"]), nothing)


ROUTES = (
    Route("POST", "/messages", post_message),
    Route("GET", "/messages", list_messages),
    Route("GET", "/messages/{id}", get_message),
    Route("DELETE", "/messages/{id}", delete_message),
)
