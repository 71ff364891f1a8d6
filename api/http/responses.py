"""Answers to reads: JSON under a tag, 304 without encoding anything, and what is live and never kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from starlette.responses import Response

from api.http.conditional import none_match
from api.http.door import Snapshot
from api.http.requests import Call

POSITION = "Pixelog-Position"

NO_STORE = {"Cache-Control": "no-store"}
"""For what is true only now."""

_NO_CACHE = "no-cache"
"""Caches may keep a body and must ask, by its tag, whether it still holds."""


class Items(msgspec.Struct, frozen=True):
    """A page of a list. `next` is the cursor of the page after it, `total` counts all matches."""

    items: object
    next: str | None
    total: int


def json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(msgspec.json.encode(value), status, dict(headers or {}), "application/json")


def tagged(call: Call, snapshot: Snapshot, tag: str, body: Callable[[], object]) -> Response:
    """The body under its tag, or 304 when the caller has it."""
    headers = {POSITION: str(snapshot.head.position), "ETag": tag, "Cache-Control": _NO_CACHE}
    if not none_match(call.header("if-none-match"), tag):
        return Response(None, 304, headers)
    return json(body(), headers=headers)


def live(snapshot: Snapshot, value: object) -> Response:
    """A value that depends on the moment."""
    return json(value, headers={POSITION: str(snapshot.head.position), **NO_STORE})
