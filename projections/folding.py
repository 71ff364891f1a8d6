"""Keeps the projection tables equal to the log: apply in the writer's transaction, fold into memory, the tables of the past, digest.

`projections` is the bookkeeping: per area the position up to which the log is folded, the position of its own last event, and the fingerprint
of the code that folded. It commits with the rows, so a crash cannot make it lie. Bringing tables that lie behind up to date, and making them anew
beside living ones, is in `rebuilding.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import apsw
import msgspec

from eventstore.errors import Refused
from eventstore.record import RecordedEvent
from eventstore.store import EventStore
from projections import catalogue, fingerprints
from projections.area import Area, At
from projections.catalogue import AREA_OF_TYPE, AREAS, UnknownEvent
from projections.rows import FoldError, MemoryRows, SqlRows, Table, Write

PAGE_POSITIONS = 20_000
"""Positions read by one statement when the log is folded: bounds how long a read transaction lasts, some 50 ms."""

_BOOKKEEPING = """CREATE TABLE IF NOT EXISTS projections (
    area        TEXT PRIMARY KEY,
    position    INTEGER NOT NULL,   -- folded up to here
    changed     INTEGER NOT NULL,   -- position of the area's own last event
    fingerprint TEXT    NOT NULL,
    objects     TEXT    NOT NULL,   -- JSON: the tables and views that were created for it, to be dropped at the next rebuild
    stopped     TEXT                -- why it cannot be folded any further, until a rebuild can
) STRICT, WITHOUT ROWID"""


class AreaStopped(Refused):
    """The area cannot be folded any further; its commands are refused, everything else works."""

    code = "area_stopped"


class CannotFold(FoldError):
    """An event that this area's fold cannot take; the log and the fold disagree."""

    def __init__(self, area: str, position: int, type: str, error: Exception) -> None:
        super().__init__(f"event {position} ({type}): {error}")
        self.area = area
        self.position = position


BAD_EVENT = (FoldError, msgspec.MsgspecError, LookupError, TypeError, ValueError, AttributeError)
"""What decoding and folding an event that does not fit may raise."""


def all_tables() -> tuple[Table, ...]:
    """The tables of every area."""
    return tuple(table for area in AREAS for table in area.tables)


def create_tables(db: apsw.Connection) -> None:
    """Create what is missing, empty, inside the caller's transaction."""
    create_bookkeeping(db)
    known = {row[0] for row in db.execute("SELECT area FROM projections")}
    for area in AREAS:
        if area.name not in known:
            objects = create_area(db, area)
            note(db, area.name, 0, 0, fingerprints.stored(area.name), objects)


def create_bookkeeping(db: apsw.Connection) -> None:
    """The table `projections`, empty; one that an older pixelog made gets the columns that it lacks."""
    db.execute(_BOOKKEEPING)
    if not db.execute("SELECT count(*) FROM pragma_table_info('projections') WHERE name = 'stopped'").get:
        db.execute("ALTER TABLE projections ADD COLUMN stopped TEXT")


def note(db: apsw.Connection, area: str, position: int, changed: int, fingerprint: str, objects: str) -> None:
    """Note that an area is folded up to `position` by the code of this fingerprint, and goes on from there."""
    db.execute(
        "INSERT INTO projections VALUES (?, ?, ?, ?, ?, NULL) ON CONFLICT (area) DO UPDATE SET position = excluded.position, "
        "changed = excluded.changed, fingerprint = excluded.fingerprint, objects = excluded.objects, stopped = NULL",
        (area, position, changed, fingerprint, objects),
    )


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
    """Fold events, given with their structs, into the tables, inside the transaction that appended them. Raises FoldError,
    AreaStopped."""
    if not events:
        return
    changed = {AREA_OF_TYPE[event.type].name: event.position for event, _ in events}
    (name, position), *others = changed.items()
    # One statement for all rows: a command changes one area as a rule, and this is the hot path of every commit.
    db.execute(
        "UPDATE projections SET position = ?, changed = CASE area WHEN ? THEN ? ELSE changed END WHERE stopped IS NULL",
        (events[-1][0].position, name, position),
    )
    if db.changes() < len(AREAS):
        for name in changed:
            check_running(db, name)
    for name, position in others:
        db.execute("UPDATE projections SET changed = ? WHERE area = ?", (position, name))
    rows = SqlRows(db)
    for event, struct in events:
        rows.apply(AREA_OF_TYPE[event.type].fold(struct, at(event)))


def stopped(db: apsw.Connection) -> dict[str, str]:
    """The areas that cannot be folded any further, each with the reason."""
    return dict(db.execute("SELECT area, stopped FROM projections WHERE stopped IS NOT NULL").fetchall())  # type: ignore[arg-type]


