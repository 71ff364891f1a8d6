"""A thousand readers of the event stream at a hundred events a second: is everything delivered, how late, and at what cost.

    .venv/bin/python benchmarks/streams.py [--readers 1000] [--rate 100] [--seconds 5] [--rounds 3]

Three processes: the service under uvicorn, one that appends, and one that holds the readers' sockets. In each round a bare loop takes its turn:
asyncio on the same uvloop that writes the same bytes to as many sockets every 20 ms and does nothing else. Latency goes from before the append
until the bytes are with the reader. A ratio is taken within its round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import IO, cast

import msgspec
import uvloop
from table import cpu_seconds, percentile, row, spread

from api.http.app import create_app
from api.http.server import Server
from api.http.tail import block
from api.service import StateService
from eventstore.store import EventStore

TICK_SECONDS = 0.02
MARK = b'"mark":"'
MARK_DIGITS = 20
WARM_SECONDS = 1.0
BEFORE_SECONDS = 1.5
"""From the start of the appending process until its first event."""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


class Counted(msgspec.Struct):
    """What the readers saw in a window of time."""

    events: int
    wrong: int
    """Events that were not the next position for their reader."""
    complete: bool
    """Whether every reader got the last event in the end."""
    p50_ms: float
    p99_ms: float


# -- the service, and the bare loop --------------------------------------------------------------------------------------------------


def serve(folder: str) -> None:
    """The service on a free port, which is printed, until SIGTERM."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2_048)
    with StateService(folder) as service:
        print(listener.getsockname()[1], flush=True)
        Server(create_app(service)).run([listener])


