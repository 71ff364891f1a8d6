"""What every area of the domain is made of. The areas themselves are the modules beside this one; `catalogue.py` lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import apsw
import msgspec

from projections.plan import Turn
from projections.rows import Patch, Table, Write


class At(msgspec.Struct, frozen=True):
    """Where and when an event stands in the log: what a fold may know beside the event itself."""

    position: int
    version: int
    logtime_us: int
    time_us: int


Row = dict[str, Any]
Raw = dict[str, Any]


class Area(msgspec.Struct, frozen=True):
    """One slice of the domain.

    `events`: type tag -> struct. `fold(event, at)` -> row writes; it reads nothing but its arguments. `stream(event)` names the event's stream.
    `views` is SQL that gives the area its table or view of the contract. `resources(db)` gives {natural key: resource as its GET shows it}.
    `upcasters`: (type, old schema version) -> function from the old raw data to the next version's. `overwriting`: types of which each event
    sets over all that the one before it in the stream did, so that only the last of them matters to a rebuild; with the stream's name, or what it
    begins with up to the `/`.
    """

    name: str
    events: Mapping[str, type[msgspec.Struct]]
    tables: tuple[Table, ...]
    fold: Callable[[Any, At], tuple[Write, ...]]
    stream: Callable[[Any], str]
    resources: Callable[[apsw.Connection], Mapping[str, Any]]
    views: tuple[str, ...] = ()
    versions: Mapping[str, int] = {}
    upcasters: Mapping[tuple[str, int], Callable[[Raw], Raw]] = {}
    overwriting: Mapping[str, str] = {}


def turn_table(area: str) -> Table:
    """The one-row table in which an area keeps the last turn that an event of its own carried, as JSON, with the event's position.

    Each area has its own: a fold writes no other area's tables, and the plan takes the newest of them.
    """
    columns = (("only", "INTEGER", False), ("position", "INTEGER", False), ("turn", "TEXT", True))
    return Table(f"{area}_turn", columns, seed=((1, 0, None),))


def turn_writes(table: Table, turn: Turn | None, at: At) -> tuple[Write, ...]:
    """The write that keeps an event's turn; none when the event carries none."""
    if turn is None:
        return ()
    return (Patch(table, (1,), {"position": at.position, "turn": msgspec.json.encode(turn).decode()}),)
