"""Rebuilding: all projections of a long log against a bare scan and against an upsert per event, one stream, a start, and how others fare meanwhile.

`python benchmarks/rebuild.py [EVENTS]` (a million by default; 20,000 is enough to see that it works). Ratios of one run; processor seconds where
only one thread works, so that a busy machine changes little. The log: two thirds heartbeats, a sixth pictures shown, the rest jobs, plays, library.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import logs

from api.commands.messages import PostMessage
from api.execution import Executor
from api.service import StateService
from eventstore.store import EventStore
from projections import catalogue, folding, rebuilding
from projections.area import At
from projections.rows import SqlRows

ROUNDS = 3
STREAM_EVENTS = 1_000
COMMANDS = 1_000


def row(name: str, value: float, goal: str, unit: str = "") -> None:
    """One line of the table."""
    print(f"{name:<64} {value:>10.3f} {unit:<4} {goal}", flush=True)


def cpu_seconds(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """The best of some rounds, in processor seconds."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def bare_scan(store: EventStore) -> None:
    """Read the payload of every event, and nothing else."""
    with store.reading() as db:
        for _ in db.execute("SELECT data FROM events"):
            pass


def upsert_each(store: EventStore, folder: Path) -> None:
    """Decode each event and carry its writes out in SQL, all in one transaction: what a rebuild would be without the fold in memory."""
    copy = folder / "upsert.db"
    with EventStore.open(copy) as target, store.reading() as source:

        def work(transaction: Any) -> None:
            folding.create_tables(transaction.db)
            rows = SqlRows(transaction.db)
            for position, version, logtime, time_us, type, schema, data in source.execute(
                "SELECT position, version, logtime, time, type, schemaversion, data FROM events ORDER BY position"
            ):
                area = catalogue.AREA_OF_TYPE[str(type)]
                rows.apply(area.fold(catalogue.decode(str(type), schema, str(data)), At(position, version, logtime, time_us)))  # type: ignore[arg-type]

        target.transact(work)
    for file in folder.glob("upsert.db*"):
        file.unlink()


def rebuilds(store: EventStore, folder: Path) -> None:
    """The full rebuild, its digests included."""
    scan = cpu_seconds(lambda: bare_scan(store))
    fold = cpu_seconds(lambda: _fold(store, every=False))
    every = cpu_seconds(lambda: _fold(store, every=True), 1)
    whole = cpu_seconds(lambda: rebuilding.rebuild(store), 2)
    each = cpu_seconds(lambda: upsert_each(store, folder), 1)
    row("full rebuild beside a service, digests included / bare scan", scan / whole, "goal >= 0.30")
    row("  its fold in memory alone / bare scan", scan / fold, "")
    row("  the same without passing over what is overwritten", scan / every, "")
    row("full rebuild / an upsert per event", each / whole, "goal >= 2.5")
    row("full rebuild", whole, "processor seconds", "s")


def _fold(store: EventStore, every: bool) -> None:
    with store.reading() as db:
        folding.fold_to(db, store.head().position, every=every)


def one_stream(folder: Path) -> None:
    """The state of one stream of a thousand events, from the log; against the repository of `eventsourcing`, where that is installed."""
    with EventStore.open(folder / "stream.db") as store:
        area = catalogue.BY_NAME["settings"]
        for _ in range(STREAM_EVENTS):
            event = area.events["setting.changed"]("brightness", 50)  # type: ignore[call-arg]
            store.append("settings", catalogue.encode(event))

        def get() -> None:
            state: dict[str, Any] = {}
            with store.reading() as db:
                for (data,) in db.execute("SELECT data FROM events WHERE stream = ? ORDER BY version", ("settings",)):
                    event = catalogue.decoder("setting.changed").decode(str(data))
                    state[event.name] = event.value

        ours = cpu_seconds(lambda: [get() for _ in range(20)]) / 20
    row(f"one stream of {STREAM_EVENTS} events", ours * 1000, "", "ms")
    if importlib.util.find_spec("eventsourcing") is None:
        print("one stream / eventsourcing repository.get: not measured, `eventsourcing` is not installed")
        return
    row("one stream of 1,000 / eventsourcing repository.get", _theirs(folder) / ours, "goal >= 20")


