"""What a command costs: against the physical limit of the same run, alone and in a crowd, and in bytes on the disk.

Compared cases are interleaved in rounds; a ratio is taken within its round, and the least, the median and the greatest of the rounds are printed.
Run on a quiet machine. The files go where $TMPDIR says, which must be on the disk that is meant: in memory a sync costs nothing.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from api.commands.settings import ChangeSettings
from api.execution import Executor
from eventstore import writer
from eventstore.connection import uri
from eventstore.record import NewEvent
from eventstore.store import EventStore
from eventstore.testing.faults import FaultyVFS
from projections import folding

ROUNDS = 15
EACH = 100
EVENT = NewEvent("note.taken", '{"text":"' + "x" * 90 + '"}')
WRITE_CALLS = 1_000
QUIET_SECONDS = writer.TICK_NS / 1e9 + 0.5
"""Until a log that was just opened looks at its folder's time alone, as it does for the rest of its life."""


def overwrite_and_sync(folder: Path) -> Callable[[int], None]:
    """The physical limit: 4 KiB over existing bytes of a file, then fdatasync."""
    fd = os.open(folder / "raw", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, bytes(64 * 4_096), 0)
    os.fsync(fd)

    def run(count: int) -> None:
        for number in range(count):
            os.pwrite(fd, bytes([number % 251]) * 4_096, number % 64 * 4_096)
            os.fdatasync(fd)

    return run


