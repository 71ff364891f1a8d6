"""The writer under many threads: nobody waits for ever, what is acknowledged is committed, and nothing is applied twice."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eventstore import writer as writer_module
from eventstore.errors import Overloaded, Stopped, WrongVersion
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from eventstore.transaction import Transaction
from tests.eventstore.conftest import event, problems, wait_until

THREADS = 48
ROUNDS = 200


class Refusal(Exception):
    """What a work of these tests raises on purpose."""


class Abort(BaseException):
    """As a KeyboardInterrupt or SystemExit would be: not an Exception."""


def run_all(threads: list[threading.Thread], seconds: float = 60) -> None:
    """Start and join; a thread that does not end in time waits for ever."""
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert [thread.name for thread in threads if thread.is_alive()] == []


def hold(store: EventStore) -> tuple[threading.Thread, threading.Event]:
    """Keep the writer busy until the event is set: others pile up behind it."""
    inside, release = threading.Event(), threading.Event()

    def work(_: object) -> None:
        inside.set()
        assert release.wait(60)

    thread = threading.Thread(target=store.transact, args=(work,))
    thread.start()
    assert inside.wait(20)
    return thread, release


def test_a_crowd_with_failing_works(store: EventStore) -> None:
    """48 threads; every third work fails after it has appended, some with a BaseException: exactly the acknowledged events are there."""
    acknowledged: list[int] = []
    failures: list[tuple[str, type]] = []

    def client(number: int) -> None:
        chance = random.Random(number)
        for round in range(25):
            kind = chance.choice(["pass", "pass", "pass", "pass", "refuse", "abort"])

            def work(transaction: object, text: str = f"{number}-{round}", kind: str = kind) -> int:
                (one,) = transaction.append(f"s{number % 5}", [event(text)])  # type: ignore[attr-defined]
                if kind == "refuse":
                    raise Refusal
                if kind == "abort":
                    raise Abort
                return one.position

            try:
                acknowledged.append(store.transact(work, durable=chance.random() < 0.3))
            except (Refusal, Abort) as error:
                failures.append((kind, type(error)))

    run_all([threading.Thread(target=client, args=(number,)) for number in range(THREADS)])
    assert len(acknowledged) + len(failures) == THREADS * 25
    assert set(failures) == {("refuse", Refusal), ("abort", Abort)}
    assert sorted(acknowledged) == list(range(1, len(acknowledged) + 1))
    assert [one.position for one in store.read()] == sorted(acknowledged)
    assert len({one.data for one in store.read()}) == len(acknowledged)


def test_those_who_wait_share_one_commit(store: EventStore) -> None:
    """While one holds the writer thirty pile up; they are committed together, and each gets its own answer."""
    assert store.writer is not None
    holder, release = hold(store)
    before = store.writer.commits
    answers: dict[int, int] = {}
    threads = [
        threading.Thread(target=lambda n=number: answers.__setitem__(n, store.append(f"s{n}", event(str(n))).position))
        for number in range(30)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(store.writer._waiting) == 30)  # type: ignore[union-attr]
    release.set()
    for thread in (holder, *threads):
        thread.join(20)
    assert store.writer.commits == before + 2
    assert sorted(answers.values()) == list(range(1, 31))
    by_position = {one.position: one.stream for one in store.read()}
    assert {number: by_position[position] for number, position in answers.items()} == {n: f"s{n}" for n in range(30)}


def test_a_refusal_in_a_batch_concerns_its_caller_only(store: EventStore) -> None:
    """Of a batch of eight the odd ones are stale: they get their refusal, the even ones are committed without a gap."""
    holder, release = hold(store)
    answers: dict[int, int | str] = {}

    def client(number: int) -> None:
        try:
            answers[number] = store.append(f"s{number}", event(), number % 2).position
        except WrongVersion as refusal:
            answers[number] = refusal.code

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(store.writer._waiting) == 8)  # type: ignore[union-attr]
    release.set()
    for thread in (holder, *threads):
        thread.join(20)
    assert [answers[number] for number in (1, 3, 5, 7)] == ["wrong_version"] * 4
    assert sorted(answers[number] for number in (0, 2, 4, 6)) == [1, 2, 3, 4]  # type: ignore[type-var]


def test_the_queue_is_bounded(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes when it is full is told so at once; nobody who is in it is lost."""
    monkeypatch.setattr(writer_module, "WAITING_MAX", 4)
    holder, release = hold(store)
    threads = [threading.Thread(target=store.append, args=("s", event())) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(store.writer._waiting) == 4)  # type: ignore[union-attr]
    with pytest.raises(Overloaded):
        store.append("s", event())
    release.set()
    for thread in (holder, *threads):
        thread.join(20)
    assert store.head().position == 4
    assert store.append("s", event()).position == 5


def test_closing_answers_everyone(path: Path) -> None:
    """Whoever waits when the log is closed hears that it is; whoever was acknowledged is in the log."""
    store = EventStore.open(path)
    acknowledged: list[int] = []
    refused: list[str] = []

    def client(number: int) -> None:
        try:
            while True:
                acknowledged.append(store.append(f"s{number}", event()).position)
        except Stopped as refusal:
            refused.append(str(refusal))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(acknowledged) > 50)
    store.close()
    for thread in threads:
        thread.join(20)
    assert refused == ["the log was closed"] * 16
    with EventStore.open(path) as again:
        assert [one.position for one in again.read()] == sorted(acknowledged)


