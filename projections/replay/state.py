"""The state as it was after a position, and read-only SQL over the state as it is or was."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

import apsw
import msgspec

from projections import catalogue
from projections.area import Area
from projections.catalogue import AREAS
from projections.folding import database_at
from projections.times import rfc3339

SQL_ROWS_MAX = 100_000
"""Rows that one query may answer with: more is a table dump, which LIMIT and OFFSET can take in parts."""

SQL_STEPS_PER_LOOK = 50_000
"""Virtual machine steps between two looks at whether a query should stop: about a millisecond."""


class UnknownArea(ValueError):
    """There is no area of this name; the message lists them."""


class BadQuery(ValueError):
    """The SQL is wrong, is more than one statement, would write, reads what is not public, or takes too long. The message says which."""


class PastState(msgspec.Struct, frozen=True):
    """The state after `position`: `time` is that of the event there (None before the first), `areas` maps area and natural key to the
    resource as its GET shows it."""

    position: int
    time: str | None
    areas: dict[str, dict[str, Any]]


def areas_named(names: Iterable[str]) -> tuple[Area, ...]:
    """These areas, in the order of the catalogue; all of them for no names. Raises UnknownArea."""
    wanted = set(names)
    unknown = sorted(wanted - catalogue.BY_NAME.keys())
    if unknown:
        raise UnknownArea(f"there is no area {unknown[0]!r}; there are {', '.join(catalogue.BY_NAME)}")
    return tuple(area for area in AREAS if not wanted or area.name in wanted)


def state(db: apsw.Connection, position: int, areas: Iterable[Area] = AREAS) -> PastState:
    """The state of these areas after `position`, folded from the log."""
    areas = tuple(areas)
    past = database_at(db, position, areas)
    try:
        time_us: int | None = db.execute("SELECT time FROM events WHERE position = ?", (position,)).get
        return PastState(
            position,
            None if time_us is None else rfc3339(time_us),
            {area.name: plain(area, past) for area in areas},
        )
    finally:
        past.close()


def plain(area: Area, db: apsw.Connection) -> dict[str, Any]:
    """The resources of an area as plain values in key order, for JSON and for comparing."""
    resources = area.resources(db)
    # Through JSON, so that a tuple and a list of the same are the same.
    return msgspec.json.decode(msgspec.json.encode({key: resources[key] for key in sorted(resources)}))


class Answer(msgspec.Struct, frozen=True):
    """The answer to a query: column names, and rows of plain values (a blob as lower-case hex)."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def objects(self) -> list[dict[str, Any]]:
        """The rows by column name; a name that comes again gets its place behind it."""
        names: list[str] = []
        for place, name in enumerate(self.columns):
            names.append(name if name not in names else f"{name}:{place}")
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def query(db: apsw.Connection, sql: str, stop: Callable[[], bool]) -> Answer:
    """Run one SELECT on a connection that nobody else uses meanwhile. `stop()` is asked about every millisecond and ends it when true.

    Raises BadQuery.
    """
    statements = 0

    def one_only(cursor: apsw.Cursor, text: str, bindings: Any) -> bool:
        nonlocal statements, columns
        statements += 1
        if statements > 1:
            raise BadQuery("one statement at a time, please")
        columns = tuple(column[0] for column in cursor.get_description())
        return True

    rows: list[tuple[Any, ...]] = []
    columns: tuple[str, ...] = ()
    with _read_only(db, stop):
        cursor = db.cursor()
        cursor.exec_trace = one_only
        try:
            for row in cursor.execute(sql):
                rows.append(tuple(value.hex() if isinstance(value, bytes) else value for value in row))
                if len(rows) > SQL_ROWS_MAX:
                    raise BadQuery(f"more than {SQL_ROWS_MAX} rows; take them in parts with LIMIT and OFFSET")
        except apsw.InterruptError as error:
            raise BadQuery("this query takes too long; narrow it down") from error
        except apsw.AuthError as error:
            raise BadQuery(f"only reading the projections is allowed here ({error})") from error
        except (apsw.Error, UnicodeError) as error:
            raise BadQuery(str(error)) from error
        finally:
            cursor.close(True)
    if not columns:
        raise BadQuery("there is no statement in this text")
    return Answer(columns, rows)


_ALLOWED = {apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE}
_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "data_version"}
_PRIVATE = {"requests", "head"}
"""Tables of the log that are no business of a query: the kept answers of the idempotency keys above all."""


def _authorise(action: int, first: str | None, second: str | None, database: str | None, via: str | None) -> int:
    if action in _ALLOWED:
        return apsw.SQLITE_OK
    if action == apsw.SQLITE_READ:
        return apsw.SQLITE_DENY if first in _PRIVATE else apsw.SQLITE_OK
    if action == apsw.SQLITE_FUNCTION:
        return apsw.SQLITE_DENY if (second or "").lower() in ("load_extension", "fts3_tokenizer") else apsw.SQLITE_OK
    if action == apsw.SQLITE_PRAGMA:
        return apsw.SQLITE_OK if (first or "").lower() in _PRAGMAS else apsw.SQLITE_DENY
    return apsw.SQLITE_DENY


@contextmanager
def _read_only(db: apsw.Connection, stop: Callable[[], bool]) -> Generator[None]:
    """The connection inside is bound to reading; afterwards it is as before."""
    before = db.authorizer
    db.authorizer = _authorise
    db.set_progress_handler(stop, SQL_STEPS_PER_LOOK)
    try:
        yield
    finally:
        db.set_progress_handler(None)
        db.authorizer = before


def query_at(db: apsw.Connection, sql: str, position: int, stop: Callable[[], bool]) -> Answer:
    """As `query`, over the projections as they were after `position`. Raises BadQuery."""
    past = database_at(db, position)
    try:
        return query(past, sql, stop)
    finally:
        past.close()
