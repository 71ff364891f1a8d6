"""Routes of the screen: the panel's own memory as a picture, still and moving. Live: never kept, no tag."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.camera import VIEWERS_MAX, Shot
from api.http.door import Door, Snapshot
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import NO_STORE, POSITION
from api.http.routing import Route
from eventstore.reading import read_page
from projections.times import rfc3339

FRAME_SECONDS = 0.1
"""At most ten pictures a second: each is encoded for it, and a small machine has a panel to drive."""

BOUNDARY = b"pixelog-frame"


async def get_png(call: Call) -> Response:
    """What is on the panel now."""
    shot = await call.door.camera.png()
    if shot is None:
        raise _no_player()
    return Response(shot.file, 200, {**_origin(call.door, shot), **NO_STORE}, "image/png")


def _origin(door: Door, shot: Shot) -> dict[str, str]:
    """The headers that say which picture it is: the time of its planned instant, and the log that it was drawn from."""
    with door.snapshot() as snapshot:
        time_us = _wall_us(snapshot, door, shot.planned_us, shot.position)
    return {POSITION: str(shot.position), "Pixelog-Screen-Time": rfc3339(time_us)}


def _wall_us(snapshot: Snapshot, door: Door, planned_us: int, position: int) -> int:
    """The time (wall clock µs) of a planned instant, by the two times of the event that it was planned from."""
    events = read_page(snapshot.db, position - 1, 1).events if position else []
    if events and events[0].position == position:
        return events[0].time_us + planned_us - events[0].logtime_us
    return door.service.store.clock.read().wall_us + planned_us - snapshot.now_us


def _no_player() -> Problem:
    return Problem("no_player", "no player shows anything: start one with `pixelog player`, or `pixelog up`")


async def get_mjpeg(call: Call) -> ASGIApp:
    """The panel as a film."""
    camera = call.door.camera
    if camera.sequence() is None:
        raise _no_player()
    if camera.viewers >= VIEWERS_MAX:
        raise Problem("too_many_viewers", f"{VIEWERS_MAX} viewers watch already; try again later")
    return _Film(call.door, call.caller.may)


class _Film:
    """The endless answer to one viewer: a picture whenever there is a new one."""

    status_code = 200

    def __init__(self, door: Door, may: Callable[[], bool]) -> None:
        """It ends when `may` says that the viewer may look no more."""
        self._door = door
        self._may = may
        self._left = asyncio.Event()
        kind = b"multipart/x-mixed-replace; boundary=" + BOUNDARY
        self.raw_headers = [(b"content-type", kind), (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        camera = self._door.camera
        camera.viewers += 1
        listener = asyncio.create_task(self._until_disconnect(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            shown = None
            while not self._left.is_set() and not self._door.stopping.is_set() and self._may():
                if camera.sequence() not in (None, shown):
                    shot = await camera.jpeg()
                    if shot is not None:
                        shown = shot.sequence
                        await send(
                            {"type": "http.response.body", "body": _part(shot.file, _origin(self._door, shot)), "more_body": True}
                        )
                await self._pause()
            await send({"type": "http.response.body", "body": b"--%b--\r\n" % BOUNDARY, "more_body": False})
        finally:
            camera.viewers -= 1
            listener.cancel()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(FRAME_SECONDS):
                await self._left.wait()
        except TimeoutError:
            pass

    async def _until_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._left.set()


def _part(jpeg: bytes, origin: dict[str, str]) -> bytes:
    lines = {"Content-Type": "image/jpeg", "Content-Length": str(len(jpeg)), **origin}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return b"--%b\r\n%b\r\n%b\r\n" % (BOUNDARY, head.encode(), jpeg)


ROUTES = (Route("GET", "/screen.png", get_png), Route("GET", "/screen.mjpeg", get_mjpeg))
