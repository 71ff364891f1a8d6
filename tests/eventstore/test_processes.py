"""Several processes on one log: appending at once, waking each other, dying."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eventstore.errors import Busy
from eventstore.store import EventStore
from tests.eventstore.conftest import event, problems

ROOT = Path(__file__).parent.parent.parent

PRELUDE = """
import sys, time, json
sys.path.insert(0, sys.argv[1])
from eventstore.store import EventStore
from eventstore.record import NewEvent
from eventstore.errors import WrongVersion
store = EventStore.open(sys.argv[2])
print("ready", flush=True)
"""

APPEND = """
name, count = sys.argv[3], int(sys.argv[4])
sys.stdin.readline()
for number in range(count):
    store.append(name, NewEvent("own", "{}"), number, durable=number % 3 == 0)
    while True:
        version = next((e.version for e in reversed(list(store.read(stream="shared")))), 0)
        try:
            store.append("shared", NewEvent("shared", json.dumps(name)), version)
            break
        except WrongVersion:
            pass
store.close()
"""

ENDLESS = """
number = 0
while True:
    store.append("s", NewEvent("own", str(number)), durable=number % 2 == 0)
    print(number, flush=True)
    number += 1
"""

HOLD = """
store.writer._db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""

ECHO = """
for one in store.subscribe(0, streams=["ping"]):
    store.append("pong", NewEvent("own", one.data), durable=False)
"""

FORK = """
import gc, os, threading, warnings
from eventstore.errors import Stopped, Unusable
warnings.simplefilter("ignore", DeprecationWarning)  # that a process with threads forks is the point
threading.Thread(target=store.watch.wait, args=(1_000,), daemon=True).start()
store.append("s", NewEvent("own", "{}"))
inside, go = threading.Event(), threading.Event()
holder = threading.Thread(target=store.transact, args=(lambda _: (inside.set(), go.wait(20)),))
if sys.argv[3] == "while writing":
    holder.start()
    inside.wait(20)
child = os.fork()
if child == 0:
    for use in (
        lambda: store.append("s", NewEvent("own", "{}")),
        store.head,
        lambda: store.watch.wait(9, 5),
        lambda: next(iter(store.subscribe(0))),
        lambda: store.writer.checkpoint(0),
    ):
        try:
            print("used", use())
        except Stopped as error:
            print(error.code, flush=True)
    try:
        EventStore.open(sys.argv[2])
    except Unusable as error:
        print(error.code, flush=True)
    store.close()
    store.close()
    del store
    gc.collect()
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
go.set()
began = time.process_time()
time.sleep(0.5)
print(time.process_time() - began < 0.2, store.append("s", NewEvent("own", "{}")).position, store.verify(), flush=True)
store.close()
"""


def start(script: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process that has opened the log."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script, str(ROOT), str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=20)


def test_two_processes_append(path: Path) -> None:
    """Positions without gaps, one chain, versions of a stream that both write to without a repeat; each finds its own in its order."""
    EventStore.open(path).close()
    both = [start(APPEND, path, name, "40") for name in ("one", "two")]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=90)
    assert [process.returncode for process in both] == [0, 0]
    with EventStore.open(path) as store:
        assert problems(store) == []
        assert store.head().position == 160
        shared = [json.loads(one.data) for one in store.read(stream="shared")]
        assert (len(shared), shared.count("one"), shared.count("two")) == (80, 40, 40)
        for name in ("one", "two"):
            assert [one.version for one in store.read(stream=name)] == list(range(1, 41))


@pytest.mark.parametrize("round", range(3))
def test_a_killed_process_loses_nothing_that_it_was_answered(path: Path, round: int) -> None:
    """Of either class; the next one opens the log by itself and goes on."""
    process = start(ENDLESS, path)
    assert process.stdout is not None
    acknowledged = -1
    for _ in range(60 + 37 * round):
        acknowledged = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    lines = process.stdout.read().split("\n")  # what it had printed until it died; the last piece may be half a line
    acknowledged = max([acknowledged, *map(int, lines[:-1])])
    process.communicate(timeout=20)
    with EventStore.open(path) as store:
        numbers = [int(one.data) for one in store.read()]
        assert numbers == list(range(len(numbers)))
        assert acknowledged < len(numbers) <= acknowledged + 2
        assert problems(store) == []
        assert store.append("s", event()).position == len(numbers) + 1


def test_a_process_that_holds_the_lock_makes_others_busy(path: Path) -> None:
    """After the bounded wait the answer is Busy; reads go on meanwhile, and writes once it is dead."""
    with EventStore.open(path) as store:
        store.append("s", event())
        process = start(HOLD, path)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert store.writer is not None
        store.writer._db.set_busy_timeout(50)
        with pytest.raises(Busy):
            store.append("s", event())
        assert len(list(store.read())) == 1
        end(process)
        assert store.append("s", event()).position == 2


def test_wake_ups_cross_processes(path: Path) -> None:
    """There and back again through two processes, the slowest of 60 round trips within the time that a look without a bell would take."""
    with EventStore.open(path) as store:
        process = start(ECHO, path)
        answers = iter(store.subscribe(0, streams=["pong"]))
        took: list[float] = []
        for number in range(60):
            began = time.monotonic()
            store.append("ping", event(str(number)), durable=False)
            assert next(answers).data == f'{{"text":"{number}"}}'
            took.append(time.monotonic() - began)
        end(process)
    took.sort()
    assert took[30] < 0.05
    assert took[-1] < 0.9


@pytest.mark.parametrize("when", ["idle", "while writing"])
def test_a_forked_child_leaves_the_log_alone(path: Path, when: str) -> None:
    """Every use is refused, opening anew too, nothing hangs, and the end of the child takes neither the parent's time nor its locks."""
    process = start(FORK, path, when)
    out, _ = process.communicate(timeout=60)
    assert out.splitlines() == ["stopped"] * 5 + ["locked", "0", "True 2 []"]
    assert process.returncode == 0
    with EventStore.open(path) as store:
        assert (store.head().position, problems(store)) == (2, [])


FORK_AFTER = """
import os
store.close()
child = os.fork()
if child == 0:
    with EventStore.open(sys.argv[2]) as again:
        print(again.append("s", NewEvent("own", "{}")).position, flush=True)
    sys.exit(0)
os.waitpid(child, 0)
with EventStore.open(sys.argv[2]) as again:
    print(again.append("s", NewEvent("own", "{}")).position, again.verify(), flush=True)
"""


def test_a_child_opens_what_its_parent_had_closed(path: Path) -> None:
    """Though the parent still holds the object."""
    out, _ = start(FORK_AFTER, path).communicate(timeout=60)
    assert out.splitlines() == ["1", "2 []"]
