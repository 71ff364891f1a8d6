"""Following: from the past into the present without loss or repeat, whatever the load, the filter and the speed of the reader."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest

from eventstore import subscription, tail
from eventstore.head import LOOK_SECONDS
from eventstore.store import EventStore
from tests.eventstore.conftest import event, problems, wait_until
from tests.eventstore.test_processes import start


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


def test_what_came_before_the_first_iteration_is_caught_up_with(store: EventStore) -> None:
    """Between `subscribe` and the iteration nobody followed."""
    following = store.subscribe()
    store.append("s", event())
    assert [one.mode for one in following.deliveries(timeout_seconds=0)] == ["catch_up"]
    store.append("s", event())
    assert [one.mode for one in following.deliveries(timeout_seconds=0)] == ["live"]


@pytest.mark.parametrize(("ring", "own_pages"), [(2_000, 1), (20, 2)])
def test_a_slow_reader_recovers(store: EventStore, monkeypatch: pytest.MonkeyPatch, ring: int, own_pages: int) -> None:
    """It gets what it missed from the tail, or from the log when it has fallen out of that; is told that it catches up, and is live again at
    the end."""
    monkeypatch.setattr(tail, "RING_EVENTS", ring)
    for module in (subscription, tail):
        monkeypatch.setattr(module, "PAGE_EVENTS", 10)
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
    assert store.tail.own_pages == own_pages


def test_a_subscription_goes_on_after_a_restart(path: Path) -> None:
    """From its cursor, in another life of the log: what was appended meanwhile comes, nothing comes twice."""
    seen: list[int] = []
    cursor = 0
    for life in range(4):
        with EventStore.open(path) as store:
            store.append("s", [event(str(life), f"{kind}.x") for kind in "ab"])
            following = store.subscribe(cursor, types=["a.*"])
            seen += [one.event.position for one in following.deliveries(timeout_seconds=0)]
            cursor = following.cursor
            store.append("s", event("unseen", "a.x"))
            assert problems(store) == []
    assert (seen, cursor) == ([1, 3, 4, 6, 7, 9, 10], 11)


EFFECTS = """
from pathlib import Path
folder, crash_at = Path(sys.argv[3]), int(sys.argv[4])
cursor, effects = folder / "cursor", folder / "effects"
done = [int(line) for line in effects.read_text().split()]
for delivery in store.subscribe(int(cursor.read_text()), handled=max(done, default=0)).deliveries(timeout_seconds=0):
    position = delivery.event.position
    if delivery.mode != "replay":
        with effects.open("a") as file:
            print(position, file=file)
    if position == crash_at:
        os._exit(3)
    cursor.write_text(str(position))
"""


def test_effects_run_once_although_the_reader_died_before_it_saved_its_cursor(path: Path, tmp_path: Path) -> None:
    """It comes back with a cursor from before the effect and with what the effect itself left behind: the event comes again, as a replay."""
    with EventStore.open(path) as store:
        store.append("s", [event()] * 6)
    (tmp_path / "cursor").write_text("0")
    (tmp_path / "effects").write_text("")
    codes: list[int] = []
    for crash_at in (2, 3, 5, 0):
        process = start("import os\n" + EFFECTS, path, str(tmp_path), str(crash_at))
        process.communicate(timeout=30)
        codes.append(process.returncode)
    assert codes == [3, 3, 3, 0]
    assert (tmp_path / "effects").read_text().split() == ["1", "2", "3", "4", "5", "6"]
    assert (tmp_path / "cursor").read_text() == "6"


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


def first_of(store: EventStore) -> tuple[threading.Thread, list[tuple[int, float]]]:
    """A reader on a thread, waiting at the end of the log, and what it will have got: the position of one event, and when."""
    got: list[tuple[int, float]] = []
    following = store.subscribe()
    thread = threading.Thread(target=lambda: got.append((next(iter(following)).position, time.monotonic())))
    thread.start()
    wait_until(lambda: store.watch._listener is not None and store.watch._state == "idle")
    return thread, got


MISSED_SECONDS = 5 * LOOK_SECONDS
"""What a missed announcement may cost: the look comes once in LOOK_SECONDS; the rest is patience with a busy machine."""


def test_a_suppressed_announcement_is_noticed(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head moved and nobody was told: the watch finds it by looking, counts it, and the reader gets its event."""
    store.append("s", event())
    thread, got = first_of(store)
    announce, appending = store.watch.announce, threading.current_thread()
    with monkeypatch.context() as patch:
        patch.setattr(store.watch, "announce", lambda head: None if threading.current_thread() is appending else announce(head))
        patch.setattr(store.watch, "ring", lambda head: None)
        began = time.monotonic()
        store.append("s", event())
        thread.join(20)
    assert [position for position, _ in got] == [2]
    assert got[0][1] - began < MISSED_SECONDS
    wait_until(lambda: store.watch.missed == 1)
    store.append("s", event())
    assert store.watch.missed == 1


