"""Rows of a fold that may outgrow memory: collected as in `MemoryRows`, and beyond a bound kept in a temporary database that ends with its user.

For those who need every row and its order, such as a comparison of whole tables. What they are compared with is not known here.
"""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import apsw

from projections.rows import Key, MemoryRows, Table, Write

ROWS_IN_MEMORY_MAX = 50_000
"""Rows held at once, some 50 MiB: a library of ten thousand items with its jobs and a day of plays needs no file."""

WRITES_PER_LOOK = 1_000
"""Writes between two looks at how many rows there are: what may come on top of the bound."""

PRAGMAS = (
    ("cache_size", -4_096, "KiB of pages in memory; the rest is in a file that SQLite makes in its temporary folder and has already unlinked"),
    ("journal_mode", "off", "nothing of it outlives the process"),
    ("synchronous", 0, "for the same reason"),
)  # fmt: skip
"""(name, value, reason)"""


class ScratchRows(MemoryRows):
    """As MemoryRows, of any size; `rows` and `count` know only of what is in memory now. Close it.

    Raises OSError when there is no room for the temporary file.
    """

    def __init__(self, tables: Iterable[Table], rows_max: int = ROWS_IN_MEMORY_MAX) -> None:
        super().__init__(tables)
        self._rows_max = rows_max
        self._unlooked = 0
        self._db: apsw.Connection | None = None
        self._gone: dict[str, set[Key]] = {name: set() for name in self.tables}

    def apply(self, writes: Iterable[Write]) -> None:
        """Carry out the writes in order. Raises FoldError."""
        writes = tuple(writes)
        super().apply(writes)
        self._unlooked += len(writes)
        if self._unlooked >= WRITES_PER_LOOK:
            self._unlooked = 0
            if self.count() + sum(map(len, self._gone.values())) > self._rows_max:
                self._spill()

    def row(self, name: str, key: Key) -> list[Any] | None:
        """One row, or None."""
        row = super().row(name, key)
        return self._missing(name, key) if row is None else row

    def in_order(self, name: str) -> Iterator[list[Any]]:
        """The rows of a table in key order. No write may come before the end of the iteration."""
        if self._db is None:
            yield from super().in_order(name)
            return
        self._spill()
        table = self.tables[name]
        key = ", ".join(table.names[: table.key_columns])
        with _room():
            for row in self._db.execute(f"SELECT * FROM {name} ORDER BY {key}"):
                yield list(row)

    def _missing(self, name: str, key: Key) -> list[Any] | None:
        if self._db is None or key in self._gone[name]:
            return None
        with _room():
            row = self._db.execute(f"SELECT * FROM {name} WHERE {self.tables[name].where}", key).fetchone()
        return None if row is None else list(row)

    def _delete(self, name: str, key: Key) -> None:
        super()._delete(name, key)
        if self._db is not None:
            self._gone[name].add(key)

    def _clear(self, name: str) -> None:
        super()._clear(name)
        if self._db is not None:
            with _room():
                self._db.execute(f"DELETE FROM {name}")
            self._gone[name].clear()

    def _spill(self) -> None:
        """Bring what is in memory to the temporary database, and forget it."""
        with _room():
            db = self._db or self._made()
            with db:
                for name, table in self.tables.items():
                    db.executemany(f"DELETE FROM {name} WHERE {table.where}", self._gone[name])
                    db.executemany(table.put_sql(), super().in_order(name))
        self._db = db
        for name in self.tables:
            self._rows[name].clear()
            self._gone[name].clear()

    def _made(self) -> apsw.Connection:
        db = apsw.Connection("")  # no name: a temporary database on the disk
        for name, value, _ in PRAGMAS:
            db.execute(f"PRAGMA {name} = {value}").fetchall()
        for table in self.tables.values():
            db.execute(table.create_sql())
        return db

    def close(self) -> None:
        """Give the temporary file back."""
        if self._db is not None:
            self._db.close()

    def __enter__(self) -> ScratchRows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _room() -> Generator[None]:
    """What keeps the temporary file from growing is no damage of the log."""
    try:
        yield
    except (apsw.FullError, apsw.CantOpenError, apsw.IOError) as error:
        raise OSError(errno.ENOSPC, f"no room for temporary rows ({error}); free some space, or set SQLITE_TMPDIR") from error
