"""Attestations: what the log says of its own projections, and since when a row is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.cli.main import main
from api.commands.active import SetActive
from api.commands.media import AddMedia, UpdateMedia
from api.data import DataDirectory
from api.execution import Executor
from api.service import StateService
from api.verification import Problem, verify
from projections import attesting
from projections.catalogue import BY_NAME


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a few items; a blob is missing to none, for they have none."""
    with StateService(tmp_path) as state:
        for name in "abc":
            state.executor.execute(AddMedia(f"{name}.gif", name * 64, 1, "image/gif", "animation", add_to_loop=True))
    return tmp_path


def attest(state: StateService) -> int:
    """Have the log attest; the position up to which."""
    with state.store.snapshot() as db:
        said = attesting.attest(db)
    assert said is not None
    Executor(state.store).note(said)
    return said.at


def break_row(folder: Path, sql: str) -> None:
    """Edit a projection behind the log's back."""
    with StateService(folder) as state:
        state.store.transact(lambda t: t.db.execute(sql) and None)


def found(folder: Path) -> list[Problem]:
    """What `verify` finds, missing files left out."""
    return [problem for problem in verify(DataDirectory(folder)).problems if problem.code != "blob_missing"]


def test_right_rows_are_attested_right(folder: Path) -> None:
    """Several times, with events between; nothing is found."""
    with StateService(folder) as state:
        for name in "abc":
            state.set_active(name)
            at = attest(state)
            with state.store.reading() as db:
                (last,) = attesting.newest(db)
                assert (last.said.at, last.position) == (at, at + 1)
                assert last.said.digests.keys() == BY_NAME.keys()
                assert attesting.unattested(db) == 0
        state.set_active(None)
        with state.store.reading() as db:
            assert attesting.unattested(db) == 1
    assert found(folder) == []


def test_drift_that_was_attested_is_found_with_its_time(folder: Path) -> None:
    """An event that puts the row right by accident ends it; else a rebuild does, and attests anew."""
    with StateService(folder) as state:
        attest(state)
    forge = "UPDATE active_item SET slug = 'forged'"
    break_row(folder, forge)
    with StateService(folder) as state:
        attest(state)
    assert {one.code for one in found(folder)} == {"attested", "projection"}
    with StateService(folder) as state:
        state.set_active("b")
        right_at = attest(state)
    assert found(folder) == []
    break_row(folder, forge)
    with StateService(folder) as state:
        wrong_at = attest(state)
    problems = found(folder)
    assert [(one.code, one.position) for one in problems] == [("attested", wrong_at), ("projection", right_at)]
    assert f"at position {right_at} they were right" in problems[0].message
    assert main(["rebuild", "active", "--data", str(folder)]) == 0
    assert found(folder) == []


def test_attestations_under_other_folds_prove_nothing(folder: Path) -> None:
    """An area whose fingerprint was another is passed over."""
    import msgspec

    with StateService(folder) as state:
        with state.store.snapshot() as db:
            said = attesting.attest(db)
        assert said is not None
        wrong = msgspec.structs.replace(
            said, digests={**said.digests, "media": "0" * 64}, fingerprints={**said.fingerprints, "media": "older"}
        )
        Executor(state.store).note(wrong)
    assert found(folder) == []


@pytest.mark.parametrize(
    ("sql", "table", "since"),
    [
        ("UPDATE media_items SET filename = 'B.gif', version = 1 WHERE slug = 'b'", "never", "first"),
        ("DELETE FROM loop_items WHERE slug = 'c'", "loop", "added"),
        ("INSERT INTO loop_items VALUES ('zzz', 1, 1, NULL, NULL)", "loop", None),
    ],
)
def test_a_wrong_row_is_located(folder: Path, sql: str, table: str, since: str | None) -> None:
    """Its problem names the first position after which the row could not have been so."""
    with StateService(folder) as state:
        events = list(state.store.read())
    break_row(folder, sql)
    positions = {
        "first": next(one.position for one in events if one.type == "media.added" and "b.gif" in one.data),
        "added": next(one.position for one in events if one.type == "loop.item_added" and '"c"' in one.data),
        None: None,
    }
    problems = found(folder)
    assert {one.code for one in problems} == {"projection"}
    assert {one.position for one in problems} == {positions[since]}


def test_a_row_that_missed_an_event_is_located_there(folder: Path) -> None:
    """A row as it was before an event could have been until that event."""
    with StateService(folder) as state:
        with state.store.reading() as db:
            before = db.execute("SELECT filename, version, tags FROM media_items WHERE slug = 'a'").fetchone()
        missed = state.executor.execute(UpdateMedia("a", filename="A.gif")).position
        state.executor.execute(SetActive("a"))
        state.store.transact(
            lambda t: (
                t.db.execute("UPDATE media_items SET (filename, version, tags) = (?, ?, ?) WHERE slug = 'a'", before) and None
            )
        )
    assert {one.position for one in found(folder)} == {missed}


def test_digests_can_be_cut_short(folder: Path) -> None:
    """An end of the process does not wait for them."""
    with StateService(folder) as state, state.store.snapshot() as db:
        assert attesting.attest(db, lambda: True) is None or attesting.attest(db) is not None
        assert attesting.attest(db) is not None
