"""An upload form, taken apart as it arrives (RFC 7578): the file goes straight into a blob, hashed on the way, never whole into memory.

Parts may come in any order. Whatever goes wrong, and when the caller hangs up, the unfinished blob is discarded.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import unquote

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api import media_types
from api.commands.deciding import Fault
from api.http.problems import Problem
from api.http.requests import Call
from eventstore.blobs import Blob, BlobWriter

T = TypeVar("T")

FIELD_BYTES_MAX = 4_096
"""Bytes of a field that is not the file."""

HEADERS_BYTES_MAX = 8_192
"""Bytes of the headers of one part."""

PARTS_MAX = 32
"""Parts of a form: the four that there are, and what a browser may add."""

GATHERED_BYTES = 256 * 1024
"""Bytes gathered before a thread writes them: fewer hand-overs, and the disk never holds up the event loop."""

FORM_BYTES_MAX = 64 * 1024
"""What a form may hold beside its file: headers, boundaries and fields."""

_EXTENDED = re.compile(r";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)


class Form(msgspec.Struct, frozen=True):
    """A form that was read to its end. `head` are the file's first bytes, `fields` the other parts as text."""

    filename: str
    blob: Blob
    head: bytes
    fields: Mapping[str, str]


async def receive(call: Call, file_field: str, fields: frozenset[str]) -> Form:
    """Read the form of this request, storing its one file. Fields that are not named here are refused.

    Problem: unsupported_type, malformed, invalid, too_large, out_of_space. Raises Gone when the caller hung up.
    """
    boundary = _boundary(call)
    _check_room(call)
    with call.door.service.blobs.writer() as writer:
        parts = _Parts(boundary, file_field, fields, call.door.limits.upload_bytes)
        try:
            more = True
            while more:
                chunk, more = await call.chunk()
                parts.feed(chunk)
                if len(parts.gathered) >= GATHERED_BYTES:
                    await _write(writer, parts)
                    if more and call.door.room_bytes() == 0:
                        raise _no_room(call, max(_announced_bytes(call), writer.size_bytes))
            await _write(writer, parts)
            parts.finish()
            blob = await _uncancelled(writer.commit)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _no_room(call, _announced_bytes(call) or writer.size_bytes) from error
            raise
    return Form(parts.filename, blob, bytes(parts.head), parts.fields)


async def _write(writer: BlobWriter, parts: _Parts) -> None:
    gathered = parts.take()
    if gathered:
        await _uncancelled(lambda: writer.write(gathered))


async def _uncancelled(work: Callable[[], T]) -> T:
    """Wait for a thread's work to its end also when cancelled: what it writes to must not be closed under it."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


def _boundary(call: Call) -> bytes:
    content_type, options = parse_options_header(call.header("content-type"))
    if content_type != b"multipart/form-data":
        raise Problem(
            "unsupported_type",
            "send the file as multipart/form-data with a part named file: curl -F file=@cat.gif",
            headers={"Accept-Post": "multipart/form-data"},
        )
    boundary = options.get(b"boundary")
    if not boundary or len(boundary) > 200:
        raise Problem("malformed", "the Content-Type names no boundary; let your HTTP library make the header")
    return boundary


def _check_room(call: Call) -> None:
    """Refuse at once what cannot end well."""
    announced_bytes = _announced_bytes(call)
    if announced_bytes > call.door.limits.upload_bytes + FORM_BYTES_MAX:
        raise _too_large(call.door.limits.upload_bytes)
    if announced_bytes > call.door.room_bytes():
        raise _no_room(call, announced_bytes)


def _announced_bytes(call: Call) -> int:
    """Size of the body as its head says; 0 when it does not."""
    announced = call.header("content-length")
    return int(announced) if announced is not None and announced.isdigit() else 0


def _too_large(bytes_max: int) -> Problem:
    return Problem("too_large", f"a file has at most {bytes_max:,} bytes here", headers={"Connection": "close"})


def _no_room(call: Call, size_bytes: int) -> Problem:
    """The problem; the service's upkeep hears of it and makes room, if there is anything to make it of."""
    if call.door.service.upkeep is not None:
        call.door.service.upkeep.want_room(size_bytes)
    what = "the disk is full; what was removed is cleared away ten minutes later: upload it again then, or remove more"
    return Problem("out_of_space", what, headers={"Connection": "close"})


