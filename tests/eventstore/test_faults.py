"""Every write, sync, truncate and delete of a scripted workload fails: what was acknowledged is there, what is there was asked for."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventstore import writer as writer_module
from eventstore.errors import OutOfSpace, Refused, Stopped, StoreError, Unusable
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from eventstore.testing.faults import Fault, FaultyVFS, Kind
from tests.eventstore.conftest import event, problems

_numbers = itertools.count()

WRITES: tuple[Kind, ...] = ("write", "truncate", "delete")
EVENTS = 10

SYNCS: tuple[Kind, ...] = ("sync",)


class Run:
    """The workload: durable and relaxed appends, a batch, a key, a large event, checkpoints, an orderly end. Remembers what was acknowledged."""

    def __init__(self, path: Path, vfs: FaultyVFS, fault: Fault | None, heal: bool = False) -> None:
        self.path, self.vfs = path, vfs
        self.acknowledged: dict[str, int] = {}
        self.refused: list[tuple[str, StoreError]] = []
        self.opened = False
        self.close_refused: StoreError | None = None
        vfs.plant(fault)
        try:
            store = EventStore.open(path, vfs=vfs.name, clock=FakeClock(), sync_after_seconds=3_600)
        except Unusable:
            return
        self.opened = True
        try:
            for number in range(EVENTS):
                self._append(store, number)
                if heal and vfs.fired:
                    vfs.plant(None)
                    fired = True
                    vfs.fired = int(fired)
                    heal = False
            self.stopped = store.writer is not None and store.writer.stopped is not None
        finally:
            try:
                store.close()
            except Stopped as refusal:
                self.close_refused = refusal

    def _append(self, store: EventStore, number: int) -> None:
        name = f"event-{number}"
        size = 9_000 if number % 5 == 4 else 10
        new = [event(name), event(name + "x" * size)] if number % 3 == 2 else [event(name + "y" * size)]
        key = f"key-{number}" if number % 2 else None
        try:
            answer = store.append(f"s{number % 4}", new, idempotency_key=key, durable=number % 4 != 3)
            self.acknowledged[name] = answer.position
        except (Refused, Stopped) as refusal:
            self.refused.append((name, refusal))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory: each of hundreds of runs syncs a dozen times, and what fails is planted."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name)


@pytest.fixture
def small_wal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints every few commits, so that their calls are among those that fail."""
    monkeypatch.setattr(writer_module, "CHECKPOINT_PAGES", 25)


def check_after(run: Run) -> None:
    """On a healthy disk the log opens by itself, verifies, holds everything acknowledged at its position and at most one thing more."""
    with EventStore.open(run.path, clock=FakeClock()) as store:
        assert problems(store) == []
        found: dict[str, int] = {}
        for one in store.read():
            name = one.data.split('"')[3].rstrip("xy")
            found[name] = one.position
        for name, position in run.acknowledged.items():
            assert found.pop(name) == position
        assert set(found) <= {name for name, _ in run.refused}
        assert len(found) <= 1, found  # only the one in doubt: written, and its sync failed
        before = store.head().position
        assert store.append("after", event("after")).position == before + 1


def count_calls(folder: Path, kinds: tuple[Kind, ...]) -> int:
    """How many calls of these kinds the workload makes when nothing fails."""
    with FaultyVFS(f"count-{next(_numbers)}") as vfs:
        run = Run(folder / "count.db", vfs, None)
        assert len(run.acknowledged) == EVENTS
        assert run.refused == []
        return sum(vfs.count(kind) for kind in kinds)


def each_call(folder: Path, what: Any, kinds: tuple[Kind, ...], for_good: bool, heal: bool = False) -> list[Run]:
    """One run per call, that call failing."""
    runs: list[Run] = []
    for call in range(1, count_calls(folder, kinds) + 1):
        with FaultyVFS(f"faulty-{next(_numbers)}") as vfs:
            run = Run(folder / f"{call}.db", vfs, Fault(what, call, kinds, for_good), heal)
            assert vfs.fired >= 1, f"call {call} was never made"
        check_after(run)
        runs.append(run)
    assert len(runs) > 20
    return runs


@pytest.mark.usefixtures("small_wal")
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_no_space_at_every_write(folder: Path, for_good: bool) -> None:
    """Refused as out of space, never stopped."""
    for run in each_call(folder, "enospc", WRITES, for_good):
        assert all(isinstance(refusal, OutOfSpace) for _, refusal in run.refused)


