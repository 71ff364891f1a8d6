"""Routes of proof of play."""

from __future__ import annotations

from starlette.responses import Response

from api import cursors
from api.commands.deciding import Fault
from api.http.conditional import area_tag
from api.http.door import Snapshot
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import Items, tagged
from api.http.routing import Route
from projections import plays
from projections.times import parse_rfc3339


async def list_plays(call: Call) -> Response:
    """Plays that began in [from, to), the newest first."""
    limit, cursor, slug = call.limit(), call.cursor(tuple[int, int]), call.query("slug")
    from_us, to_us = _time(call, "from"), _time(call, "to")

    def answer(snapshot: Snapshot) -> Response:
        def page() -> Items:
            items, following, total = plays.listing(
                snapshot.db, limit=limit, cursor=cursor, from_us=from_us, to_us=to_us, slug=slug
            )
            return Items(items, None if following is None else cursors.encode(following), total)

        return tagged(call, snapshot, area_tag(snapshot, call.target, "plays"), page)

    return await call.door.read(answer)


def _time(call: Call, name: str) -> int | None:
    text = call.query(name)
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError as error:
        raise Problem("invalid", f"{name}: {error}", [Fault(f"?{name}", str(error))]) from error


ROUTES = (Route("GET", "/plays", list_plays),)
