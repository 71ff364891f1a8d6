"""Which areas there are, and the way between stored text and event structs: encode, decode, upcast.

A new area is named here once; a new event type is not: it is found through its area.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from eventstore.errors import Refused
from eventstore.record import NewEvent, RecordedEvent
from projections import (
    access,
    active,
    adoptions,
    clock,
    device,
    display,
    heartbeats,
    jobs,
    loop,
    media,
    messages,
    playback,
    plays,
    settings,
)
from projections.area import Area

AREAS: tuple[Area, ...] = (
    media.AREA,
    loop.AREA,
    active.AREA,
    playback.AREA,
    settings.AREA,
    messages.AREA,
    jobs.AREA,
    heartbeats.AREA,
    display.AREA,
    device.AREA,
    plays.AREA,
    access.AREA,
    adoptions.AREA,
    clock.AREA,
)
BY_NAME = {area.name: area for area in AREAS}
AREA_OF_TYPE: dict[str, Area] = {type: area for area in AREAS for type in area.events}
TYPE_OF_STRUCT: dict[type[msgspec.Struct], str] = {struct: type for area in AREAS for type, struct in area.events.items()}

PLAN_AREAS = ("media", "loop", "active", "playback", "settings", "messages", "clock")
"""Areas whose events can change what plays; the facts of the player and the worker's progress cannot."""


class UnknownEvent(Refused):
    """The log holds an event of a type or schema version that this program does not know: it was written by a newer one."""

    code = "unknown_event"


@cache
def decoder(type: str) -> msgspec.json.Decoder[Any]:
    """The decoder for the present shape of a type."""
    return msgspec.json.Decoder(AREA_OF_TYPE[type].events[type])


def version_of(type: str) -> int:
    """The schema version in which events of this type are written now."""
    return AREA_OF_TYPE[type].versions.get(type, 1)


def encode(event: msgspec.Struct) -> NewEvent:
    """An event struct as the store takes it."""
    type = TYPE_OF_STRUCT[event.__class__]
    return NewEvent(type, msgspec.json.encode(event).decode(), version_of(type))


def stream_of(event: msgspec.Struct) -> str:
    """The stream that an event struct belongs to."""
    return AREA_OF_TYPE[TYPE_OF_STRUCT[event.__class__]].stream(event)


def decode(type: str, schema_version: int, data: str) -> Any:
    """The event struct for stored text of any schema version that was ever written. Raises UnknownEvent."""
    area = AREA_OF_TYPE.get(type)
    if area is None:
        raise UnknownEvent(f"the log holds events of a newer pixelog: update it (the type {type!r} is not known here)")
    current = area.versions.get(type, 1)
    if schema_version == current:
        return decoder(type).decode(data)
    if schema_version > current:
        raise UnknownEvent(
            f"the log holds events of a newer pixelog: update it ({type} has schema version {schema_version}, known is {current})"
        )
    raw = msgspec.json.decode(data)
    for version in range(schema_version, current):
        raw = area.upcasters[type, version](raw)
    return msgspec.convert(raw, area.events[type])


def struct_of(event: RecordedEvent) -> Any:
    """The event struct of a recorded event."""
    return decode(event.type, event.schema_version, event.data)
