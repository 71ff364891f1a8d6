"""Relaxed events are on the disk in time as long as anybody has the log open: those of a process that was killed, too."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from pathlib import Path

import apsw
import pytest

from eventstore.errors import Busy, Stopped
from eventstore.store import EventStore
from eventstore.syncing import LOOKS, OTHERS_LATER, Behind, Syncer
from eventstore.testing.clock import FakeClock
from eventstore.testing.faults import FaultyVFS
from tests.eventstore.conftest import event, wait_until
from tests.eventstore.test_processes import end, start

UNSYNCED = """
for number in range(3):
    store.append("s", NewEvent("own", str(number)), durable=False)
print("appended", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("written", [False, True])
def test_what_a_killed_process_left_unsynced_is_synced_by_a_survivor(path: Path, written: bool) -> None:
    """Though it waits for nothing and writes nothing itself; whether it ever wrote makes no difference."""
    with EventStore.open(path, sync_after_seconds=0.1) as survivor:
        if written:
            survivor.append("s", event())
        process = start(UNSYNCED, path)  # its own sync is due after nine seconds
        assert process.stdout is not None
        assert process.stdout.readline() == "appended\n"
        end(process)
        position = 3 + written
        wait_until(lambda: survivor.head().synced_position == position, 8)
        assert survivor.head().dirty


def test_an_idle_log_is_looked_at_and_nothing_more(path: Path, clock: FakeClock) -> None:
    """No commit, no call on a file."""
    with (
        FaultyVFS("idle") as vfs,
        EventStore.open(path, clock=clock, vfs=vfs.name, sync_after_seconds=0.02) as store,
    ):
        store.append("s", event())
        assert store.writer is not None
        looks: list[Behind | None] = []
        look = store._behind

        def counted() -> Behind | None:
            looks.append(look())
            return looks[-1]

        store._syncer._look = counted
        before = (store.writer.commits, len(vfs.calls))
        wait_until(lambda: len(looks) >= 20)
        assert (store.writer.commits, len(vfs.calls)) == before
        assert set(looks) == {None}


def test_syncing_what_is_synced_does_nothing(path: Path, clock: FakeClock) -> None:
    """Whoever comes second, because another was at it, has waited for the lock and no more."""
    with FaultyVFS("second") as vfs, EventStore.open(path, clock=clock, vfs=vfs.name, sync_after_seconds=3_600) as store:
        for _ in range(2):
            store.append("s", event(), durable=False)
        store.sync()
        before = len(vfs.calls)
        store.sync()
        assert len(vfs.calls) == before


def test_the_age_of_what_is_unsynced_is_that_of_its_first_event(path: Path, clock: FakeClock) -> None:
    """By logtime, whoever wrote it; nothing is behind when all is synced."""
    with EventStore.open(path, clock=clock, sync_after_seconds=3_600) as store:
        store.append("s", event(), durable=False)
        clock.advance(5_000_000)
        assert store._behind() is None
        store.append("s", event(), durable=False)
        clock.advance(4_000_000)
        with EventStore.open(path, clock=clock, sync_after_seconds=3_600) as other:
            other.append("s", event(), durable=False)
            clock.step_wall(-9_000_000)
            clock.advance(3_000_000)
            for one in (store, other):
                assert one._behind() == Behind(1, 7.0)
        assert store._behind() is None


def test_after_a_boot_there_is_no_age(path: Path, clock: FakeClock) -> None:
    """What the boot before left unsynced and is here has been on the disk; it is noted as such in time, and the note of that boot stays."""
    killed = EventStore.open(path, clock=clock, sync_after_seconds=3_600)
    for _ in range(3):
        killed.append("s", event(), durable=False)
    clock.reboot()
    with EventStore.open(path, clock=clock, sync_after_seconds=0.05) as store:
        wait_until(lambda: store.head().synced_position == 3)
        assert (store.head().dirty, store.head().boot_id, store.head().epoch) == (True, "boot-1", 0)
        store.append("s", event())
        assert store.head().epoch == 1
    killed.close()


class Scripted:
    """What a syncer sees and does, without a log."""

    def __init__(self) -> None:
        self.behind: Behind | None = None
        self.synced = 0
        self.failure: Exception | None = None
        self.syncer = Syncer(lambda: self.behind, self.sync, 9.0)

    def sync(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.synced += 1
        self.behind = None


LATER = 9.0 * OTHERS_LATER


def test_nothing_behind_is_nothing_to_do() -> None:
    """Not even to wait for."""
    script = Scripted()
    assert script.syncer.step(None, own=False) == (None, 0.0)
    assert script.syncer.step(4, own=True) == (None, 0.0)
    assert script.synced == 0


def test_what_is_still_behind_after_its_time_is_synced() -> None:
    """At the second look, when nobody else has done it."""
    script = Scripted()
    script.behind = Behind(4, 0.5)
    assert script.syncer.step(None, own=True) == (4, 8.5)
    script.behind = Behind(4, 9.0)
    assert script.syncer.step(4, own=True) == (None, 0.0)
    assert script.synced == 1


def test_what_others_left_waits_a_little_longer() -> None:
    """So that a process that lives syncs its own, and the others find it done; within ten seconds all the same, however late it is found."""
    script = Scripted()
    assert (9.0 + LATER, 9.0 / LOOKS) < (9.6, 5.0)
    for age_seconds, wait_seconds in ((0.0, 9.0 + LATER), (9.0 / LOOKS, 4.5 + LATER), (9.0 + LATER, 0.0), (60.0, 0.0)):
        script.behind = Behind(4, age_seconds)
        assert script.syncer.step(None, own=False) == (4, pytest.approx(wait_seconds))


def test_what_came_later_has_its_own_time() -> None:
    """Somebody has synced meanwhile: what is behind now is younger, and is not synced early."""
    script = Scripted()
    script.behind = Behind(7, 2.0)
    assert script.syncer.step(4, own=True) == (7, 7.0)
    assert script.synced == 0


@pytest.mark.parametrize("failure", [Busy("x"), apsw.FullError("x")])
def test_a_sync_that_fails_is_tried_again(failure: Exception) -> None:
    """After as long again, until it is done."""
    script = Scripted()
    script.behind, script.failure = Behind(4, 99.0), failure
    syncer = Syncer(lambda: script.behind, script.sync, 0.02)
    tries = threading.Event()

    def sync() -> None:
        if tries.is_set():
            script.failure = None
        tries.set()
        script.sync()

    syncer._sync = sync
    syncer.start()
    wait_until(lambda: script.synced == 1)
    syncer.end()


def test_a_log_that_has_stopped_is_looked_at_no_more() -> None:
    """The thread ends by itself."""

    def look() -> Behind | None:
        raise Stopped("x")

    syncer = Syncer(look, lambda: None, 0.02)
    syncer.start()
    wait_until(lambda: syncer._thread is not None and not syncer._thread.is_alive())
    syncer.end()


def test_ending_wakes_the_thread(path: Path) -> None:
    """Whatever it waits for: its next look, or the time of what is behind."""
    for unsynced in (0, 2):
        store = EventStore.open(path)
        for _ in range(unsynced):
            store.append("s", event(), durable=False)
        thread = store._syncer._thread
        assert thread is not None
        assert thread.is_alive()
        store.close()
        assert not thread.is_alive()


def test_where_no_thread_is_to_be_had_the_next_commit_asks_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log opens, and what is committed stands."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        store = EventStore.open(path, sync_after_seconds=0.05)
        for _ in range(2):
            store.append("s", event(), durable=False)
    assert store.head().synced_position == 1
    store.append("s", event(), durable=False)
    wait_until(lambda: store.head().synced_position == 3)
    store.close()


def test_a_log_that_is_forgotten_goes_as_any_object_does(path: Path) -> None:
    """The thread that looks keeps nothing of it, neither its files, and ends."""
    store = EventStore.open(path, sync_after_seconds=0.02)
    store.append("s", event())
    thread = store._syncer._thread
    forgotten = weakref.ref(store)
    del store
    gc.collect()
    wait_until(lambda: forgotten() is None)
    assert thread is not None
    thread.join(8)
    assert not thread.is_alive()
    open_files = {os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
    assert not open_files & {str(path.resolve()), f"{path.resolve()}-wal"}
