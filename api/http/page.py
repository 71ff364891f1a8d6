"""The page and its files, from the package `api.dashboard`. Nothing is loaded from elsewhere, and the browser is told so."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.responses import Response

from api.http.access import is_loopback
from api.http.conditional import none_match
from api.http.problems import Problem
from api.http.requests import Call
from api.http.routing import Route

FOLDER = files("api") / "dashboard"

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/vnd.microsoft.icon",
    "webmanifest": "application/manifest+json",
    "woff2": "font/woff2",
}
"""What is served, by the end of its name; anything else in the folder is not for browsers."""

POLICY = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

OPENER = {"Cross-Origin-Opener-Policy": "same-origin"}
"""Browsers heed it on this machine and over TLS alone; elsewhere it would only fill their consoles with complaints."""


async def get_page(call: Call) -> Response:
    """The page."""
    return _file(call, FOLDER / "index.html", "index.html")


async def get_pair(call: Call) -> Response:
    """The page that signs a browser in."""
    return _file(call, FOLDER / "pair.html", "pair.html")


async def get_static(call: Call) -> Response:
    """A file of the page."""
    place: Traversable = FOLDER
    name = call.parameters["file"]
    for part in name.split("/"):
        if part in ("", ".", "..") or "\\" in part or "\0" in part:
            raise _nothing(call)
        place = place / part
    return _file(call, place, name)


def _file(call: Call, place: Traversable, name: str) -> Response:
    type = TYPES.get(name.rpartition(".")[2])
    if type is None or not place.is_file():
        raise _nothing(call)
    content = place.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    heeded = is_loopback(call) or call.header("x-forwarded-proto") == "https"
    headers = {**HEADERS, **(OPENER if heeded else {}), "ETag": tag}
    if not none_match(call.header("if-none-match"), tag):
        return Response(None, 304, headers)
    return Response(content, 200, {**headers, "Content-Type": type})


def _nothing(call: Call) -> Problem:
    return Problem("not_found", f"there is nothing at {call.path}")


ROUTES = (Route("GET", "/", get_page), Route("GET", "/pair", get_pair), Route("GET", "/static/{file...}", get_static))
