"""What a fold answers with: row writes as values, and the two ways to carry them out.

A fold says which rows change; it runs no SQL. Living projections are written by `SqlRows` inside the writer's transaction; replay and rebuild
collect the same writes in `MemoryRows` and write the outcome once, in key order. Both refuse a write that does not fit its table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import apsw
import msgspec

Key = tuple[Any, ...]


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
    def fitting(self) -> set[tuple[str, ...]]:
        """Columns that were put together and found to be the table's, so that they are looked at once; a fold has one or two such sets."""
        return set()

    @cached_property
    def where(self) -> str:
        """The condition for one key."""
        return " AND ".join([f"{name} IS ?" for name in self.names[: self.key_columns]])

    def put_sql(self, suffix: str = "") -> str:
        """The statement that puts a full row, in column order, into the table of this name + suffix."""
        return f"INSERT INTO {self.name}{suffix} {self._put}"

    @cached_property
    def _put(self) -> str:
        marks = ",".join("?" * len(self.columns))
        change = ", ".join([f"{name} = excluded.{name}" for name in self.names[self.key_columns :]])
        # An upsert and not REPLACE: REPLACE would delete the old row behind the back of the triggers.
        return f"VALUES ({marks}) ON CONFLICT DO " + (f"UPDATE SET {change}" if change else "NOTHING")

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
    row = write.row
    return [*write.key, *[row.get(name) for name in write.table.names[write.table.key_columns :]]]


def _check_columns(write: Put) -> None:
    columns = tuple(write.row)
    if columns not in write.table.fitting:
        extra = write.row.keys() - set(write.table.names[write.table.key_columns :])
        if extra:
            raise FoldError(f"{write.table.name} has no column {sorted(extra)[0]!r} to put")
        write.table.fitting.add(columns)
    if len(write.key) != write.table.key_columns:
        raise FoldError(f"{write.table.name} has a key of {write.table.key_columns} columns, not {write.key!r}")


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
                _check_columns(write)
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
        # A row that was put and not changed since stays as its write: most are put again before anybody reads them.
        self._rows: dict[str, dict[Key, list[Any] | Put]] = {
            table.name: {tuple(row[: table.key_columns]): list(row) for row in table.seed} for table in self.tables.values()
        }
        self._places = {table.name: {name: place for place, name in enumerate(table.names)} for table in self.tables.values()}

    @property
    def rows(self) -> dict[str, dict[Key, list[Any]]]:
        """Every row. The dictionaries are the collection's own."""
        for rows in self._rows.values():
            for key, row in rows.items():
                if isinstance(row, Put):
                    rows[key] = _full_row(row)
        return self._rows  # type: ignore[return-value]  # each was just made a list

    def row(self, name: str, key: Key) -> list[Any] | None:
        """One row, or None."""
        row = self._rows[name].get(key)
        return _full_row(row) if isinstance(row, Put) else row

    def replace(self, name: str, rows: Iterable[list[Any]]) -> None:
        """Make these, in column order, the rows of a table."""
        key_columns = self.tables[name].key_columns
        self._rows[name] = {tuple(row[:key_columns]): row for row in rows}

    def count(self) -> int:
        """How many rows there are."""
        return sum(map(len, self._rows.values()))

    def apply(self, writes: Iterable[Write]) -> None:
        """Carry out the writes in order. Raises FoldError."""
        for write in writes:
            name = write.table.name
            if isinstance(write, Put):
                _check_columns(write)
                self._rows[name][write.key] = write
            elif isinstance(write, Patch):
                self._patch(name, write)
            elif isinstance(write, Delete):
                self._delete(name, write.key)
            else:
                self._clear(name)

    def _patch(self, name: str, write: Patch) -> None:
        rows = self._rows[name]
        row = rows.get(write.key)
        if isinstance(row, Put):
            row = rows[write.key] = _full_row(row)
        elif row is None:
            row = self._missing(name, write.key)
            if row is None:
                if write.missing_ok:
                    return
                raise FoldError(f"{name} has no row {write.key!r} to change")
            rows[write.key] = row
        places = self._places[name]
        for column, value in write.columns.items():
            place = places.get(column)
            if place is None:
                raise FoldError(f"{name} has no column {column!r} to change")
            row[place] = value

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
        for key in sorted(rows, key=sort_key):
            row = rows[key]
            yield _full_row(row) if isinstance(row, Put) else row

    def write_to(self, db: apsw.Connection, suffix: str = "") -> None:
        """Insert everything into the (empty, already created) tables of the same names + suffix."""
        for name, table in self.tables.items():
            marks = ",".join("?" * len(table.columns))
            db.executemany(f"INSERT INTO {name}{suffix} VALUES ({marks})", self.in_order(name))


def sort_key(key: Key) -> tuple[Any, ...]:
    """Orders keys as SQLite does: nulls first."""
    return tuple([(part is not None, part) for part in key])
