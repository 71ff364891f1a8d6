"""What an append costs the card, by its class of durability: bytes handed to write calls, counted by the file layer and hence exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from eventstore.record import NewEvent
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from eventstore.testing.faults import FaultyVFS

FRAME_BYTES = 24 + 4_096
"""A page in the write-ahead log with its header."""

EVENT = NewEvent("note.taken", '{"text":"' + "x" * 80 + '"}')


@pytest.fixture
def vfs() -> Iterator[FaultyVFS]:
    """A file layer that counts."""
    with FaultyVFS("bytes") as one:
        yield one


@pytest.fixture
def store(path: Path, vfs: FaultyVFS, clock: FakeClock) -> Iterator[EventStore]:
    """A log that is some pages long, with nothing random in it, and with the note that relaxed events may be unsynced."""
    numbers = count()
    with EventStore.open(
        path, vfs=vfs.name, clock=clock, randomness=lambda size: next(numbers).to_bytes(size, "big"), sync_after_seconds=3_600
    ) as one:
        for number in range(200):
            one.append(f"s{number % 5}", EVENT)
        one.append("s", EVENT, durable=False)
        yield one


def frames(vfs: FaultyVFS, work: Callable[[], object]) -> float:
    """Frames written while it runs."""
    before = vfs.written_bytes()
    work()
    return (vfs.written_bytes() - before) / FRAME_BYTES


def test_a_durable_append(store: EventStore, vfs: FaultyVFS) -> None:
    """Three pages (event, index of streams, head), and the last of them again, so that no later frame shares its sector. More when one is full."""
    wrote = Counter(frames(vfs, lambda: store.append("s", EVENT)) for _ in range(60))
    assert wrote == {4: 58, 7: 2}


def test_a_relaxed_append(store: EventStore, vfs: FaultyVFS) -> None:
    """Alone in its commit it writes the same three pages, and nothing to fill a sector."""
    wrote = Counter(frames(vfs, lambda: store.append("s", EVENT, durable=False)) for _ in range(60))
    assert wrote == {3: 58, 6: 2}


def test_sixty_relaxed_events_in_a_commit(store: EventStore, vfs: FaultyVFS) -> None:
    """They write a thirtieth of what sixty durable appends do."""
    assert frames(vfs, lambda: store.append("s", [EVENT] * 60, durable=False)) == 8
    assert frames(vfs, lambda: [store.append("s", EVENT) for _ in range(60)]) == 249
