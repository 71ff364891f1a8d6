"""Appending: expected versions, conditions, batches, limits, and that nothing else gets into the log."""

from __future__ import annotations

import re
import sqlite3
import threading
from pathlib import Path

import apsw
import pytest

from eventstore.errors import ConditionFailed, Refused, TooLarge, WrongVersion
from eventstore.record import EVENT_BYTES_MAX, EVENTS_PER_BATCH_MAX, Expect, NewEvent, NoneSince, Origin
from eventstore.store import EventStore
from eventstore.testing.clock import TIME_US, FakeClock
from eventstore.testing.logs import start_log_at
from eventstore.transaction import Remembered, Transaction
from tests.eventstore.conftest import event, problems, texts


def test_an_event_comes_back_as_it_was_appended(either: EventStore, clock: FakeClock) -> None:
    """Everything given is read again, with position, version, both times and who was behind it."""
    origin = Origin("ann", "corr", "cause")
    new = NewEvent("note.taken", '{"text":"é"}', 3, ("a", "b"), bytes(range(16)))
    appended = either.append("notes/ü", new, origin=origin)
    (read,) = either.read()
    assert appended.events == (read,)
    assert (appended.position, appended.version, appended.repeated) == (1, 1, False)
    assert (read.position, read.stream, read.version, read.type, read.schema_version) == (1, "notes/ü", 1, "note.taken", 3)
    assert (read.id, read.tags, read.data) == (bytes(range(16)), ("a", "b"), '{"text":"é"}')
    assert (read.actor, read.correlation_id, read.causation_id) == ("ann", "corr", "cause")
    assert (read.time_us, read.logtime_us, len(read.chain)) == (TIME_US, 1, 32)


def test_positions_count_the_log_and_versions_the_stream(either: EventStore) -> None:
    """1, 2, 3 … without gaps, whatever the streams."""
    for stream in ("a", "b", "a", "a", "b"):
        either.append(stream, event())
    assert [(one.position, one.stream, one.version) for one in either.read()] == [
        (1, "a", 1),
        (2, "b", 1),
        (3, "a", 2),
        (4, "a", 3),
        (5, "b", 2),
    ]


@pytest.mark.parametrize(
    ("there", "expected", "passes"),
    [
        (0, 0, True),
        (0, 1, False),
        (0, "none", True),
        (0, "exists", False),
        (0, "any", True),
        (2, 2, True),
        (2, 1, False),
        (2, 3, False),
        (2, "none", False),
        (2, "exists", True),
        (2, "any", True),
    ],
)
def test_expected_version(either: EventStore, there: int, expected: int, passes: bool) -> None:
    """A number, none, exists and any mean what they say; the refusal carries the current version and burns no position."""
    for _ in range(there):
        either.append("s", event("before"))
    if passes:
        assert either.append("s", event("new"), expected).version == there + 1
    else:
        with pytest.raises(WrongVersion) as caught:
            either.append("s", event("new"), expected)
        assert (caught.value.actual, caught.value.code, caught.value.stream) == (there, "wrong_version", "s")
    assert either.append("s", event("after")).position == there + 1 + passes


def test_an_unknown_expectation_is_a_mistake(either: EventStore) -> None:
    """A word that is none of the four is refused as a ValueError, not taken for something."""
    with pytest.raises(ValueError, match="expected_version"):
        either.append("s", event(), "latest")  # type: ignore[arg-type]
    assert texts(either) == []


