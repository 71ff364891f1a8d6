"""Logs for tests of the store: on disk and in memory, behind a clock that moves when told to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventstore import verify
from eventstore.record import NewEvent
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return when the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("waited in vain")
        time.sleep(0.002)


def event(text: str = "x", type: str = "note.taken", *tags: str) -> NewEvent:
    """A small event."""
    return NewEvent(type, f'{{"text":"{text}"}}', tags=tags)


def texts(store: EventStore) -> list[str]:
    """The data of every event, in order."""
    return [one.data for one in store.read()]


def problems(store: EventStore) -> list[verify.Problem]:
    """What verification has to say about the log."""
    with store.reading() as db:
        return list(verify.check(db, store.log_id))


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a log may be made."""
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path, clock: FakeClock) -> Iterator[EventStore]:
    """An empty log on disk, which must verify at the end."""
    with EventStore.open(path, clock=clock) as one:
        yield one
        assert problems(one) == []


@pytest.fixture(params=["disk", "memory"])
def either(request: pytest.FixtureRequest, path: Path, clock: FakeClock) -> Iterator[EventStore]:
    """An empty log on disk, and one in memory: the same code."""
    with EventStore.open(path if request.param == "disk" else ":memory:", clock=clock) as one:
        yield one
        assert problems(one) == []
