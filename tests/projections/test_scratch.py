"""Rows that outgrow memory: the same as rows in memory, whatever goes to the temporary file and when."""

from __future__ import annotations

from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections import scratch
from projections.rows import Clear, Delete, FoldError, MemoryRows, Patch, Put, Table, Write
from projections.scratch import ScratchRows

PLAIN = Table("plain", (("name", "TEXT", False), ("number", "INTEGER", True), ("text", "TEXT", True)))
PAIRS = Table("pairs", (("one", "TEXT", False), ("two", "INTEGER", False), ("value", "REAL", True)), key_columns=2)
SEEDED = Table("seeded", (("only", "INTEGER", False), ("text", "TEXT", True)), seed=((1, "seed"),))
TABLES = (PLAIN, PAIRS, SEEDED)

NAMES = st.sampled_from(["a", "b", "é", "z", ""])
NUMBERS = st.one_of(st.none(), st.integers(-(2**40), 2**40))
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "plain": st.tuples(NAMES),
    "pairs": st.tuples(NAMES, st.integers(0, 2)),
    "seeded": st.just((1,)),
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "plain": st.fixed_dictionaries({"number": NUMBERS, "text": st.one_of(st.none(), NAMES)}),
    "pairs": st.fixed_dictionaries({"value": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))}),
    "seeded": st.fixed_dictionaries({"text": st.one_of(st.none(), NAMES)}),
}


def writes_of(table: Table) -> st.SearchStrategy[Write]:
    """Any write to a table."""
    keys, values = KEYS[table.name], VALUES[table.name]
    return st.one_of(
        st.builds(Put, st.just(table), keys, values),
        st.builds(Patch, st.just(table), keys, values, st.just(True)),
        st.builds(Delete, st.just(table), keys),
        st.just(Clear(table)),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(*map(writes_of, TABLES)), max_size=60), st.integers(0, 6), st.integers(1, 5))
def test_the_same_as_in_memory(writes: list[Write], rows_max: int, per_look: int) -> None:
    """Whatever is written in whatever order: each row, all of them in key order, and a refusal of what does not fit."""
    with pytest.MonkeyPatch.context() as patched, ScratchRows(TABLES, rows_max) as rows:
        patched.setattr(scratch, "WRITES_PER_LOOK", per_look)
        memory = MemoryRows(TABLES)
        for place, write in enumerate(writes):
            rows.apply([write])
            memory.apply([write])
            assert rows.count() <= rows_max + per_look
            if place % 20 == 19:
                assert everything(rows) == everything(memory)
            if not isinstance(write, Clear):
                assert rows.row(write.table.name, write.key) == memory.row(write.table.name, write.key)
        assert everything(rows) == everything(memory)
        with pytest.raises(FoldError):
            rows.apply([Patch(PLAIN, ("nobody",), {"number": 1})])


def everything(rows: MemoryRows) -> list[list[list[Any]]]:
    """Every row in order."""
    return [list(rows.in_order(table.name)) for table in TABLES]


def test_a_million_writes_to_a_few_rows_need_no_file() -> None:
    """What counts is how many rows there are."""
    with ScratchRows(TABLES, 10) as rows:
        for number in range(5_000):
            rows.apply([Put(PLAIN, (str(number % 4),), {"number": number})])
        assert rows.count() == 5  # and the seed
        assert rows._db is None  # pyright: ignore[reportPrivateUsage]


def test_no_room_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said as what it is, with what to do."""

    def full(path: str) -> apsw.Connection:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(scratch.apsw, "Connection", full)
    many = [Put(PLAIN, (str(number),), {}) for number in range(scratch.WRITES_PER_LOOK)]
    with pytest.raises(OSError, match="no room for temporary rows"):
        ScratchRows(TABLES, 1).apply(many)