def _theirs(folder: Path) -> float:
    script = """
import os, sys, time
os.environ.update(PERSISTENCE_MODULE="eventsourcing.sqlite", SQLITE_DBNAME=sys.argv[1])
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
class Settings(Aggregate):
    @event("Changed")
    def change(self, name, value): setattr(self, name, value)
app = Application()
one = Settings()
for _ in range(999): one.change("brightness", 50)
app.save(one)
best = 1e9
for _ in range(5):
    begin = time.process_time(); app.repository.get(one.id); best = min(best, time.process_time() - begin)
print(best)
"""
    done = subprocess.run([sys.executable, "-c", script, str(folder / "theirs.db")], capture_output=True, text=True, check=True)
    return float(done.stdout)


def starts(path: Path, folder: Path) -> None:
    """From nothing to a door that is ready, with the long log and with an empty one."""
    empty = folder / "empty"
    with StateService(empty):
        pass
    script = "import sys\nfrom api.service import StateService\nwith StateService(sys.argv[1]) as s: s.get_dashboard_data()"

    def start(data: Path) -> None:
        subprocess.run([sys.executable, "-c", script, str(data)], check=True)

    times: dict[Path, list[float]] = {path.parent: [], empty: []}
    for _ in range(5):
        for data, seconds in times.items():
            begin = time.perf_counter()
            start(data)
            seconds.append(time.perf_counter() - begin)
    long, short = (statistics.median(seconds) for seconds in times.values())
    row("start with the long log / start with an empty one", long / short, "goal <= 1.5")


@contextmanager
def rebuilding_elsewhere(path: Path) -> Iterator[None]:
    """Rebuild after rebuild in another process."""
    script = (
        "import sys, os\nfrom eventstore.store import EventStore\nfrom projections import rebuilding\n"
        "with EventStore.open(sys.argv[1]) as store:\n"
        "    rebuilding.rebuild(store, progress=lambda s: print(s, flush=True))\n"
        "    while os.getppid() != 1: rebuilding.rebuild(store)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    try:
        if process.stdout is not None:
            process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def live(path: Path) -> None:
    """Durable commands one by one, idle and during a rebuild in another process."""
    with StateService(path.parent) as service:

        def p99() -> float:
            taken: list[float] = []
            for number in range(COMMANDS):
                begin = time.perf_counter()
                service.executor.execute(PostMessage(f"message {number}", ttl_seconds=1))
                taken.append(time.perf_counter() - begin)
                time.sleep(0.004)
            return sorted(taken)[len(taken) * 99 // 100]

        idle = p99()
        with rebuilding_elsewhere(path):
            busy = p99()
        idle = min(idle, p99())
    row("live p99 during a rebuild / idle p99", busy / idle, "goal <= 2")
    row("  idle p99", idle * 1000, "", "ms")


def swaps(store: EventStore) -> None:
    """The longest write transaction of a rebuild."""
    longest = 0.0
    transact = store.transact

    def timed(work: Callable[[Any], Any], durable: bool = True) -> Any:
        def inner(transaction: Any) -> Any:
            nonlocal longest
            begin = time.process_time()
            try:
                return work(transaction)
            finally:
                longest = max(longest, time.process_time() - begin)

        return transact(inner, durable)

    store.transact = timed  # type: ignore[method-assign]
    Executor(store)
    rebuilding.rebuild(store)
    store.transact = transact  # type: ignore[method-assign]
    row("longest write transaction of a rebuild", longest * 1000, "goal <= 50", "ms")


def main(events: int) -> None:
    """Print the table."""
    folder = Path(tempfile.mkdtemp(prefix="pixelog-bench-", dir=os.environ.get("PIXELOG_BENCH")))
    try:
        path = folder / "data" / "pixelog.db"
        path.parent.mkdir()
        made = logs.fill(path, logs.events(events, 10_000))
        print(
            f"{made} events, {path.stat().st_size // 1_000_000} MB; {json.dumps({'load': os.getloadavg()[0], 'cores': os.cpu_count()})}"
        )
        with StateService(path.parent) as service:
            rebuilds(service.store, folder)
            swaps(service.store)
        one_stream(folder)
        starts(path, folder)
        live(path)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