def check_running(db: apsw.Connection, area: str) -> None:
    """Raise AreaStopped when the area is stopped."""
    why = stopped(db).get(area)
    if why is not None:
        raise AreaStopped(f"area {area} is stopped: {why}; update pixelog, then: pixelog rebuild {area}")


def folded_to(db: apsw.Connection) -> int:
    """The position up to which every area is folded."""
    return db.execute("SELECT min(position) FROM projections").get


def changed_at(db: apsw.Connection, *areas: str) -> int:
    """Position of the last event of these areas: what a reader's ETag depends on."""
    marks = ",".join("?" * len(areas))
    return db.execute(f"SELECT coalesce(max(changed), 0) FROM projections WHERE area IN ({marks})", areas).get


def is_current(db: apsw.Connection) -> bool:
    """Whether every area is folded up to the head, by a fold that is the same as this program's."""
    if not db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'projections'").get:
        return False
    if not db.execute("SELECT count(*) FROM pragma_table_info('projections') WHERE name = 'stopped'").get or stopped(db):
        return False
    known: dict[Any, Any] = dict(db.execute("SELECT area, fingerprint FROM projections").fetchall())  # type: ignore[arg-type]
    head: int = db.execute("SELECT position FROM head").get
    same = known.keys() == catalogue.BY_NAME.keys() and all(fingerprints.is_same(area, known[area]) for area in known)
    return same and folded_to(db) == head == db.execute("SELECT max(position) FROM projections").get


def prepare(store: EventStore) -> list[str]:
    """See `rebuilding.prepare`."""
    from projections import rebuilding

    return rebuilding.prepare(store)


def rebuild(store: EventStore, areas: Sequence[Area] = AREAS) -> None:
    """See `rebuilding.rebuild`."""
    from projections import rebuilding

    rebuilding.rebuild(store, areas)


def fold_to(
    db: apsw.Connection,
    until: int,
    areas: Iterable[Area] = AREAS,
    rows: MemoryRows | None = None,
    after: int = 0,
    every: bool = True,
) -> MemoryRows:
    """The tables of these areas as they were after position `until`, folded in memory from the log (or onwards from `rows`, which hold
    the state after `after`). Reads through the caller's connection. Without `every`, events that a later one overwrites are passed over.

    Raises CannotFold, UnknownEvent.
    """
    areas = tuple(areas)
    rows = rows or MemoryRows(table for area in areas for table in area.tables)
    for _ in fold_onwards(db, rows, after, until, areas, every):
        pass
    return rows


def fold_onwards(
    db: apsw.Connection,
    rows: MemoryRows,
    after: int,
    until: int,
    areas: Iterable[Area] = AREAS,
    every: bool = True,
    last: dict[str, int] | None = None,
) -> Iterator[int]:
    """Fold the events with after < position ≤ until into `rows`, page by page; gives the position reached after each page. As `fold_to`. `last`
    takes the position of each area's last event, if it had any."""
    last = {} if last is None else last
    areas = tuple(areas)
    wanted = {
        type: (area.name, area.fold, catalogue.version_of(type), catalogue.decoder(type).decode)
        for area in areas
        for type in area.events
    }
    overwriting = () if every else tuple((type, where) for area in areas for type, where in area.overwriting.items())
    kept = sorted({position for type, where in overwriting for position in _last_ones(db, type, where, after, until)})
    apply_writes = rows.apply
    for start, end, pick in _pages(after, until, kept):
        for position, version, logtime, time, type, schema_version, data in _rows(db, start, end, () if pick else overwriting):
            entry = wanted.get(type)
            if entry is None:
                if type not in AREA_OF_TYPE:
                    catalogue.decode(type, schema_version, data)
                continue
            area, fold, current, decode = entry
            try:
                struct = decode(data) if schema_version == current else catalogue.decode(type, schema_version, data)
                apply_writes(fold(struct, At(position, version, logtime, time)))
                last[area] = position
            except UnknownEvent:
                raise
            except BAD_EVENT as error:
                raise CannotFold(area, position, type, error) from error
        yield end


def writes_of(
    db: apsw.Connection, after: int, until: int, areas: Iterable[Area] = AREAS
) -> Iterator[tuple[At, tuple[Write, ...]]]:
    """What each event with after < position ≤ until of these areas means, one by one. Raises CannotFold, UnknownEvent."""
    wanted = {type: area for area in areas for type in area.events}
    for start, end, _ in _pages(after, until, ()):
        for position, version, logtime, time, type, schema_version, data in _rows(db, start, end):
            area = wanted.get(type)
            if area is not None:
                at = At(position, version, logtime, time)
                try:
                    writes = area.fold(catalogue.decode(type, schema_version, data), at)
                except UnknownEvent:
                    raise
                except BAD_EVENT as error:
                    raise CannotFold(area.name, position, type, error) from error
                yield at, writes


