"""Are the stored tables of an area those that the log gives? Compares rows, counters, search text and the shape of everything that was made for it.

Reads both sides in key order, a row at a time, so that the size of a table does not matter. What mends a difference, and since when there is one, is
not said here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import apsw

from projections import folding
from projections.area import Area
from projections.rows import Key, MemoryRows, Table

ROWS_AT_ONCE = 500
"""Rows put through the triggers of an area at once; the outcome does not depend on it."""


class Difference(NamedTuple):
    """Something that is not what it should be: a sentence, the table and the key as far as it is about one, and for a row of a fold, whether and how
    it is stored (None: absent)."""

    sentence: str
    table: str | None = None
    key: Key | None = None
    folded: bool = False
    stored: Sequence[Any] | None = None


def differences(db: apsw.Connection, area: Area, fresh: MemoryRows) -> Iterator[Difference]:
    """Every difference of the stored area from `fresh`, which holds its tables as folded from the log. Raises apsw.Error, UnicodeDecodeError."""
    for table in area.tables:
        right = True
        for one in _rows(table, folding.table_rows(db, table), fresh.in_order(table.name)):
            right = False
            yield one
        if right:  # else what triggers made of the wrong rows follows from them
            yield from _derived(db, table, fresh)
    yield from _shape(db, area)


# -- rows ----------------------------------------------------------------------------------------------------------------------------


def _rows(table: Table, stored: Iterable[Sequence[Any]], fresh: Iterable[Sequence[Any]]) -> Iterator[Difference]:
    for row, right in _paired(stored, fresh, table.key_columns):
        key = tuple((row or right or ())[: table.key_columns])
        if right is None:
            yield Difference(
                f"{table.name} has a row {_shown(key)} that the log does not account for", table.name, key, True, row
            )
        elif row is None:
            yield Difference(f"{table.name} lacks the row {_shown(key)}", table.name, key, True)
        else:
            for name, value, expected in zip(table.names, row, right, strict=True):
                if value != expected or type(value) is not type(expected):
                    what = f"{table.name} row {_shown(key)}, field {name} is {_short(value)}; by the log it is {_short(expected)}"
                    yield Difference(what, table.name, key, True, row)


def _paired(
    left: Iterable[Sequence[Any]], right: Iterable[Sequence[Any]], key_columns: int
) -> Iterator[tuple[Sequence[Any] | None, Sequence[Any] | None]]:
    """The rows of both sides by key, each side in key order; None where one has none."""
    ours, theirs = iter(left), iter(right)
    one, other = next(ours, None), next(theirs, None)
    while one is not None or other is not None:
        place = _order(one, key_columns)
        there = _order(other, key_columns)
        if other is None or (one is not None and place < there):
            yield one, None
            one = next(ours, None)
        elif one is None or there < place:
            yield None, other
            other = next(theirs, None)
        else:
            yield one, other
            one, other = next(ours, None), next(theirs, None)


_RANKS: dict[type, int] = {type(None): 0, int: 1, float: 1, str: 2, bytes: 3}


def _order(row: Sequence[Any] | None, key_columns: int) -> tuple[tuple[int, Any], ...]:
    """A key as SQLite orders it, whatever types a damaged row may have."""
    return tuple([(_RANKS[type(part)], 0 if part is None else part) for part in (row or ())[:key_columns]])


def _shown(key: Key) -> str:
    return repr(key[0] if len(key) == 1 else key)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


# -- what triggers keep --------------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"CREATE\s+(VIRTUAL\s+)?TABLE\s+(\w+)")


def _derived(db: apsw.Connection, table: Table, fresh: MemoryRows) -> Iterator[Difference]:
    """Counters and search text: the fresh rows go through the table's own triggers, a page at a time, beside the stored outcome."""
    made = [match for statement in table.derived if (match := _NAME.match(statement))]
    if not made:
        return
    counters = [match[2] for match in made if not match[1]]
    searched = [match[2] for match in made if match[1]]
    reference = _reference(table, searched)
    try:
        waiting = fresh.in_order(table.name)
        while page := list(islice(waiting, ROWS_AT_ONCE)):
            reference.executemany(f"INSERT INTO {table.name} VALUES ({','.join('?' * len(table.columns))})", page)
            for name in searched:
                yield from _search_text(db, reference, table, name)
                reference.execute(f"DELETE FROM {name}")
            reference.execute(f"DELETE FROM {table.name}")
        for name in counters:
            stored, right = (one.execute(f"SELECT * FROM {name}").fetchall() for one in (db, reference))
            if stored != right:
                yield Difference(f"{name} is {_short(stored)}; by the log it is {_short(right)}", name)
    finally:
        reference.close()


def _reference(table: Table, searched: Sequence[str]) -> apsw.Connection:
    """The table with what is derived from it, in memory: search text in plain tables, nothing that takes back what a deleted row brought."""
    db = apsw.Connection(":memory:")
    db.execute(table.create_sql())
    for statement in table.derived:
        if "AFTER DELETE" not in statement and "VIRTUAL" not in statement and " INDEX " not in statement:
            db.execute(statement)
    for name in searched:
        db.execute(f"CREATE TABLE {name} (text)")
    return db


def _search_text(db: apsw.Connection, reference: apsw.Connection, table: Table, name: str) -> Iterator[Difference]:
    keys = ", ".join([f"t.{column}" for column in table.names[: table.key_columns]])
    for text, *key in reference.execute(f"SELECT s.text, {keys} FROM {table.name} AS t JOIN {name} AS s ON s.rowid = t.rowid"):
        stored = db.execute(
            f"SELECT text FROM {name} WHERE rowid = (SELECT rowid FROM {table.name} WHERE {table.where})", key
        ).get
        if stored != text:
            where = _shown(tuple(key))
            yield Difference(f"{name} of {where} is {_short(stored)}; by the log it is {_short(text)}", name, tuple(key))


# -- shape ---------------------------------------------------------------------------------------------------------------------------

_OF_A_REBUILD = re.compile(r"__(?:new|old)\d+")


def _shape(db: apsw.Connection, area: Area) -> Iterator[Difference]:
    """Tables, views, indexes and triggers as they are made, but for the names that a rebuild gives; and the note of what there is to drop."""
    reference = apsw.Connection(":memory:")
    try:
        folding.create_bookkeeping(reference)
        bookkeeping = _parts(reference)
        objects = folding.create_area(reference, area)
        right = {part: sql for part, sql in _parts(reference).items() if part not in bookkeeping}
    finally:
        reference.close()
    there = _parts(db)
    for (type, name), sql in sorted(right.items()):
        if there.get((type, name)) != sql:
            what = "is not the one that was made" if (type, name) in there else "is missing"
            yield Difference(f"the {type} {name} {what}")
    noted: Any = db.execute("SELECT objects FROM projections WHERE area = ?", (area.name,)).get
    if noted is not None and noted != objects:
        yield Difference(f"what was made for it is noted as {_short(noted)}")


def _parts(db: apsw.Connection) -> dict[tuple[str, str], str]:
    rows: Any = db.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {(type, _OF_A_REBUILD.sub("", name)): _plain(sql) for type, name, sql in rows}


def _plain(sql: str) -> str:
    """A statement without what renaming a table does to it: quotes, blanks, the suffix of a rebuild."""
    return "".join(_OF_A_REBUILD.sub("", sql).replace('"', "").replace("'", "").split())