def bare_apsw(folder: Path) -> Callable[[int], None]:
    """The least that SQLite can do: an event of the same size, an index and a head row, without guards, hash or ids."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    db = apsw.Connection(uri(folder / "bare.db"), flags=flags)
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE events (position INTEGER PRIMARY KEY, stream TEXT, version INTEGER, data TEXT, chain BLOB)")
    db.execute("CREATE UNIQUE INDEX by_stream ON events (stream, version)")
    db.execute("CREATE TABLE head (only INTEGER PRIMARY KEY, position INTEGER)")
    db.execute("INSERT INTO head VALUES (1, 0)")
    position = 0

    def run(count: int) -> None:
        nonlocal position
        for _ in range(count):
            position += 1
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?)", (position, f"s{position % 50}", position, EVENT.data, bytes(32))
            )
            db.execute("UPDATE head SET position = ?", (position,))
            db.execute("COMMIT")

    return run


def appends(store: EventStore, durable: bool = True) -> Callable[[int], None]:
    """Lone appends."""

    def run(count: int) -> None:
        for number in range(count):
            store.append(f"s{number % 50}", EVENT, durable=durable)

    return run


def commands(store: EventStore) -> Callable[[int], None]:
    """Lone commands: decide, append, chain, fold."""
    executor = Executor(store)
    number = 0

    def run(count: int) -> None:
        nonlocal number
        for _ in range(count):
            number += 1
            executor.execute(ChangeSettings({"brightness": number % 100 + 1}))

    return run


def seconds(run: Callable[[int], None], count: int = EACH) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    run(count)
    return (time.perf_counter() - began) / count


def crowd(store: EventStore, threads: int = 32, each: int = 40) -> tuple[float, float]:
    """Appends per second of all, and the 99th percentile of one's wait in seconds."""
    waits: list[float] = []

    def client(number: int) -> None:
        for _ in range(each):
            began = time.perf_counter()
            store.append(f"c{number}", EVENT)
            waits.append(time.perf_counter() - began)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(threads)]
    began = time.perf_counter()
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    took = time.perf_counter() - began
    return len(waits) / took, sorted(waits)[len(waits) * 99 // 100]


def row(name: str, value: str, goal: str = "") -> None:
    """One line of the table."""
    print(f"{name:<78} {value:>24}   {goal}")


def spread(ratios: list[float]) -> str:
    """min / median / max."""
    return f"{min(ratios):.2f} / {statistics.median(ratios):.2f} / {max(ratios):.2f}"


def alone(folder: Path) -> None:
    """One caller at a time, against the limit."""
    with EventStore.open(folder / "append.db") as bare, EventStore.open(folder / "command.db") as full:
        folding.prepare(full)
        raw = overwrite_and_sync(folder)
        cases = {"bare": bare_apsw(folder), "append": appends(bare), "command": commands(full)}
        for case in cases.values():
            case(300)  # until the write-ahead log is as long as it gets, and statements are prepared
        time.sleep(QUIET_SECONDS)
        took: dict[str, list[float]] = {name: [] for name in ("raw", *cases)}
        for _ in range(ROUNDS):
            took["raw"].append(seconds(raw))
            for name, case in cases.items():
                took[name].append(seconds(case))
        relaxed = [seconds(appends(bare, durable=False)) for _ in range(ROUNDS)]
    ratio = {name: [limit / one for limit, one in zip(took["raw"], times, strict=True)] for name, times in took.items()}
    row("overwrite 4 KiB + fdatasync, µs", f"{statistics.median(took['raw']) * 1e6:.0f}")
    row("bare APSW transaction of the same shape / overwrite + fdatasync", spread(ratio["bare"]))
    row("lone durable append / overwrite + fdatasync", spread(ratio["append"]))
    row("lone durable command (decide, append, chain, fold) / overwrite + fdatasync", spread(ratio["command"]), ">= 0.50")
    row("lone durable append, µs", f"{statistics.median(took['append']) * 1e6:.0f}")
    row("lone durable command, µs", f"{statistics.median(took['command']) * 1e6:.0f}")
    row("lone relaxed append, µs", f"{statistics.median(relaxed) * 1e6:.0f}")


def syncs_and_bytes(folder: Path) -> None:
    """Counted by the file layer, hence exact."""
    with FaultyVFS("counting") as vfs:
        with EventStore.open(folder / "counted.db", vfs=vfs.name) as store:
            folding.prepare(store)
            run = commands(store)
            run(300)
            before = vfs.count("sync")
            run(WRITE_CALLS)
            row(
                "syncs per lone durable command, checkpoints included",
                f"{(vfs.count('sync') - before) / WRITE_CALLS:.3f}",
                "<= 1.02",
            )
        with EventStore.open(folder / "bytes.db", vfs=vfs.name, sync_after_seconds=3_600) as store:
            appends(store)(300)
            appends(store, durable=False)(1)
            durable = counted_bytes(vfs, lambda: appends(store)(60))
            relaxed = counted_bytes(vfs, lambda: appends(store, durable=False)(60))
            shared = counted_bytes(vfs, lambda: store.append("s", [EVENT] * 60, durable=False))
    row("bytes written per durable append", f"{durable / 60:.0f}")
    row("bytes written per relaxed append, each its own commit", f"{relaxed / 60:.0f}")
    row("bytes, 60 relaxed events that share one commit / 60 durable commits", f"{shared / durable:.3f}", "<= 0.10")


def counted_bytes(vfs: FaultyVFS, run: Callable[[], object]) -> int:
    """Bytes handed to write calls while it runs."""
    before = vfs.written_bytes()
    run()
    return vfs.written_bytes() - before


def together(folder: Path) -> None:
    """32 callers at once, with and without sharing commits."""
    gains: list[float] = []
    waits: list[tuple[float, float]] = []
    with EventStore.open(folder / "crowd.db") as store:
        appends(store)(300)
        time.sleep(QUIET_SECONDS)
        for _ in range(7):
            batch, writer.BATCH_MAX = writer.BATCH_MAX, 1  # type: ignore[misc]
            try:
                single, single_wait = crowd(store)
            finally:
                writer.BATCH_MAX = batch  # type: ignore[misc]
            grouped, grouped_wait = crowd(store)
            gains.append(grouped / single)
            waits.append((grouped_wait, single_wait))
    row("32 concurrent durable appends / the same writer, one commit each", spread(gains), ">= 8")
    one, other = (statistics.median(pair[side] for pair in waits) * 1e3 for side in (0, 1))
    row("p99 of the wait, ms: shared / one commit each", f"{one:.1f} / {other:.1f}", "lower")


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone(folder)
        syncs_and_bytes(folder)
        together(folder)


if __name__ == "__main__":
    sys.exit(main())
