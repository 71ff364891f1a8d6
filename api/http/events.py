"""Routes of the log: a page of it, and following it."""

from __future__ import annotations

import re

import msgspec
from starlette.responses import Response

from api.commands.deciding import Fault
from api.http.conditional import head_tag
from api.http.door import Snapshot
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import tagged
from api.http.routing import Route
from api.http.stream import EventStream, reset_block
from eventstore.reading import EVERYTHING, PAGE_BYTES_MAX, Filter, read_page
from eventstore.record import RecordedEvent
from projections.envelope import CloudEvent, cloud_event
from projections.times import parse_rfc3339

PATTERNS_MAX = 20
"""Patterns of one filter."""

PATTERN_CHARACTERS_MAX = 300
"""Characters of a pattern: the longest stream names."""

STARS_MAX = 8
"""Stars in a pattern: what matching costs grows with each."""

WINDOWS_MAX = 50
"""Windows of the log that one request looks through when its filter matches little: about half a second. `next` goes on from there."""

_OFFSET = re.compile(r"(T.*) (\d\d:\d\d)\Z", re.IGNORECASE)


class Page(msgspec.Struct, frozen=True, rename="camel"):
    """A page of the log. `next` is the `after` of the page that follows, None at the head."""

    log_id: str
    epoch: int
    items: list[CloudEvent]
    next: int | None
    head: int


def filter_of(call: Call) -> Filter:
    """The filter that a request asks for. Problem: invalid."""
    return Filter(
        types=_patterns(call, "type"),
        streams=_patterns(call, "stream"),
        since_us=_time(call, "since"),
        until_us=_time(call, "until"),
    )


def _patterns(call: Call, name: str) -> tuple[str, ...]:
    patterns = tuple(call.query_all(name))
    wrong = None
    if len(patterns) > PATTERNS_MAX:
        wrong = f"may be given {PATTERNS_MAX} times at most"
    if any(len(one) > PATTERN_CHARACTERS_MAX or one.count("*") > STARS_MAX for one in patterns):
        wrong = f"has at most {PATTERN_CHARACTERS_MAX} characters and {STARS_MAX} stars"
    if wrong is not None:
        raise Problem("invalid", f"{name} {wrong}", [Fault(f"?{name}", wrong)])
    return patterns


def _time(call: Call, name: str) -> int | None:
    text = call.query(name)
    if text is None:
        return None
    try:
        # A `+` of an offset that was not percent-encoded arrives as a blank.
        return parse_rfc3339(_OFFSET.sub(r"\1+\2", text))
    except ValueError as error:
        raise Problem("invalid", f"{name}: {error}", [Fault(f"?{name}", str(error))]) from error


async def list_events(call: Call) -> Response:
    """Events after a position, in order."""
    filter, limit = filter_of(call), call.limit()
    after = call.query_number("after", 0) or 0

    def answer(snapshot: Snapshot) -> Response:
        return tagged(call, snapshot, head_tag(snapshot, call.target), lambda: _page(snapshot, after, limit, filter))

    if filter != EVERYTHING:
        return await call.door.read(answer)
    with call.door.snapshot() as snapshot:
        return answer(snapshot)


def _page(snapshot: Snapshot, after: int, limit: int, filter: Filter) -> Page:
    head, events = snapshot.head, list[RecordedEvent]()
    cursor, size_bytes = after, 0
    for _ in range(WINDOWS_MAX):
        page = read_page(snapshot.db, cursor, limit - len(events), filter)
        events += page.events
        cursor = page.scanned_to
        size_bytes += sum([len(event.data) for event in page.events])
        if len(events) == limit or cursor >= head.position or size_bytes > PAGE_BYTES_MAX:
            break
    items = [cloud_event(event, snapshot.log_id) for event in events]
    return Page(snapshot.log_id, head.epoch, items, cursor if cursor < head.position else None, head.position)


async def stream_events(call: Call) -> EventStream:
    """Follow the log from `Last-Event-ID`, else `after`, else the head."""
    filter = filter_of(call)
    after = call.query_number("after", 0)
    last = call.header("last-event-id")
    door, may = call.door, call.caller.may
    with door.snapshot() as snapshot:
        head = snapshot.head
        reason = None
        if call.query("log") not in (None, "", f"{snapshot.log_id}.{head.epoch}"):
            reason = "other_log"
        elif last:
            after = int(last) if last.isascii() and last.isdigit() and len(last) < 20 else None
            reason = "unknown_id" if after is None else None
        if reason is None and after is not None and after > head.position:
            reason = "beyond_head"
        if reason is not None:
            return EventStream(door, may, head.position, filter, head.epoch, reset_block(snapshot, reason))
        stream = EventStream(door, may, head.position if after is None else after, filter, head.epoch)
    if after is None:
        stream.announce()
    return stream


ROUTES = (Route("GET", "/events", list_events), Route("GET", "/events/stream", stream_events))
