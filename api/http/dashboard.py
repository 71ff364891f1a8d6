"""Routes of the dashboard: one read for the page."""

from __future__ import annotations

from starlette.responses import Response

from api import overview
from api.http.conditional import head_tag
from api.http.requests import Call
from api.http.responses import tagged
from api.http.routing import Route


async def get_dashboard(call: Call) -> Response:
    """The whole, at one position."""
    with call.door.snapshot() as snapshot:
        tag = head_tag(snapshot, call.target, overview.expiries(snapshot.db, snapshot.now_us))
        return tagged(call, snapshot, tag, lambda: overview.dashboard(snapshot.db, snapshot.log_id, snapshot.now_us))


ROUTES = (Route("GET", "/dashboard", get_dashboard),)
