"""Routes of the choice: which item was chosen last."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from api.commands.active import SetActive
from api.http.changes import answering, carry_out
from api.http.conditional import Versioned
from api.http.requests import Call
from api.http.responses import tagged
from api.http.routing import Route
from projections import active


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of PUT; None: nothing is chosen."""

    slug: str | None


def resource(call: Call) -> Versioned:
    """The choice as `If-Match` speaks of it."""
    return Versioned(call.door.service.store.log_id, "active", lambda db: active.get(db)[1])


async def get_active(call: Call) -> Response:
    """The choice."""
    with call.door.snapshot() as snapshot:
        return tagged(call, snapshot, resource(call).read_tag(snapshot.db), lambda: active.get(snapshot.db)[0])


async def put_active(call: Call) -> Response:
    """Choose an item, or none."""
    body = await call.decode(Choice)
    return await carry_out(call, SetActive(body.slug), answering(lambda db: active.get(db)[0]), resource=resource(call))


ROUTES = (Route("GET", "/active", get_active), Route("PUT", "/active", put_active))
