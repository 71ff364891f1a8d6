"""Area adoptions: what was taken over from older installations, so that a second move brings only what is new."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apsw
import msgspec

from projections.area import Area, At
from projections.rows import Put, Table, Write


class Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """One record of an older installation: its key there (`media/<slug>`, `loop` …), the hash of what it said, and `kept`: what a later move
    has to know of it, or what has no other place here. Never a secret."""

    key: str
    fingerprint: str
    kept: Any = None


class AdoptionRecorded(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """These records were taken over from an older installation, as they are now. `system` is its kind, `source` tells two of a kind apart."""

    system: str
    source: str
    records: tuple[Record, ...]


Event = AdoptionRecorded
EVENTS: dict[str, type[msgspec.Struct]] = {"adoption.recorded": AdoptionRecorded}

ADOPTIONS = Table(
    "adoptions_records",
    (
        ("key", "TEXT", False),  # <source>/<the record's key>
        ("system", "TEXT", False),
        ("fingerprint", "TEXT", False),
        ("kept", "TEXT", True),  # JSON
        ("adopted_at", "INTEGER", False),  # µs
    ),
)
TABLES = (ADOPTIONS,)
VIEWS = ("CREATE VIEW adoptions AS SELECT key, system, fingerprint, kept, adopted_at FROM adoptions_records",)


def stream(event: Event) -> str:
    """Each source has its own stream."""
    return f"adoptions/{event.source}"


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    return tuple(
        Put(
            ADOPTIONS,
            (f"{event.source}/{record.key}",),
            {
                "system": event.system,
                "fingerprint": record.fingerprint,
                "kept": None if record.kept is None else msgspec.json.encode(record.kept).decode(),
                "adopted_at": at.time_us,
            },
        )
        for record in event.records
    )


# -- queries -------------------------------------------------------------------------------------------------------------------------


class Adoption(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record that was taken over: the system that it came from, the hash of what it said then, and what was kept of it beside."""

    system: str
    fingerprint: str
    kept: Any = None


def _adoption(system: str, fingerprint: str, kept: str | None) -> Adoption:
    return Adoption(system, fingerprint, None if kept is None else msgspec.json.decode(kept))


def find(db: apsw.Connection, source: str, keys: Iterable[str]) -> dict[str, Adoption]:
    """Those of the records with these keys that were taken over from this source, by key."""
    wanted = msgspec.json.encode([f"{source}/{key}" for key in keys]).decode()
    rows: list[Any] = db.execute(
        "SELECT key, system, fingerprint, kept FROM adoptions_records WHERE key IN (SELECT value FROM json_each(?))", (wanted,)
    ).fetchall()
    return {key[len(source) + 1 :]: _adoption(*row) for key, *row in rows}


def resources(db: apsw.Connection) -> dict[str, Adoption]:
    """Every record by source and key."""
    rows: list[Any] = db.execute("SELECT key, system, fingerprint, kept FROM adoptions_records ORDER BY key").fetchall()
    return {key: _adoption(*row) for key, *row in rows}


AREA = Area("adoptions", EVENTS, TABLES, fold, stream, resources, VIEWS)
