"""Reading: pages, filters, streams; readers and the writer do not wait for each other."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from eventstore import reading, writer
from eventstore.errors import Overloaded, Stopped
from eventstore.reading import PAGE_EVENTS, Filter
from eventstore.record import NewEvent
from eventstore.store import EventStore
from tests.eventstore.conftest import event


def positions(events: object) -> list[int]:
    return [one.position for one in events]  # type: ignore[attr-defined]


def test_filters(either: EventStore) -> None:
    """By GLOB over types and streams, by one stream, from and until a position, and so many at most."""
    for stream, type in (("a/1", "t.x"), ("a/2", "t.y"), ("b", "u.x"), ("a/1", "t.y"), ("a*", "t.x")):
        either.append(stream, event("x", type))
    assert positions(either.read()) == [1, 2, 3, 4, 5]
    assert positions(either.read(types=["t.*"])) == [1, 2, 4, 5]
    assert positions(either.read(types=["t.y", "u.*"])) == [2, 3, 4]
    assert positions(either.read(streams=["a/*"])) == [1, 2, 4]
    assert positions(either.read(stream="a*")) == [5]
    assert positions(either.read(stream="a/1")) == [1, 4]
    assert positions(either.read(stream="a/1", types=["*.y"])) == [4]
    assert positions(either.read(stream="a/1", after=1)) == [4]
    assert positions(either.read(stream="a/1", until=3)) == [1]
    assert positions(either.read(stream="no")) == []
    assert positions(either.read(after=1, until=4)) == [2, 3, 4]
    assert positions(either.read(limit=2)) == [1, 2]
    assert positions(either.read(limit=0)) == []
    assert positions(either.read(stream="a/1", limit=1)) == [1]
    assert positions(either.read(after=9)) == []


def test_long_reads_are_pages(either: EventStore) -> None:
    """More than a page comes whole and in order, of the log and of a stream."""
    for part in range(3):
        either.append_batch([("a", [event(str(part))] * 300, "any"), ("b", [event()] * 200, "any")])
    assert positions(either.read()) == list(range(1, 1501))
    assert [one.version for one in either.read(stream="a")] == list(range(1, 901))
    assert [one.version for one in either.read(stream="a", after=800, limit=3)] == [601, 602, 603]
    assert len(list(either.read(limit=PAGE_EVENTS + 1))) == PAGE_EVENTS + 1


def test_a_filter_that_matches_nothing_looks_at_a_bounded_window(either: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page says how far it looked, and the next one goes on from there."""
    monkeypatch.setattr(reading, "WINDOW_POSITIONS", 100)
    either.append("s", [event()] * 250)
    pages = [either.page(after, filter=Filter(types=("no",))) for after in (0, 100, 200, 250)]
    assert [(page.events, page.scanned_to) for page in pages] == [([], 100), ([], 200), ([], 250), ([], 250)]
    assert list(either.read(types=["no"])) == []


def test_a_reader_in_a_transaction_neither_waits_nor_holds_up(store: EventStore) -> None:
    """Inside a snapshot the log stands still, while the writer goes on; a writer inside its transaction hides nothing from readers."""
    store.append("s", event("1"))
    with store.snapshot() as db:
        assert db.execute("SELECT count(*) FROM events").get == 1
        store.append("s", event("2"))
        assert db.execute("SELECT count(*) FROM events").get == 1
    inside, done = threading.Event(), threading.Event()

    def work(transaction: object) -> None:
        transaction.append("s", [event("3")])  # type: ignore[attr-defined]
        inside.set()
        assert done.wait(20)

    thread = threading.Thread(target=store.transact, args=(work,))
    thread.start()
    assert inside.wait(20)
    assert store.head().position == 2
    assert positions(store.read()) == [1, 2]
    done.set()
    thread.join()
    assert positions(store.read()) == [1, 2, 3]


