"""Liveness, readiness, and every check with its figures. Outside the API's base: probes know these paths."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.responses import Response

from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import NO_STORE, json
from api.http.routing import Route
from projections import folding

FREE_BYTES_LOW = 64 * 1024 * 1024
"""Below this uploads will soon fail."""

Status = Literal["ok", "degraded", "failed"]


class Check(msgspec.Struct, frozen=True):
    """One check: its standing, its figure and the figure's unit."""

    status: Status
    value: int | str | None
    unit: str | None = None


async def livez(call: Call) -> Response:
    """The process answers."""
    return json({"status": "ok"}, headers=NO_STORE)


async def readyz(call: Call) -> Response:
    """Commands are taken. Problem: not_ready, stopped."""
    door = call.door
    if door.stage != "ready":
        raise Problem("not_ready", f"the service is {door.stage}; try again in a moment")
    writer = door.service.store.writer
    if writer is not None and writer.stopped is not None:
        raise Problem("stopped", writer.stopped)
    return json({"status": "ok"}, headers=NO_STORE)


async def healthz(call: Call) -> Response:
    """Every check with its figures; 503 when one has failed."""
    checks = _checks(call)
    standings = {check.status for check in checks.values()}
    status: Status = "failed" if "failed" in standings else "degraded" if "degraded" in standings else "ok"
    return json({"status": status, "checks": checks}, 503 if status == "failed" else 200, NO_STORE)


def _checks(call: Call) -> dict[str, Check]:
    door = call.door
    writer = door.service.store.writer
    stopped = None if writer is None else writer.stopped
    with door.snapshot() as snapshot:
        head, folded = snapshot.head, folding.folded_to(snapshot.db)
    free_bytes = door.free_bytes()
    live = door.camera.sequence() is not None
    upkeep = door.service.upkeep
    kept = {} if upkeep is None else {name: Check(one.status, one.value, one.unit) for name, one in upkeep.checks().items()}
    return kept | {
        "service": Check("ok" if door.stage == "ready" else "degraded", door.stage),
        "log": Check("ok" if stopped is None else "failed", stopped or head.position, "position" if stopped is None else None),
        "unsynced": Check("ok", head.position - head.synced_position, "events"),
        "projections": Check("ok" if folded == head.position else "failed", head.position - folded, "events behind"),
        "disk": Check("ok" if free_bytes >= FREE_BYTES_LOW else "degraded", free_bytes, "bytes free"),
        "player": Check("ok" if live else "degraded", "live" if live else "none"),
    }


ROUTES = (Route("GET", "/livez", livez), Route("GET", "/readyz", readyz), Route("GET", "/healthz", healthz))
