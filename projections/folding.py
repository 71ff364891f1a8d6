"""Keeps the projection tables equal to the log: apply in the writer's transaction, catch up, rebuild, fold into memory, digest.

`projections` is the bookkeeping: per area the position up to which the log is folded, the position of its own last event, and the fingerprint
of the code that folded. It commits with the rows, so a crash cannot make it lie.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import apsw
import msgspec

from eventstore.reading import read_head
from eventstore.record import RecordedEvent
from eventstore.store import EventStore
from eventstore.transaction import Transaction
from projections import catalogue
from projections.area import Area, At
from projections.catalogue import AREA_OF_TYPE, AREAS
from projections.rows import FoldError, MemoryRows, SqlRows, Table

CATCH_UP_EVENTS = 2_000
"""Events folded in one write transaction when the projections are behind: about 20 ms, after which other writers have their turn."""

_BOOKKEEPING = """CREATE TABLE IF NOT EXISTS projections (
    area        TEXT PRIMARY KEY,
    position    INTEGER NOT NULL,   -- folded up to here
    changed     INTEGER NOT NULL,   -- position of the area's own last event
    fingerprint TEXT    NOT NULL,
    objects     TEXT    NOT NULL    -- JSON: the tables and views that were created for it, to be dropped at the next rebuild
) STRICT, WITHOUT ROWID"""


def all_tables() -> tuple[Table, ...]:
    """The tables of every area."""
    return tuple(table for area in AREAS for table in area.tables)


@cache
def fingerprint(name: str) -> str:
    """What the rows of an area depend on beside the log: its tables and the code of its module (fold and upcasters)."""
    area = catalogue.BY_NAME[name]
    module: ModuleType | None = inspect.getmodule(area.fold)
    source = inspect.getsource(module) if module is not None else ""
    tables = [table.create_sql() + "".join(table.derived) for table in area.tables]
    return hashlib.sha256(msgspec.json.encode([source, tables, area.views])).hexdigest()


def create_tables(db: apsw.Connection) -> None:
    """Create what is missing, empty, inside the caller's transaction."""
    db.execute(_BOOKKEEPING)
    known = {row[0] for row in db.execute("SELECT area FROM projections")}
    for area in AREAS:
        if area.name not in known:
            objects = create_area(db, area)
            db.execute("INSERT INTO projections VALUES (?, 0, 0, ?, ?)", (area.name, fingerprint(area.name), objects))


def create_area(db: apsw.Connection, area: Area, seeded: bool = True) -> str:
    """Create the tables, derived objects and views of one area. Returns their names, as `objects` keeps them."""
    before = _objects(db)
    for table in area.tables:
        db.execute(table.create_sql())
        for statement in table.derived:
            db.execute(statement)
        if seeded:
            for row in table.seed:
                db.execute(f"INSERT INTO {table.name} VALUES ({','.join('?' * len(row))})", row)
    for view in area.views:
        db.execute(view)
    return msgspec.json.encode(sorted(_objects(db) - before)).decode()


def drop_area(db: apsw.Connection, name: str) -> None:
    """Drop everything that was created for an area, by whichever version; nothing when there is none."""
    objects: str | None = db.execute("SELECT objects FROM projections WHERE area = ?", (name,)).get
    for kind, object in sorted(msgspec.json.decode(objects, type=list[tuple[str, str]]), reverse=True) if objects else ():
        db.execute(f"DROP {kind} IF EXISTS {object}")


def _objects(db: apsw.Connection) -> set[tuple[str, str]]:
    """(kind, name) of the views and tables; not the shadow tables of virtual tables, which go with them."""
    rows: Iterable[Any] = db.execute(
        "SELECT iif(type = 'view', 'VIEW', 'TABLE'), name FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow'"
    )
    return {(kind, name) for kind, name in rows}


def at(event: RecordedEvent) -> At:
    """Where and when an event stands, for a fold."""
    return At(event.position, event.version, event.logtime_us, event.time_us)


def apply(db: apsw.Connection, events: Sequence[tuple[RecordedEvent, Any]]) -> None:
    """Fold events, given with their structs, into the tables, inside the transaction that appended them. Raises FoldError."""
    rows = SqlRows(db)
    changed: dict[str, int] = {}
    for event, struct in events:
        area = AREA_OF_TYPE[event.type]
        rows.apply(area.fold(struct, at(event)))
        changed[area.name] = event.position
    if events:
        for name, position in changed.items():
            db.execute("UPDATE projections SET changed = ? WHERE area = ?", (position, name))
        db.execute("UPDATE projections SET position = ?", (events[-1][0].position,))


def folded_to(db: apsw.Connection) -> int:
    """The position up to which every area is folded."""
    return db.execute("SELECT min(position) FROM projections").get


def changed_at(db: apsw.Connection, *areas: str) -> int:
    """Position of the last event of these areas: what a reader's ETag depends on."""
    marks = ",".join("?" * len(areas))
    return db.execute(f"SELECT coalesce(max(changed), 0) FROM projections WHERE area IN ({marks})", areas).get


