"""A bench for tests of commands: a real log on disk with its tables, behind a clock that moves when told to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from moves import Move

from api.execution import Executor, Outcome
from api.verification import verify
from eventstore.clock import Reading
from eventstore.store import EventStore
from projections import catalogue, folding

T = TypeVar("T")
TIME_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class StandingClock:
    """All clocks stand still until `advance`."""

    def __init__(self) -> None:
        self.reading = Reading(TIME_US, 5_000_000, "boot-1", True)

    def advance(self, seconds: float) -> None:
        """Move wall and boot-time clock together."""
        step_us = round(seconds * 1_000_000)
        self.reading = msgspec.structs.replace(
            self.reading, wall_us=self.reading.wall_us + step_us, boottime_us=self.reading.boottime_us + step_us
        )

    def read(self) -> Reading:
        return self.reading


class Bench:
    """Commands in, events and rows out."""

    def __init__(self, folder: Path) -> None:
        self.clock = StandingClock()
        self.store = EventStore.open(folder / "pixelog.db", clock=self.clock)
        folding.prepare(self.store)
        self.executor = Executor(self.store)

    def run(self, command: msgspec.Struct) -> Outcome[None]:
        """Carry a command out."""
        return self.executor.execute(command)

    def do(self, command: msgspec.Struct) -> list[Any]:
        """Carry a command out; the answer is the structs of its own events."""
        return [catalogue.struct_of(event) for event in self.run(command).events]

    def ask(self, query: Callable[[apsw.Connection], T]) -> T:
        """Run a query."""
        with self.store.reading() as db:
            return query(db)

    @property
    def now_us(self) -> int:
        """Logtime now."""
        return self.store.now_us()

    def check_tables_equal_a_fresh_fold(self) -> None:
        """What the commands left in the tables is what the log folds to."""
        with self.store.snapshot() as db:
            fresh = folding.fold_to(db, self.store.head().position)
            for table in folding.all_tables():
                rows = fresh.rows[table.name]
                assert list(folding.table_rows(db, table)) == [tuple(rows[key]) for key in sorted(rows)], table.name


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench over an empty directory; at the end its tables must equal a fresh fold of its log."""
    one = Bench(tmp_path)
    yield one
    one.check_tables_equal_a_fresh_fold()
    one.store.close()


@pytest.fixture
def move(tmp_path: Path) -> Iterator[Move]:
    """A move whose log must be sound at the end."""
    one = Move(tmp_path)
    yield one
    if one.data.database.exists():
        assert verify(one.data).problems == ()
