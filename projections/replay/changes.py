"""What changed and who changed it: the difference of two states, one event's changes, the history of one row, the first event that made
something true.

Rows are resources, as their GET shows them. A row that appears or vanishes is one change without a field; else each field that differs is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import apsw
import msgspec

from eventstore.record import RecordedEvent
from projections import catalogue, folding
from projections.area import Area
from projections.catalogue import AREAS
from projections.replay.past import Past, Step
from projections.replay.state import BadQuery, plain, query
from projections.rows import Clear, SqlRows, Write
from projections.times import rfc3339

KEYED_AREAS = {"media", "messages", "jobs", "heartbeats", "plays", "adoptions"}
"""Areas that may have very many rows: in all their tables the first column is the natural key. The others are small and are read whole."""

CHANGES_MAX = 100_000
"""Changes in one difference; beyond it, ask for one area or a shorter stretch."""

Resource = Any
Resources = dict[str, Resource]


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change of one row. Without `field`, the whole row appeared (`before` is None) or vanished (`after` is None). `position` and `type`
    name the event that wrote it."""

    area: str
    key: str
    before: Any
    after: Any
    position: int
    type: str
    field: str | None = None


class Difference(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """What changed from one position to another, in the order of area, key and field."""

    from_: int
    to: int
    changes: tuple[Change, ...]


class TooManyChanges(ValueError):
    """The difference is larger than can be shown at once."""


class Explanation(msgspec.Struct, frozen=True, rename="camel"):
    """One event, who and what is behind it, and each row that it changed."""

    position: int
    type: str
    stream: str
    version: int
    time: str
    logtime: str
    actor: str | None
    correlation_id: str | None
    causation_id: str | None
    data: msgspec.Raw
    changes: tuple[Change, ...]


class Written(msgspec.Struct, frozen=True):
    """The event that wrote a field last."""

    position: int
    type: str
    time: str
    actor: str | None


class Entry(msgspec.Struct, frozen=True):
    """One event in the life of a row."""

    position: int
    type: str
    time: str
    actor: str | None
    changes: tuple[Change, ...]


class History(msgspec.Struct, frozen=True):
    """Every change of one row, oldest first, and for each field that it has now the event that wrote it."""

    area: str
    key: str
    entries: tuple[Entry, ...]
    fields: dict[str, Written]


def difference(log: apsw.Connection, start: int, end: int, areas: Iterable[Area] = AREAS) -> Difference:
    """What is different after `end` from what was after `start`, and which event wrote each. `end` may come before `start`.

    Raises TooManyChanges.
    """
    areas = tuple(areas)
    first, last = min(start, end), max(start, end)
    with Past(log, first, areas) as past:
        before = {area.name: plain(area, past.db) for area in areas}
        past.forward(last)
        after = {area.name: plain(area, past.db) for area in areas}
    net = {(area.name, key) for area in areas for key in before[area.name].keys() | after[area.name].keys()
           if before[area.name].get(key) != after[area.name].get(key)}  # fmt: skip
    if len(net) > CHANGES_MAX:
        raise TooManyChanges(f"{len(net)} rows changed; ask for one area, or for a shorter stretch")
    writers = _writers(log, first, last, net)
    changes = [
        msgspec.structs.replace(change, position=writer.position, type=writer.type)
        for area, key in sorted(net)
        for change in _between(area, key, before[area].get(key), after[area].get(key))
        for writer in (writers[area, key, change.field],)
    ]
    if end < start:
        changes = [msgspec.structs.replace(one, before=one.after, after=one.before) for one in changes]
    return Difference(start, end, tuple(changes))


def _writers(
    log: apsw.Connection, first: int, last: int, net: set[tuple[str, str]]
) -> dict[tuple[str, str, str | None], RecordedEvent]:
    """The last event that wrote each field (None: the row's being there) of these rows."""
    writers: dict[tuple[str, str, str | None], RecordedEvent] = {}
    names = {area for area, _ in net}
    with Past(log, first, tuple(area for area in AREAS if area.name in names)) as past:
        for event, changes in _steps(past, last, lambda area, key: (area, key) in net):
            for change in changes:
                writers[change.area, change.key, change.field] = event
                if change.field is None:
                    # The row appeared or went: its fields were written by the same event.
                    for name in _fields(change.after) | _fields(change.before):
                        writers[change.area, change.key, name] = event
    return writers


def explain(log: apsw.Connection, position: int) -> Explanation:
    """The event at `position`, which must be there, with the rows it changed."""
    with Past(log, position - 1) as past:
        event, changes = next(_steps(past, position, lambda area, key: True))
    return Explanation(
        position=event.position,
        type=event.type,
        stream=event.stream,
        version=event.version,
        time=rfc3339(event.time_us),
        logtime=str(event.logtime_us),
        actor=event.actor,
        correlation_id=event.correlation_id,
        causation_id=event.causation_id,
        data=msgspec.Raw(event.data.encode()),
        changes=changes,
    )


def history(log: apsw.Connection, area: Area, key: str, through: int) -> History:
    """Every change of the row `key` of an area up to position `through`."""
    entries: list[Entry] = []
    fields: dict[str, Written] = {}
    with Past(log, 0, (area,)) as past:
        for event, changes in _steps(past, through, lambda _, other: other == key):
            if not changes:
                continue
            when = rfc3339(event.time_us)
            entries.append(Entry(event.position, event.type, when, event.actor, changes))
            for change in changes:
                for name in [change.field] if change.field is not None else _fields(change.after):
                    fields[name] = Written(event.position, event.type, when, event.actor)
                if change.field is None and change.after is None:
                    fields.clear()
    return History(area.name, key, tuple(entries), dict(sorted(fields.items())))


def first_true(
    log: apsw.Connection, where: str, start: int, end: int, monotone: bool, stop: Callable[[], bool]
) -> tuple[RecordedEvent | None, int]:
    """The first event in (start, end] after which the query's first value is true, and how often it was asked.

    Looks after every event; with `monotone` halves, on the caller's word that once true it stays so. Raises BadQuery.
    """
    asked = 0

    def holds(past: Past) -> bool:
        nonlocal asked
        asked += 1
        rows = query(past.db, where, stop).rows
        return bool(rows and rows[0] and rows[0][0])

    if monotone:
        low, high = start, end + 1
        while high - low > 1:
            middle = (low + high) // 2
            with Past(log, middle) as past:
                low, high = (low, middle) if holds(past) else (middle, high)
        return (None if high > end else _event(log, high)), asked
    with Past(log, start) as past:
        previous: RecordedEvent | None = None
        for step in past.walk(end):
            if previous is not None and holds(past):
                return previous, asked
            previous = step.event
        return (previous if previous is not None and holds(past) else None), asked


def _event(log: apsw.Connection, position: int) -> RecordedEvent:
    with Past(log, position - 1, ()) as past:
        return next(past.walk(position)).event


# -- one step after the other --------------------------------------------------------------------------------------------------------


def _steps(past: Past, until: int, wanted: Callable[[str, str], bool]) -> Iterator[tuple[RecordedEvent, tuple[Change, ...]]]:
    """Each event with the changes that it made to the wanted rows (area, key)."""
    lenses: dict[str, _Lens] = {}
    try:
        for step in past.walk(until):
            area = catalogue.AREA_OF_TYPE.get(step.event.type)
            if area is None or not step.writes:
                yield step.event, ()
                continue
            if area.name not in lenses:
                lenses[area.name] = _Lens(area)
            yield step.event, lenses[area.name].changes(past, step, wanted)
    finally:
        for lens in lenses.values():
            lens.close()


class _Lens:
    """A small copy of one area's tables, holding only the rows that an event touches: so that the area's own query can show them before
    and after without reading all of the area."""

    def __init__(self, area: Area) -> None:
        self._area = area
        self._db = apsw.Connection(":memory:")
        folding.create_area(self._db, area, seeded=False)
        self._rows = SqlRows(self._db)

    def changes(self, past: Past, step: Step, wanted: Callable[[str, str], bool]) -> tuple[Change, ...]:
        """What the step, not yet carried out on `past`, changes."""
        area = self._area
        keys = {str(write.key[0]) for write in step.writes if not isinstance(write, Clear) and len(write.key)}
        if area.name in KEYED_AREAS and not any(wanted(area.name, key) for key in keys):
            return ()
        self._fill(past, step.writes)
        before = plain(area, self._db)
        self._rows.apply(step.writes)
        after = plain(area, self._db)
        return tuple(
            msgspec.structs.replace(change, position=step.event.position, type=step.event.type)
            for key in sorted(before.keys() | after.keys())
            if wanted(area.name, key)
            for change in _between(area.name, key, before.get(key), after.get(key))
        )

    def _fill(self, past: Past, writes: Iterable[Write]) -> None:
        firsts = {write.key[0] for write in writes if not isinstance(write, Clear)}
        for table in self._area.tables:
            self._db.execute(f"DELETE FROM {table.name}")
            narrow = self._area.name in KEYED_AREAS and table.names[0] != "only"
            if narrow:
                rows: Any = [
                    row
                    for first in firsts
                    for row in past.db.execute(f"SELECT * FROM {table.name} WHERE {table.names[0]} IS ?", (first,))
                ]
            else:
                rows = past.db.execute(f"SELECT * FROM {table.name}")
            self._db.executemany(f"INSERT INTO {table.name} VALUES ({','.join('?' * len(table.columns))})", rows)

    def close(self) -> None:
        self._db.close()


def _fields(resource: Resource) -> set[str]:
    return set(resource) if isinstance(resource, Mapping) else set()  # type: ignore[reportUnknownArgumentType]


def _between(area: str, key: str, before: Resource, after: Resource) -> Iterator[Change]:
    """The changes of one row, in the order of fields; `position` and `type` are still to be filled in."""
    if before == after:
        return
    if before is None or after is None or not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        yield Change(area, key, before, after, 0, "")
        return
    for name in sorted(_fields(before) | _fields(after)):
        was, now = before.get(name), after.get(name)  # type: ignore[reportUnknownVariableType]
        if was != now:
            yield Change(area, key, was, now, 0, "", name)


__all__ = [
    "BadQuery",
    "Change",
    "Difference",
    "Explanation",
    "History",
    "TooManyChanges",
    "difference",
    "explain",
    "first_true",
    "history",
]
