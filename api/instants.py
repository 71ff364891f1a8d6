"""Points as the doors take them, HTTP and command line: nobody has seen what is still to come, so the present is the last instant there is."""

from __future__ import annotations

import apsw
import msgspec

from eventstore.clock import Reading, logtime_at
from eventstore.store import EventStore
from projections.replay import points
from projections.replay.points import BadPoint, Instant
from projections.times import rfc3339

AHEAD_US = 5_000_000
"""The clock of who asks may be ahead by so much and still mean the present: a browser knows the service's time by an answer that may have taken
seconds, and machines whose clocks are set over the network differ by far less."""


def resolve(store: EventStore, log: apsw.Connection, point: str, through: int | None = None) -> Instant:
    """The instant that `point` means, as `points.resolve`; one that lies ahead by at most AHEAD_US is the present.

    Raises BadPoint, also for an instant that is still to come.
    """
    reading, head = store.clock.read(), store.head()
    try:
        found = points.resolve(log, point, through, reading.wall_us)
    except OverflowError as error:
        raise BadPoint(f"{point.strip()!r} lies before all times") from error
    instant = _happened(found, reading, logtime_at(head, reading))
    if reading.boot_id == head.boot_id:
        # Further than now leads only a wall clock that was set forward, of which no event tells yet.
        return msgspec.structs.replace(instant, logtime_us=min(instant.logtime_us, logtime_at(head, reading)))
    if through is None and instant.logtime_us > head.logtime_us:
        # The machine was started again since the last event. `through` asks for what was known before, and how long that held is in no log.
        return msgspec.structs.replace(instant, logtime_us=head.logtime_us, skipped=True)
    return instant


def _happened(instant: Instant, reading: Reading, now_us: int) -> Instant:
    """The instant, or the last one before at which the wall clock showed the same: after it was set back, times that lie ahead were shown already."""
    if instant.time_us <= reading.wall_us or (instant.position and instant.logtime_us <= now_us):
        return instant
    before = tuple(answer for answer in instant.answers if answer.logtime_us <= now_us)
    if before:
        position, logtime_us = before[-1].position, before[-1].logtime_us
        return Instant(position, logtime_us, instant.time_us, before if len(before) > 1 else ())
    if instant.time_us > reading.wall_us + AHEAD_US:
        asked, now = (f"{rfc3339(time_us)[:19]}Z" for time_us in (instant.time_us, reading.wall_us))
        raise BadPoint(f"{asked} is still to come: it is {now} here; head is the last event")
    return msgspec.structs.replace(instant, time_us=reading.wall_us)
