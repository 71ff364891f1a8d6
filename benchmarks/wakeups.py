"""How soon a reader hears of a commit, in the same process and in another, and what waiting costs.

    .venv/bin/python benchmarks/wakeups.py [--events 200] [--idle 10]

From the moment at which an append has returned to the one at which the waiting reader goes on, both by CLOCK_MONOTONIC, which processes share:
each event carries the moment at which its predecessor's append had returned. Appends are far enough apart for each to find everybody asleep.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from table import cpu_seconds, percentile, row

from eventstore.record import NewEvent
from eventstore.store import EventStore

PAUSE_SECONDS = 0.012
"""Between two appends: longer than a reader takes to fall asleep again."""

SETTLE_SECONDS = 2.0

WARM = 20
"""Events that are not counted: threads, statements and pages come up with the first ones."""


def append_marked(store: EventStore, count: int, durable: bool) -> None:
    """Append `count` events; each carries when the one before had returned, in ns. One more closes the row."""
    returned_ns = 0
    for _ in range(count + 1):
        store.append("marks", NewEvent("mark", str(returned_ns)), durable=durable)
        returned_ns = time.monotonic_ns()
        time.sleep(PAUSE_SECONDS)


def woken_by_thread(store: EventStore, after: int, until: int) -> list[int]:
    """The moments, in ns, at which a waiting thread went on after each position."""
    moments: list[int] = []
    while after < until:
        store.watch.wait(after)
        moments += [time.monotonic_ns()] * (store.watch.position - after)
        after = store.watch.position
    return moments


def woken_by_loop(store: EventStore, after: int, until: int) -> list[int]:
    """The same on asyncio."""

    async def run() -> list[int]:
        at, moments = after, list[int]()
        while at < until:
            await store.watch.wait_async(at)
            moments += [time.monotonic_ns()] * (store.watch.position - at)
            at = store.watch.position
        return moments

    return asyncio.run(run())


def delivered_to_thread(store: EventStore, after: int, until: int) -> list[int]:
    """The moments at which a subscription handed out each event: the wake-up, and reading it into the tail."""
    moments: list[int] = []
    for event in store.subscribe(after):
        moments.append(time.monotonic_ns())
        if event.position >= until:
            break
    return moments


WAYS: dict[str, Callable[[EventStore, int, int], list[int]]] = {
    "thread": woken_by_thread,
    "asyncio": woken_by_loop,
    "subscription": delivered_to_thread,
}


def latencies_ms(store: EventStore, after: int, moments: list[int]) -> list[float]:
    """From the return of each append to the moment of the wake-up. Below zero, where the reader was awake before the append had returned, is 0."""
    events = list(store.read(after))
    pairs = list(zip(events[1:], moments, strict=False))[WARM:]
    return [max(0.0, (moment - int(event.data)) / 1e6) for event, moment in pairs]


def told(name: str, times_ms: list[float], goal: str) -> None:
    """Two rows: the median and the 99th percentile."""
    row(f"{name}, median", f"{percentile(times_ms, 50):.2f}", unit="ms")
    row(f"{name}, p99 of {len(times_ms)}", f"{percentile(times_ms, 99):.2f}", goal, "ms")


def within(path: Path, events: int) -> None:
    """Writer and reader are threads of one process."""
    for way, wait in WAYS.items():
        for durable in (False, True):
            with EventStore.open(path) as store:
                after = store.head().position
                with ThreadPoolExecutor(1) as pool:
                    reading = pool.submit(wait, store, after, after + events)
                    time.sleep(0.1)  # until it waits
                    append_marked(store, events, durable)
                times_ms = latencies_ms(store, after, reading.result())
                told(f"commit -> {way} in the same process, {kind(durable)}", times_ms, "")


def across(path: Path, events: int) -> None:
    """Another process appends."""
    for way, wait in WAYS.items():
        for durable in (False, True):
            with EventStore.open(path) as store:
                after = store.head().position
                writer = child("append", str(path), str(events), str(int(durable)))
                moments = wait(store, after, after + events)
                writer.communicate(timeout=120)
                told(f"commit -> {way} in another process, {kind(durable)}", latencies_ms(store, after, moments), "< 50")
                row("  of these, found only by the look once a second", str(store.watch.missed), "0")


def kind(durable: bool) -> str:
    return "durable" if durable else "relaxed"


def idle(path: Path, seconds: float) -> None:
    """Processor time of a process that waits."""
    for readers in (0, 1, 100):
        for way in ("threads", "asyncio") if readers else ("threads",):
            waiting = child("wait", str(path), str(readers), way)
            assert waiting.stdout is not None
            waiting.stdout.readline()
            time.sleep(SETTLE_SECONDS)
            before = cpu_seconds(waiting.pid)
            time.sleep(seconds)
            used = (cpu_seconds(waiting.pid) - before) / seconds * 100
            waiting.communicate("end\n", timeout=30)
            name = f"idle, {readers} waiting subscriptions" + (f" ({way})" if readers else "")
            row(name, f"{used:.2f}", "< 0.5", "% CPU")


def wait_with(store: EventStore, readers: int, way: str) -> None:
    """The waiting process: as many subscriptions, until a line comes."""
    following = [store.subscribe() for _ in range(readers)]
    threads = [threading.Thread(target=list, args=(one,)) for one in following] if way == "threads" else []
    if way == "asyncio":
        threads.append(threading.Thread(target=lambda: asyncio.run(read_all(following))))
    for thread in threads:
        thread.start()
    print("waiting", flush=True)
    sys.stdin.readline()
    for one in following:
        one.close()
    for thread in threads:
        thread.join()


async def read_all(following: list) -> None:
    async def read(one) -> None:
        async for _ in one:
            pass

    await asyncio.gather(*map(read, following))


def child(*arguments: str) -> subprocess.Popen[str]:
    """This file again, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, __file__, "--child", json.dumps(arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def be_child(role: str, path: str, *arguments: str) -> None:
    with EventStore.open(path) as store:
        if role == "append":
            time.sleep(0.3)  # until the other one waits
            append_marked(store, int(arguments[0]), arguments[1] == "1")
        else:
            wait_with(store, int(arguments[0]), arguments[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--idle", type=float, default=10.0, help="seconds of each look at a waiting process")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        be_child(*json.loads(options.child))
        return
    with tempfile.TemporaryDirectory(prefix="pixelog-wakeups-") as folder:
        path = Path(folder) / "log.db"
        EventStore.open(path).close()
        within(path, options.events)
        across(path, options.events)
        idle(path, options.idle)


if __name__ == "__main__":
    main()
