"""Routes of the settings: read them, change some, and what each may be."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from api.commands.settings import ChangeSettings
from api.http.changes import answering, carry_out
from api.http.conditional import Versioned, tag_of
from api.http.requests import Call
from api.http.responses import tagged
from api.http.routing import Route
from projections import settings


def resource(call: Call) -> Versioned:
    """The settings as `If-Match` speaks of them."""
    return Versioned(call.door.service.store.log_id, "settings", settings.version)


async def get_settings(call: Call) -> Response:
    """Every setting by name."""
    with call.door.snapshot() as snapshot:
        return tagged(call, snapshot, resource(call).read_tag(snapshot.db), lambda: settings.get(snapshot.db))


async def patch_settings(call: Call) -> Response:
    """Change those that are named."""
    values = await call.decode(dict[str, Any])
    return await carry_out(call, ChangeSettings(values), answering(settings.get), resource=resource(call))


async def get_schema(call: Call) -> Response:
    """What each setting may be."""
    with call.door.snapshot() as snapshot:
        return tagged(call, snapshot, tag_of("settings/schema"), lambda: settings.SETTINGS)


ROUTES = (
    Route("GET", "/settings", get_settings),
    Route("PATCH", "/settings", patch_settings),
    Route("GET", "/settings/schema", get_schema),
)
