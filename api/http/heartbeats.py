"""Routes of heartbeats: which services live. What is said of them depends on the moment, so nothing here has a tag."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import apsw
import msgspec
from starlette.responses import Response

from api import cursors
from api.commands.heartbeats import RecordHeartbeat
from api.execution import Stored
from api.http.changes import carry_out
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import Items, live
from api.http.routing import Route
from eventstore.record import RecordedEvent
from projections import heartbeats
from projections.heartbeats import Status

Seconds = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]


class Beat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Body of POST. Thresholds that are left out stay as they were for this service."""

    service: str
    status: Status
    details: dict[str, Any] | None = None
    stale_after_seconds: Seconds | None = None
    dead_after_seconds: Seconds | None = None


async def post_heartbeat(call: Call) -> Response:
    """A service says how it is; 201 the first time it is heard of."""
    body = await call.decode(Beat)
    command = RecordHeartbeat(body.service, body.status, body.details, body.stale_after_seconds, body.dead_after_seconds)

    def recorded(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Stored:
        event = events[-1]
        beat = heartbeats.get(db, body.service, event.logtime_us)
        return Stored(201 if event.version == 1 else 200, msgspec.json.encode(beat))

    return await carry_out(call, command, recorded, locate=lambda _: f"/api/v1/heartbeats/{quote(body.service, safe='')}")


async def list_heartbeats(call: Call) -> Response:
    """Every service by name, as alive as it is now."""
    limit, cursor = call.limit(), call.cursor(str)
    with call.door.snapshot() as snapshot:
        items, following, total = heartbeats.listing(snapshot.db, snapshot.now_us, limit, cursor)
        return live(snapshot, Items(items, None if following is None else cursors.encode(following), total))


async def get_heartbeat(call: Call) -> Response:
    """One service."""
    with call.door.snapshot() as snapshot:
        beat = heartbeats.get(snapshot.db, call.parameters["service"], snapshot.now_us)
        if beat is None:
            raise Problem("not_found", f"a service {call.parameters['service']!r} was never heard of")
        return live(snapshot, beat)


ROUTES = (
    Route("POST", "/heartbeats", post_heartbeat),
    Route("GET", "/heartbeats", list_heartbeats),
    Route("GET", "/heartbeats/{service}", get_heartbeat),
)