def test_of_two_with_the_same_expectation_one_wins(store: EventStore) -> None:
    """Two clients, eight rounds each: every version was taken by exactly one, the other learned the current one."""
    barrier = threading.Barrier(2)
    lost: list[int] = []

    def client(name: str) -> None:
        for version in range(8):
            barrier.wait()
            try:
                store.append("s", event(name), version)
            except WrongVersion as refusal:
                lost.append(refusal.actual)

    threads = [threading.Thread(target=client, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lost) == list(range(1, 9))
    assert [one.version for one in store.read(stream="s")] == list(range(1, 9))


def test_a_batch_over_several_streams_is_all_or_nothing(either: EventStore) -> None:
    """One stale expectation refuses the whole batch, and no position is burnt."""
    either.append_batch([("a", [event("1"), event("2")], 0), ("b", [event("3")], "none")])
    with pytest.raises(WrongVersion):
        either.append_batch([("a", [event("4")], 2), ("b", [event("5")], 0)])
    assert either.append("c", event("6")).position == 4
    assert texts(either) == [f'{{"text":"{n}"}}' for n in (1, 2, 3, 6)]


def test_conditions_of_a_batch_are_asked_before_it(either: EventStore) -> None:
    """A stream may stand in a batch twice; both expectations are about the log before the batch."""
    either.append_batch([("a", [event("1")], 0), ("a", [event("2")], 0)])
    assert [one.version for one in either.read(stream="a")] == [1, 2]


def test_a_condition_may_name_another_stream(either: EventStore) -> None:
    """The batch does not write to the stream that it depends on."""
    either.append("b", event())
    either.append("a", event(), conditions=[Expect("b", "exact", 1)])
    either.append("b", event())
    with pytest.raises(WrongVersion) as caught:
        either.append("a", event(), conditions=[Expect("b", "exact", 1)])
    assert (caught.value.stream, caught.value.actual, either.head().position) == ("b", 2, 3)


@pytest.mark.parametrize(
    ("condition", "breaks_at"),
    [
        (NoneSince(0), 1),
        (NoneSince(4), None),
        (NoneSince(1, types=("t.b",)), 2),
        (NoneSince(2, types=("t.b",)), None),
        (NoneSince(0, tags=("x",)), 1),
        (NoneSince(1, tags=("x",)), 3),
        (NoneSince(0, tags=("x", "y")), 3),
        (NoneSince(0, types=("t.a",), tags=("y",)), 3),
        (NoneSince(3, types=("t.a",), tags=("y",)), None),
        (NoneSince(0, types=("t.b", "t.a"), tags=("z",)), None),
    ],
)
def test_a_query_as_a_condition(either: EventStore, condition: NoneSince, breaks_at: int | None) -> None:
    """No event of these types with all of these tags after a position; the refusal names the first that broke it."""
    for new in (event("1", "t.a", "x"), event("2", "t.b", "y"), event("3", "t.a", "x", "y"), event("4", "t.c")):
        either.append("s", new)
    if breaks_at is None:
        assert either.append("s", event("5"), conditions=[condition]).position == 5
    else:
        with pytest.raises(ConditionFailed) as caught:
            either.append("s", event("5"), conditions=[condition])
        assert (caught.value.position, either.head().position) == (breaks_at, 4)


def test_limits_are_named(either: EventStore) -> None:
    """At the limit an append passes, beyond it the refusal names the limit and nothing is stored."""
    either.append("s", [event()] * EVENTS_PER_BATCH_MAX)
    either.append("s", NewEvent("t", '"' + "x" * (EVENT_BYTES_MAX - 2) + '"'))
    for attempt, limit in (
        (lambda: either.append("s", [event()] * (EVENTS_PER_BATCH_MAX + 1)), "1000"),
        (lambda: either.append_batch([(f"s{n}", [event()] * 501, "any") for n in range(2)]), "1000"),
        (lambda: either.append("s", NewEvent("t", '"' + "x" * (EVENT_BYTES_MAX - 1) + '"')), "1048576"),
        (lambda: either.append("s", NewEvent("t", '"' + "é" * (EVENT_BYTES_MAX // 2) + '"')), "1048576"),
        (lambda: either.append("é" * 513, event()), "1024"),
        (lambda: either.append("s", event("x", "t" * 1025)), "1024"),
        (lambda: either.append("s", event("x", "t", "g" * 1025)), "1024"),
        (lambda: either.append("s", event(), origin=Origin(causation_id="c" * 1025)), "1024"),
        (lambda: either.append("s", event(), idempotency_key="k" * 129), "128"),
    ):
        with pytest.raises(TooLarge, match=limit):
            attempt()
    assert either.head().position == EVENTS_PER_BATCH_MAX + 1


@pytest.mark.parametrize(
    "new",
    [
        NewEvent("", "{}"),
        NewEvent("t", "{}", schema_version=-1),
        NewEvent("t", "{}", schema_version=1 << 32),
        NewEvent("t", "{}", id=b"short"),
        NewEvent("t", '"\ud800"'),
    ],
)
def test_what_the_chain_cannot_take_in_is_a_mistake(either: EventStore, new: NewEvent) -> None:
    """No type, a version beyond 32 bits, an id that is no UUID, text that is not Unicode: ValueError, and the whole batch leaves no trace."""
    with pytest.raises(ValueError):
        either.append("s", [event(), new])
    assert either.append("s", event()).position == 1


def test_an_append_of_nothing_is_nothing(either: EventStore) -> None:
    """No events, no position; the conditions count all the same."""
    assert either.append("s", []).position == 0
    with pytest.raises(WrongVersion):
        either.append("s", [], 1)


def test_ids_are_made_when_none_is_given(path: Path, clock: FakeClock) -> None:
    """UUIDv7 from the wall clock and the randomness handed in, RFC 9562 §5.7."""
    with EventStore.open(path, clock=clock, randomness=lambda count: b"\xff" * count) as store:
        (recorded,) = store.append("s", event()).events
        assert recorded.id.hex() == f"{TIME_US // 1000:012x}" + "7fff" + "bfff" + "ffffffffffff"
        assert store.log_id == "019b76da-a800-7fff-bfff-ffffffffffff"


FIVE_WAYS = {
    "update": "UPDATE events SET data = '{}' WHERE position = 1",
    "delete": "DELETE FROM events WHERE position = 2",
    "replace": "INSERT OR REPLACE INTO events SELECT * FROM events WHERE position = 1",
    "replace in the stream": "INSERT OR REPLACE INTO events SELECT 3, stream, version, type, schemaversion, id, logtime, time, actor, "
    "correlationid, causationid, tags, data, chain FROM events WHERE position = 1",
    "upsert": "INSERT INTO events SELECT * FROM events WHERE position = 1 ON CONFLICT (position) DO UPDATE SET data = 'x'",
    "update or replace": "UPDATE OR REPLACE events SET position = 1 WHERE position = 2",
    "beyond the head": "INSERT INTO events SELECT 9, 's', 3, type, schemaversion, id, logtime, time, actor, correlationid, causationid, tags, "
    "data, chain FROM events WHERE position = 1",
    "ignore": "INSERT OR IGNORE INTO events SELECT * FROM events WHERE position = 1",
    "head back": "UPDATE head SET position = 0",
    "head gone": "DELETE FROM head",
    "second head": "INSERT OR REPLACE INTO head SELECT * FROM head",
}


@pytest.mark.parametrize("way", FIVE_WAYS)
@pytest.mark.parametrize("tool", ["apsw", "sqlite3"])
def test_an_event_cannot_be_overwritten(store: EventStore, path: Path, tool: str, way: str) -> None:
    """The database itself refuses, whatever program asks, with its own defaults."""
    store.append("s", [event("1"), event("2")])
    before = list(store.read())
    if tool == "apsw":
        with pytest.raises(apsw.ConstraintError):
            apsw.Connection(str(path)).execute(FIVE_WAYS[way])
    else:
        db = sqlite3.connect(path)
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(FIVE_WAYS[way])
        db.close()
    assert list(store.read()) == before


def test_positions_go_beyond_2_to_the_31(path: Path, clock: FakeClock) -> None:
    """Nothing on the way of a position is 32 bits wide."""
    start_log_at(path, 1 << 31)
    with EventStore.open(path, clock=clock) as store:
        first = store.append("s", [event("1"), event("2")], idempotency_key="k").events[0]
        assert first.position == (1 << 31) + 1
        assert store.append("s", [event("1"), event("2")], idempotency_key="k").events[0] == first
        assert [one.position - (1 << 31) for one in store.read(after=1 << 31)] == [1, 2]
        delivered = store.subscribe(1 << 31).deliveries(timeout_seconds=0)
        assert [one.event.position - (1 << 31) for one in delivered] == [1, 2]
        assert store.head().position == (1 << 31) + 2
    start = 1 << 62
    other = path.with_name("other.db")
    start_log_at(other, start)
    with EventStore.open(other, clock=clock) as store:
        assert store.append("s", event()).position == start + 1
        assert [one.position for one in store.read(after=start)] == [start + 1]


def test_the_work_of_a_caller_commits_with_the_events(either: EventStore) -> None:
    """Rows of the caller's own are in the same transaction: both there, or neither."""
    either.transact(lambda transaction: transaction.db.execute("CREATE TABLE mine (x)").fetchall())

    def work(fail: bool) -> None:
        def inside(transaction: object) -> None:
            transaction.append("s", [event()])  # type: ignore[attr-defined]
            transaction.db.execute("INSERT INTO mine VALUES (1)")  # type: ignore[attr-defined]
            if fail:
                raise KeyError("no")

        either.transact(inside)

    work(fail=False)
    with pytest.raises(KeyError):
        work(fail=True)
    with either.reading() as db:
        assert db.execute("SELECT count(*) FROM mine").get == 1
    assert either.append("s", event()).position == 2


def test_a_work_that_submits_is_told(either: EventStore) -> None:
    """It would wait for itself; it gets an error at once, and the log is free afterwards."""
    with pytest.raises(RuntimeError, match="must not submit"):
        either.transact(lambda _: either.append("s", event()))
    assert either.append("s", event()).position == 1


def test_a_transaction_ends_with_its_work(either: EventStore) -> None:
    """One that was kept writes nothing: not after its commit, not after its rollback, not while another is open."""
    kept: list[Transaction] = []

    def fail(transaction: Transaction) -> None:
        kept.append(transaction)
        raise KeyError("no")

    either.transact(kept.append)
    with pytest.raises(KeyError):
        either.transact(fail)

    def late(_: object = None) -> None:
        answer = Remembered(b"f" * 32, 0, 0, 0, 0, b"")
        for one in kept:
            for write in (
                lambda one=one: one.append("s", [event("late")]),
                lambda one=one: one.remember("", "k", answer),
                lambda one=one: one.new_epoch(),
                lambda one=one: one.mark_synced(),
            ):
                with pytest.raises(RuntimeError, match="has ended"):
                    write()

    late()
    either.transact(late)
    assert either.append("s", event()).position == 1
    assert len(kept) == 2


def test_every_refusal_has_a_code_of_its_own() -> None:
    """The set of codes is closed, and callers can tell them apart."""
    codes = [kind.code for kind in Refused.__subclasses__()]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)


def test_the_chain_is_the_published_layout(store: EventStore) -> None:
    """Recomputed here from the documented bytes, with nothing of the store's own code."""
    from hashlib import sha256
    from struct import pack

    store.append("s", [event("1", "t", "x"), event("2")], origin=Origin("ann"))
    link = sha256(store.log_id.encode()).digest()
    for one in store.read():
        tags = '["x"]' if one.tags else None
        header = pack(">QQIqq16s", one.position, one.version, 1, one.logtime_us, one.time_us, one.id)
        for text in (one.stream, one.type, "ann", None, None, tags):
            header += b"\xff\xff\xff\xff" if text is None else pack(">I", len(text.encode())) + text.encode()
        link = sha256(link + sha256(header).digest() + sha256(one.data.encode()).digest()).digest()
        assert one.chain == link
    assert problems(store) == []