def test_interrupts_at_any_moment(path: Path) -> None:
    """Threads are interrupted again and again, wherever they are: the others go on, nothing acknowledged is missing, nothing is there twice.

    An interrupted caller does not know whether its event was committed, and asks again under its key.
    """
    interrupt = ctypes.pythonapi.PyThreadState_SetAsyncExc
    acknowledged: set[str] = set()
    hits = 0
    ended: set[int] = set()
    with EventStore.open(path, clock=FakeClock()) as store:

        def client(number: int) -> None:
            nonlocal hits
            todo = [f"{number}-{round}" for round in range(ROUNDS)]
            while todo:
                try:
                    while todo:
                        store.append(f"s{number}", event(todo[-1]), idempotency_key=todo[-1], durable=False)
                        acknowledged.add(todo[-1])
                        todo.pop()
                except Abort:
                    hits += 1
            ended.add(threading.get_ident())

        def guarded(number: int) -> None:
            while True:
                try:
                    client(number)
                    return
                except Abort:
                    continue  # it hit between the tries

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        chance = random.Random(5)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and any(thread.is_alive() for thread in threads):
            victim = chance.choice(threads)
            if victim.ident is not None and victim.ident not in ended and victim.is_alive():
                interrupt(ctypes.c_ulong(victim.ident), ctypes.py_object(Abort))
            time.sleep(chance.random() * 0.001)
        for thread in threads:
            thread.join(30)
        assert [thread.name for thread in threads if thread.is_alive()] == []
        assert hits > 50
        found = [one.data for one in store.read()]
        assert len(found) == len(set(found)) == 12 * ROUNDS
        assert len(acknowledged) == 12 * ROUNDS
        assert problems(store) == []
        assert store.append("last", event()).position == 12 * ROUNDS + 1


def remove(path: Path) -> None:
    """What a tidy administrator may do."""
    os.unlink(f"{path}-wal")


def remove_index(path: Path) -> None:
    """Who opens the log now makes another one, and nobody sees the locks in the other's."""
    os.unlink(f"{path}-shm")


def use_another_library(path: Path) -> None:
    """Its close takes the locks of the whole process away, and believes to be the last."""
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM events").fetchone() == (2,)
    db.close()
    assert not Path(f"{path}-wal").exists()


def replace(path: Path) -> None:
    """Another file in its place."""
    remove(path)
    Path(f"{path}-wal").touch()


def move(path: Path) -> None:
    """By a copy of it, as a restore by hand does."""
    shutil.copy(path, f"{path}.old")
    os.replace(f"{path}.old", path)


def sizes(path: Path) -> list[int]:
    """Of the database and its write-ahead log, if they are there."""
    return [file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists()]


@pytest.mark.parametrize("gone", [remove, remove_index, use_another_library, replace, move])
@pytest.mark.parametrize("way", ["append", "append after a quiet time", "look", "checkpoint", "close"])
def test_nothing_is_acknowledged_into_a_log_that_is_gone(path: Path, gone: Callable[[Path], None], way: str) -> None:
    """Not even by the last commit of its end, and nothing is written over what another program has begun since. The database stays whole."""
    store = EventStore.open(path)
    store.append("s", event())
    store.append("s", event(), durable=False)  # the first after an orderly end would wait for the disk
    assert store.writer is not None
    if "quiet" in way:
        os.utime(path.parent, (0, 0))
    assert store.writer.look()
    assert (store.writer._quiet_since_ns is not None) == ("quiet" in way)
    gone(path)
    before = sizes(path)
    if way == "look":
        store.watch.wait(9, 0.1)
        wait_until(lambda: store.writer is not None and store.writer.stopped is not None)
    elif way == "checkpoint":
        with pytest.raises(Stopped, match="removed while in use"):
            store.writer.checkpoint(0)
    for durable in (True, False):
        if way != "close":
            with pytest.raises(Stopped, match="removed while in use"):
                store.append("s", event(), durable=durable)
    store.close()
    assert sizes(path) == before
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    if gone is use_another_library:  # which has brought the events into the database; else they were in the log alone
        with EventStore.open(path) as again:
            assert (again.append("s", event()).position, problems(again)) == (3, [])


def test_a_checkpoint_leaves_the_log_where_it_is(path: Path) -> None:
    """Cut back to nothing or begun anew, by this process or another one that opens and closes: it is the same file."""
    with EventStore.open(path) as store:
        assert store.writer is not None
        for _ in range(3):
            store.append("s", event())
            with EventStore.open(path) as other:
                other.append("s", event())
                assert other.writer is not None
                other.writer.checkpoint(0)
            assert store.writer.checkpoint(0)
            assert store.writer.look()
        assert store.append("s", event()).position == 7


