"""Commands of area heartbeats: note that a service lives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import apsw
import msgspec

from api.commands import bounds
from api.commands.deciding import Context, Fault, Handler, Rejected
from projections import heartbeats
from projections.heartbeats import DEAD_AFTER_US, STALE_AFTER_US, HeartbeatRecorded, Status

SERVICES_MAX = 10_000
"""Services with a row: one for each program of a large installation; a name made up for every beat stops here."""

DETAILS_BYTES_MAX = 16 * 1024
"""Bytes of details as JSON. Beats are frequent and each stays in the log."""

THRESHOLD_SECONDS_MIN, THRESHOLD_SECONDS_MAX = 0.1, 31_536_000
"""A silence that is judged: between a tenth of a second and a year."""


class RecordHeartbeat(msgspec.Struct, frozen=True):
    """A service says how it is. Thresholds in seconds that are None stay as they were."""

    service: str
    status: Status
    details: dict[str, Any] | None = None
    stale_after_seconds: float | None = None
    dead_after_seconds: float | None = None


class State(msgspec.Struct, frozen=True):
    """The service's thresholds so far (stale, dead; µs), None when it is new; then `full` says that no new one has room."""

    thresholds: tuple[int, int] | None
    full: bool


def load(db: apsw.Connection, command: RecordHeartbeat, now_us: int) -> State:
    """The service as it is known."""
    thresholds = heartbeats.thresholds(db, command.service)
    return State(thresholds, thresholds is None and heartbeats.count(db) >= SERVICES_MAX)


def decide(command: RecordHeartbeat, state: State, context: Context) -> Sequence[msgspec.Struct]:
    """One event for each beat: that it came is the news."""
    bounds.refuse(_faults(command))
    if state.full:
        raise Rejected("too_many", f"{SERVICES_MAX:,} services have been heard of; {command.service!r} would be one more")
    stale_us, dead_us = state.thresholds or (STALE_AFTER_US, DEAD_AFTER_US)
    if command.stale_after_seconds is not None:
        stale_us = round(command.stale_after_seconds * 1_000_000)
    if command.dead_after_seconds is not None:
        dead_us = round(command.dead_after_seconds * 1_000_000)
    if stale_us > dead_us:
        message = f"a service is stale ({stale_us / 1_000_000:g} s) before it is dead ({dead_us / 1_000_000:g} s)"
        pointer = "/deadAfterSeconds" if command.stale_after_seconds is None else "/staleAfterSeconds"
        raise Rejected("invalid", message, [Fault(pointer, message)])
    return [HeartbeatRecorded(command.service, command.status, command.details, stale_us, dead_us)]


def _faults(command: RecordHeartbeat) -> list[Fault]:
    faults = [*bounds.name("/service", command.service), *bounds.free("/details", command.details, DETAILS_BYTES_MAX)]
    if command.status not in get_args(Status):
        faults.append(Fault("/status", f"must be one of {', '.join(get_args(Status))}"))
    for pointer, seconds in (
        ("/staleAfterSeconds", command.stale_after_seconds),
        ("/deadAfterSeconds", command.dead_after_seconds),
    ):
        faults += bounds.number(pointer, seconds, THRESHOLD_SECONDS_MIN, THRESHOLD_SECONDS_MAX)
    return faults


HANDLERS = {RecordHeartbeat: Handler(load, decide, durable=lambda _: False)}
