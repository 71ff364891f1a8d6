"""Digests of the projections: what two foldings of the same log must agree on, to the byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import apsw

from projections import folding
from projections.area import Area
from projections.catalogue import AREAS


def of_area(db: apsw.Connection, area: Area, suffix: str = "") -> str:
    """SHA-256 over an area's tables; see `folding.digest_tables`. `suffix`: of the tables of the same names with this behind them."""
    return folding.digest_tables((table.name, folding.table_rows(db, table, suffix)) for table in area.tables)


def of_areas(db: apsw.Connection, areas: Iterable[Area] = AREAS) -> dict[str, str]:
    """The digest of each area."""
    return {area.name: of_area(db, area) for area in areas}


def overall(digests: Mapping[str, str]) -> str:
    """One SHA-256 over the areas' digests, by name."""
    text = "".join(f"{name}={digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256(text.encode()).hexdigest()