@pytest.mark.usefixtures("small_wal")
def test_writes_resume_without_restart_once_there_is_space(folder: Path) -> None:
    """A full disk refuses; after space is back the same open log takes everything."""
    for run in each_call(folder, "enospc", WRITES, for_good=True, heal=True):
        if run.opened:
            assert len(run.refused) <= 1
            assert len(run.acknowledged) >= EVENTS - 1


@pytest.mark.usefixtures("small_wal")
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("what", ["eio", "short"])
def test_an_error_at_every_write(folder: Path, what: str, for_good: bool) -> None:
    """What was being written is not acknowledged, the log stops, and what was acknowledged before is there after a restart."""
    for run in each_call(folder, what, WRITES, for_good):
        assert all(isinstance(refusal, Stopped) for _, refusal in run.refused)


@pytest.mark.usefixtures("small_wal")
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_no_space_at_every_sync(folder: Path, for_good: bool) -> None:
    """Where a file system finds out only when it syncs that there is no room, nothing is acknowledged that is not there."""
    refused = 0
    for run in each_call(folder, "enospc", SYNCS, for_good):
        assert all(isinstance(refusal, OutOfSpace | Stopped) for _, refusal in run.refused)
        refused += bool(run.refused)
    assert refused > 10


@pytest.mark.usefixtures("small_wal")
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_an_error_at_every_sync(folder: Path, for_good: bool) -> None:
    """Nothing is acknowledged from the failed sync on: a sync that is tried again proves nothing. Syncs of checkpoints count too."""
    stopped = 0
    for run in each_call(folder, "eio", SYNCS, for_good):
        if run.refused:
            first = int(run.refused[0][0].split("-")[1])
            assert [name for name, _ in run.refused] == [f"event-{number}" for number in range(first, EVENTS)]
            assert all(isinstance(refusal, Stopped) for _, refusal in run.refused)
            stopped += 1
    assert stopped > 10


def test_reads_go_on_after_a_stop(tmp_path: Path) -> None:
    """A log that stopped writing still shows what it holds, and says why it stopped."""
    with FaultyVFS("stopping") as vfs, EventStore.open(tmp_path / "log.db", vfs=vfs.name) as store:
        store.append("s", event("1"))
        vfs.plant(Fault("eio", 1, ("sync",)))
        with pytest.raises(Stopped, match="restart"):
            store.append("s", event("2"))
        assert vfs.fired == 1
        with pytest.raises(Stopped):
            store.append("s", event("3"))
        assert [one.position for one in store.read()] == [1]


def test_a_stopped_log_is_not_checkpointed_at_its_end(tmp_path: Path) -> None:
    """After a failed sync the page cache is not to be believed: closing writes nothing more."""
    with FaultyVFS("last") as vfs:
        store = EventStore.open(tmp_path / "log.db", vfs=vfs.name)
        store.append("s", event("1"))
        vfs.plant(Fault("eio", 1, ("sync",)))
        with pytest.raises(Stopped):
            store.append("s", event("2"))
        before = len(vfs.calls)
        store.close()
        assert vfs.calls[before:] == []


def test_everyone_waiting_learns_of_a_full_disk(tmp_path: Path) -> None:
    """A batch of one commit is tried one by one after the whole was rolled back; each caller has its own answer."""
    import threading

    with FaultyVFS("crowd") as vfs, EventStore.open(tmp_path / "log.db", vfs=vfs.name) as store:
        gate, answers = threading.Event(), list[Any]()
        holder = threading.Thread(target=store.transact, args=(lambda _: gate.wait(20),))
        holder.start()

        def client(number: int) -> None:
            try:
                answers.append(store.append(f"s{number}", event()).position)
            except OutOfSpace as refusal:
                answers.append(refusal.code)

        clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for thread in clients:
            thread.start()
        vfs.plant(Fault("enospc", 1, ("write",)))
        gate.set()
        for thread in (holder, *clients):
            thread.join(20)
        assert vfs.fired == 1
        assert sorted(answers) == list(range(1, 9))  # once full, then room: every one of them was taken the second time
        vfs.plant(Fault("enospc", 1, ("write",), for_good=True))
        answers.clear()
        client(1)
        assert answers == ["out_of_space"]
        vfs.plant(None)
