"""States of the past by way of a kept one: the same as by folding everything, and only while the fold is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.service import StateService
from projections import fingerprints, folding, snapshots
from projections.catalogue import AREAS


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateService:
    """An open directory with some fifty events, of which ten are between two snapshots."""
    monkeypatch.setattr(snapshots, "EVERY_EVENTS", 10)
    service = StateService(tmp_path)
    for number in range(20):
        service.post_message(f"message {number}")
        service.change_settings({"brightness": number})
        service.heartbeat("player")
        if number % 5 == 4:
            assert snapshots.keep(service.store, tmp_path / "snapshots") == service.store.head().position
    return service


def test_the_past_is_the_same_with_and_without(state: StateService) -> None:
    """At any position, of all areas and of some."""
    folder = state.data.root / "snapshots"
    with state.store.reading() as db:
        for position in (0, 5, 16, 17, 30, 45, 46, 60, 61):
            for areas in (AREAS, AREAS[4:6]):
                with_one = folding.database_at(db, position, areas)
                fresh = folding.fold_to(db, position, areas)
                for area in areas:
                    for table in area.tables:
                        assert list(folding.table_rows(with_one, table)) == [tuple(row) for row in fresh.in_order(table.name)]
                with_one.close()
        assert snapshots.before(db, 61, AREAS) is not None
    assert len(list(folder.iterdir())) == 4
    state.close()


def test_another_fold_discards_them(state: StateService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the sources were changed in."""
    monkeypatch.setattr(fingerprints, "of_sources", lambda: "other")
    with state.store.reading() as db:
        assert snapshots.before(db, 61, AREAS) is None
    assert list((state.data.root / "snapshots").iterdir()) == []
    state.close()


def test_none_is_made_before_it_pays(state: StateService) -> None:
    """Only after so many events, and of no state that is too large."""
    folder = state.data.root / "snapshots"
    assert snapshots.keep(state.store, folder) is None
    for number in range(10):
        state.post_message(f"more {number}")
    assert snapshots.keep(state.store, folder, stop=lambda: True) is None
    assert snapshots.keep(state.store, folder) is not None
    state.close()
