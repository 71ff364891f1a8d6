"""`pixelog log`: the events, for people as a table and for programs as CloudEvents, one a line."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Iterator

import msgspec

from api.cli.command import Call, Command, Usage
from api.data import DataDirectory
from api.reading import open_for_reading
from eventstore.reading import PAGE_EVENTS, Filter
from eventstore.record import RecordedEvent
from eventstore.store import EventStore
from projections.catalogue import AREA_OF_TYPE
from projections.envelope import cloud_event
from projections.replay import points
from projections.times import rfc3339

EARLIEST_US = -(2**62)
"""Before all events that there can be, and still a number of SQLite's."""

DATA_CHARACTERS = 80
"""Of an event's data, in the table."""


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--after", type=int, default=0, metavar="N", help="only events after this position")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many")
    parser.add_argument("--type", action="append", default=[], metavar="GLOB", help="only these types, such as 'media.*'")
    parser.add_argument("--stream", action="append", default=[], metavar="GLOB", help="only these streams, such as 'media/cat'")
    parser.add_argument("--since", metavar="T", help="from this time (or position) on")
    parser.add_argument("--until", metavar="T", help="before this time, or up to this position")
    parser.add_argument("--follow", action="store_true", help="go on with what comes")


def _log(call: Call) -> int:
    options = call.options
    if options.after < 0 or (options.limit is not None and options.limit < 0):
        raise Usage("--after and --limit are 0 or more")
    # What events mean is not asked: those of a newer pixelog, and those behind projections that cannot be made current, are shown as they are.
    with open_for_reading(DataDirectory(call.data), prepare=False) as store:
        if options.follow and store.path is None:
            raise Usage(f"there is no log in {call.data} to follow; pixelog up makes one")
        for event in _events(call, store):
            if call.out.json:
                call.out.document(cloud_event(_in_json(event), store.log_id))
            else:
                data = event.data if len(event.data) <= DATA_CHARACTERS else event.data[: DATA_CHARACTERS - 1] + "…"
                when = rfc3339(event.time_us)[:23].replace("T", " ")
                call.out.line(f"{event.position:>7}  {when}  {event.type:<20}  {event.stream}  {event.actor or '-'}  {data}")
    return 0


def _in_json(event: RecordedEvent) -> RecordedEvent:
    """The event; one of a type that is not ours may hold any text, which becomes a JSON string where it is no JSON."""
    if event.type in AREA_OF_TYPE:
        return event
    try:
        msgspec.json.decode(event.data)
    except msgspec.DecodeError:
        return msgspec.structs.replace(event, data=msgspec.json.encode(event.data).decode())
    return event


def _events(call: Call, store: EventStore) -> Iterator[RecordedEvent]:
    options = call.options
    after, until, filter = _bounds(call, store)
    left: int | None = options.limit
    while left is None or left > 0:
        page = store.page(after, PAGE_EVENTS if left is None else min(PAGE_EVENTS, left), filter, until)
        yield from page.events
        left = None if left is None else left - len(page.events)
        if page.scanned_to > after:
            after = page.scanned_to
        elif not options.follow or (until is not None and after >= until):
            return
        else:
            call.out.flush()
            store.watch.wait(after)


def _bounds(call: Call, store: EventStore) -> tuple[int, int | None, Filter]:
    """Position to begin after, last position (None: no end), and the filter."""
    options = call.options
    now_us = time.time_ns() // 1000
    after: int = options.after
    until: int | None = None
    since_us = until_us = None
    if options.since is not None:
        since = points.parse(options.since, now_us)
        if isinstance(since, points.Time):
            since_us = max(EARLIEST_US, since.time_us)
        else:
            after = max(after, (store.head().position if since == "head" else since) - 1)
    if options.until is not None:
        end = points.parse(options.until, now_us)
        if isinstance(end, points.Time):
            until_us = max(EARLIEST_US, end.time_us)
        else:
            until = store.head().position if end == "head" else end
    return after, until, Filter(tuple(options.type), tuple(options.stream), None, since_us, until_us)


LOG = Command(_log, _arguments, points=True)
