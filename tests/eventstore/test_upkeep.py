"""Upkeep of a log's files: small again, and never in anybody's way."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore import upkeep
from eventstore.record import NewEvent
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from eventstore.transaction import RELAXED_KEYS_KEPT_US


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    """An open log with some events."""
    one = EventStore.open(tmp_path)
    for number in range(50):
        one.append("a", NewEvent("thing.happened", f'{{"number":{number},"more":"{"x" * 1000}"}}'))
    return one


def test_a_checkpoint_in_idle_time_empties_the_write_ahead_log(store: EventStore) -> None:
    """And everything is still there; who writes afterwards finds it in order."""
    with store:
        assert upkeep.files(store).wal_bytes > 0
        assert upkeep.checkpoint(store) is True
        assert upkeep.files(store).wal_bytes == 0
        assert store.append("a", NewEvent("thing.happened")).position == 51
        assert store.verify() == []


def test_a_reader_is_not_waited_for(store: EventStore) -> None:
    """The checkpoint gives way, the next one succeeds; nobody was blocked."""
    with store:
        with store.snapshot() as db:
            assert db.execute("SELECT position FROM head").get == 50
            store.append("a", NewEvent("thing.happened"))
            assert upkeep.checkpoint(store) is False
            assert store.append("a", NewEvent("thing.happened")).position == 52
        assert upkeep.checkpoint(store) is True
        assert upkeep.files(store).wal_bytes == 0


def test_free_pages_are_given_back(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps, down to what is kept for what comes."""
    monkeypatch.setattr(upkeep, "FREE_PAGES_KEPT", 10)
    monkeypatch.setattr(upkeep, "VACUUM_PAGES", 20)
    with store:
        store.transact(
            lambda t: (
                t.db.execute(f"CREATE TABLE large AS SELECT randomblob(4000) FROM ({' UNION ALL '.join(['SELECT 1'] * 100)})")
                and None
            )
        )
        store.transact(lambda t: t.db.execute("DROP TABLE large") and None)
        upkeep.checkpoint(store)
        before = upkeep.files(store)
        given = [upkeep.give_back(store) for _ in range(20)]
        assert given[0] == 20
        assert given[-1] == 0
        upkeep.checkpoint(store)
        after = upkeep.files(store)
        assert after.free_pages == 10
        assert after.database_bytes < before.database_bytes


def test_keys_of_relaxed_commands_are_forgotten_after_a_day(tmp_path: Path) -> None:
    """Those of durable ones never."""
    clock = FakeClock()
    with EventStore.open(tmp_path, clock=clock) as store:
        for number in range(3):
            store.append("a", NewEvent("thing.happened"), idempotency_key=f"r{number}", durable=False)
        store.append("a", NewEvent("thing.happened"), idempotency_key="d")
        assert upkeep.forget_keys(store) == 0
        clock.advance(RELAXED_KEYS_KEPT_US + 1_000_000)
        assert upkeep.forget_keys(store) == 3
        assert upkeep.forget_keys(store) == 0
        with store.reading() as db:
            assert db.execute("SELECT key FROM requests").fetchall() == [("d",)]


def test_optimising_changes_nothing_that_is_seen(store: EventStore) -> None:
    """It is for SQLite alone."""
    with store:
        upkeep.optimise(store)
        assert store.verify() == []
    with EventStore.open(":memory:") as memory:
        upkeep.optimise(memory)
        assert upkeep.checkpoint(memory) is True
