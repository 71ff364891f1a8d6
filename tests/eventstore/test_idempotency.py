"""A retry with the same key gives the first answer: at once, later, after a restart, a day later."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import pytest

from eventstore.errors import KeyReused, WrongVersion
from eventstore.record import NewEvent, Origin
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from eventstore.testing.faults import FaultyVFS
from tests.eventstore.conftest import event, texts

DAY_US = 24 * 3600 * 1_000_000


def test_a_retry_gets_the_first_answer(either: EventStore) -> None:
    """After later appends too, and although its expectation does not hold any more."""
    first = either.append("s", [event("1"), event("2")], 0, idempotency_key="k")
    either.append("s", event("3"))
    again = either.append("s", [event("1"), event("2")], 0, idempotency_key="k")
    assert again.events == first.events
    assert (again.position, again.repeated, first.repeated, either.head().position) == (2, True, False, 3)


def test_a_retry_survives_restart_reboot_and_a_day(path: Path, clock: FakeClock) -> None:
    """Keys of durable appends are kept for good."""
    with EventStore.open(path, clock=clock) as store:
        first = store.append("s", event("1"), idempotency_key="k")
    clock.advance(DAY_US)
    clock.reboot(wall_us=0)
    with EventStore.open(path, clock=clock) as store:
        for number in range(3):
            store.append("s", event(str(number)), idempotency_key=f"other-{number}", durable=False)
        clock.advance(400 * DAY_US)
        for number in range(3):
            store.append("s", event(str(number)), idempotency_key=f"late-{number}", durable=False)
        assert store.append("s", event("1"), idempotency_key="k").events == first.events
        assert store.head().position == 7


def test_a_key_belongs_to_one_request(either: EventStore) -> None:
    """Another stream, event, expectation or condition under the same key is refused; another actor has keys of its own."""
    either.append("s", event("1"), idempotency_key="k")
    for attempt in (
        lambda: either.append("t", event("1"), idempotency_key="k"),
        lambda: either.append("s", event("2"), idempotency_key="k"),
        lambda: either.append("s", event("1"), "exists", idempotency_key="k"),
        lambda: either.append("s", [event("1")] * 2, idempotency_key="k"),
    ):
        with pytest.raises(KeyReused):
            attempt()
    assert either.head().position == 1
    assert either.append("s", event("2"), idempotency_key="k", origin=Origin("ann")).position == 2


def test_a_partly_repeated_batch_is_refused_whole(either: EventStore) -> None:
    """A batch that shares some of its events with the first one under the key is another request."""
    batch = [("a", [event("1")], "any"), ("b", [event("2")], "any")]
    first = either.append_batch(batch, idempotency_key="k")  # type: ignore[arg-type]
    with pytest.raises(KeyReused):
        either.append_batch([*batch, ("c", [event("3")], "any")], idempotency_key="k")  # type: ignore[list-item]
    assert either.append_batch(batch, idempotency_key="k").events == first.events  # type: ignore[arg-type]
    assert len(texts(either)) == 2


def test_a_refused_request_leaves_its_key_free(either: EventStore) -> None:
    """What was refused left no trace; the same key may be used for the corrected request."""
    with pytest.raises(WrongVersion):
        either.append("s", event("1"), 5, idempotency_key="k")
    assert either.append("s", event("1"), 0, idempotency_key="k").position == 1


def test_an_append_of_nothing_is_remembered(either: EventStore) -> None:
    """A no-op has a first answer, too."""
    either.append("s", event("1"))
    assert either.append("s", [], idempotency_key="k").position == 1
    either.append("s", event("2"))
    again = either.append("s", [], idempotency_key="k")
    assert (again.position, again.events, again.repeated) == (1, (), True)


def test_keys_of_relaxed_appends_are_forgotten_after_a_day(store: EventStore, clock: FakeClock) -> None:
    """The table does not grow without bound: for each key kept, up to two that are older than 24 hours go."""
    for number in range(10):
        store.append("s", event(), idempotency_key=f"old-{number}", durable=False)
    clock.advance(DAY_US - 1_000)
    store.append("s", event(), idempotency_key="young", durable=False)
    for number in range(10):
        assert store.append("s", event(), idempotency_key=f"old-{number}", durable=False).repeated
    clock.advance(2_000)
    for number in range(5):
        store.append("s", event(), idempotency_key=f"new-{number}", durable=False)
    with store.reading() as db:
        assert [key for (key,) in db.execute("SELECT key FROM requests ORDER BY key")] == [
            *[f"new-{n}" for n in range(5)],
            "young",
        ]


def test_a_relaxed_key_answers_for_a_day_whether_or_not_anything_else_happens(either: EventStore, clock: FakeClock) -> None:
    """Until then the first answer, from then on the request is a new one and may be another; its answer takes the place of the old one."""
    first = either.append("s", event("1"), idempotency_key="k", durable=False)
    clock.advance(DAY_US - 10)
    assert either.append("s", event("1"), idempotency_key="k", durable=False).events == first.events
    clock.advance(20)
    second = either.append("s", event("2"), idempotency_key="k", durable=False)
    assert (second.position, second.repeated) == (2, False)
    clock.advance(DAY_US + 10)
    third = either.append("s", event("3"), idempotency_key="k")
    clock.advance(400 * DAY_US)
    assert (third.repeated, either.append("s", event("3"), idempotency_key="k").events) == (False, third.events)
    with either.reading() as db:
        assert db.execute("SELECT key, position FROM requests").fetchall() == [("k", 3)]


def test_a_key_as_long_as_allowed(either: EventStore) -> None:
    """128 bytes pass."""
    assert either.append("s", event(), idempotency_key="k" * 128).position == 1


def test_a_durable_repeat_of_a_relaxed_append_is_on_the_disk(path: Path, clock: FakeClock) -> None:
    """Who asks again durably gets the first answer after a sync, once; a relaxed repeat, and one of what is on the disk, waits for nothing."""
    with FaultyVFS("repeats") as vfs, EventStore.open(path, vfs=vfs.name, clock=clock, sync_after_seconds=3_600) as store:
        store.append("s", event("1"), durable=False)
        store.append("s", event("2"), durable=False, idempotency_key="k")
        store.append("s", event("3"), durable=False)
        for durable, syncs, synced_position in ((False, 0, 1), (True, 1, 3), (True, 0, 3)):
            before = vfs.count("sync")
            again = store.append("s", event("2"), durable=durable, idempotency_key="k")
            assert (again.position, again.repeated) == (2, True)
            assert (vfs.count("sync") - before, store.head().synced_position) == (syncs, synced_position)


class Kind(StrEnum):
    """Types as a program may name them."""

    TAKEN = "note.taken"


class Name(str):
    """A text with a class of its own."""

    __slots__ = ()


def test_texts_of_a_class_of_their_own_are_the_texts(either: EventStore) -> None:
    """In the events and in what makes a request recognisable."""
    first = either.append(Name("s"), NewEvent(Kind.TAKEN), idempotency_key="k")
    again = either.append("s", NewEvent("note.taken"), idempotency_key="k")
    assert (again.repeated, again.events) == (True, first.events)
