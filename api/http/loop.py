"""Routes of the loop: read it, replace it, put one entry in, take one out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

import apsw
import msgspec
from starlette.responses import Response

from api.commands.loop import AddLoopItem, NewEntry, RemoveLoopItem, ReplaceLoop
from api.execution import Stored
from api.http.changes import answering, carry_out, nothing
from api.http.conditional import Versioned
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import tagged
from api.http.routing import Route
from eventstore.record import RecordedEvent
from projections import loop
from projections.loop import LoopItem, Mode, When

LOOP_BYTES_MAX = 8 * 1024 * 1024
"""Bytes of a whole loop: 10,000 entries with long slugs and hours."""

Count = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31)]
Seconds = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
"""Wide bounds, so that no arithmetic overflows; the command's own are narrower and say so."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry as callers send it."""

    slug: str
    repeat: Count | None = None
    duration: Seconds | None = None
    when: When | None = None


class Replacement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of PUT. What GET gave may come back whole; `version` is ignored, `If-Match` is the way."""

    items: list[Entry]
    mode: Mode | None = None
    shuffle: bool | None = None
    version: int | None = None


class Addition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST: an entry and its place (None: the end)."""

    slug: str
    repeat: Count | None = None
    duration: Seconds | None = None
    when: When | None = None
    at: Count | None = None


class Placed(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry with its place in the loop, from 0."""

    slug: str
    at: int
    repeat: int | None = None
    duration: float | None = None
    when: When | None = None


def resource(call: Call) -> Versioned:
    """The loop as `If-Match` speaks of it."""
    return Versioned(call.door.service.store.log_id, "loop", lambda db: loop.mode(db)[3])


async def get_loop(call: Call) -> Response:
    """The loop."""
    with call.door.snapshot() as snapshot:
        return tagged(call, snapshot, resource(call).read_tag(snapshot.db), lambda: loop.get(snapshot.db))


async def put_loop(call: Call) -> Response:
    """Make the loop exactly this."""
    body = await call.decode(Replacement, LOOP_BYTES_MAX)
    items = tuple(NewEntry(one.slug, one.repeat, one.duration, one.when) for one in body.items)
    command = ReplaceLoop(items, body.mode, body.shuffle)
    return await carry_out(call, command, answering(loop.get), resource=resource(call))


async def post_item(call: Call) -> Response:
    """Put an entry in; 200 when the item was in the loop already."""
    body = await call.decode(Addition)
    command = AddLoopItem(NewEntry(body.slug, body.repeat, body.duration, body.when), body.at)

    def added(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Stored:
        entry = msgspec.json.encode(_placed(loop.get(db).items, body.slug))
        return Stored(201 if any(event.type.startswith("loop.") for event in events) else 200, entry)

    return await carry_out(
        call, command, added, resource=resource(call), locate=lambda _: f"/api/v1/loop/items/{quote(body.slug, safe='')}"
    )


async def get_item(call: Call) -> Response:
    """One entry with its place."""
    with call.door.snapshot() as snapshot:
        entry = _placed(loop.get(snapshot.db).items, call.parameters["slug"])
        if entry is None:
            raise Problem("not_found", f"{call.parameters['slug']!r} is not in the loop")
        return tagged(call, snapshot, resource(call).read_tag(snapshot.db), lambda: entry)


def _placed(items: Sequence[LoopItem], slug: str) -> Placed | None:
    for place, item in enumerate(items):
        if item.slug == slug:
            return Placed(slug, place, item.repeat, item.duration, item.when)
    return None


async def delete_item(call: Call) -> Response:
    """Take an item out of the loop."""
    return await carry_out(call, RemoveLoopItem(call.parameters["slug"]), nothing, resource=resource(call))


ROUTES = (
    Route("GET", "/loop", get_loop),
    Route("PUT", "/loop", put_loop),
    Route("POST", "/loop/items", post_item),
    Route("GET", "/loop/items/{slug}", get_item),
    Route("DELETE", "/loop/items/{slug}", delete_item),
)