def takes_back(transaction: Transaction) -> None:
    """As the context manager of a connection does it: a savepoint, rolled back when the block fails."""
    try:
        with transaction.db:
            transaction.append("s", [event("half")])
            raise ValueError
    except ValueError:
        pass


def test_a_work_that_takes_back_behind_the_transaction_is_refused(store: EventStore) -> None:
    """The head would not be the log's; with others in the same commit they have their answers."""
    store.append("s", event("first"))
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"transaction.mark\(\)"):
            store.transact(takes_back)
    with pytest.raises(RuntimeError, match=r"transaction.mark\(\)"):
        store.transact(lambda transaction: (takes_back(transaction), transaction.append("s", [event("more")])))
    answers: list[object] = []
    inside, go = threading.Event(), threading.Event()

    def holds(_: Transaction) -> None:
        inside.set()
        assert go.wait(20)

    def client(work: Callable[[Transaction], object]) -> None:
        try:
            answers.append(store.transact(work))
        except RuntimeError as error:
            answers.append(error)

    def appends(transaction: Transaction) -> int:
        return transaction.append("s", [event("other")])[-1].position

    threads = [threading.Thread(target=client, args=(work,)) for work in (holds, appends, takes_back, appends)]
    threads[0].start()
    assert inside.wait(20)
    for thread in threads[1:]:
        thread.start()
    assert store.writer is not None
    wait_until(lambda: len(store.writer._waiting) == 3)  # type: ignore[union-attr]
    go.set()
    for thread in threads:
        thread.join(20)
    assert [answer for answer in answers if answer is not None and not isinstance(answer, RuntimeError)] == [2, 3]
    assert sum(isinstance(answer, RuntimeError) for answer in answers) == 1
    assert store.head().position == store.head().synced_position == 3


def test_a_work_must_not_close_its_log(store: EventStore) -> None:
    """It would wait for itself; the log goes on."""
    with pytest.raises(RuntimeError, match="must not close"):
        store.transact(lambda _: store.close())
    assert store.append("s", event()).position == 1


LIMITED = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from eventstore.errors import OutOfSpace
from eventstore.record import NewEvent
from eventstore.store import EventStore

def limit(most):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with EventStore.open(sys.argv[2]) as store:
    store.append("s", NewEvent("t.x"))
    limit(60_000)
    for _ in range(2):
        try:
            store.append("s", NewEvent("t.x", '"' + "x" * 90_000 + '"'))
        except OutOfSpace as error:
            print(error)
    limit(resource.RLIM_INFINITY)
    print(store.append("s", NewEvent("t.x")).position, store.verify())
"""


def test_a_limit_of_file_sizes_is_no_end(path: Path) -> None:
    """Refused as on a full disk; the same open log goes on when there is room."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(Path(__file__).parents[2]), str(path)], capture_output=True, text=True, timeout=60
    )
    first, second, after = done.stdout.splitlines()
    assert first == second
    assert first.startswith("a quota or a limit of file sizes is used up")
    assert after == "2 []"


STORM = """
import os, random, signal, sys, threading, time
sys.path.insert(0, sys.argv[1])
from eventstore.record import NewEvent
from eventstore.store import EventStore

store, over, chance = EventStore.open(sys.argv[2]), False, random.Random(1)

def other(name):
    while not over:
        store.append(name, NewEvent("t.x"), durable=False)

def interrupt():
    while not over:
        time.sleep(chance.uniform(0, 0.002))
        if calm.wait(20):
            calm.clear()
            os.kill(os.getpid(), signal.SIGINT)

calm = threading.Event()
threads = [threading.Thread(target=other, args=(name,)) for name in "ab"] + [threading.Thread(target=interrupt)]
for thread in threads:
    thread.start()
known, heard = 0, 0
while heard < 300:
    try:
        calm.set()
        while True:
            known = store.append("main", NewEvent("t.x"), durable=False).version
    except KeyboardInterrupt:
        heard += 1
over = True
calm.set()
for thread in threads:
    while thread.is_alive():
        try:
            thread.join(20)
        except KeyboardInterrupt:
            pass
versions = [one.version for one in store.read(stream="main")]
print(versions[-1] >= known > 0, store.verify())
store.close()
"""


def test_ctrl_c_leaves_nobody_waiting(path: Path) -> None:
    """Three hundred times in the main thread, at any moment, while others append: they go on, and what was acknowledged is there."""
    done = subprocess.run(
        [sys.executable, "-c", STORM, str(Path(__file__).parents[2]), str(path)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("True []\n", "")


SECOND = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from eventstore.record import NewEvent
from eventstore.store import EventStore

with EventStore.open(sys.argv[2]) as store:
    said = []

    def endless(transaction):
        transaction.append("s", [NewEvent("t.x")])
        while True:
            said.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    try:
        store.transact(endless)
    except KeyboardInterrupt:
        print(len(said), store.head().position, store.append("s", NewEvent("t.x")).position)
"""


def test_a_second_ctrl_c_ends_a_work_that_does_not_end(path: Path) -> None:
    """It is rolled back, and the log goes on."""
    done = subprocess.run(
        [sys.executable, "-c", SECOND, str(Path(__file__).parents[2]), str(path)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("2 0 1\n", "")
