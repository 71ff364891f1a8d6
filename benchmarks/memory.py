"""How much memory each process takes with a large library, against a bare Python, and whether a writer's stays what it is over a long log.

`python benchmarks/memory.py [MEDIA [EVENTS]]` (100,000 media and a million events by default). Memory is the resident size (Rss) that
/proc/PID/smaps_rollup tells, in MiB, after the requests of a page that is open and looked through; Pss, the proportional share, beside it. The
service runs as `pixelog up` starts it, so some of its pages are shared with the other processes: Rss counts them in full, as for the bare Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests" / "e2e")]

import logs  # noqa: E402 - found through the path above
import samples  # noqa: E402
from harness import Pixelog, until  # noqa: E402
from idle import memory_mib  # noqa: E402
from table import row  # noqa: E402

from api.service import StateService  # noqa: E402
from eventstore.record import NewEvent  # noqa: E402
from eventstore.store import EventStore  # noqa: E402

SETTLE_SECONDS = 3.0
LOOKS = 20
BATCH = 100
STREAMS = 50_000
SAMPLES = 20


def bare_python() -> float:
    """Rss of an interpreter that does nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    found = memory_mib(process.pid)["rss"]
    process.communicate(b"\n")
    return found


def look_through(pixelog: Pixelog) -> None:
    """What an open page asks for: the overview, pages of the library to its depth, searches, the log."""
    for number in range(LOOKS):
        pixelog.get("/dashboard")
        cursor = pixelog.get("/media", limit=50).get("nextCursor")
        for _ in range(5):
            if cursor:
                cursor = pixelog.get("/media", limit=50, cursor=cursor).get("nextCursor")
        pixelog.get("/media", q=f"Item {number}", limit=50)
        pixelog.get("/loop")
        pixelog.get("/events", limit=200)


def processes(media: int) -> None:
    """All of `pixelog up` over a library of so many items, with a still on the panel."""
    bare = bare_python()
    with tempfile.TemporaryDirectory(prefix="pixelog-memory-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        logs.fill(data / "pixelog.db", logs.library(media))
        with StateService(data):
            pass  # the tables are folded here, so that what is measured is a start like any other
        still = samples.png((240, 320), 1)
        with Pixelog(data, display="sim:ili9341") as pixelog:
            slug = pixelog.upload(still.filename, still.content, makeActive="true")["slug"]
            until(lambda: pixelog.shows(slug), "the item on the panel")
            assert pixelog.process is not None
            pids = {name: pixelog.part(name) for name in ("serve", "player", "worker")} | {"supervisor": pixelog.process.pid}
            time.sleep(SETTLE_SECONDS)
            before = memory_mib(pids["serve"])["rss"]
            look_through(pixelog)
            time.sleep(SETTLE_SECONDS)
            found = {name: memory_mib(pid) for name, pid in pids.items()}
            pixelog.stop()
    row("bare Python, Rss", f"{bare:.1f}", unit="MiB")
    row(f"service with {media:,} media / bare Python", found["serve"]["rss"] / bare, "<= 5")
    row(
        f"  service with {media:,} media, before and after a page looked through it",
        f"{before:.1f} / {found['serve']['rss']:.1f}",
        unit="MiB",
    )
    row("player", f"{found['player']['rss']:.1f}", "<= 60", "MiB")
    for name in ("worker", "supervisor"):
        row(name, f"{found[name]['rss']:.1f}", unit="MiB")
    row("Pss: service, player, worker, supervisor", " / ".join(f"{one['pss']:.1f}" for one in found.values()), unit="MiB")


def long_writer(file: Path, events: int) -> None:
    """Append that many events in batches, to many streams, and print now and then what this process takes."""
    sample = max(1, events // BATCH // SAMPLES)
    batch = [NewEvent("note.taken", '{"text":"' + "x" * 90 + '"}')] * BATCH
    with EventStore.open(file) as store:
        for number in range(events // BATCH):
            store.append(f"s{number % STREAMS}", batch, durable=number % 10 == 0)
            if number % sample == sample - 1:
                print(memory_mib(os.getpid())["rss"], flush=True)


def writer(events: int) -> None:
    """The memory of a process that appends, from the twentieth part of its work on."""
    with tempfile.TemporaryDirectory(prefix="pixelog-memory-") as folder:
        command = [sys.executable, __file__, "--writer", str(Path(folder) / "log.db"), str(events)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [float(line) for line in done.stdout.split()]
    row(f"writer after {events:,} appended events / after {events // SAMPLES:,}", found[-1] / found[0], "<= 1.1")
    row("  writer: at first, at most, at the end", f"{found[0]:.1f} / {max(found):.1f} / {found[-1]:.1f}", unit="MiB")


def main(media: int = 100_000, events: int = 1_000_000) -> None:
    """Print the table."""
    processes(media)
    writer(events)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--writer"]:
        long_writer(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(*map(int, sys.argv[1:]))
