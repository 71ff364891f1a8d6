"""The check of a log: finds each kind of damage where it is, and nothing in a log that is whole."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import apsw
import pytest

from eventstore import chain
from eventstore.reading import read_head
from eventstore.record import Head, NewEvent
from eventstore.store import EventStore
from eventstore.verify import Problem, check


def written(folder: Path) -> Path:
    """A log of ten events in two streams."""
    path = folder / "pixelog.db"
    with EventStore.open(path) as store:
        for number in range(5):
            store.append("a", NewEvent("thing.happened", f'{{"number":{number}}}', tags=("tag",)))
            store.append("b", NewEvent("thing.happened"))
    return path


def problems(path: Path) -> list[Problem]:
    """What the check finds."""
    with EventStore.open(path, read_only=True) as store, store.reading() as db:
        return list(check(db, store.log_id))


def damage(path: Path, *statements: str) -> None:
    """Change the file with a plain SQLite connection, the guards taken off and put back."""
    db = apsw.Connection(str(path))
    guards = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in guards:
        db.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        db.execute(statement)
    for _, sql in guards:
        db.execute(str(sql))
    db.close()


def test_a_whole_log_has_no_problems(tmp_path: Path) -> None:
    """Neither one with events nor an empty one; checking in pages of any size gives the same."""
    assert problems(written(tmp_path)) == []
    with EventStore.open(":memory:") as store, store.reading() as db:
        assert list(check(db, store.log_id)) == []


def test_more_events_than_a_page_holds_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage on the last of several pages is found as on the first."""
    monkeypatch.setattr("eventstore.verify.PAGE_EVENTS", 3)
    path = written(tmp_path)
    assert problems(path) == []
    damage(path, "UPDATE events SET data = '{}' WHERE position = 9")
    assert [(one.code, one.position) for one in problems(path)] == [("chain", 9)]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("data = '{\"number\":7}'", [("chain", 5)]),
        ("type = 'other.thing'", [("chain", 5)]),
        ("actor = 'somebody'", [("chain", 5)]),
        ("tags = NULL", [("chain", 5)]),
        ("time = time + 1", [("chain", 5)]),
        ("id = zeroblob(16)", [("chain", 5)]),
        ("schemaversion = 2", [("chain", 5)]),
        ("data = CAST(x'ff' AS TEXT)", [("chain", 5)]),
        ("stream = CAST(x'ff' AS TEXT), version = 1", [("chain", 5), ("version", 7)]),
        ("chain = zeroblob(32)", [("chain", 5), ("chain", 6)]),
        ("logtime = 0", [("logtime", 5), ("chain", 5)]),
        ("version = 9", [("version", 5), ("chain", 5), ("version", 7)]),
    ],
)
def test_a_changed_event_is_found_where_it_is(tmp_path: Path, change: str, found: list[tuple[str, int]]) -> None:
    """Whatever column was changed, the event itself is named, and those after it only where they are wrong as well."""
    path = written(tmp_path)
    damage(path, f"UPDATE events SET {change} WHERE position = 5")
    assert [(one.code, one.position) for one in problems(path)] == found


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["DELETE FROM events WHERE position IN (3, 4)"], [("gap", 3), ("version", 5), ("version", 6)]),
        (["DELETE FROM events WHERE position = 1"], [("gap", 1), ("version", 3)]),
        (["DELETE FROM events WHERE position > 8"], [("gap", 9)]),
        (["UPDATE head SET position = 8"], [("head", 8), ("head", 9), ("head", 9)]),
        (["UPDATE head SET chain = zeroblob(32)"], [("head", 10)]),
        (["UPDATE head SET logtime = logtime + 1"], [("head", 10)]),
        (["UPDATE head SET time = time + 1"], [("head", 10)]),
        (["UPDATE head SET synced_position = 11"], [("head", 11)]),
    ],
)
def test_a_log_with_a_hole_or_a_wrong_end_is_found(tmp_path: Path, statements: list[str], found: list[tuple[str, int]]) -> None:
    """Missing events are one gap with its first position; a head that is not the last event's is a problem of the head."""
    path = written(tmp_path)
    damage(path, *statements)
    assert [(one.code, one.position) for one in problems(path)] == found


def test_a_forged_event_with_a_fitting_hash_breaks_the_next_one(tmp_path: Path) -> None:
    """Who rewrites an event and its hash would have to rewrite all that follow."""
    path = written(tmp_path)
    with EventStore.open(path, read_only=True) as store:
        real = store.page(4, 1).events[0]
        before = store.page(3, 1).events[0].chain
    body = b'{"number":999}'
    header = chain.header(
        real.position,
        real.version,
        1,
        real.logtime_us,
        real.time_us,
        real.id,
        real.stream,
        real.type,
        None,
        None,
        None,
        '["tag"]',
    )
    forged = chain.link(before, header, sha256(body).digest()).hex()
    damage(path, f"UPDATE events SET data = '{body.decode()}', chain = x'{forged}' WHERE position = 5")
    assert [(one.code, one.position) for one in problems(path)] == [("chain", 6)]


