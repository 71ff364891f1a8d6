"""The note that unsynced events may exist: an orderly end takes it away, whoever left it, and never before all is on the disk."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from eventstore.errors import Stopped
from eventstore.head import runtime_folder
from eventstore.record import Head
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from eventstore.testing.faults import Call, Fault, FaultyVFS
from tests.eventstore.conftest import event, problems, texts
from tests.eventstore.test_processes import HOLD, end, start

UNSYNCED = """
for number in range(3):
    store.append("s", NewEvent("own", str(number)), durable=False)
print("appended", flush=True)
sys.stdin.readline()
"""

RELAXED = """
number = 0
while True:
    store.append("s", NewEvent("own", str(number)), durable=False)
    print(number, flush=True)
    number += 1
"""

ROUNDS = """
for line in sys.stdin:
    store = EventStore.open(sys.argv[2])
    store.append(sys.argv[3], NewEvent("own", line.strip()), durable=False)
    store.append(sys.argv[3], NewEvent("own", line.strip()), durable=False)
    print("appended", flush=True)
    sys.stdin.readline()
    store.close()
    print("closed", flush=True)
"""


@pytest.fixture
def vfs() -> Iterator[FaultyVFS]:
    """A file layer that fails on demand."""
    with FaultyVFS("closing") as one:
        yield one


def head_of(path: Path) -> Head:
    with EventStore.open(path, read_only=True) as store:
        return store.head()


def is_clean(path: Path) -> bool:
    head = head_of(path)
    return not head.dirty and head.synced_position == head.position


def epoch_after_boot(path: Path) -> int:
    """The epoch of the first event after the machine has started anew."""
    with EventStore.open(path, clock=FakeClock(boot_id="the next boot")) as store:
        store.append("after", event())
        return store.head().epoch


def unsynced_and_killed(path: Path) -> None:
    """A process that left relaxed events unsynced; of its end nobody was told."""
    process = start(UNSYNCED, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "appended\n"
    end(process)


def test_a_note_that_a_killed_process_left_is_cleared_by_the_next_end_in_order(path: Path) -> None:
    """Though whoever ends has written nothing itself; the next boot goes on in the same epoch."""
    unsynced_and_killed(path)
    assert (head_of(path).dirty, head_of(path).synced_position) == (True, 1)
    EventStore.open(path).close()
    assert is_clean(path)
    assert epoch_after_boot(path) == 0


def test_so_it_is_by_one_that_had_the_log_open_all_along(path: Path) -> None:
    """What it saw at its own last commit was a clean log."""
    with EventStore.open(path) as store:
        store.append("s", event())
        unsynced_and_killed(path)
    assert is_clean(path)
    assert epoch_after_boot(path) == 0


def test_the_last_of_those_who_append_clears_it(path: Path, clock: FakeClock) -> None:
    """One that goes on after another's end notes anew what it leaves unsynced; then it is its end that matters."""
    first, second = EventStore.open(path, clock=clock), EventStore.open(path, clock=clock)
    for store in (first, second, first):
        store.append("s", event(), durable=False)
    first.close()
    for unsynced in (0, 1):
        second.append("s", event(), durable=False)
        head = second.head()
        assert (head.dirty, head.position - head.synced_position) == (True, unsynced)
    second.close()
    assert is_clean(path)
    clock.reboot()
    assert epoch_after_boot(path) == 0


def test_the_note_of_one_that_was_killed_later_stays(path: Path) -> None:
    """An end in order before it says nothing of what came after: a boot then tells the readers."""
    process = start(f"sys.stdin.readline(){UNSYNCED}", path)
    assert process.stdin is not None
    assert process.stdout is not None
    with EventStore.open(path) as store:
        store.append("s", event(), durable=False)
    assert is_clean(path)
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "appended\n"
    end(process)
    assert (head_of(path).dirty, head_of(path).synced_position) == (True, 2)
    assert epoch_after_boot(path) == 1


def test_the_note_of_an_earlier_boot_is_not_cleared(path: Path, vfs: FaultyVFS) -> None:
    """Nobody has told its readers yet; opening and closing writes nothing, however often."""
    unsynced_and_killed(path)
    boot = FakeClock(boot_id="the next boot")
    EventStore.open(path, clock=boot).close()
    assert (head_of(path).dirty, head_of(path).synced_position) == (True, 3)
    for _ in range(2):
        store = EventStore.open(path, clock=boot, vfs=vfs.name)
        assert store.writer is not None
        store.close()
        assert (store.writer.commits, vfs.count("write"), vfs.count("sync")) == (0, 0, 0)
    assert epoch_after_boot(path) == 1


