"""A request as handlers see it, and the way from its bytes to values.

Malformed JSON is 400, another content type 415, a body beyond its limit 413; well-formed but wrong is 422 and names every wrong field, not
only the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, get_args
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from api import cursors
from api.commands.deciding import Fault
from api.http.door import Door
from api.http.problems import Problem

T = TypeVar("T")

JSON_BYTES_MAX = 1024 * 1024
"""Bytes of a JSON body: an event has no room for more."""

FAULTS_MAX = 100
"""Faults named in one answer; whoever has more mends these first."""

LIMIT_DEFAULT, LIMIT_MAX = 50, 200
"""Items of a page of a list."""

COUNT_MAX = 2**63 - 1
"""The largest number that the database holds."""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a command that needs no words."""


class Gone(Exception):
    """The caller hung up before the body was complete; nobody is there to be answered."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks: `actor` as the log names it, `session` the id of its session if it is a signed-in browser. `may` asks again, in mid-answer,
    whether it still may; on the event loop."""

    actor: str
    session: str | None = None
    may: Callable[[], bool] = lambda: True


NOBODY = Caller("http:nobody")
"""Until the gate has said who it is."""


class Call:
    """One request. `path` is as it came (percent-encoded), `parameters` are decoded."""

    __slots__ = ("_headers", "_query", "caller", "door", "method", "parameters", "path", "receive", "scope", "template")

    def __init__(self, door: Door, scope: Scope, receive: Receive) -> None:
        self.door = door
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        self.path: str = scope.get("raw_path", b"").decode("latin-1") or scope["path"]
        self.template = ""
        self.caller = NOBODY
        self.parameters: Mapping[str, str] = {}
        self._headers: dict[bytes, bytes] | None = None
        self._query: dict[str, list[str]] | None = None

    def header(self, name: str) -> str | None:
        """A header's value by its lower-case name; several of one name are joined as a list."""
        if self._headers is None:
            self._headers = {}
            for key, value in self.scope["headers"]:
                before = self._headers.get(key)
                self._headers[key] = value if before is None else before + b", " + value
        value = self._headers.get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    @property
    def target(self) -> str:
        """Path and query as they came: what a representation is named by."""
        return f"{self.path}?{self.scope['query_string'].decode('latin-1')}"

    def query_all(self, name: str) -> list[str]:
        """Every value of a query parameter."""
        if self._query is None:
            self._query = {}
            raw = self.scope["query_string"].decode("latin-1")
            try:
                pairs = parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=1_000)
            except ValueError as error:
                raise Problem("malformed", f"the query cannot be read: {error}") from error
            for key, value in pairs:
                self._query.setdefault(key, []).append(value)
        return self._query.get(name, [])

    def query(self, name: str) -> str | None:
        """A query parameter that has one value; the last one counts."""
        values = self.query_all(name)
        return values[-1] if values else None

    def query_number(self, name: str, least: int, most: int = COUNT_MAX) -> int | None:
        """A whole number among the query parameters. Problem: invalid."""
        text = self.query(name)
        if text is None:
            return None
        number = int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20 else None
        if number is None or not least <= number <= most:
            above = f"{least:,} or more" if most == COUNT_MAX else f"{least:,} to {most:,}"
            raise _wrong_query(name, f"must be a whole number, {above}, not {text!r}")
        return number

    def query_choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """One of a closed set among the query parameters. Problem: invalid."""
        text = self.query(name)
        if text is not None and text not in choices:
            raise _wrong_query(name, f"must be one of {', '.join(choices)}, not {text!r}")
        return text

    def limit(self) -> int:
        """How many items a page of a list is to have."""
        limit = self.query_number("limit", 1, LIMIT_MAX)
        return LIMIT_DEFAULT if limit is None else limit

    def cursor(self, type: type[T]) -> T | None:
        """The place where the page before ended. Problem: invalid."""
        text = self.query("cursor")
        if not text:
            return None
        try:
            return cursors.decode(text, type)
        except ValueError as error:
            raise _wrong_query("cursor", str(error)) from error

    async def chunk(self) -> tuple[bytes, bool]:
        """The next piece of the body, and whether more may follow. Raises Gone."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        return message.get("body", b""), message.get("more_body", False)

    async def body(self, bytes_max: int) -> bytes:
        """The whole body. Problem: too_large, also by the length that was announced."""
        announced = self.header("content-length")
        if announced is not None and announced.isdigit() and int(announced) > bytes_max:
            raise _too_large(bytes_max)
        body, more = await self.chunk()
        while more:
            piece, more = await self.chunk()
            body += piece
            if len(body) > bytes_max:
                raise _too_large(bytes_max)
        return body

    async def decode(self, type: type[T], bytes_max: int = JSON_BYTES_MAX) -> T:
        """The JSON body as a value. Problem: malformed, unsupported_type, too_large, invalid."""
        body = await self.body(bytes_max)
        content_type = (self.header("content-type") or "application/json").partition(";")[0].strip().lower()
        if not body and type is Nothing:
            body, content_type = b"{}", "application/json"
        if content_type != "application/json" and not content_type.endswith("+json"):
            raise Problem(
                "unsupported_type",
                f"the body is {content_type}; send JSON and say so: -H 'Content-Type: application/json'",
                headers={"Accept": "application/json"},
            )
        return decoded(body, type)

    async def decode_nothing(self) -> None:
        """A body that says nothing: empty, or an object without fields."""
        await self.decode(Nothing)


def _too_large(bytes_max: int) -> Problem:
    return Problem("too_large", f"the body has more than {bytes_max:,} bytes", headers={"Connection": "close"})


def _wrong_query(name: str, message: str) -> Problem:
    return Problem("invalid", f"{name} {message}", [Fault(f"?{name}", message)])


@cache
def _decoder(type: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(type)


def decoded(body: bytes, type: type[T]) -> T:
    """JSON text as a value. Problem: malformed, invalid."""
    try:
        return _decoder(type).decode(body)
    except msgspec.ValidationError as error:
        raw = _raw(body)
        faults = faults_of(raw, type, "")[:FAULTS_MAX] or [_fault("", str(error))]
        detail = "; ".join(f"{fault.pointer.lstrip('/') or 'the body'} {fault.message}" for fault in faults[:5])
        raise Problem("invalid", detail, faults) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _malformed(error) from error


def _raw(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _malformed(error) from error


def _malformed(error: Exception) -> Problem:
    return Problem("malformed", f"the body is not JSON in UTF-8: {error}")


def faults_of(raw: Any, type: Any, pointer: str) -> list[Fault]:
    """Everything that keeps `raw` from being a `type`, field by field, into structs and lists of structs."""
    for option in get_args(type) or (type,):
        if _is_struct(option) and isinstance(raw, dict):
            return _struct_faults(raw, option, pointer)  # type: ignore[reportUnknownArgumentType]
    args = get_args(type)
    if isinstance(raw, list) and args and _is_struct(args[0]):
        return [
            fault
            for place, one in enumerate(raw)  # type: ignore[reportUnknownArgumentType]
            for fault in faults_of(one, args[0], f"{pointer}/{place}")
        ][:FAULTS_MAX]
    try:
        msgspec.convert(raw, type)
    except msgspec.ValidationError as error:
        return [_fault(pointer, str(error))]
    return []


def _is_struct(type: Any) -> bool:
    return isinstance(type, msgspec.StructMeta) and type.__struct_config__.tag is None


def _struct_faults(raw: dict[str, Any], type: Any, pointer: str) -> list[Fault]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(type)}
    known = ", ".join(fields) or "none"
    faults = [Fault(_join(pointer, name), f"is not known here; known: {known}") for name in raw if name not in fields]
    for name, field in fields.items():
        if name in raw:
            faults += faults_of(raw[name], field.type, _join(pointer, name))
        elif field.required:
            faults.append(Fault(_join(pointer, name), "is missing"))
    return faults


def _join(pointer: str, name: str) -> str:
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


def _fault(pointer: str, message: str) -> Fault:
    """A fault from msgspec's message, whose end may say where: `Expected …, got … - at `$.when.days[0]``."""
    what, _, where = message.partition(" - at `$")
    for part in where.rstrip("`").replace("[", ".").replace("]", "").split("."):
        if part:
            pointer = _join(pointer, part)
    words = what.replace("`", "").replace("Expected", "must be", 1).replace("Object missing", "is missing", 1)
    return Fault(pointer, words.replace(", got ", ", not ", 1))
