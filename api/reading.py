"""Opening a data directory only to look: creates nothing, writes nothing unless the projections have to be brought up to date first."""

from __future__ import annotations

from api.data import DataDirectory
from eventstore import connection, schema
from eventstore.clock import Clock
from eventstore.store import EventStore
from projections import folding


def open_for_reading(data: DataDirectory, clock: Clock | None = None, *, prepare: bool = True) -> EventStore:
    """The log with its projections, for queries. A directory without a log gives an empty one in memory. Close it. Raises Unusable.

    With `prepare`, projections that are behind the log, or were folded by an older pixelog, are first made current, as a start would; that
    alone needs a directory that can be written.
    """
    data.check()
    version = connection.inspect(data.database)
    if version is None:
        store = EventStore.open(":memory:", clock=clock)
        folding.prepare(store)
        return store
    if version == schema.FORMAT:
        store = _look(data, clock)
        if not prepare or is_current(store):
            return store
        store.close()
    with data.open_store(clock) as store:
        folding.prepare(store)
    return _look(data, clock)


def _look(data: DataDirectory, clock: Clock | None) -> EventStore:
    """For one person's question: who waits for the answer ends it with Ctrl-C, and nobody else waits for the connection."""
    return EventStore.open(data.database, clock=clock, read_only=True, read_seconds_max=None)


def is_current(store: EventStore) -> bool:
    """Whether every area is folded up to the head by the fold of this very program."""
    with store.snapshot() as db:
        return folding.is_current(db)