def serve_bare(template_hex: str, rate: str) -> None:
    """The same bytes without anything behind them: `template` is one event of the stream with its position and mark to be filled in."""
    before, _, rest = bytes.fromhex(template_hex).partition(MARK)
    body = before.partition(b"\n")[2]
    after = rest[MARK_DIGITS:]
    transports: list[asyncio.Transport] = []

    class Line(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            transport = cast(asyncio.Transport, self.transport)
            transport.write(HEAD)
            transports.append(transport)

    def event(position: int) -> bytes:
        return b"id: %d\n%b%b%0*d%b" % (position, body, MARK, MARK_DIGITS, time.monotonic_ns(), after)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        server = await loop.create_server(Line, "127.0.0.1", 0, backlog=2_048)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        position, began = 0, loop.time()
        tick = began
        while not stop.is_set():
            due = int((loop.time() - began) * int(rate))
            piece = b"".join(event(number) for number in range(position + 1, due + 1))
            position = due
            if piece:
                framed = b"%x\r\n%b\r\n" % (len(piece), piece)
                for transport in transports:
                    if not transport.is_closing():
                        transport.write(framed)
            tick += TICK_SECONDS
            await asyncio.sleep(max(0.0, tick - loop.time()))

    uvloop.run(run())


def append(folder: str, rate: str, seconds: str) -> None:
    """Another process of the same log: a heartbeat at each beat of the clock, with the moment before it."""
    with StateService(folder) as service:
        time.sleep(BEFORE_SECONDS)
        began = time.monotonic()
        for number in range(int(float(seconds) * int(rate))):
            time.sleep(max(0.0, began + number / int(rate) - time.monotonic()))
            service.heartbeat("bench", details={"mark": f"{time.monotonic_ns():0{MARK_DIGITS}d}"})
        print(service.store.head().position, flush=True)


# -- the readers ---------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4_096)
def parsed(events: bytes) -> tuple[int, int, tuple[int, ...]]:
    """First and last position of some whole events, and their marks; all readers get the same pieces."""
    positions, marks = [], []
    for one in events.split(b"\n\n"):
        start = one.find(b"id: ")
        mark = one.find(MARK)
        if mark >= 0:
            positions.append(int(one[start + 4 : one.index(b"\n", start)]))
            marks.append(int(one[mark + len(MARK) : mark + len(MARK) + MARK_DIGITS]))
    if positions != list(range(positions[0], positions[0] + len(positions)) if positions else []):
        raise SystemExit("a piece with a hole")
    return (positions[0], positions[-1], tuple(marks)) if positions else (0, -1, ())


def read(port: str, readers: str, query: str, after: str) -> None:
    """Hold the sockets, and say `ready`. Then a line from the parent begins (`go`) and ends (`stop`) the window that is counted, and one names
    the last position to wait for."""
    selector = selectors.DefaultSelector()
    request = f"GET /api/v1/events/stream?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    rest: dict[int, bytes] = {}
    last: dict[int, int] = {}
    for _ in range(int(readers)):
        one = socket.create_connection(("127.0.0.1", int(port)))
        one.sendall(request)
        selector.register(one, selectors.EVENT_READ)
        rest[one.fileno()], last[one.fileno()] = b"", int(after)
    selector.register(sys.stdin, selectors.EVENT_READ)
    counting, until, deadline = False, -1, float("inf")
    events = wrong = 0
    latencies_us: list[int] = []
    print("ready", flush=True)
    while time.monotonic() < deadline and (until < 0 or min(last.values()) < until):
        for key, _ in selector.select(0.1):
            if key.fileobj is sys.stdin:
                for word in os.read(key.fd, 1_000).decode().split():
                    if word.isdigit():
                        until, deadline = int(word), time.monotonic() + 10
                    else:
                        counting = word == "go"
                continue
            fd = key.fd
            content = rest[fd] + key.fileobj.recv(262_144)  # type: ignore[union-attr]
            now_ns = time.monotonic_ns()
            cut = content.rfind(b"\n\n") + 2
            if cut < 2:
                rest[fd] = content
                continue
            rest[fd] = content[cut:]
            first, newest, marks = parsed(content[:cut])
            if not marks:
                continue
            wrong += first != last[fd] + 1
            last[fd] = newest
            if counting:
                events += len(marks)
                latencies_us += [(now_ns - mark) // 1_000 for mark in marks]
    latencies_us.sort()
    p50, p99 = (percentile(latencies_us, percent) / 1_000 if latencies_us else 0.0 for percent in (50, 99))
    print(msgspec.json.encode(Counted(events, wrong, min(last.values()) >= until >= 0, p50, p99)).decode(), flush=True)


# -- a round -------------------------------------------------------------------------------------------------------------------------


def child(role: str, *arguments: object) -> subprocess.Popen[str]:
    """This file again, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, __file__, "--child", json.dumps([role, *map(str, arguments)])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    """The next line that it says."""
    assert process.stdout is not None
    said = process.stdout.readline().strip()
    if not said:
        raise SystemExit("a process of the measurement ended early")
    return said


def say(process: subprocess.Popen[str], word: str) -> None:
    stream: IO[str] | None = process.stdin
    assert stream is not None
    stream.write(word + "\n")
    stream.flush()


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.communicate(timeout=30)


def window(readers: subprocess.Popen[str], server: subprocess.Popen[str], seconds: float) -> float:
    """Let the readers count for so long; processor seconds that the server took meanwhile."""
    time.sleep(WARM_SECONDS)
    say(readers, "go")
    before = cpu_seconds(server.pid)
    time.sleep(seconds)
    used = cpu_seconds(server.pid) - before
    say(readers, "stop")
    return used


def service_round(folder: Path, options: argparse.Namespace, readers: int, query: str = "") -> tuple[Counted, float]:
    """The service: what was seen, and processor seconds."""
    server = child("serve", folder)
    try:
        port = line(server)
        appending = child("append", folder, options.rate, WARM_SECONDS * 2 + options.seconds)
        with EventStore.open(folder / "pixelog.db", read_only=True) as log:
            after = log.head().position
        reading = child("read", port, readers, f"after={after}&{query}", after)
        if line(reading) != "ready":
            raise SystemExit("no readers")
        time.sleep(BEFORE_SECONDS)
        used = window(reading, server, options.seconds)
        say(reading, line(appending))
        counted = msgspec.json.decode(line(reading), type=Counted)
        for process in (reading, appending):
            process.communicate(timeout=30)
    finally:
        stop(server)
    return counted, used


def bare_round(template: bytes, options: argparse.Namespace, readers: int) -> tuple[Counted, float]:
    """The bare loop: the same."""
    server = child("serve_bare", template.hex(), options.rate)
    try:
        reading = child("read", line(server), readers, "", 0)
        if line(reading) != "ready":
            raise SystemExit("no readers")
        say(server, "go")
        used = window(reading, server, options.seconds)
        say(reading, str(int(options.rate * options.seconds)))
        counted = msgspec.json.decode(line(reading), type=Counted)
        reading.communicate(timeout=30)
    finally:
        stop(server)
    return counted, used


def a_block(folder: Path) -> bytes:
    """A block of the stream as the service sends it."""
    with StateService(folder) as service:
        service.heartbeat("bench", details={"mark": "0" * MARK_DIGITS})
        (*_, event) = service.store.read()
        return block(event, service.store.log_id)


def report(name: str, rounds: list[Counted], options: argparse.Namespace, readers: int, goal: bool) -> None:
    expected = readers * options.rate * options.seconds
    row(
        f"{name}, delivered / appended x readers in the window",
        spread([one.events / expected for one in rounds]),
        "1.00" if goal else "",
    )
    good = all(one.complete and not one.wrong for one in rounds)
    row(f"{name}, every reader had every event once and in order", "yes" if good else "NO", "yes")
    row(f"{name}, latency median", spread([one.p50_ms for one in rounds]), unit="ms")
    row(f"{name}, latency p99", spread([one.p99_ms for one in rounds]), "<= 30" if goal else "", "ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        role, *arguments = json.loads(options.child)
        {"serve": serve, "serve_bare": serve_bare, "append": append, "read": read}[role](*arguments)
        return
    with tempfile.TemporaryDirectory(prefix="pixelog-streams-") as name:
        folder = Path(name)
        template = a_block(folder)
        full: list[tuple[Counted, float]] = []
        bare: list[tuple[Counted, float]] = []
        for _ in range(options.rounds):
            full.append(service_round(folder, options, options.readers))
            bare.append(bare_round(template, options, options.readers))
        title = f"SSE, {options.readers} readers x {options.rate}/s"
        report(title, [one for one, _ in full], options, options.readers, goal=True)
        costs = [[used / one.events * 1e6 for one, used in rounds] for rounds in (full, bare)]
        late = [one.p99_ms for one, _ in bare]
        row("the same bytes from a bare asyncio loop, latency p99 of the socket alone", spread(late), unit="ms")
        row(f"{title}, share of a processor", spread([used / options.seconds for _, used in full]))
        row(f"{title}, processor time per delivery", spread(costs[0]), unit="us")
        row("the same bytes from a bare asyncio loop, processor time per delivery", spread(costs[1]), unit="us")
        row("ratio of the two", spread([ours / theirs for ours, theirs in zip(*costs, strict=True)]), "<= 1.2")
        few = max(1, options.readers // 10)
        report(f"SSE, {few} readers x {options.rate}/s", [service_round(folder, options, few)[0]], options, few, goal=False)
        filtered = service_round(folder, options, options.readers, "type=heartbeat.*&type=job.*")
        report(f"{title}, each with a filter", [filtered[0]], options, options.readers, goal=False)


if __name__ == "__main__":
    main()
