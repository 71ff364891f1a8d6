"""Upkeep of a log's files: small again, and never in anybody's way."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from eventstore import upkeep
from eventstore.errors import OutOfSpace, ReadOnly, Stopped
from eventstore.record import NewEvent
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from eventstore.testing.faults import Fault, FaultyVFS
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


def test_who_writes_is_not_waited_for(store: EventStore) -> None:
    """In this process or another; a work that asks for a checkpoint gets none, and nothing hangs."""
    with store:
        assert store.transact(lambda transaction: upkeep.checkpoint(store)) is False
        inside, done = threading.Event(), threading.Event()
        holder = threading.Thread(target=store.transact, args=(lambda _: inside.set() or done.wait(20),))
        holder.start()
        assert inside.wait(20)
        assert upkeep.checkpoint(store) is False
        done.set()
        holder.join()
        other = apsw.Connection(str(store.path))
        other.execute("BEGIN IMMEDIATE")
        assert upkeep.checkpoint(store) is False
        other.execute("ROLLBACK")
        other.close()
        assert store.append("a", NewEvent("thing.happened")).position == 51
        assert upkeep.checkpoint(store) is True
        assert store.writer is not None
        assert (store.writer.wal_pages, store.writer.checkpoints_put_off) == (0, 1)
    with EventStore.open(store.path or "", read_only=True) as looking, pytest.raises(ReadOnly):
        upkeep.checkpoint(looking)


@pytest.mark.parametrize("call", [1, 2])
def test_a_failed_sync_of_a_checkpoint_in_idle_time_is_final(tmp_path: Path, call: int) -> None:
    """Of the write-ahead log or of the database: what the page cache holds cannot be known, so nothing is written and nothing synced any more. After
    a new start everything is there."""
    with FaultyVFS(f"idle-{call}") as vfs:
        store = EventStore.open(tmp_path, vfs=vfs.name)
        for _ in range(5):
            store.append("a", NewEvent("thing.happened"))
        vfs.plant(Fault("eio", call, ("sync",)))
        with pytest.raises(Stopped, match="restart to recover"):
            upkeep.checkpoint(store)
        assert vfs.fired == 1
        with pytest.raises(Stopped):
            upkeep.checkpoint(store)
        with pytest.raises(Stopped):
            store.append("a", NewEvent("thing.happened"))
        assert store.writer is not None
        assert store.writer.stopped is not None
        assert store.head().position == 5
        before = len(vfs.calls)
        store.close()
        assert vfs.calls[before:] == []
    with EventStore.open(tmp_path) as again:
        assert again.verify() == []
        assert again.append("a", NewEvent("thing.happened")).position == 6


def test_a_full_disk_puts_a_checkpoint_off(tmp_path: Path) -> None:
    """Nothing is lost and nothing stops; with room again the next one succeeds."""
    with FaultyVFS("idle-full") as vfs, EventStore.open(tmp_path, vfs=vfs.name) as store:
        for _ in range(5):
            store.append("a", NewEvent("thing.happened"))
        vfs.plant(Fault("enospc", 1, ("write",)))
        with pytest.raises(OutOfSpace):
            upkeep.checkpoint(store)
        assert vfs.fired == 1
        assert store.append("a", NewEvent("thing.happened")).position == 6
        assert upkeep.checkpoint(store) is True
        assert upkeep.files(store).wal_bytes == 0
        assert store.writer is not None
        assert store.writer.checkpoints_put_off == 1


def test_those_who_come_during_a_checkpoint_are_written_after_it(store: EventStore) -> None:
    """Each of many, with checkpoints in between: none is lost, none waits for ever."""
    pause = threading.Event()

    def client() -> None:
        for _ in range(40):
            store.append("b", NewEvent("thing.happened"), durable=False)
            pause.wait(0.002)

    with store:
        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        brought_home = 0
        while any(thread.is_alive() for thread in threads):
            brought_home += upkeep.checkpoint(store)
            threads[0].join(0.001)
        for thread in threads:
            thread.join()
        assert brought_home > 1
        assert store.head().position == 210
        assert store.verify() == []


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
        with store.reading() as db:
            assert db.execute("SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'events'").get == 1
    with EventStore.open(":memory:") as memory:
        upkeep.optimise(memory)
        assert upkeep.checkpoint(memory) is True
