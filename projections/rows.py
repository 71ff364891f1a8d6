"""What a fold answers with: row writes as values, and the two ways to carry them out.

A fold says which rows change; it runs no SQL. Living projections are written by `SqlRows` inside the writer's transaction; replay and rebuild
collect the same writes in `MemoryRows` and write the outcome once, in key order. Both refuse a write that does not fit its table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import apsw
import msgspec

Key = tuple[Any, ...]


class FoldError(Exception):
    """An event cannot be folded: a write does not fit its table, or a row to patch is missing. The log and the fold disagree."""


class Table(msgspec.Struct, frozen=True):
    """A projection table. `columns` are (name, SQL type, may be null), the first `key_columns` of them the primary key.

    `seed` are rows that exist before any event (tables of one row). `derived` is SQL run after the table is made: indexes, and triggers that
    keep counters and full text, which digests leave out.
    """

    name: str
    columns: tuple[tuple[str, str, bool], ...]
    key_columns: int = 1
    seed: tuple[tuple[Any, ...], ...] = ()
    derived: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(name for name, _, _ in self.columns)

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


def _full_row(write: Put) -> tuple[Any, ...]:
    names = write.table.names
    extra = write.row.keys() - set(names)
    if extra:
        raise FoldError(f"{write.table.name} has no column {sorted(extra)[0]!r}")
    values = dict(zip(names[: write.table.key_columns], write.key, strict=True)) | dict(write.row)
    return tuple(values.get(name) for name in names)


class SqlRows:
    """Carries writes out on a database, statement by statement."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def apply(self, writes: Iterable[Write]) -> None:
        """Carry out the writes in order. Raises FoldError."""
        for write in writes:
            self._apply(write)

    def _apply(self, write: Write) -> None:
        table = write.table
        where = " AND ".join(f"{name} IS ?" for name in table.names[: table.key_columns])
        match write:
            case Put():
                marks = ",".join("?" * len(table.columns))
                names = table.names[table.key_columns :]
                change = ", ".join(f"{name} = excluded.{name}" for name in names)
                # An upsert and not REPLACE: REPLACE would delete the old row behind the back of the triggers.
                self._db.execute(
                    f"INSERT INTO {table.name} VALUES ({marks}) ON CONFLICT DO "
                    + (f"UPDATE SET {change}" if change else "NOTHING"),
                    _full_row(write),
                )
            case Patch(columns=columns):
                change = ", ".join(f"{name} = ?" for name in columns)
                self._db.execute(f"UPDATE {table.name} SET {change} WHERE {where}", (*columns.values(), *write.key))
                if not self._db.changes() and not write.missing_ok:
                    raise FoldError(f"{table.name} has no row {write.key!r} to change")
            case Delete():
                self._db.execute(f"DELETE FROM {table.name} WHERE {where}", write.key)
            case Clear():
                self._db.execute(f"DELETE FROM {table.name}")


class MemoryRows:
    """Collects the outcome of writes in dictionaries: {table name: {key: row as a list in column order}}."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self.tables = {table.name: table for table in tables}
        self.rows: dict[str, dict[Key, list[Any]]] = {
            table.name: {tuple(row[: table.key_columns]): list(row) for row in table.seed} for table in self.tables.values()
        }
        self._places = {table.name: {name: place for place, name in enumerate(table.names)} for table in self.tables.values()}

    def apply(self, writes: Iterable[Write]) -> None:
        """Carry out the writes in order. Raises FoldError."""
        for write in writes:
            rows = self.rows[write.table.name]
            match write:
                case Put():
                    rows[write.key] = list(_full_row(write))
                case Patch(columns=columns):
                    row = rows.get(write.key)
                    if row is None:
                        if write.missing_ok:
                            continue
                        raise FoldError(f"{write.table.name} has no row {write.key!r} to change")
                    places = self._places[write.table.name]
                    for name, value in columns.items():
                        row[places[name]] = value
                case Delete():
                    rows.pop(write.key, None)
                case Clear():
                    rows.clear()

    def write_to(self, db: apsw.Connection, suffix: str = "") -> None:
        """Insert everything into the (empty, already created) tables of the same names + suffix, in key order: appends to the B-tree
        instead of splitting it."""
        for name, rows in self.rows.items():
            marks = ",".join("?" * len(self.tables[name].columns))
            db.executemany(f"INSERT INTO {name}{suffix} VALUES ({marks})", (rows[key] for key in sorted(rows, key=_sort_key)))


def _sort_key(key: Key) -> tuple[Any, ...]:
    return tuple((part is not None, part) for part in key)
