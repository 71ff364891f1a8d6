"""Logs kept as files, with what they fold to: proof that every shape ever written still means what it meant.

A case is a folder: `events.jsonl` (one CloudEvent a line, as `pixelog log --json` prints them), `state.json` (the resources of every area after the
last event), `digest.txt` (the digest of each area's tables); of the areas that the case has events of. The events are written once and never again;
`python -m projections.replay.fixtures FOLDER` makes the other two anew, which is only right after looking at the difference.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

import apsw
import msgspec

from eventstore.clock import Reading
from eventstore.record import NewEvent, Origin
from eventstore.store import EventStore
from projections import catalogue, folding
from projections.area import Area
from projections.catalogue import AREAS
from projections.envelope import CloudEvent
from projections.replay import digests
from projections.replay.state import plain
from projections.times import parse_rfc3339

_line = msgspec.json.Decoder(CloudEvent)


class _Then:
    """A clock that reads what the events say."""

    def __init__(self) -> None:
        self.reading = Reading(0, 0, "fixture", True)

    def read(self) -> Reading:
        return self.reading


def cases(root: Path) -> list[Path]:
    """The folders with events under `root`, by name."""
    return sorted(path.parent for path in root.glob("*/events.jsonl"))


def events(case: Path) -> Iterator[CloudEvent]:
    """The events of a case in order."""
    for line in (case / "events.jsonl").read_bytes().splitlines():
        yield _line.decode(line)


def load(case: Path) -> EventStore:
    """The events of a case as a log in memory, appended one by one as they stand, and folded. The caller closes it."""
    clock = _Then()
    store = EventStore.open(":memory:", clock=clock)
    for event in events(case):
        clock.reading = Reading(parse_rfc3339(event.time), int(event.logtime), "fixture", True)
        new = NewEvent(event.type, bytes(event.data).decode(), event.schemaversion, id=UUID(event.id).bytes)
        store.append(event.subject, new, origin=Origin(event.actor, event.correlationid, event.causationid))
    folding.prepare(store)
    return store


def areas_of(case: Path) -> list[Area]:
    """The areas that a case has events of."""
    named = {catalogue.AREA_OF_TYPE[event.type].name for event in events(case)}
    return [area for area in AREAS if area.name in named]


def state_text(db: apsw.Connection, areas: Iterable[Area]) -> str:
    """`state.json`."""
    state = {area.name: plain(area, db) for area in areas}
    return msgspec.json.format(msgspec.json.encode(state, order="sorted"), indent=2).decode() + "\n"


def digest_text(db: apsw.Connection, areas: Iterable[Area]) -> str:
    """`digest.txt`."""
    return "".join(f"{name} {digest}\n" for name, digest in sorted(digests.of_areas(db, areas).items()))


def remake(case: Path) -> None:
    """Write state and digests of a case anew."""
    with load(case) as store, store.snapshot() as db:
        areas = areas_of(case)
        (case / "state.json").write_text(state_text(db, areas))
        (case / "digest.txt").write_text(digest_text(db, areas))


if __name__ == "__main__":
    for one in cases(Path(sys.argv[1])):
        remake(one)
        sys.stdout.write(f"{one.name}\n")
