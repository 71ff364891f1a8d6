"""What goes into the log and what comes out of it, as values. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, cast

import msgspec

from eventstore.errors import Invalid

EVENTS_PER_BATCH_MAX = 1_000
"""Events in one append. A batch is held in memory and inside one write transaction, which blocks every other writer."""

EVENT_BYTES_MAX = 1024 * 1024
"""Bytes of one event's data in UTF-8. Larger content belongs into a blob that the event names."""

TAGS_PER_EVENT_MAX = 100
"""Tags of one event. Each is a row of the index of tags, at 1 KiB at most; with its data an event so stays below 1.2 MB."""

POSITION_MAX = (1 << 63) - 1
"""SQLite's integers end there."""

NAME_BYTES_MAX = 1_024
"""Bytes of a stream name, type, actor or tag in UTF-8; slugs are opaque Unicode, so generous."""


class NewEvent(msgspec.Struct, frozen=True):
    """An event to append.

    `type` is a literal tag written by a person, `data` its JSON text (≤ 1 MiB), `schema_version` the shape of that text.
    `tags` (≤ 100) are labels that a later append condition may ask for. `id` is a UUID of 16 bytes; None lets the store make a UUIDv7.
    """

    type: str
    data: str = "{}"
    schema_version: int = 1
    tags: tuple[str, ...] = ()
    id: bytes | None = None


class Origin(msgspec.Struct, frozen=True):
    """Who and what is behind an append. All parts are optional text."""

    actor: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None


NOBODY = Origin()


class RecordedEvent(msgspec.Struct, frozen=True):
    """An event as it stands in the log.

    `position` counts 1, 2, 3 … over the log without gaps, `version` within the stream from 1. `logtime_us` increases strictly and
    is moved by the boot-time clock only; `time_us` is what the wall clock read. `chain` is the 32-byte hash up to here.
    """

    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    id: bytes
    logtime_us: int
    time_us: int
    actor: str | None
    correlation_id: str | None
    causation_id: str | None
    tags: tuple[str, ...]
    data: str
    chain: bytes


class Head(msgspec.Struct, frozen=True):
    """The end of the log: the last event's position, chain and times, and the boot in which it was written.

    `boottime_us` is the boot-time clock at the last event, so that logtime now = logtime_us + (boot time now − boottime_us) within
    the same boot. `epoch` grows by one whenever a power cut may have taken relaxed events that readers had seen; `dirty` says that
    relaxed events may be unsynced; `synced_position` is the last position known to be on the disk.
    """

    position: int
    chain: bytes
    logtime_us: int
    time_us: int
    boot_id: str
    boottime_us: int
    epoch: int
    dirty: bool
    synced_position: int


class Expect(msgspec.Struct, frozen=True):
    """A condition on a stream: at exactly `version`, or `exists`, or `none`."""

    stream: str
    kind: Literal["exact", "exists", "none"]
    version: int = 0


class NoneSince(msgspec.Struct, frozen=True):
    """A condition on the log: no event with one of `types` (empty: any) and all of `tags` after position `after`. Types and tags are
    compared as they are: no patterns."""

    after: int
    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def names(given: Any, what: str) -> tuple[str, ...]:
    """Texts that were given as a list or tuple, as a tuple. Raises Invalid; for a single text, too, which would pass for a list of characters."""
    if isinstance(given, str):
        raise Invalid(f"{what} is a list of texts: write [{given!r:.80}], not {given!r:.80}")
    if not isinstance(given, (list, tuple)):
        raise Invalid(f"{what} is a list or tuple of texts, not {given!r:.80}")
    some = tuple(cast("Iterable[Any]", given))
    for one in some:
        if not isinstance(one, str):
            raise Invalid(f"{what} is a list of texts, and {one!r:.80} is none")
        if not one.isascii():
            try:
                one.encode()
            except UnicodeEncodeError as error:
                raise Invalid(f"{what} has one that is not Unicode text (half of a surrogate pair): {one!r:.80}") from error
    return some


def place(given: Any, what: str) -> int:
    """A position that was given; before the first one is 0. Raises Invalid for what no position can be."""
    if not isinstance(given, int) or given > POSITION_MAX:
        raise Invalid(f"{what} is a position, a whole number up to {POSITION_MAX}, not {given!r:.80}")
    return max(given, 0)


Condition = Expect | NoneSince
ExpectedVersion = int | Literal["any", "none", "exists"]
Batch = Iterable[tuple[str, Iterable[NewEvent], ExpectedVersion]]
"""Appends to several streams: (stream, events, expected version) each. For annotating a variable that goes into `append_batch`."""


class Appended(msgspec.Struct, frozen=True):
    """The answer to an append. `repeated` is true when an idempotency key was known: the events are those of the first time."""

    events: tuple[RecordedEvent, ...]
    position: int
    repeated: bool = False

    @property
    def version(self) -> int:
        """Version of the last event in its stream (0 for an append of nothing)."""
        return self.events[-1].version if self.events else 0
