"""The projections as they were, in a database in memory that can be walked forward event by event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apsw
import msgspec

from eventstore.reading import read_page
from eventstore.record import RecordedEvent
from projections import catalogue, folding
from projections.area import Area
from projections.catalogue import AREAS
from projections.rows import SqlRows, Write


class Step(msgspec.Struct, frozen=True):
    """One event, and the row writes that it meant."""

    event: RecordedEvent
    writes: tuple[Write, ...]


class Past:
    """The tables of these areas as they were after `position`, in `db`, on which every query of the areas runs. Close it.

    `log` is read from; it must see the log at least as far as the walk goes.
    """

    def __init__(self, log: apsw.Connection, position: int, areas: Iterable[Area] = AREAS) -> None:
        self._log = log
        self._areas = {area.name: area for area in areas}
        self.position = position
        self.db = folding.database_at(log, position, self._areas.values())
        self._rows = SqlRows(self.db)

    def walk(self, until: int) -> Iterator[Step]:
        """Go on to `until`, event by event. A step is handed out before its writes are carried out, so that rows can be looked at before;
        they are carried out when the next step is asked for, and `position` moves."""
        after = self.position
        while after < until:
            page = read_page(self._log, after, until=until)
            for event in page.events:
                step = Step(event, self._writes(event))
                yield step
                self._carry_out(step)
            if page.scanned_to == after:
                return
            after = page.scanned_to

    def forward(self, until: int) -> None:
        """Go on to `until` at once."""
        for _ in self.walk(until):
            pass

    def _writes(self, event: RecordedEvent) -> tuple[Write, ...]:
        area = catalogue.AREA_OF_TYPE.get(event.type)
        if area is None or area.name not in self._areas:
            return ()
        return area.fold(catalogue.struct_of(event), folding.at(event))

    def _carry_out(self, step: Step) -> None:
        self._rows.apply(step.writes)
        self.position = step.event.position
        self.db.execute("UPDATE projections SET position = ?", (self.position,))

    def close(self) -> None:
        """Let the database go."""
        self.db.close()

    def __enter__(self) -> Past:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
