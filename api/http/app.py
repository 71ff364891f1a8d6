"""The application: one request from the socket to its answer, and the lifespan around all of them.

A plain ASGI application: no middleware stands between a request and its handler. HEAD is answered by the handler of GET, OPTIONS and 405 by
the table of routes.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import (
    access,
    active,
    dashboard,
    device,
    events,
    health,
    heartbeats,
    history,
    jobs,
    loop,
    media,
    messages,
    page,
    player,
    plays,
    problems,
    screen,
    sessions,
    settings,
)
from api.http.door import Door, Limits
from api.http.files import FileAnswer
from api.http.problems import Problem
from api.http.requests import Call, Gone
from api.http.routing import Route, Router
from api.service import StateService
from player.screen import ScreenReader

BASE = "/api/v1"

AREAS: tuple[Any, ...] = (
    dashboard,
    media,
    loop,
    active,
    player,
    screen,
    messages,
    heartbeats,
    jobs,
    settings,
    events,
    history,
    plays,
    device,
    sessions,
)
"""Modules whose routes lie under BASE."""


def create_app(service: StateService, *, screen: ScreenReader | None = None, limits: Limits | None = None) -> App:
    """The application over an open service. `screen` reads what the player publishes (None: there is no player). The caller closes
    service and screen after the application has ended."""
    return App(Door(service, screen, limits or Limits()))


def routes() -> Iterable[Route]:
    """Every route there is, with its full template."""
    for area in AREAS:
        for route in area.ROUTES:
            yield Route(route.method, BASE + route.template, route.handler)
    yield from health.ROUTES
    yield from page.ROUTES


class App:
    """The ASGI application. `begin_stop` ends its endless answers; the server calls it on the event loop when it is told to end."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self._router = Router(routes())

    def begin_stop(self) -> None:
        """End endless answers within moments; refuse commands."""
        self.door.begin_stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self.door.open()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.door.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(self.door, scope, receive)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            response = await self._respond(call)
            if call.method == "HEAD":
                response = _head(response)
            await response(scope, receive, watched)
        except Gone:
            return
        except Exception as error:
            problem = problems.of(error)
            if problem is None:
                traceback.print_exception(error, file=sys.stderr)
                problem = Problem("internal", "something went wrong here; the service's log has the details")
            if started:
                raise  # the answer is under way: ending the connection is all that is left to say
            await problems.response(problem, call.path)(scope, receive, watched)

    async def _respond(self, call: Call) -> ASGIApp:
        call.caller = access.admit(call)
        found = self._router.find(call.path)
        if found is None:
            raise Problem("not_found", f"there is nothing at {call.path}")
        call.template, call.parameters = found.template, found.parameters
        handler = found.handlers.get("GET" if call.method == "HEAD" else call.method)
        if handler is not None:
            return await handler(call)
        if call.method == "OPTIONS":
            return Response(None, 204, {"Allow": found.allow})
        raise Problem(
            "method_not_allowed", f"{call.method} does nothing here; there is {found.allow}", headers={"Allow": found.allow}
        )


def _head(response: Any) -> ASGIApp:
    """The same answer without its body, also when that would be endless."""

    async def head(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": b""})

    if isinstance(response, FileAnswer):
        response.close()
    return head