def test_nothing_is_written_at_the_end_of_a_clean_log(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """Nor a commit made."""
    with EventStore.open(path, clock=clock) as store:
        store.append("s", event(), durable=False)
    store = EventStore.open(path, clock=clock, vfs=vfs.name)
    assert store.writer is not None
    store.close()
    assert (store.writer.commits, vfs.count("write"), vfs.count("sync")) == (0, 0, 0)


def test_two_that_end_at_once(path: Path) -> None:
    """Round after round: whoever comes last leaves a log that is clean, and each was able to end."""
    EventStore.open(path).close()
    both = [start(f"store.close()\n{ROUNDS}", path, name) for name in ("one", "two")]

    def say(line: str, answer: str) -> None:
        for process in both:
            assert process.stdin is not None
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{answer}\n"

    for number in range(30):
        say(str(number), "appended")
        assert head_of(path).dirty
        say("close", "closed")
        assert is_clean(path)
    for process in both:
        process.communicate(timeout=20)
    assert [process.returncode for process in both] == [0, 0]
    with EventStore.open(path) as store:
        assert (store.head().position, problems(store)) == (120, [])
    assert epoch_after_boot(path) == 0


def test_ends_beside_one_that_appends_and_is_killed(path: Path) -> None:
    """Whoever comes and goes beside it: at no moment is something unsynced without the note; after the kill one end in order clears it."""
    process = start(RELAXED, path)
    assert process.stdout is not None
    with EventStore.open(path, read_only=True) as reader:
        for number in range(40):
            with EventStore.open(path) as store:
                if number % 2:
                    store.append("beside", event(), durable=number % 4 == 1)
            for _ in range(5):
                process.stdout.readline()
                head = reader.head()
                assert head.dirty or head.synced_position == head.position
    end(process)
    with EventStore.open(path) as store:
        assert problems(store) == []
    assert is_clean(path)
    assert epoch_after_boot(path) == 0


def test_threads_that_append_while_the_log_is_closed(path: Path, clock: FakeClock) -> None:
    """Each is answered or refused; what was answered last is synced, and the note gone."""
    for _ in range(10):
        store = EventStore.open(path, clock=clock)
        answered: list[int] = []
        begun = threading.Barrier(4)

        def append(store: EventStore = store, answered: list[int] = answered, begun: threading.Barrier = begun) -> None:
            begun.wait(20)
            try:
                while True:
                    answered.append(store.append("s", event(), durable=False).position)
            except Stopped:
                pass

        threads = [threading.Thread(target=append) for _ in range(3)]
        for thread in threads:
            thread.start()
        begun.wait(20)
        store.close()
        for thread in threads:
            thread.join(20)
        assert is_clean(path)
        assert head_of(path).position >= max(answered, default=0)


def test_a_sync_that_fails_at_the_end_is_told(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """The note stays on the disk, and the next start first brings to the disk what is in doubt."""
    store = EventStore.open(path, clock=clock, vfs=vfs.name)
    store.append("s", event("one"), durable=False)
    store.append("s", event("two"), durable=False)
    vfs.plant(Fault("eio", 1, ("sync",), for_good=True))
    with pytest.raises(Stopped):
        store.close()
    assert vfs.fired
    vfs.plant(None)
    doubted = runtime_folder(path.parent) / f"{path.name}.doubted"
    assert doubted.exists()
    with EventStore.open(path, clock=clock, vfs=vfs.name) as store:
        assert not doubted.exists()
        assert texts(store) == [event("one").data, event("two").data]
    assert is_clean(path)


def test_a_checkpoint_whose_sync_fails_at_the_end_leaves_a_doubt(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """Everything was answered before; what the system believes of the file is not to be trusted all the same."""
    store = EventStore.open(path, clock=clock, vfs=vfs.name)
    store.append("s", event("one"))
    vfs.plant(Fault("eio", 1, ("sync",), for_good=True))
    store.close()
    assert vfs.fired
    vfs.plant(None)
    doubted = runtime_folder(path.parent) / f"{path.name}.doubted"
    assert doubted.exists()
    with EventStore.open(path, clock=clock, vfs=vfs.name) as store:
        assert not doubted.exists()
        assert texts(store) == [event("one").data]


def test_a_doubt_is_said_once(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """Whoever opened the log anew has put an end to it: what the one does whose sync failed, and its end, stop nobody."""
    failing = EventStore.open(path, clock=clock, vfs=vfs.name)
    vfs.plant(Fault("eio", 1, ("sync",), for_good=True))
    with pytest.raises(Stopped):
        failing.append("s", event("one"))
    vfs.plant(None)
    with EventStore.open(path, clock=clock) as store:
        with pytest.raises(Stopped):
            failing.append("s", event("two"))
        failing.close()
        assert store.append("s", event("three")).position == store.head().synced_position
        assert problems(store) == []


def test_on_a_full_disk_the_note_stays(path: Path, vfs: FaultyVFS, clock: FakeClock) -> None:
    """Closing does not fail for it; the next end in order clears it when there is room."""
    store = EventStore.open(path, clock=clock, vfs=vfs.name)
    for _ in range(2):
        store.append("s", event(), durable=False)
    vfs.plant(Fault("enospc", 1, ("write",), for_good=True))
    store.close()
    assert vfs.fired
    vfs.plant(None)
    assert head_of(path).dirty
    EventStore.open(path, clock=clock, vfs=vfs.name).close()
    assert is_clean(path)


def test_while_another_writes_for_long_the_note_stays(path: Path) -> None:
    """Closing waits for the lock as a commit does, and no longer; whoever has it will end, too."""
    store = EventStore.open(path)
    for _ in range(2):
        store.append("s", event(), durable=False)
    process = start(HOLD, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert store.writer is not None
    store.writer._db.set_busy_timeout(50)
    store.close()
    assert head_of(path).dirty
    end(process)
    EventStore.open(path).close()
    assert is_clean(path)


def test_a_reader_clears_nothing(path: Path) -> None:
    """It must not write."""
    unsynced_and_killed(path)
    EventStore.open(path, read_only=True).close()
    assert (head_of(path).dirty, head_of(path).synced_position) == (True, 1)


# -- power cuts ----------------------------------------------------------------------------------------------------------------------


class CuttingVFS(FaultyVFS):
    """A file layer that remembers, before each call, what a power cut would leave: of database and write-ahead log either what was synced or what
    was written, in every combination. What was written outside of it counts as unsynced."""

    def __init__(self, name: str, path: Path, seen: Callable[[], tuple[tuple[str, bool], ...]]) -> None:
        self._files = {"db": path, "wal": path.with_name(f"{path.name}-wal")}
        self._synced: dict[str, bytes] = {}
        self._seen = seen
        self.cuts: dict[tuple[bytes | None, bytes | None, tuple[tuple[str, bool], ...]], Call] = {}
        super().__init__(name)

    def happens(self, call: Call) -> Fault | None:
        written = {sort: file.read_bytes() for sort, file in self._files.items() if file.exists()}
        for db, wal in product((self._synced, written), repeat=2):
            self.cuts.setdefault((db.get("db"), wal.get("wal"), self._seen()), call)
        if call.kind == "sync" and call.file in written:
            self._synced[call.file] = written[call.file]
        return super().happens(call)


def lived(path: Path, vfs: FaultyVFS, clock: FakeClock, seen: list[tuple[str, bool]]) -> None:
    """Two on one log, of whom each is once the last to close it, and one that is never closed, as if it had been killed."""

    def opened() -> EventStore:
        return EventStore.open(path, clock=clock, vfs=vfs.name, sync_after_seconds=3_600)

    def append(store: EventStore, durable: bool) -> None:
        text = f"event {len(seen)}"
        store.append("s", event(text), durable=durable)
        seen.append((event(text).data, durable))

    one, two = opened(), opened()
    for store, durable in ((one, True), (one, False), (one, False), (two, False), (two, True), (one, False)):
        append(store, durable)
    two.close()
    for _ in range(3):
        append(one, False)
    two = opened()
    append(one, False)
    one.close()
    two.close()
    killed, survivor = opened(), opened()
    for _ in range(3):
        append(killed, False)
    survivor.close()
    append(killed, False)
    append(killed, False)
    opened().close()
    killed._readers.close()
    assert killed.writer is not None
    killed.writer._db.close()


def test_whatever_a_power_cut_takes_is_told(path: Path, clock: FakeClock, tmp_path: Path) -> None:
    """Before each call on a file: durable events are all there; if a relaxed one is gone that somebody saw, the next event begins a new epoch."""
    seen: list[tuple[str, bool]] = []
    EventStore.open(path, clock=clock).close()
    with CuttingVFS("cutting", path, lambda: tuple(seen)) as vfs:
        vfs._synced["db"] = path.read_bytes()
        lived(path, vfs, clock, seen)
        assert is_clean(path)
    told = 0
    for number, ((db, wal, known), call) in enumerate(vfs.cuts.items()):
        if db is None:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / path.name).write_bytes(db)
        if wal is not None:
            (folder / f"{path.name}-wal").write_bytes(wal)
        with EventStore.open(folder / path.name, clock=FakeClock(boot_id="the next boot")) as store:
            found = texts(store)
            store.append("after", event("after"))
            epoch = store.head().epoch
        kept = [text for text, durable in known if durable or epoch == 0]
        assert found[: len(known)] == [text for text, _ in known][: len(found)], call
        assert set(kept) <= set(found), (call, epoch)
        told += len(found) < len(known)
        shutil.rmtree(folder)
    assert told > 5