def _pages(after: int, until: int, kept: Sequence[int]) -> Iterator[tuple[int, int, bool]]:
    """The span in pieces (after, until, is it the one event to pick): the positions to keep for themselves, the rest in pages."""
    for stop in (*kept, None):
        last = until if stop is None else stop - 1
        while after < last:
            end = min(last, after + PAGE_POSITIONS)
            yield after, end, False
            after = end
        if stop is not None:
            yield after, stop, True
            after = stop


def _rows(db: apsw.Connection, after: int, until: int, without: Sequence[tuple[str, str]] = ()) -> Iterable[Any]:
    where, arguments = "", list[Any]()
    for type, stream in without:
        where += f" AND NOT (type = ? AND {_IN_STREAM})"
        arguments += (type, *_bounds(stream))
    return db.execute(
        f"SELECT position, version, logtime, time, type, schemaversion, data FROM events WHERE position > ? AND position <= ?{where} "
        "ORDER BY position",
        (after, until, *arguments),
    )


_IN_STREAM = "stream >= ? AND stream <= ?"


def _bounds(stream: str) -> tuple[str, str]:
    """First and last name of the streams that `stream` means: itself, or with a `/` at the end all that begin with it."""
    return (stream, stream + "\U0010ffff" if stream.endswith("/") else stream)


def _last_ones(db: apsw.Connection, type: str, where: str, after: int, until: int) -> Iterator[int]:
    """The last event of this type with after < position ≤ until in each of the streams."""
    first, last = _bounds(where)
    stream: str | None = db.execute(f"SELECT min(stream) FROM events WHERE {_IN_STREAM}", (first, last)).get
    while stream is not None:
        found: int | None = db.execute(
            "SELECT position FROM events WHERE stream = ? AND version <= ? AND type = ? ORDER BY version DESC LIMIT 1",
            (stream, _version_at(db, stream, until), type),
        ).get
        if found is not None and found > after:
            yield found
        stream = db.execute("SELECT min(stream) FROM events WHERE stream > ? AND stream <= ?", (stream, last)).get


def _version_at(db: apsw.Connection, stream: str, position: int) -> int:
    """The stream's version after `position`, found by halving: versions and positions grow together."""
    low, high = 0, db.execute("SELECT coalesce(max(version), 0) FROM events WHERE stream = ?", (stream,)).get
    if high and db.execute("SELECT position FROM events WHERE stream = ? AND version = ?", (stream, high)).get <= position:
        return high
    while low + 1 < high:
        middle = (low + high) // 2
        if db.execute("SELECT position FROM events WHERE stream = ? AND version = ?", (stream, middle)).get <= position:
            low = middle
        else:
            high = middle
    return low


def database_at(db: apsw.Connection, until: int, areas: Iterable[Area] = AREAS) -> apsw.Connection:
    """A database in memory holding the projections as they were after `until`, with their views: every query of the areas runs on it. The
    caller closes it."""
    from projections import snapshots  # it folds, too

    areas = tuple(areas)
    after, kept = snapshots.before(db, until, areas) or (0, None)
    rows = fold_to(db, until, areas, kept, after, every=False)
    past = apsw.Connection(":memory:")
    create_bookkeeping(past)
    for area in areas:
        create_area(past, area, seeded=False)
        note(past, area.name, until, until, "", "[]")
    rows.write_to(past)
    return past


DIGEST_ROWS = 500
"""Rows encoded at once for a digest; it does not depend on this number."""

_encode_lines = msgspec.json.Encoder().encode_lines


def digest(rows: Iterable[Sequence[Any]]) -> str:
    """SHA-256 over rows in key order, each as JSON in a line."""
    return digest_tables([("", rows)])


def digest_tables(tables: Iterable[tuple[str, Iterable[Sequence[Any]]]]) -> str:
    """SHA-256 over tables: the name of each in a line, then its rows in key order, each as JSON in a line."""
    hash = hashlib.sha256()
    for name, rows in tables:
        hash.update(_encode_lines([name]))
        waiting = iter(rows)
        while some := list(islice(waiting, DIGEST_ROWS)):
            hash.update(_encode_lines(some))
    return hash.hexdigest()


def table_rows(db: apsw.Connection, table: Table, suffix: str = "") -> Iterable[tuple[Any, ...]]:
    """The rows of a projection table in key order; of the table of the same name + suffix."""
    return db.execute(
        f"SELECT {', '.join(table.names)} FROM {table.name}{suffix} ORDER BY {', '.join(table.names[: table.key_columns])}"
    )
