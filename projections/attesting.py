"""What the log attests of its projections, and what that is good for: was a stored row right at some time, and since when is it not?

An attestation (`log.attested`) holds the digests of the areas as they were after an earlier position, computed from the living tables by a reader,
and the fingerprints of the folds that made them. Folding the log up to there must give the same digests; where it does not, the living rows had
drifted by then. Attestations under other fingerprints prove nothing here and are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apsw
import msgspec

from eventstore.reading import read_head
from projections import fingerprints, folding
from projections.area import Area
from projections.catalogue import AREAS, BY_NAME
from projections.clock import LogAttested
from projections.replay import digests
from projections.rows import Clear, Delete, Key, MemoryRows
from projections.scratch import ScratchRows

TYPE = "log.attested"
STREAM = "log"

LOOKED_AT_MAX = 50
"""Attestations that are looked through for the first that was wrong: half a million events at one for each ten thousand."""

LOCATED_MAX = 100
"""Rows whose first wrong position is looked for; with more, the place of the first hundred says enough."""

STEPS_PER_LOOK = 100_000
"""Virtual machine steps between two looks at whether to stop: a few milliseconds."""


class Attested(msgspec.Struct, frozen=True):
    """An attestation in the log: the event's own position, and what it says."""

    position: int
    said: LogAttested


class Drift(msgspec.Struct, frozen=True):
    """An area whose living rows were attested as something else than what the log says. `at`: the first position for which that is known;
    `right_at`: the last before it at which they were right (0: none is known)."""

    area: str
    at: int
    position: int
    right_at: int


def attest(db: apsw.Connection, stop: Callable[[], bool] = lambda: False) -> LogAttested | None:
    """The attestation of the tables as they are, for a connection inside a read transaction. Areas that are stopped or lie behind are left out.
    None when `stop()` said so before the end."""
    head = read_head(db).position
    rows: list[Any] = db.execute("SELECT area FROM projections WHERE position = ? AND stopped IS NULL", (head,)).fetchall()
    areas = [BY_NAME[name] for (name,) in rows if name in BY_NAME]
    db.set_progress_handler(stop, STEPS_PER_LOOK)
    try:
        found = digests.of_areas(db, areas)
    except apsw.InterruptError:
        return None
    finally:
        db.set_progress_handler(None)
    return LogAttested(head, found, {area.name: fingerprints.of_area(area.name) for area in areas})


def newest(db: apsw.Connection, limit: int = 1) -> list[Attested]:
    """The last attestations, the newest first."""
    rows: list[Any] = db.execute(
        "SELECT position, data FROM events WHERE stream = ? AND type = ? ORDER BY version DESC LIMIT ?", (STREAM, TYPE, limit)
    ).fetchall()
    return [Attested(position, msgspec.json.decode(data, type=LogAttested)) for position, data in rows]


def unattested(db: apsw.Connection) -> int:
    """How many events came after what was attested last, attestations not counted."""
    head = read_head(db).position
    last = newest(db)
    if not last:
        return head
    return head - last[0].position + max(0, last[0].position - last[0].said.at - 1)


def wrong_areas(said: LogAttested, rows: MemoryRows, areas: Iterable[Area] = AREAS) -> list[str]:
    """The areas of which `rows`, folded up to `said.at` by this program, have another digest than was attested under the same fingerprint."""
    return [
        area.name
        for area in areas
        if said.fingerprints.get(area.name) == fingerprints.of_area(area.name)
        and said.digests.get(area.name) not in (None, digest(rows, area))
    ]


def digest(rows: MemoryRows, area: Area) -> str:
    """The digest of an area in memory, as `digests.of_area` gives it of the tables."""
    return folding.digest_tables((table.name, rows.in_order(table.name)) for table in area.tables)


def drifts(db: apsw.Connection, areas: Sequence[Area]) -> list[Drift]:
    """Since when these areas, which were attested wrong, were so. Folds the log up to the newest attestation."""
    found: dict[str, Drift] = {}
    right_at: dict[str, int] = {}
    after = 0
    with ScratchRows(table for area in areas for table in area.tables) as rows:
        for one in reversed(newest(db, LOOKED_AT_MAX)):
            folding.fold_to(db, one.said.at, areas, rows, after)
            after = one.said.at
            wrong = wrong_areas(one.said, rows, areas)
            for area in areas:
                if area.name not in wrong:
                    right_at[area.name] = one.said.at
                    found.pop(area.name, None)
                elif area.name not in found:
                    found[area.name] = Drift(area.name, one.said.at, one.position, right_at.get(area.name, 0))
    return list(found.values())


def impossible_since(
    db: apsw.Connection, stored: Mapping[tuple[str, Key], Sequence[Any] | None], until: int, areas: Sequence[Area]
) -> dict[tuple[str, Key], int]:
    """For each of these rows (table and key -> the row as it is stored, None: absent) the first position after which it could not have been: the
    event that changed it after it was last so; for a row that never was so, the first event that wrote it. Rows that no event wrote are left out.
    """
    wanted = dict(list(stored.items())[:LOCATED_MAX])
    # Only these rows are kept, so that memory does not grow with the tables.
    rows = MemoryRows(table for area in areas for table in area.tables)
    since: dict[tuple[str, Key], int] = {}
    was: dict[tuple[str, Key], bool] = {place: _same(rows.row(*place), row) for place, row in wanted.items()}
    for at, writes in folding.writes_of(db, 0, until, areas):
        rows.apply(write for write in writes if isinstance(write, Clear) or (write.table.name, write.key) in wanted)
        for place, written in _touched(writes, wanted):
            same = _same(rows.row(*place), wanted[place])
            if same:
                since.pop(place, None)
            elif was[place] or (written and place not in since):
                since[place] = at.position
            was[place] = same
    return since


def _touched(writes: Iterable[Any], wanted: Mapping[tuple[str, Key], Any]) -> Iterator[tuple[tuple[str, Key], bool]]:
    """The wanted rows that these writes are about, and whether they are there afterwards."""
    for write in writes:
        if isinstance(write, Clear):
            yield from ((place, False) for place in wanted if place[0] == write.table.name)
        elif (write.table.name, write.key) in wanted:
            yield (write.table.name, write.key), not isinstance(write, Delete)


def _same(folded: Sequence[Any] | None, stored: Sequence[Any] | None) -> bool:
    return (None if folded is None else list(folded)) == (None if stored is None else list(stored))