def test_a_long_reader_does_not_grow_the_write_ahead_log_without_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it reads checkpoints are put off, and said so; when it has ended the log is begun anew."""
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 500)
    with EventStore.open(path) as store:
        assert store.writer is not None
        with store.snapshot() as db:
            assert db.execute("SELECT count(*) FROM events").get == 0
            for _ in range(10):
                store.append("s", [event("x" * 400)] * 1000, durable=False)
            assert store.writer.checkpoints_put_off >= 1
            grown = store.writer.wal_pages
        for _ in range(10):
            store.append("s", [event("x" * 400)] * 1000, durable=False)
        assert store.writer.wal_pages < grown


def test_readers_that_take_their_time_hold_nothing_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stopped in the middle of the log, one in the middle of a stream, one that follows: none of them holds an old state, so that the
    write-ahead log stays as short as without them, and they go on where they stood."""
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 200)
    with EventStore.open(path) as store:
        assert store.writer is not None
        store.append("s", [event("x" * 400)] * 1000)
        readers = [iter(store.read()), iter(store.read(stream="s")), iter(store.subscribe(0))]
        for position in (1, 2, 3):
            assert [next(reader).position for reader in readers] == [position] * 3
        longest = 0
        for _ in range(40):
            store.append("s", [event("x" * 400)] * 100, durable=False)
            longest = max(longest, store.writer.wal_pages)
        assert store.writer.checkpoints_put_off == 0
        assert longest < 3 * 200
        assert [next(reader).position for reader in readers] == [4] * 3
        assert [one.position for one in readers[0]][-1] == store.head().position == 5_000


def test_the_pool_is_bounded(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for one connection too many is told so after a bounded wait."""
    from eventstore import connection

    monkeypatch.setattr(connection, "READER_WAIT_SECONDS", 0.05)
    held = [store.reading() for _ in range(connection.READERS_MAX)]
    for one in held:
        one.__enter__()
    with pytest.raises(Overloaded, match="read connections"):
        store.head()
    for one in held:
        one.__exit__(None, None, None)
    assert store.head().position == 0


def test_a_page_of_large_events_ends_early(either: EventStore) -> None:
    """Memory is bounded by bytes, too; whoever reads on gets all, in order: the log, a stream, a filter, a follower, and a repeat of the batch."""
    large = [NewEvent("t.large", "x" * 1_000_000) for _ in range(30)]
    first = either.append("s", large, idempotency_key="k")
    page = either.page(0)
    assert 8 <= len(page.events) <= 10
    assert page.scanned_to == page.events[-1].position
    everything = list(range(1, 31))
    assert positions(either.read()) == everything
    assert positions(either.read(stream="s")) == everything
    assert positions(either.read(stream="s", after=3, limit=20)) == everything[3:23]
    assert positions(either.read(types=["t.*"])) == everything
    following = either.subscribe(after=0)
    assert [one.event.position for one in following.deliveries(timeout_seconds=0)] == everything
    again = either.append("s", large, idempotency_key="k")
    assert again.repeated
    assert again.events == first.events


def test_what_is_lent_only_reads(either: EventStore) -> None:
    """On disk and in memory; its borrower may submit a work all the same, and what it then reads is newer."""
    either.append("s", event("1"))
    for lend in (either.reading, either.snapshot):
        with lend() as db:
            for write in ("CREATE TABLE mine (x)", "DELETE FROM requests"):
                with pytest.raises(apsw.ReadOnlyError):
                    db.execute(write)
    with either.reading() as db:
        with either.reading() as inner:
            assert inner.execute("SELECT position FROM head").get == 1
        assert either.append("s", event("2")).position == 2
        assert db.execute("SELECT position FROM head").get == 2
        with pytest.raises(apsw.ReadOnlyError):
            db.execute("CREATE TABLE mine (x)")
    assert either.append("s", event("3")).position == 3


@pytest.mark.parametrize("place", ["log.db", ":memory:"])
def test_nothing_is_asked_of_a_closed_log(tmp_path: Path, place: str) -> None:
    """On disk and in memory every way of reading, and an append, says that the log was closed."""
    store = EventStore.open(place if place == ":memory:" else tmp_path / place)
    store.append("s", event())
    store.close()
    for read in (
        store.head,
        store.now_us,
        lambda: store.page(0),
        lambda: list(store.read()),
        lambda: store.reading().__enter__(),
        lambda: store.subscribe(0),
        lambda: store.append("s", event()),
    ):
        with pytest.raises(Stopped, match="closed"):
            read()


def test_a_work_in_memory_that_has_written_reads_through_its_transaction() -> None:
    """There is no second connection that could show the last commit. Until it writes, a work reads as from a log on disk."""
    with EventStore.open(":memory:") as store:
        store.append("s", event())
        assert store.transact(lambda transaction: (store.head().position, transaction.append("s", [event()])[0].position)) == (
            1,
            2,
        )
        with pytest.raises(RuntimeError, match="through its transaction"):
            store.transact(lambda transaction: (transaction.append("s", [event()]), list(store.read())))
        assert store.transact(lambda _: positions(store.read())) == [1, 2]
        assert store.append("s", event()).position == 3