class _Parts:
    """What the parser reports, sorted: the file's bytes into `gathered`, other parts into `fields`."""

    def __init__(self, boundary: bytes, file_field: str, known: frozenset[str], file_bytes_max: int) -> None:
        self.filename = ""
        self.head = bytearray()
        self.fields: dict[str, str] = {}
        self.gathered = bytearray()
        self._file_field, self._known, self._file_bytes_max = file_field, known, file_bytes_max
        self._file_bytes: int | None = None
        self._faults: list[Fault] = []
        self._parts = 0
        self._header, self._headers_bytes = (bytearray(), bytearray()), 0
        self._disposition = ""
        self._name: str | None = None
        self._value = bytearray()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body. Problem: malformed, too_large."""
        if self._ended:
            return  # what follows the last boundary means nothing (RFC 2046 §5.1.1)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def take(self) -> bytes:
        """The file's bytes since the last time."""
        gathered = bytes(self.gathered)
        self.gathered.clear()
        return gathered

    def finish(self) -> None:
        """The body has ended. Problem: malformed, invalid."""
        if not self._ended:
            raise _malformed("it ends before its last boundary")
        if self._file_bytes is None:
            self._fault(self._file_field, "is missing: send the file as a part of this name")
        if self._faults:
            detail = "; ".join(f"{fault.pointer.lstrip('/')} {fault.message}" for fault in self._faults)
            raise Problem("invalid", detail, self._faults)

    def _fault(self, name: str, message: str) -> None:
        self._faults.append(Fault(f"/{name}", message))

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise _malformed(f"it has more than {PARTS_MAX} parts")
        self._disposition, self._name, self._headers_bytes = "", None, 0
        self._value = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._gather_header(0, data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._gather_header(1, data[start:end])

    def _gather_header(self, which: int, piece: bytes) -> None:
        self._headers_bytes += len(piece)
        if self._headers_bytes > HEADERS_BYTES_MAX:
            raise _malformed(f"a part has more than {HEADERS_BYTES_MAX} bytes of headers")
        self._header[which].extend(piece)

    def _header_end(self) -> None:
        name, value = (bytes(part) for part in self._header)
        if name.strip().lower() == b"content-disposition":
            # Browsers and curl send names as UTF-8 (RFC 7578 §5.1); what is not UTF-8 cannot be a name here.
            try:
                self._disposition = value.decode()
            except UnicodeDecodeError as error:
                raise _malformed("a name in it is not UTF-8") from error
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        options = _options(self._disposition)
        name, filename = options.get("name"), options.get("filename")
        if name is None:
            raise _malformed("a part has no name")
        if name == self._file_field and filename != "":
            if self._file_bytes is not None:
                self._fault(name, "is there twice; upload one file at a time")
                return
            self._name, self._file_bytes = name, 0
            self.filename = filename or "upload"
        elif name in self._known:
            self._name = name
            if name in self.fields:
                self._fault(name, "is there twice")
        elif name != self._file_field:
            self._fault(name, f"is not known here; known: {self._file_field}, {', '.join(sorted(self._known))}")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        piece = memoryview(data)[start:end]
        if self._name is None:
            return  # a part that is refused when all has been read
        if self._name != self._file_field:
            self._value += piece
            if len(self._value) > FIELD_BYTES_MAX:
                raise Problem("too_large", f"the field {self._name} has more than {FIELD_BYTES_MAX} bytes")
            return
        self._file_bytes = (self._file_bytes or 0) + len(piece)
        if self._file_bytes > self._file_bytes_max:
            raise _too_large(self._file_bytes_max)
        if len(self.head) < media_types.HEAD_BYTES:
            self.head += piece[: media_types.HEAD_BYTES - len(self.head)]
        self.gathered += piece

    def _part_end(self) -> None:
        if self._name is not None and self._name != self._file_field:
            try:
                self.fields[self._name] = self._value.decode()
            except UnicodeDecodeError:
                self._fault(self._name, "must be text in UTF-8")
        self._name = None

    def _end(self) -> None:
        self._ended = True


def _malformed(why: str) -> Problem:
    return Problem("malformed", f"the form cannot be read: {why}", headers={"Connection": "close"})


def _options(disposition: str) -> dict[str, str]:
    """The parameters of a Content-Disposition in UTF-8; `filename*` (RFC 5987), which some clients send, goes before `filename`."""
    # The parser of parameters takes Latin-1, so the text goes through it as bytes in disguise.
    disguised = disposition.encode().decode("latin-1")
    _, raw = parse_options_header(disguised)
    options = {name.decode("latin-1"): value.decode() for name, value in raw.items()}
    extended = _EXTENDED.search(disposition)
    if extended is not None:
        options["filename"] = unquote(extended[1], errors="replace")
    if "filename" in options:
        options["filename"] = options["filename"].replace("%22", '"').rpartition("/")[2]
    return options
