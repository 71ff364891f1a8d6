"""Files of users as answers: byte ranges (RFC 9110 §14), tags, and headers that keep a browser from running them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.conditional import none_match
from api.http.problems import Problem
from api.http.requests import Call

T = TypeVar("T")

CHUNK_BYTES = 256 * 1024
"""Bytes read and sent at once."""

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

SANDBOX = "default-src 'none'; sandbox"
"""Whatever a user uploads: shown as a document of its own it may load and run nothing."""


class Span(msgspec.Struct, frozen=True):
    """Bytes from `start` to before `end`."""

    start: int
    end: int


def span_of(header: str | None, size_bytes: int) -> Span | None:
    """What a `Range` header asks for; None: everything (no header, several ranges, or one that means nothing). Problem: range."""
    found = _RANGE.fullmatch(header.strip()) if header is not None else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first == "":
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start = int(first)
        end = min(size_bytes, int(last) + 1) if last else size_bytes
        if last and int(last) < start:
            return None
    if start >= size_bytes:
        raise Problem("range", f"the file has {size_bytes} bytes", headers={"Content-Range": f"bytes */{size_bytes}"})
    return Span(start, end)


async def send_file(call: Call, path: Path, type: str, name: str, tag: str) -> ASGIApp:
    """The file as answer to GET or HEAD. Problem: not_found when there is no such file, range."""
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": SANDBOX,
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}",
    }
    if not none_match(call.header("if-none-match"), tag):
        return Response(None, 304, headers)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Problem("not_found", "the file is no longer held") from error
    try:
        size_bytes = os.fstat(descriptor).st_size
        current = call.header("if-range") in (None, tag)
        span = span_of(call.header("range"), size_bytes) if current else None
    except BaseException:
        os.close(descriptor)
        raise
    return FileAnswer(call, descriptor, span, size_bytes, {**headers, "Content-Type": type})


class FileAnswer:
    """The answer that reads on a thread, piece by piece, and closes the file at its end."""

    def __init__(self, call: Call, descriptor: int, span: Span | None, size_bytes: int, headers: dict[str, str]) -> None:
        self._call = call
        self._descriptor = descriptor
        self._span = span or Span(0, size_bytes)
        self.status_code = 200 if span is None else 206
        headers["Content-Length"] = str(self._span.end - self._span.start)
        if span is not None:
            headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{size_bytes}"
        self.raw_headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]

    def close(self) -> None:
        """Close the file; for an answer that is not sent."""
        os.close(self._descriptor)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            at, end = self._span.start, self._span.end
            while at < end:
                piece = await self._call.door.in_thread(_reader(self._descriptor, at, min(CHUNK_BYTES, end - at)))
                if not piece:
                    raise OSError("the file became shorter while it was sent")
                at += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.close()


def _reader(descriptor: int, at: int, count: int) -> Callable[[], bytes]:
    return lambda: os.pread(descriptor, count, at)
