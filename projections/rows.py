"""What a fold answers with: row writes as values, and the two ways to carry them out.

A fold says which rows change; it runs no SQL. Living projections are written by `SqlRows` inside the writer's transaction; replay and rebuild
collect the same writes in `MemoryRows` and write the outcome once, in key order. Both refuse a write that does not fit its table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any

import apsw
import msgspec

Key = tuple[Any, ...]

ROWS_IN_STATEMENT = 50
"""Rows put by one statement. A statement ends with a savepoint, at which a full-text index writes out what it has: ten times the cost of a row.
More rows gain little, and fifty of any table stay far below the 32,766 values that SQLite takes."""


class FoldError(Exception):
    """An event cannot be folded: a write does not fit its table, or a row to patch is missing. The log and the fold disagree."""


class Table(msgspec.Struct, frozen=True, dict=True):
    """A projection table. `columns` are (name, SQL type, may be null), the first `key_columns` of them the primary key.

    `seed` are rows that exist before any event (tables of one row). `derived` is SQL run after the table is made: indexes, and triggers that
    keep counters and full text, which digests leave out.
    """

    name: str
    columns: tuple[tuple[str, str, bool], ...]
    key_columns: int = 1
    seed: tuple[tuple[Any, ...], ...] = ()
    derived: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(name for name, _, _ in self.columns)

    @cached_property
    def nulls(self) -> dict[str, None]:
        """The columns behind the key in order, each null: what a row is put over."""
        return dict.fromkeys(self.names[self.key_columns :])

    @cached_property
    def places(self) -> dict[str, int]:
        """Where in a row each column behind the key stands."""
        return {name: place for place, name in enumerate(self.names) if place >= self.key_columns}

    @cached_property
    def where(self) -> str:
        """The condition for one key."""
        return " AND ".join([f"{name} IS ?" for name in self.names[: self.key_columns]])

    def put_sql(self, suffix: str = "", rows: int = 1) -> str:
        """The statement that puts full rows, in column order, one behind the other, into the table of this name + suffix."""
        values, conflict = self._put
        return f"INSERT INTO {self.name}{suffix} VALUES {','.join([values] * rows)} {conflict}"

    @cached_property
    def _put(self) -> tuple[str, str]:
        change = ", ".join([f"{name} = excluded.{name}" for name in self.nulls])
        # An upsert and not REPLACE: REPLACE would delete the old row behind the back of the triggers.
        return f"({','.join('?' * len(self.columns))})", "ON CONFLICT DO " + (f"UPDATE SET {change}" if change else "NOTHING")

    @cached_property
    def keyed(self) -> bool:
        """Whether no part of a key is ever null, so that Python orders keys as SQLite does."""
        return not any(null for _, _, null in self.columns[: self.key_columns])

    def create_sql(self, name: str | None = None) -> str:
        """CREATE TABLE for this table, by another name if given."""
        columns = [f"{column} {type}{'' if null else ' NOT NULL'}" for column, type, null in self.columns]
        key = ", ".join(self.names[: self.key_columns])
        return f"CREATE TABLE {name or self.name} ({', '.join(columns)}, PRIMARY KEY ({key})) STRICT"


class Put(msgspec.Struct, frozen=True):
    """The row under `key` is now this; columns left out are null."""

    table: Table
    key: Key
    row: Mapping[str, Any]


class Patch(msgspec.Struct, frozen=True):
    """These columns of the existing row under `key` change. `missing_ok`: nothing happens when there is no such row."""

    table: Table
    key: Key
    columns: Mapping[str, Any]
    missing_ok: bool = False


class Delete(msgspec.Struct, frozen=True):
    """The row under `key` is gone (also when it was not there)."""

    table: Table
    key: Key


class Clear(msgspec.Struct, frozen=True):
    """Every row of the table is gone."""

    table: Table


Write = Put | Patch | Delete | Clear


def _full_row(write: Put) -> list[Any]:
    """The row in column order. Raises FoldError."""
    table = write.table
    row = {**table.nulls, **write.row}
    if len(row) != len(table.nulls):
        raise FoldError(f"{table.name} has no column {[*row][len(table.nulls)]!r} to put")
    if len(write.key) != table.key_columns:
        raise FoldError(f"{table.name} has a key of {table.key_columns} columns, not {write.key!r}")
    return [*write.key, *row.values()]


def put_rows(db: apsw.Connection, table: Table, rows: Iterable[Sequence[Any]], suffix: str = "") -> None:
    """Put full rows, in column order, into the table of this name + suffix."""
    waiting = iter(rows)
    while some := list(islice(waiting, ROWS_IN_STATEMENT)):
        db.execute(table.put_sql(suffix, len(some)), list(chain.from_iterable(some)))


class SqlRows:
    """Carries writes out on a database, statement by statement; on the tables of the same names + suffix."""

    def __init__(self, db: apsw.Connection, suffix: str = "") -> None:
        self._db = db
        self._suffix = suffix

    def apply(self, writes: Iterable[Write]) -> None:
        """Carry out the writes in order. Raises FoldError."""
        for write in writes:
            self._apply(write)

    def _apply(self, write: Write) -> None:
        table, suffix = write.table, self._suffix
        match write:
            case Put():
                self._db.execute(table.put_sql(suffix), _full_row(write))
            case Patch(columns=columns):
                change = ", ".join([f"{name} = ?" for name in columns])
                self._db.execute(f"UPDATE {table.name}{suffix} SET {change} WHERE {table.where}", (*columns.values(), *write.key))
                if not self._db.changes() and not write.missing_ok:
                    raise FoldError(f"{table.name} has no row {write.key!r} to change")
            case Delete():
                self._db.execute(f"DELETE FROM {table.name}{suffix} WHERE {table.where}", write.key)
            case Clear():
                self._db.execute(f"DELETE FROM {table.name}{suffix}")


class MemoryRows:
    """Collects the outcome of writes in dictionaries: {table name: {key: row as a list in column order}}."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self.tables = {table.name: table for table in tables}
        self._rows: dict[str, dict[Key, list[Any]]] = {}
        for table in self.tables.values():
            self.replace(table.name, map(list, table.seed))

    @property
    def rows(self) -> dict[str, dict[Key, list[Any]]]:
        """Every row. The dictionaries are the collection's own."""
        return self._rows

    def row(self, name: str, key: Key) -> list[Any] | None:
        """One row, or None."""
        return self._rows[name].get(key)

    def replace(self, name: str, rows: Iterable[list[Any]]) -> None:
        """Make these, in column order, the rows of a table."""
        key_columns = self.tables[name].key_columns
        self._rows[name] = {tuple(row[:key_columns]): row for row in rows}

    def count(self, name: str | None = None) -> int:
        """How many rows there are, in all or of one table."""
        return sum(map(len, self._rows.values())) if name is None else len(self._rows[name])

    def apply(self, writes: Iterable[Write]) -> None:
        """Carry out the writes in order. Raises FoldError."""
        for write in writes:
            name = write.table.name
            kind = write.__class__  # a third faster than asking isinstance of each in turn
            if kind is Patch:
                self._patch(name, write)  # type: ignore[arg-type]
            elif kind is Put:
                self._rows[name][write.key] = _full_row(write)  # type: ignore[union-attr, arg-type]
            elif kind is Delete:
                self._delete(name, write.key)  # type: ignore[union-attr]
            else:
                self._clear(name)

    def _patch(self, name: str, write: Patch) -> None:
        rows = self._rows[name]
        row = rows.get(write.key)
        if row is None:
            row = self._missing(name, write.key)
            if row is None:
                if write.missing_ok:
                    return
                raise FoldError(f"{name} has no row {write.key!r} to change")
            rows[write.key] = row
        places = write.table.places
        try:
            for column, value in write.columns.items():
                row[places[column]] = value
        except KeyError as error:
            raise FoldError(f"{name} has no column {error} to change") from error

    def _missing(self, name: str, key: Key) -> list[Any] | None:
        """The row to patch when it is not among those collected here."""
        return None

    def _delete(self, name: str, key: Key) -> None:
        self._rows[name].pop(key, None)

    def _clear(self, name: str) -> None:
        self._rows[name].clear()

    def in_order(self, name: str) -> Iterator[list[Any]]:
        """The rows of a table in key order, in which they are appended to a B-tree instead of splitting it."""
        rows = self._rows[name]
        for key in sorted(rows) if self.tables[name].keyed else sorted(rows, key=sort_key):
            yield rows[key]

    def write_to(self, db: apsw.Connection, suffix: str = "") -> None:
        """Insert everything into the (empty, already created) tables of the same names + suffix."""
        for name, table in self.tables.items():
            put_rows(db, table, self.in_order(name), suffix)


def sort_key(key: Key) -> tuple[Any, ...]:
    """Orders keys as SQLite does: nulls first."""
    return tuple([(part is not None, part) for part in key])
