"""Rebuilding: all projections of a long log against a bare scan and against an upsert per event, a start, and how others fare meanwhile.

`python benchmarks/rebuild.py [EVENTS]` (a million by default; 20,000 is enough to see that it works). Ratios of one run; processor seconds where
only one thread works, so that a busy machine changes little. The log: two thirds heartbeats, a sixth pictures shown, the rest jobs, plays, library.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import logs
from table import row, spread

from api.commands.messages import PostMessage
from api.execution import Executor
from api.service import StateService
from eventstore.store import EventStore
from projections import catalogue, folding, rebuilding
from projections.area import At
from projections.rows import SqlRows

ROUNDS = 3
BEATS_BEFORE_KILL = 1_000
COMMANDS = 1_000


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
    parts: dict[str, float] = {}
    whole = cpu_seconds(lambda: _rebuild(store, parts), 2)
    each = cpu_seconds(lambda: upsert_each(store, folder), 1)
    row("full rebuild beside a service, digests included / bare scan", scan / whole, "goal >= 0.30")
    row("  its fold in memory alone / bare scan", scan / fold, "")
    row("  the same without passing over what is overwritten", scan / every, "")
    row("full rebuild / an upsert per event", each / whole, "goal >= 2.5")
    row("full rebuild", whole, "processor seconds", "s")
    for stage, seconds in parts.items():
        row(f"  {stage}", seconds, "", "s")


def _rebuild(store: EventStore, parts: dict[str, float]) -> None:
    """A full rebuild; `parts` takes the least that each stage of it has cost, in processor seconds."""
    reached: list[tuple[str, float]] = []
    rebuilding.rebuild(store, progress=lambda stage: reached.append((stage, time.process_time())))
    ends = [*[begin for _, begin in reached[1:]], time.process_time()]
    for (stage, begin), end in zip(reached, ends, strict=True):
        parts[stage] = min(end - begin, parts.get(stage, float("inf")))


def _fold(store: EventStore, every: bool) -> None:
    with store.reading() as db:
        folding.fold_to(db, store.head().position, every=every)


def starts(path: Path, folder: Path) -> None:
    """From nothing to a door that is ready: with an empty log, with the long one, and with the long one after a kill amid its work."""
    empty = folder / "empty"
    with StateService(empty):
        pass
    ready = "import sys\nfrom api.service import StateService\nwith StateService(sys.argv[1]) as s: s.get_dashboard_data()"
    killed = (
        "import os, signal, sys\nfrom api.service import StateService\ns = StateService(sys.argv[1])\n"
        f"for n in range({BEATS_BEFORE_KILL}): s.heartbeat('killed', 'ok', {{'n': n}})\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    took: dict[str, list[float]] = {"empty": [], "clean": [], "killed": []}
    for _ in range(5):
        for case, seconds in took.items():
            data = empty if case == "empty" else path.parent
            if case == "killed":
                subprocess.run([sys.executable, "-c", killed, str(data)], check=False)
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", ready, str(data)], check=True)
            seconds.append(time.perf_counter() - begin)
    for case, what in (("clean", "after an orderly end"), ("killed", "after kill -9")):
        ratios = [long / short for long, short in zip(took[case], took["empty"], strict=True)]
        row(f"start with the long log {what} / start with an empty one", spread(ratios), "goal <= 1.5")


@contextmanager
def rebuilding_elsewhere(path: Path) -> Generator[None]:
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
        starts(path, folder)
        live(path)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