def prepare(store: EventStore) -> list[str]:
    """Make the projections of an opened log current: create missing tables, rebuild areas whose fold has changed, fold what is missing.

    Returns the names of the areas that were rebuilt.
    """
    with store.reading() as db:
        has_table = db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'projections'").get
        known: dict[Any, Any] = dict(db.execute("SELECT area, fingerprint FROM projections").fetchall()) if has_table else {}  # type: ignore[arg-type]
        head = read_head(db).position
        current = bool(known) and folded_to(db) == head
    stale = [area for area in AREAS if known.get(area.name, fingerprint(area.name)) != fingerprint(area.name)]
    if len(known) < len(AREAS):
        store.transact(lambda transaction: create_tables(transaction.db))
    for area in stale:
        rebuild(store, (area,))
    if not current or stale or len(known) < len(AREAS):
        catch_up(store)
    return [area.name for area in stale]


def catch_up(store: EventStore) -> None:
    """Fold events that are in the log but not in the tables, in bounded transactions, each area from its own position."""

    def step(transaction: Transaction) -> bool:
        db = transaction.db
        positions: dict[Any, Any] = dict(db.execute("SELECT area, position FROM projections").fetchall())  # type: ignore[arg-type]
        start = min(positions.values())
        end = min(transaction.head.position, start + CATCH_UP_EVENTS)
        if start == end:
            return False
        rows, changed = SqlRows(db), dict[str, int]()
        for area, position in positions.items():
            if position < end:
                db.execute("UPDATE projections SET position = ? WHERE area = ?", (end, area))
        for where, type, version, data in _scan(db, start, end):
            area = AREA_OF_TYPE.get(type)
            if area is None:
                catalogue.decode(type, version, data)  # raises UnknownEvent with what to do
                continue
            if where.position > positions[area.name]:
                rows.apply(area.fold(catalogue.decode(type, version, data), where))
                changed[area.name] = where.position
        for name, position in changed.items():
            db.execute("UPDATE projections SET changed = ? WHERE area = ?", (position, name))
        return True

    while store.transact(step):
        pass


def _scan(db: apsw.Connection, after: int, until: int) -> Iterable[tuple[At, str, int, str]]:
    rows: Iterable[Any] = db.execute(
        "SELECT position, version, logtime, time, type, schemaversion, data FROM events WHERE position > ? AND position <= ? ORDER BY position",
        (after, until),
    )
    for position, version, logtime, time, type, schema_version, data in rows:
        yield At(position, version, logtime, time), type, schema_version, data


def fold_to(
    db: apsw.Connection, until: int, areas: Iterable[Area] = AREAS, rows: MemoryRows | None = None, after: int = 0
) -> MemoryRows:
    """The tables of these areas as they were after position `until`, folded in memory from the log (or onwards from `rows`, which hold
    the state after `after`). Reads through the caller's connection."""
    areas = tuple(areas)
    wanted = {type: (area.fold, catalogue.version_of(type), catalogue.decoder(type)) for area in areas for type in area.events}
    rows = rows or MemoryRows(table for area in areas for table in area.tables)
    for where, type, version, data in _scan(db, after, until):
        entry = wanted.get(type)
        if entry is None:
            if type not in AREA_OF_TYPE:
                catalogue.decode(type, version, data)
            continue
        fold, current, decoder = entry
        struct = decoder.decode(data) if version == current else catalogue.decode(type, version, data)
        try:
            rows.apply(fold(struct, where))
        except FoldError as error:
            raise FoldError(f"event {where.position} ({type}): {error}") from error
    return rows


def database_at(db: apsw.Connection, until: int, areas: Iterable[Area] = AREAS) -> apsw.Connection:
    """A database in memory holding the projections as they were after `until`, with their views: every query of the areas runs on it. The
    caller closes it."""
    areas = tuple(areas)
    rows = fold_to(db, until, areas)
    past = apsw.Connection(":memory:")
    past.execute(_BOOKKEEPING)
    for area in areas:
        create_area(past, area, seeded=False)
        past.execute("INSERT INTO projections VALUES (?, ?, ?, '', '[]')", (area.name, until, until))
    rows.write_to(past)
    return past


def rebuild(store: EventStore, areas: Sequence[Area] = AREAS) -> None:
    """Make the tables of these areas anew from the log, in one write transaction."""

    def work(transaction: Transaction) -> None:
        db, head = transaction.db, transaction.head.position
        rows = fold_to(db, head, areas)
        for area in areas:
            drop_area(db, area.name)
            objects = create_area(db, area, seeded=False)
            types = ",".join("?" * len(area.events))
            changed = db.execute(f"SELECT coalesce(max(position), 0) FROM events WHERE type IN ({types})", tuple(area.events)).get
            db.execute(
                "INSERT INTO projections VALUES (?, ?, ?, ?, ?) ON CONFLICT (area) DO UPDATE SET position = excluded.position, "
                "changed = excluded.changed, fingerprint = excluded.fingerprint, objects = excluded.objects",
                (area.name, head, changed, fingerprint(area.name), objects),
            )
        rows.write_to(db)

    store.transact(work)


def digest(rows: Iterable[Sequence[Any]]) -> str:
    """SHA-256 over rows in key order, each as JSON with its length before it."""
    hash = hashlib.sha256()
    for row in rows:
        text = msgspec.json.encode(row)
        hash.update(len(text).to_bytes(4, "big") + text)
    return hash.hexdigest()


def table_rows(db: apsw.Connection, table: Table) -> Iterable[tuple[Any, ...]]:
    """The rows of a projection table in key order."""
    return db.execute(f"SELECT {', '.join(table.names)} FROM {table.name} ORDER BY {', '.join(table.names[: table.key_columns])}")
