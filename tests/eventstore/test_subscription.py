"""Following: from the past into the present without loss or repeat, whatever the load, the filter and the speed of the reader."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from eventstore import reading, subscription
from eventstore.store import EventStore
from tests.eventstore.conftest import event, wait_until


def test_catch_up_to_live_under_write_load(store: EventStore) -> None:
    """Readers that start at different times see every event once and in order, while eight threads write."""
    store.append("s", [event()] * 700)
    total = 700 + 8 * 60
    seen: dict[int, list[int]] = {}

    def write(number: int) -> None:
        for round in range(60):
            store.append(f"s{number}", event(str(round)), durable=False)

    def follow(after: int) -> None:
        positions = seen[after] = []
        for one in store.subscribe(after):
            positions.append(one.position)
            if one.position == total:
                return

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    readers = [threading.Thread(target=follow, args=(after,)) for after in (0, 1, 650, 700)]
    for pair in zip(writers[:4], readers, strict=True):
        for thread in pair:
            thread.start()
    for thread in writers[4:]:
        thread.start()
    for thread in (*writers, *readers):
        thread.join(60)
    assert seen == {after: list(range(after + 1, total + 1)) for after in (0, 1, 650, 700)}


def test_modes(store: EventStore) -> None:
    """What was handled before is a replay, the rest of the past is caught up with, what comes then is live."""
    store.append("s", [event()] * 4)
    following = store.subscribe(1, handled=2)
    first = list(following.deliveries(timeout_seconds=0))
    store.append("s", event())
    second = list(following.deliveries(timeout_seconds=0))
    assert [(one.event.position, one.mode) for one in first + second] == [
        (2, "replay"),
        (3, "catch_up"),
        (4, "catch_up"),
        (5, "live"),
    ]


def test_a_slow_reader_recovers(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads what it missed from the log, page by page, is told that it catches up, and is live again at the end."""
    monkeypatch.setattr(subscription, "PAGE_EVENTS", 10)
    monkeypatch.setattr(EventStore.page, "__defaults__", (10, reading.EVERYTHING, None))
    store.append("s", event())
    following = store.subscribe(0)
    deliveries = following.deliveries(timeout_seconds=5)
    assert next(deliveries).mode == "catch_up"
    store.append("s", event())
    assert next(deliveries).mode == "live"
    store.append("s", [event()] * 25)
    missed = [next(deliveries) for _ in range(25)]
    store.append("s", event())
    last = next(deliveries)
    assert [one.event.position for one in (*missed, last)] == list(range(3, 29))
    assert [one.mode for one in (*missed, last)] == ["catch_up"] * 25 + ["live"]


def test_a_filter_that_matches_nothing_advances(store: EventStore) -> None:
    """The cursor moves on with the log; with a timeout the reader ends although the log grows."""
    store.append("s", [event()] * 600)
    following = store.subscribe(0, types=["no.*"])
    assert list(following.deliveries(timeout_seconds=0)) == []
    assert following.cursor == 600
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.append("s", event(), durable=False)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        began = time.monotonic()
        assert list(following.deliveries(timeout_seconds=0.2)) == []
        assert time.monotonic() - began < 10
        assert following.cursor > 600
    finally:
        stop.set()
        writer.join(20)


def test_filters_of_a_subscription(store: EventStore) -> None:
    """Only what matches by type and stream; the cursor passes the rest."""
    for stream, type in (("a/1", "t.x"), ("b/1", "t.x"), ("a/2", "u.x"), ("b/2", "u.x")):
        store.append(stream, event("x", type))
    following = store.subscribe(0, types=["t.*"], streams=["a/*"])
    assert [one.event.position for one in following.deliveries(timeout_seconds=0)] == [1]
    assert following.cursor == 4


def test_closing_ends_a_reader_that_waits(store: EventStore) -> None:
    """At once, from any thread, without a further event; so does closing the log."""
    following = store.subscribe()
    thread = threading.Thread(target=list, args=(following,))
    thread.start()
    wait_until(lambda: store.watch._listener is not None)
    following.close()
    thread.join(5)
    assert not thread.is_alive()


def test_closing_the_log_ends_its_readers(path: Path) -> None:
    """Nobody waits for a log that is closed."""
    store = EventStore.open(path)
    thread = threading.Thread(target=list, args=(store.subscribe(),))
    thread.start()
    wait_until(lambda: store.watch._listener is not None)
    store.close()
    thread.join(5)
    assert not thread.is_alive()


def test_a_suppressed_announcement_is_noticed(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head moved and nobody was told: the watch finds it by looking, counts it, and the reader gets its event."""
    following = store.subscribe(0)
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(next(iter(following)).position))
    thread.start()
    wait_until(lambda: store.watch._listener is not None)
    with monkeypatch.context() as patch:
        patch.setattr(store.watch, "announce", lambda position: None)
        patch.setattr(store.watch, "ring", lambda position: None)
        store.append("s", event())
    thread.join(10)
    assert (got, store.watch.missed) == ([1], 1)
    store.append("s", event())
    assert store.watch.missed == 1


def test_a_listener_that_fails_does_not_fail_a_commit(store: EventStore, caplog: pytest.LogCaptureFixture) -> None:
    """The append is acknowledged, the other listeners hear of it, and the fault is logged."""
    heard: list[int] = []

    def broken(position: int) -> None:
        raise RuntimeError("broken")

    store.watch.on_move(broken)
    handle = store.watch.on_move(heard.append)
    assert store.append("s", event()).position == 1
    # Our own look at the log may have been first, and then tells the listeners on its thread.
    deadline = time.monotonic() + 10
    while (heard != [1] or "a listener of the log failed at position 1" not in caplog.text) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert heard == [1]
    assert "a listener of the log failed at position 1" in caplog.text
    store.watch.off_move(handle)
    store.append("s", event())
    assert heard == [1]


def test_waiting_on_asyncio(store: EventStore) -> None:
    """Woken by a commit on another thread; a timeout and what has come already answer at once; a loop that has ended harms nobody."""

    async def wait() -> list[bool]:
        answers = [await store.watch.wait_async(0, 0.01)]
        threading.Timer(0.05, store.append, args=("s", event())).start()
        answers.append(await store.watch.wait_async(0, 20))
        answers.append(await store.watch.wait_async(0))
        return answers

    assert asyncio.run(wait()) == [False, True, True]
    assert store.append("s", event()).position == 2


def test_a_crowd_of_readers(store: EventStore) -> None:
    """Sixty readers of one log, more than there are read connections: each sees everything."""
    seen: list[list[int]] = [[] for _ in range(60)]

    def follow(number: int) -> None:
        for one in store.subscribe(0):
            seen[number].append(one.position)
            if one.position == 40:
                return

    readers = [threading.Thread(target=follow, args=(number,)) for number in range(60)]
    for thread in readers:
        thread.start()
    for _ in range(40):
        store.append("s", event(), durable=False)
    for thread in readers:
        thread.join(60)
    assert seen == [list(range(1, 41))] * 60
