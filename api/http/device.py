"""Routes of the device: how the machine is now. Live, so nothing here has a tag."""

from __future__ import annotations

from starlette.responses import Response

from api.device.facts import Device, Roots, report
from api.http.requests import Call
from api.http.responses import live
from api.http.routing import Route
from projections import device


async def get_device(call: Call) -> Response:
    """The machine now."""
    service = call.door.service
    with call.door.snapshot() as snapshot:
        known = device.known(snapshot.db)

    def look() -> Device:
        before = () if known is None else known.conditions
        return report(Roots.here(), service.data.root, service.store.clock.read(), before)

    now = await call.door.in_thread(look)  # a card that stalls must not stall the event loop
    with call.door.snapshot() as snapshot:
        return live(snapshot, now)


ROUTES = (Route("GET", "/device", get_device),)