SILENT = """
store.watch.ring = lambda position: None
sys.stdin.readline()
store.append("s", NewEvent("own", "silent"))
print("appended", flush=True)
sys.stdin.readline()
store.close()
"""


def test_an_announcement_that_another_process_failed_to_make_is_noticed(store: EventStore, path: Path) -> None:
    """The bell did not ring; the look once a second finds the event, counts the miss, and the reader gets it."""
    process = start(SILENT, path)
    assert process.stdin is not None
    assert process.stdout is not None
    thread, got = first_of(store)
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "appended\n"
    began = time.monotonic()
    thread.join(20)
    assert [position for position, _ in got] == [1]
    assert got[0][1] - began < MISSED_SECONDS
    wait_until(lambda: store.watch.missed == 1)
    process.communicate("go\n", timeout=20)


def test_a_ring_that_hides_a_later_one_costs_a_moment(store: EventStore, path: Path) -> None:
    """Two processes ring in the wrong order, so that the bell says what is known already: one more look is taken when it has become quiet."""
    store.append("s", event())
    thread, got = first_of(store)
    with EventStore.open(path) as other:
        other.watch.ring = lambda position: None  # type: ignore[method-assign]
        other.append("s", event())
        bell = other.watch._bell
        assert bell is not None
        bell.ring(1)
        began = time.monotonic()
        thread.join(20)
    assert [position for position, _ in got] == [2]
    assert got[0][1] - began < LOOK_SECONDS / 2
    assert store.watch.missed == 0


APPENDING = """
sys.stdin.readline()
for number in range(150):
    store.append("from/" + sys.argv[3], NewEvent("own", str(number)), durable=number % 10 == 0)
store.append("from/" + sys.argv[3], NewEvent("end", "{}"))
store.close()
"""

READING = """
sys.stdin.readline()
import threading
answers = {}
def follow(streams):
    seen, ends = [], 0
    for one in store.subscribe(0, streams=streams):
        seen.append([one.position, one.stream])
        ends += one.type == "end"
        if ends == (2 if not streams else 1):
            break
    answers[streams[0] if streams else "*"] = seen
threads = [threading.Thread(target=follow, args=(streams,)) for streams in ([], ["from/one"], ["*/two"])]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(answers))
store.close()
"""


def test_readers_in_two_processes_with_two_processes_that_append(path: Path) -> None:
    """Each reader of each process, filtered or not, gets every event once and in order."""
    EventStore.open(path).close()
    readers = [start(READING, path) for _ in range(2)]
    writers = [start(APPENDING, path, name) for name in ("one", "two")]
    for process in (*readers, *writers):
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in readers]
    for process in writers:
        process.communicate(timeout=60)
    with EventStore.open(path) as store:
        log = [[one.position, one.stream] for one in store.read()]
    assert len(log) == 302
    whole = {"*": log} | {
        pattern: [one for one in log if one[1] == stream] for pattern, stream in (("from/one", "from/one"), ("*/two", "from/two"))
    }
    assert answers == [whole, whole]
    assert [process.returncode for process in (*readers, *writers)] == [0] * 4


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


def test_a_thread_that_is_not_to_be_had_is_asked_for_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait fails; the next one hears what other processes append, and the end is an end."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "pixelog-head":
            raise RuntimeError("can't start new thread")
        start(thread)

    with EventStore.open(path) as store, EventStore.open(path) as other:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            store.watch.wait(0, 0.1)
        monkeypatch.undo()
        other.append("s", event())
        assert store.watch.wait(0, 20)
    assert store.watch.closed
