"""The one form of an event outside the database: CloudEvents 1.0 JSON (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md).

Extension attributes: `position`, `sequence`, `streamversion`, `schemaversion`, `logtime`, `actor`, `correlationid`, `causationid`, `chainhash`. Pure.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from eventstore.record import RecordedEvent
from projections.times import rfc3339

INTEGER_MAX = 2**31 - 1
"""The largest Integer of CloudEvents; a position beyond it is left out, `sequence` has it all the same."""

SEQUENCE_DIGITS = 20
"""Enough for every 64-bit position, so that sequences sort as text."""


class CloudEvent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An event for readers. `data` is the stored JSON text, `logtime` µs, `time` RFC 3339, `chainhash` hexadecimal."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    dataschema: str
    data: msgspec.Raw
    position: int | None = None
    sequence: str
    streamversion: int
    schemaversion: int
    logtime: str
    actor: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    chainhash: str


def cloud_event(event: RecordedEvent, device: str) -> CloudEvent:
    """The event as readers get it; `device` names the display whose log it is from (its log id)."""
    return CloudEvent(
        specversion="1.0",
        id=str(UUID(bytes=event.id)),
        source=f"/pixelog/{device}",
        type=event.type,
        subject=event.stream,
        time=rfc3339(event.time_us),
        datacontenttype="application/json",
        dataschema=f"/api/v1/schemas/{event.type}/{event.schema_version}",
        data=msgspec.Raw(event.data.encode()),
        position=event.position if event.position <= INTEGER_MAX else None,
        sequence=f"{event.position:0{SEQUENCE_DIGITS}d}",
        streamversion=event.version,
        schemaversion=event.schema_version,
        logtime=str(event.logtime_us),
        actor=event.actor,
        correlationid=event.correlation_id,
        causationid=event.causation_id,
        chainhash=event.chain.hex(),
    )
