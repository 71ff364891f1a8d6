"""Opening a data directory only to look: creates nothing, writes nothing unless the projections have to be brought up to date first."""

from __future__ import annotations

from typing import Any

from api.data import DataDirectory
from eventstore import connection
from eventstore.clock import Clock
from eventstore.store import EventStore
from projections import catalogue, folding


def open_for_reading(data: DataDirectory, clock: Clock | None = None, *, prepare: bool = True) -> EventStore:
    """The log with its projections, for queries. A directory without a log gives an empty one in memory. Close it. Raises Unusable.

    With `prepare`, projections that are behind the log, or were folded by an older pixelog, are first made current, as a start would; that
    alone needs a directory that can be written.
    """
    data.check()
    if connection.inspect(data.database) is None:
        store = EventStore.open(":memory:", clock=clock)
        folding.prepare(store)
        return store
    store = EventStore.open(data.database, clock=clock, read_only=True)
    if not prepare or is_current(store):
        return store
    store.close()
    store = data.open_store(clock)
    folding.prepare(store)
    return store


def is_current(store: EventStore) -> bool:
    """Whether every area is folded up to the head by the fold of this very program."""
    with store.snapshot() as db:
        if not db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'projections'").get:
            return False
        known: dict[Any, Any] = dict(db.execute("SELECT area, fingerprint FROM projections").fetchall())  # type: ignore[arg-type]
        head: int = db.execute("SELECT position FROM head").get
        return known == {area: folding.fingerprint(area) for area in catalogue.BY_NAME} and folding.folded_to(db) == head
