"""The two classes: what is synced when, and what a power cut may take. Cuts are made by keeping only what was synced."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.errors import OutOfSpace, ReadOnly, Stopped, StoreError
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from eventstore.testing.faults import Fault, FaultyVFS, Kind
from tests.eventstore.conftest import event, problems, texts, wait_until


@pytest.fixture
def vfs() -> Iterator[FaultyVFS]:
    """A file layer that counts."""
    with FaultyVFS("durability") as one:
        yield one


def open_counted(path: Path, vfs: FaultyVFS, clock: FakeClock, sync_after_seconds: float = 3_600) -> EventStore:
    return EventStore.open(path, vfs=vfs.name, clock=clock, sync_after_seconds=sync_after_seconds)


def cut(path: Path, synced: dict[str, bytes]) -> None:
    """The disk as a power cut leaves it: each file as it was at its last sync."""
    for one in list(path.parent.glob(f"{path.name}*")):
        one.unlink()
    for name, content in synced.items():
        path.with_name(name).write_bytes(content)


def files(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in path.parent.glob(f"{path.name}*") if not one.name.endswith("-shm")}


def test_a_durable_append_is_one_sync(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """Each waits for exactly one."""
    with open_counted(path, vfs, clock) as store:
        store.append("s", event())
        before = vfs.count("sync")
        for _ in range(50):
            store.append("s", event())
        assert vfs.count("sync") - before == 50


def test_a_relaxed_append_is_not_synced(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """But the first one after an orderly start: the note that unsynced events may exist must be on the disk before them."""
    with open_counted(path, vfs, clock) as store:
        store.append("s", event())
        before = vfs.count("sync")
        store.append("s", event(), durable=False)
        assert (vfs.count("sync") - before, store.head().dirty, store.head().synced_position) == (1, True, 2)
        for _ in range(50):
            store.append("s", event(), durable=False)
        assert (vfs.count("sync") - before, store.head().synced_position) == (1, 2)
        store.append("s", event())
        assert (vfs.count("sync") - before, store.head().synced_position) == (2, 53)
        store.append("s", event(), durable=False)
        assert vfs.count("sync") - before == 2


def test_a_batch_with_one_durable_work_is_synced(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """Relaxed ones that wait with a durable one are on the disk with it."""
    with open_counted(path, vfs, clock) as store:
        store.append("s", event(), durable=False)
        store.append("s", event(), durable=False)
        release = threading.Event()
        holder = threading.Thread(target=store.transact, args=(lambda _: release.wait(20), False))
        holder.start()
        threads = [threading.Thread(target=store.append, args=(f"s{n}", event()), kwargs={"durable": n == 2}) for n in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(store.writer._waiting) == 4)  # type: ignore[union-attr]
        before = vfs.count("sync")
        release.set()
        for thread in (holder, *threads):
            thread.join(20)
        assert (vfs.count("sync") - before, store.head().synced_position) == (1, 6)


def test_relaxed_events_are_synced_in_time(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """By themselves, after the interval; again for those that come later."""
    with open_counted(path, vfs, clock, sync_after_seconds=0.05) as store:
        for position in (2, 4):
            store.append("s", [event(), event()], durable=False)
            wait_until(lambda position=position: store.head().synced_position == position)
        assert store.head().dirty


def test_a_sync_that_fails_for_want_of_space_is_tried_again(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """The events stay unsynced, and are synced once there is room."""
    with open_counted(path, vfs, clock, sync_after_seconds=0.05) as store:
        store.append("s", event(), durable=False)
        with store.snapshot():
            store.append("s", event(), durable=False)
            vfs.plant(Fault("enospc", 1, ("write",), for_good=True))
        wait_until(lambda: vfs.fired >= 2)
        with pytest.raises(OutOfSpace):
            store.append("s", event())
        vfs.plant(None)
        wait_until(lambda: store.head().synced_position == 2)


def test_events_left_unsynced_by_a_dead_process_are_synced_by_the_next(path: Path, clock: FakeClock) -> None:
    """The next to open the log finds them, and does not wait for a commit of its own."""
    store = EventStore.open(path, clock=clock, sync_after_seconds=3_600)
    store.append("s", event(), durable=False)
    store.append("s", event(), durable=False)
    assert store.head().synced_position == 1
    with EventStore.open(path, clock=clock, sync_after_seconds=0.05) as other:
        wait_until(lambda: other.head().synced_position == 2)
    store.close()


def test_an_orderly_end_is_clean(path: Path, clock: FakeClock) -> None:
    """Everything synced, no note left, the epoch as before after a reboot."""
    with EventStore.open(path, clock=clock) as store:
        store.append("s", event(), durable=False)
    clock.reboot()
    with EventStore.open(path, clock=clock) as store:
        assert (store.head().dirty, store.head().synced_position) == (False, 1)
        store.append("s", event())
        assert store.head().epoch == 0


def test_a_power_cut_that_takes_relaxed_events_begins_a_new_epoch(path: Path, clock: FakeClock) -> None:
    """Durable ones stay; the position is used again, and the epoch tells a reader that it is another event. Twice in a row, two epochs."""
    for epoch in (0, 1):
        store = EventStore.open(path, clock=clock, sync_after_seconds=3_600)
        store.append("s", event(f"durable {epoch}"))
        store.append("s", event(f"first {epoch}"), durable=False)
        synced = files(path)
        store.append("s", event(f"taken {epoch}"), durable=False)
        assert store.head().epoch == epoch
        position = store.head().position
        store.close()
        cut(path, synced)
        clock.reboot()
        with EventStore.open(path, clock=clock) as again:
            assert (again.head().position, again.head().dirty) == (position - 1, True)
            assert problems(again) == []
    with EventStore.open(path, clock=clock) as store:
        store.append("s", event("new"), durable=False)
        assert store.head().epoch == 2
        assert [data.split('"')[3] for data in texts(store)] == ["durable 0", "first 0", "durable 1", "first 1", "new"]


def test_a_new_epoch_is_on_the_disk_before_anyone_sees_it(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """Even when a relaxed event begins it."""
    with open_counted(path, vfs, clock) as store:
        store.append("s", event(), durable=False)
        store.append("s", event(), durable=False)
        clock.reboot()  # as if the machine had been cut off; the file is as it was
        before = vfs.count("sync")
        store.append("s", event(), durable=False)
        assert (vfs.count("sync") - before, store.head().epoch, store.head().dirty) == (1, 1, True)


def test_opening_and_closing_after_a_cut_does_not_hide_it(path: Path, clock: FakeClock) -> None:
    """A process that only writes rows of its own and ends in order must not clear the note of the boot before."""
    store = EventStore.open(path, clock=clock, sync_after_seconds=3_600)
    store.append("s", event(), durable=False)
    synced = files(path)
    store.close()
    cut(path, synced)
    clock.reboot()
    with EventStore.open(path, clock=clock) as again:
        again.transact(lambda transaction: transaction.db.execute("CREATE TABLE mine (x)").fetchall())
    with EventStore.open(path, clock=clock) as again:
        assert again.head().dirty
        again.append("s", event())
        assert again.head().epoch == 1


def test_another_process_that_ends_in_order_does_not_take_the_note_away(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """After its end the next relaxed event of this one is synced with the note before others go unsynced."""
    with open_counted(path, vfs, clock) as store:
        store.append("s", event(), durable=False)
        with EventStore.open(path, clock=clock) as other:
            other.append("s", event(), durable=False)
        assert not store.head().dirty
        before = vfs.count("sync")
        store.append("s", event(), durable=False)
        # Two: the other one brought the write-ahead log home, so that it begins anew with a header of its own.
        assert (vfs.count("sync") - before, store.head().dirty) == (2, True)
        store.append("s", event(), durable=False)
        assert vfs.count("sync") - before == 2


def test_bytes_per_class(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """Sixty relaxed events in one commit write at most a tenth of what sixty durable ones write, one by one."""
    with open_counted(path, vfs, clock) as store:
        store.append("s", event(), durable=False)
        start = vfs.written_bytes()
        for _ in range(60):
            store.append("s", event("x" * 80))
        durable = vfs.written_bytes() - start
        start = vfs.written_bytes()

        def sixty(transaction: object) -> None:
            for _ in range(60):
                transaction.append("s", [event("x" * 80)])  # type: ignore[attr-defined]

        store.transact(sixty, durable=False)
        relaxed = vfs.written_bytes() - start
    assert relaxed <= durable * 0.10


class _RefusingVFS(FaultyVFS):
    """A file layer whose calls fail as those of a file system do that the kernel has made read-only after an error of its own."""

    def xGetLastError(self) -> tuple[int, str]:
        return errno.EROFS, "planted"


@pytest.mark.parametrize(("kind", "refusal"), [("write", ReadOnly), ("sync", Stopped)])
def test_a_file_system_that_takes_no_more_writes(path: Path, clock: FakeClock, kind: Kind, refusal: type[StoreError]) -> None:
    """A write that is refused is no reason to stop, though statvfs shows nothing; a failed sync is, whatever its reason."""
    with _RefusingVFS("refusing") as vfs:
        store = open_counted(path, vfs, clock)
        store.append("s", event())
        vfs.plant(Fault("eio", 1, (kind,), for_good=True))
        for _ in range(2):
            with pytest.raises(refusal):
                store.append("s", event())
        assert len(texts(store)) == 1
        vfs.plant(None)
        if kind == "write":
            assert store.append("s", event()).position == 2
        store.close()
