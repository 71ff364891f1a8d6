"""What pixelog costs while nothing happens: processor time and memory of each process, with a still on the panel.

    .venv/bin/python benchmarks/idle.py [--seconds 10] [--animation] [--json]

Memory is the proportional share (Pss) that /proc/PID/smaps_rollup tells, and the resident size (Rss); processor time is that of
/proc/PID/stat. `wakes` counts how often a process went to sleep of its own accord, a second.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests" / "e2e")]

import samples  # noqa: E402 - found through the path above
from harness import Pixelog, until  # noqa: E402
from table import cpu_seconds  # noqa: E402

SETTLE_SECONDS = 3.0


def wakes(pid: int) -> int:
    """Voluntary context switches of all threads so far."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def memory_mib(pid: int) -> dict[str, float]:
    """Pss and Rss in MiB."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Pss", "Rss"):
            found[name.lower()] = round(int(rest.split()[0]) / 1024, 1)
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--animation", action="store_true", help="with an animation on the panel instead")
    parser.add_argument("--display", default="sim:ili9341")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sample = (samples.webp if options.animation else samples.png)((240, 320), 1)
    with (
        tempfile.TemporaryDirectory(prefix="pixelog-idle-") as folder,
        Pixelog(Path(folder) / "data", display=options.display) as pixelog,
    ):
        slug = pixelog.upload(sample.filename, sample.content, makeActive="true", addToLoop="true")["slug"]
        pixelog.prepared(slug)
        until(lambda: pixelog.shows(slug), "the item on the panel")
        assert pixelog.process is not None
        pids = {"supervisor": pixelog.process.pid} | {name: pixelog.part(name) for name in ("serve", "player", "worker")}
        time.sleep(SETTLE_SECONDS)
        head = pixelog.get("/events", limit=1)["head"]
        before = {name: (cpu_seconds(pid), wakes(pid)) for name, pid in pids.items()}
        time.sleep(options.seconds)
        rows = {
            name: {
                "cpuPercent": round((cpu_seconds(pid) - before[name][0]) / options.seconds * 100, 2),
                "wakesPerSecond": round((wakes(pid) - before[name][1]) / options.seconds, 1),
                **memory_mib(pid),
            }
            for name, pid in pids.items()
        }
        events = pixelog.get("/events", limit=1)["head"] - head
        pixelog.stop()
    total = {key: round(sum(row[key] for row in rows.values()), 2) for key in ("cpuPercent", "wakesPerSecond", "pss", "rss")}
    if options.json:
        print(json.dumps({"seconds": options.seconds, "events": events, "processes": rows, "total": total}))
        return 0
    print(f"{'process':12}{'CPU %':>8}{'wakes/s':>10}{'Pss MiB':>10}{'Rss MiB':>10}     {events} events in {options.seconds:g} s")
    for name, row in [*rows.items(), ("total", total)]:
        print(f"{name:12}{row['cpuPercent']:>8}{row['wakesPerSecond']:>10}{row['pss']:>10}{row['rss']:>10}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