def test_a_missing_or_hollow_guard_is_found(tmp_path: Path) -> None:
    """A trigger that is gone, and one that does nothing any more, are each named."""
    path = written(tmp_path)
    db = apsw.Connection(str(path))
    db.execute("DROP TRIGGER events_not_deleted; DROP TRIGGER events_not_updated")
    db.execute("CREATE TRIGGER events_not_updated BEFORE UPDATE ON events BEGIN SELECT 1; END")
    db.close()
    found = problems(path)
    assert [one.code for one in found] == ["guard", "guard"]
    assert "events_not_updated, which keeps the log append-only, has been changed" in found[0].message
    assert "events_not_deleted, which keeps the log append-only, is missing" in found[1].message


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    """Bytes that were overwritten in the file are reported by SQLite's own check, and reading on ends in an answer, not in an error."""
    path = written(tmp_path)
    with EventStore.open(path) as store:
        for _ in range(40):
            store.append("big", NewEvent("thing.happened", '"' + "x" * 3000 + '"'))
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 4096 // 2 * 4096
    raw[middle : middle + 3 * 4096] = b"\xa5" * (3 * 4096)
    path.write_bytes(raw)
    found = problems(path)
    assert found[0].code == "sqlite"
    assert all(one.mend for one in found)


def test_what_is_appended_during_a_check_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check reads up to the head that it began with, while others write."""
    path = written(tmp_path)
    with EventStore.open(path) as store, store.reading() as db:

        def head_then_append(db: apsw.Connection) -> Head:
            head = read_head(db)
            store.append("a", NewEvent("thing.happened"))
            return head

        monkeypatch.setattr("eventstore.verify.read_head", head_then_append)
        assert list(check(db, store.log_id)) == []
        assert store.head().position == 11


@pytest.mark.parametrize(
    ("statement", "code", "said"),
    [
        ("DELETE FROM log WHERE key = 'log_id'", "schema", "the log's id is missing"),
        ("DELETE FROM log", "schema", "the log's id is missing"),
        ("UPDATE log SET value = 'ä' WHERE key = 'log_id'", "schema", "the log's id is none"),
        ("DELETE FROM log WHERE key = 'created_at'", "schema", "the note of when the log was made is missing"),
        ("UPDATE head SET epoch = -1", "head", "the head row holds what none does in: epoch"),
        ("UPDATE head SET boottime = -1", "head", "the head row holds what none does in: boottime"),
        ("UPDATE head SET boottime = 1 << 62", "head", "the head row holds what none does in: boottime"),
        ("UPDATE head SET dirty = 7", "head", "the head row holds what none does in: dirty"),
    ],
)
def test_what_no_event_vouches_for_is_looked_at(statement: str, code: str, said: str, tmp_path: Path) -> None:
    """The log's name and birth, and the fields of the head row: named, with a backup as the mend; the check does not fail itself."""
    path = written(tmp_path)
    damage(path, statement)
    found = problems(path)
    assert (found[0].code, found[0].message) == (code, said)
    assert found[0].mend == "restore a backup: pixelog restore FILE --replace"


def test_another_name_of_the_log_does_not_fit_its_first_event(tmp_path: Path) -> None:
    """The first hash is made of the name."""
    path = written(tmp_path)
    damage(path, "UPDATE log SET value = 'another' WHERE key = 'log_id'")
    assert [(one.code, one.position) for one in problems(path)] == [("chain", 1)]


def test_a_boot_id_that_is_no_text_is_said(tmp_path: Path) -> None:
    """Also where the table itself would not have taken it."""
    path = written(tmp_path)
    db = apsw.Connection(str(path))
    db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    db.execute("PRAGMA writable_schema = 1").fetchall()
    strict: str = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'head'").get
    db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'head'", (strict.replace(") STRICT", ")"),))
    db.close()
    db = apsw.Connection(str(path))
    db.execute("UPDATE head SET boot_id = x'00ff'")
    db.execute("PRAGMA writable_schema = 1").fetchall()
    db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'head'", (strict,))
    db.close()
    assert "the head row holds what none does in: boot_id" in [one.message for one in problems(path)]


@pytest.mark.parametrize("table", ["requests", "events", "tags"])
def test_a_trigger_that_is_not_ours_is_named(table: str, tmp_path: Path) -> None:
    """It would run with each write; tables, views and triggers of others that leave the log's tables alone are nobody's business."""
    path = written(tmp_path)
    damage(
        path,
        "CREATE TABLE mine (a)",
        "CREATE VIEW seen AS SELECT 1",
        "CREATE TRIGGER own AFTER INSERT ON mine BEGIN SELECT 1; END",
    )
    assert problems(path) == []
    damage(path, f"CREATE TRIGGER spy AFTER INSERT ON {table} BEGIN DELETE FROM tags; END")
    (found,) = problems(path)
    assert (found.code, found.message) == (
        "schema",
        f"the trigger spy on {table} was not made by pixelog, and may change what is written",
    )
    assert found.mend == "take it out with any SQLite tool, then look again: DROP TRIGGER spy"
