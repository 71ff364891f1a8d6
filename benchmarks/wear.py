"""What heartbeats cost a card: four services that beat every five seconds for ten minutes, through the real command, in compressed time.

Bytes are those handed to write calls, syncs those asked for, both counted by the file layer, hence exact: they repeat from run to run. The clock is
moved by hand; what the store's thread for relaxed events does every nine seconds is done here when the clock says so.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
from table import row

from api.commands.catalogue import HANDLERS
from api.commands.heartbeats import RecordHeartbeat
from api.execution import Executor
from eventstore.store import SYNC_AFTER_SECONDS, EventStore
from eventstore.testing.clock import FakeClock
from eventstore.testing.faults import FaultyVFS
from projections import rebuilding

SERVICES = 4
EVERY_SECONDS = 5
MINUTES = 10
BEATS = MINUTES * 60 // EVERY_SECONDS


class Cost(NamedTuple):
    """What was written."""

    size_bytes: int
    syncs: int
    database_bytes: int
    """The part of `size_bytes` that checkpoints wrote into the database."""


def beat(file: Path, vfs: FaultyVFS) -> Cost:
    """All beats, one after the other; syncs when they are due."""
    clock, numbers = FakeClock(), count()

    def randomness(size: int) -> bytes:
        return next(numbers).to_bytes(size, "big")

    with EventStore.open(file, vfs=vfs.name, clock=clock, randomness=randomness, sync_after_seconds=3_600) as store:
        rebuilding.prepare(store)
        executor = Executor(store, randomness)
        for service in range(SERVICES):  # they are known; what follows is a beat like any other
            executor.execute(RecordHeartbeat(f"service-{service}", "ok"))
        store.sync()
        before, due_seconds = len(vfs.calls), 0.0
        for number in range(BEATS):
            for service in range(SERVICES):
                executor.execute(RecordHeartbeat(f"service-{service}", "ok", {"uptime": 5 * number, "rss": 33_000_000}))
            now_seconds = number * EVERY_SECONDS
            if store.head().synced_position < store.head().position:
                due_seconds = due_seconds or now_seconds + SYNC_AFTER_SECONDS
                if due_seconds <= now_seconds + EVERY_SECONDS:
                    store.sync()
                    due_seconds = 0.0
            clock.advance(EVERY_SECONDS * 1_000_000)
        calls = vfs.calls[before:]
    written = [call for call in calls if call.kind == "write"]
    return Cost(
        sum(call.size_bytes for call in written),
        sum(call.kind == "sync" for call in calls),
        sum(call.size_bytes for call in written if call.file == "db"),
    )


def main() -> None:
    """Print the rows."""
    relaxed = HANDLERS[RecordHeartbeat]
    with tempfile.TemporaryDirectory() as name, FaultyVFS("counting") as vfs:
        beats = beat(Path(name) / "relaxed.db", vfs)
        HANDLERS[RecordHeartbeat] = msgspec.structs.replace(relaxed, durable=lambda _: True)
        full = beat(Path(name) / "durable.db", vfs)
        HANDLERS[RecordHeartbeat] = relaxed
    total = SERVICES * BEATS
    row(
        f"{SERVICES} services, a beat each {EVERY_SECONDS} s, {MINUTES} min: bytes / {total} FULL commits",
        beats.size_bytes / full.size_bytes,
    )
    row("  the same: syncs", f"{beats.syncs} / {full.syncs}")
    row("  the same: bytes for a beat", f"{beats.size_bytes / total:.0f} / {full.size_bytes / total:.0f}")
    row("  the same: bytes in all, of them into the database", f"{beats.size_bytes} / {beats.database_bytes}")


if __name__ == "__main__":
    sys.exit(main())
