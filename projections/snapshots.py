"""Kept states of the projections, by which a state of the past is found without folding the whole log. See `eventstore.snapshot` for the files.

A snapshot is valid under the fingerprint that made it and no other. It holds the rows of all areas; one of more than ROWS_MAX rows is not made:
reading it would cost as much as folding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import apsw
import msgspec

from eventstore import snapshot
from eventstore.reading import read_head
from eventstore.store import EventStore
from projections import fingerprints, folding
from projections.area import Area
from projections.rows import MemoryRows

FOLDER = "snapshots"

EVERY_EVENTS = 50_000
"""Events between two snapshots: folding that many takes a quarter of a second."""

KEPT = 8
"""Snapshots that are kept; between them and before the first the log is folded."""

ROWS_MAX = 100_000
"""Rows of the largest state that is kept: some 20 MiB."""

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(dict[str, list[list[Any]]]).decode


def key() -> bytes:
    """What rows depend on beside the log. The fingerprint of the sources: at once to be had, and never the same for two folds."""
    return fingerprints.of_sources().encode()


def keep(store: EventStore, folder: Path, stop: Callable[[], bool] = lambda: False) -> int | None:
    """Make a snapshot when the last one is far enough behind; its position. Folds from the one before."""
    head = store.head().position
    there = snapshot.positions(folder)
    if store.path is None or head - (there[0] if there else 0) < EVERY_EVENTS:
        return None
    with store.reading(patient=True) as db:
        after, rows = _newest(db, folder, head) or (0, MemoryRows(folding.all_tables()))
        for _ in folding.fold_onwards(db, rows, after, head, every=False):
            if stop() or rows.count() > ROWS_MAX:
                return None
        chain = _chain_at(db, head)
    if chain is None:
        return None
    content = _encode({name: list(rows.in_order(name)) for name in rows.tables})
    snapshot.save(folder, head, key(), chain, content, KEPT)
    return head


def before(db: apsw.Connection, until: int, areas: Iterable[Area]) -> tuple[int, MemoryRows] | None:
    """The rows of these areas at the newest kept position not after `until`, if that saves anything; else None."""
    file = db.db_filename("main")
    if not file:
        return None
    folder = Path(file).parent / FOLDER
    there = snapshot.positions(folder)
    if not there or min(there) > until:
        return None
    found = _newest(db, folder, until)
    if found is None:
        return None
    position, everything = found
    wanted = MemoryRows(table for area in areas for table in area.tables)
    for name in wanted.tables:
        wanted.replace(name, everything.in_order(name))
    return position, wanted


def _newest(db: apsw.Connection, folder: Path, until: int) -> tuple[int, MemoryRows] | None:
    kept = snapshot.load(folder, min(until, read_head(db).position), key(), lambda position: _chain_at(db, position))
    if kept is None:
        return None
    position, content = kept
    rows = MemoryRows(folding.all_tables())
    for name, of_table in _decode(content).items():
        rows.replace(name, of_table)
    return position, rows


def _chain_at(db: apsw.Connection, position: int) -> bytes | None:
    return db.execute("SELECT chain FROM events WHERE position = ?", (position,)).get
