"""Routes of the past: the state as it was, and the screen as it was."""

from __future__ import annotations

import asyncio
import hashlib
from urllib.parse import quote

from starlette.responses import Response

from api import instants, past
from api.commands.deciding import Fault
from api.http.conditional import none_match, tag_of
from api.http.door import Snapshot
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import POSITION, tagged
from api.http.routing import Route
from projections.replay.points import BadPoint, Instant
from projections.replay.state import UnknownArea, areas_named, state
from projections.times import rfc3339

AREAS_MAX = 20
"""Areas that may be named in one request: all there are."""


def _instant(call: Call, snapshot: Snapshot) -> Instant:
    """The instant that `at` and `through` mean. Problem: invalid."""
    at = call.query("at")
    if not at:
        raise _wrong("at", "is missing: say which point, as a position, a time, -10m or head")
    through = call.query_number("through", 0)
    try:
        # A `+` of an offset that was not percent-encoded arrives as a blank.
        return instants.resolve(call.door.service.store, snapshot.db, at.strip().replace(" ", "+"), through)
    except BadPoint as error:
        raise _wrong("at", str(error)) from error


def _wrong(name: str, message: str) -> Problem:
    return Problem("invalid", f"{name}: {message}", [Fault(f"?{name}", message)])


async def get_state(call: Call) -> Response:
    """The state as it was."""
    try:
        areas = areas_named(call.query_all("area")[:AREAS_MAX])
    except UnknownArea as error:
        raise _wrong("area", str(error)) from error

    def answer(snapshot: Snapshot) -> Response:
        position = _instant(call, snapshot).position
        tag = tag_of(snapshot.log_id, snapshot.head.epoch, "state", position, *(area.name for area in areas))
        return tagged(call, snapshot, tag, lambda: state(snapshot.db, position, areas))

    return await call.door.read(answer)


async def get_screen(call: Call) -> Response:
    """The pixels that the panel showed, and whether they are exact."""
    door = call.door
    instant = await door.read(lambda snapshot: _instant(call, snapshot))
    async with door.looking_back:
        seen = await asyncio.to_thread(past.screen, door.service.data, door.service.store, instant)
        if seen is None:
            raise Problem("not_found", "there is no picture at that point: nothing had been recorded yet")
        file = await asyncio.to_thread(seen.png)
    headers = {
        POSITION: str(seen.position),
        "Pixelog-Screen-Time": rfc3339(seen.time_us),
        "Pixelog-Screen-Exact": "true" if seen.exact else "false",
        "Pixelog-Screen-Slug": quote(seen.slug or "", safe=""),
        "Cache-Control": "no-cache",
        "ETag": tag_of(hashlib.sha256(file).hexdigest(), seen.position, seen.time_us, seen.why, seen.slug),
    }
    if seen.why is not None:
        headers["Pixelog-Screen-Why"] = seen.why
    if not none_match(call.header("if-none-match"), headers["ETag"]):
        return Response(None, 304, headers)
    return Response(file, 200, headers, "image/png")


ROUTES = (Route("GET", "/history/state", get_state), Route("GET", "/history/screen.png", get_screen))
