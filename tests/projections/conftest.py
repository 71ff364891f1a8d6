"""A desk for tests of single areas: events folded one by one into real tables, with the fold in memory kept beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import apsw
import msgspec
import pytest

from projections import folding
from projections.area import Area, At
from projections.rows import MemoryRows, SqlRows

LOGTIME_US = 1_000_000
TIME_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class Desk:
    """One area's tables in a database in memory. Each event goes through JSON, as it would in the log."""

    def __init__(self, area: Area) -> None:
        self.area = area
        self.db = apsw.Connection(":memory:")
        folding.create_area(self.db, area)
        self.memory = MemoryRows(area.tables)
        self.position = 0
        self.logtime_us = LOGTIME_US
        self._types = {struct: type for type, struct in area.events.items()}

    def fold(self, event: msgspec.Struct, after_us: int = 0) -> At:
        """Fold an event that happens `after_us` later than the one before; the answer is where it stands."""
        self.position += 1
        self.logtime_us += after_us
        at = At(self.position, 1, self.logtime_us, TIME_US + self.logtime_us - LOGTIME_US)
        struct = self.area.events[self._types[event.__class__]]
        again: Any = msgspec.json.decode(msgspec.json.encode(event), type=struct)
        assert again == event
        writes = self.area.fold(again, at)
        SqlRows(self.db).apply(writes)
        self.memory.apply(writes)
        return at

    def check_both_interpreters_agree(self) -> None:
        """The tables hold what the fold in memory holds."""
        for table in self.area.tables:
            rows = self.memory.rows[table.name]
            assert list(folding.table_rows(self.db, table)) == [tuple(rows[key]) for key in sorted(rows)]


@pytest.fixture
def desk() -> Iterator[Callable[[Area], Desk]]:
    """Makes desks; at the end of the test both interpreters of each must agree."""
    desks: list[Desk] = []

    def make(area: Area) -> Desk:
        desks.append(Desk(area))
        return desks[-1]

    yield make
    for one in desks:
        one.check_both_interpreters_agree()
        one.db.close()
