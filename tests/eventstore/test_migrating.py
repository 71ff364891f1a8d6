"""Bringing a log of an older format to the present one: all of it or nothing, with a way back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from eventstore import migrating, schema
from eventstore.errors import Unusable
from eventstore.record import NewEvent
from eventstore.store import EventStore

Step = Callable[[apsw.Connection], None]


def add_column(db: apsw.Connection) -> None:
    """A step as one may be. It leaves the tables that verify knows as they are."""
    db.execute("CREATE TABLE labels AS SELECT tag FROM tags")
    db.execute("ALTER TABLE labels ADD COLUMN kind TEXT")


def add_table(db: apsw.Connection) -> None:
    """Another one, which needs the first."""
    db.execute("CREATE TABLE kinds AS SELECT kind FROM labels")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A closed log of the present format, with events."""
    with EventStore.open(tmp_path) as store:
        for _ in range(5):
            store.append("a", NewEvent("thing.happened", tags=("t",)))
    return tmp_path / "pixelog.db"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`steps(…)`: these are the migrations from now on."""

    def use(*steps: Step) -> None:
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *steps))
        monkeypatch.setattr(schema, "FORMAT", schema.FORMAT + len(steps))

    return use


def content(path: Path) -> tuple[list[str], int]:
    """The database's schema and its format."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [str(row[0]) for row in db.execute("SELECT sql FROM sqlite_schema ORDER BY name")], db.pragma("user_version")
    finally:
        db.close()


def names(path: Path) -> list[str]:
    """Files beside the database."""
    return sorted(one.name for one in path.parent.iterdir())


def test_an_older_log_is_brought_up_to_date(old: Path, steps: Callable[..., None]) -> None:
    """In all its steps, once; the events are as they were, and no copy is left."""
    steps(add_column, add_table)
    with EventStore.open(old) as store:
        assert store.append("a", NewEvent("thing.happened")).position == 6
        assert store.verify() == []
        with store.reading() as db:
            assert db.execute("SELECT count(*) FROM kinds").get == 5
            assert db.pragma("user_version") == schema.FORMAT
    with EventStore.open(old) as store:
        assert store.head().position == 6
    assert names(old) == ["pixelog.db"]


def test_a_step_that_fails_leaves_the_log_as_it_was(old: Path, steps: Callable[..., None]) -> None:
    """Those before it are undone; the start says what happened; the older version still works."""
    before = content(old)

    def fails(db: apsw.Connection) -> None:
        db.execute("DROP TABLE tags")
        raise ValueError("no such thing")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (add_column, fails))
        patch.setattr(schema, "FORMAT", 3)
        with pytest.raises(Unusable, match="no such thing") as refused:
            EventStore.open(old)
        assert refused.value.code == "migration"
    assert content(old) == before
    assert [name for name in names(old) if "before" in name] == []
    with EventStore.open(old) as store:
        assert store.append("a", NewEvent("thing.happened")).position == 6


@pytest.mark.parametrize("kind", ["events", "structure"])
def test_an_outcome_that_is_wrong_is_replaced_by_the_copy(
    old: Path, steps: Callable[..., None], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step may succeed and be wrong all the same: it lost events, or the database does not pass the check."""
    before = content(old)

    def loses(db: apsw.Connection) -> None:
        db.execute("DROP TRIGGER events_not_deleted")
        db.execute("DELETE FROM events WHERE position = 2")

    steps(loses if kind == "events" else add_column)
    if kind == "structure":
        monkeypatch.setattr(migrating, "_problem", lambda db: "rows are missing from an index")
    with pytest.raises(Unusable, match="as it was"):
        EventStore.open(old)
    monkeypatch.undo()
    assert content(old) == before
    with EventStore.open(old) as store:
        assert store.verify() == []
        assert store.head().position == 5


KILLED = """
import os, sys
from eventstore import migrating, schema
from eventstore.store import EventStore
schema.MIGRATIONS, schema.FORMAT = (lambda db: db.execute("CREATE TABLE labels (tag TEXT, kind TEXT)"),), 2
if sys.argv[2] == "during":
    schema.MIGRATIONS = (lambda db: db.execute("CREATE TABLE labels (tag TEXT, kind TEXT)") and os._exit(9),)
else:
    migrating._problem = lambda db: os._exit(9)
EventStore.open(sys.argv[1])
"""


@pytest.mark.parametrize("when", ["during", "after"])
def test_a_migration_that_is_killed_is_finished_by_the_next_start(old: Path, when: str, steps: Callable[..., None]) -> None:
    """In the middle of the steps, or before the check."""
    died = subprocess.run([sys.executable, "-c", KILLED, str(old), when], check=False, timeout=60)
    assert died.returncode == 9
    assert "pixelog.db.before-2" in names(old)
    steps(add_column)
    with EventStore.open(old) as store:
        assert store.verify() == []
        with store.reading() as db:
            assert db.pragma("user_version") == 2
            assert db.execute("SELECT count(*) FROM pragma_table_info('labels') WHERE name = 'kind'").get == 1
    assert names(old) == ["pixelog.db"]


def test_a_step_that_alters_an_event_is_undone(old: Path) -> None:
    """Number of events and head are what they were; the text of an old one is not, and the copy brings it back."""
    before = content(old)

    def alters(db: apsw.Connection) -> None:
        guard: str = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'events_not_updated'").get
        db.execute("DROP TRIGGER events_not_updated")
        db.execute("UPDATE events SET data = '[]' WHERE position = 2")
        db.execute(guard)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (alters,))
        patch.setattr(schema, "FORMAT", 2)
        with pytest.raises(Unusable, match=r"event 2 is not what was written.*it is as it was") as refused:
            EventStore.open(old)
    assert refused.value.code == "migration"
    assert content(old) == before
    with EventStore.open(old) as store:
        assert [event.data for event in store.read()] == ["{}"] * 5
        assert store.verify() == []
    assert names(old) == ["pixelog.db"]


def test_looking_does_not_migrate(old: Path, steps: Callable[..., None]) -> None:
    """A log of an older format is not opened for reading; it says what to do."""
    steps(add_column)
    with pytest.raises(Unusable) as refused:
        EventStore.open(old, read_only=True)
    assert refused.value.code == "older"
    assert content(old)[1] == 1


def test_a_newer_log_is_left_untouched(old: Path) -> None:
    """Byte for byte, with whatever lies beside it."""
    db = apsw.Connection(str(old))
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = {name: (old.parent / name).read_bytes() for name in names(old)}
    with pytest.raises(Unusable) as refused:
        EventStore.open(old)
    assert refused.value.code == "newer"
    assert {name: (old.parent / name).read_bytes() for name in names(old)} == before
    assert os.path.getsize(old) > 0
