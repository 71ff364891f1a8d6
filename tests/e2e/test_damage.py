"""Every kind of damage, planted in a real data directory: `pixelog verify` names it and its place, and what it says would mend it does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import damaging
import pytest
from damaging import carry_out, change, flip

from api.cli.main import main
from api.service import StateService
from eventstore.store import EventStore
from projections import folding
from projections.catalogue import AREAS, BY_NAME
from projections.rows import MemoryRows

RESTORE = "restore a backup: pixelog restore FILE --replace"
AT = 100
"""The event that is damaged: one in the middle, by whomever."""

LAST = 210


class Room(NamedTuple):
    """A directory to damage, its backup from before, and the files that were uploaded."""

    data: Path
    backup: Path
    files: Path
    chain: list[bytes]


Verify = Callable[[], dict[str, Any]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Room:
    """The directory as it is before any damage, which is never touched."""
    folder = tmp_path_factory.mktemp("whole")
    damaging.fill(folder / "data")
    with EventStore.open(folder / "data" / "pixelog.db", read_only=True) as store:
        chain = [event.chain for event in store.read()]
    room = Room(folder / "data", folder / "backup.tar", folder / "files", chain)
    room.files.mkdir()
    for name, content in damaging.FILES.items():
        (room.files / name).write_bytes(content)
    assert main(["backup", str(room.backup), "--data", str(room.data)]) == 0
    return room


@pytest.fixture
def room(whole: Room, tmp_path: Path) -> Room:
    """A copy of it to damage."""
    shutil.copytree(whole.data, tmp_path / "data")
    return whole._replace(data=tmp_path / "data")


@pytest.fixture
def verify(room: Room, capsys: pytest.CaptureFixture[str]) -> Verify:
    """`pixelog verify --json`: its exit code must fit, and the lines for a person must say the same."""

    def run() -> dict[str, Any]:
        capsys.readouterr()
        code = main(["verify", "--json", "--data", str(room.data)])
        report = json.loads(capsys.readouterr().out)
        assert code == (0 if report["ok"] else 1)
        assert report["ok"] == (report["problems"] == [])
        assert main(["verify", "--data", str(room.data)]) == code
        lines = capsys.readouterr().out.splitlines()
        for line, one in zip(lines, report["problems"], strict=False):
            where = f" (position {one['position']})" if "position" in one else ""
            assert line == f"{one['code']}: {one['message']}{where}; {one['mend']}"
        assert lines[len(report["problems"])].startswith(
            "all is well: " if report["ok"] else f"{len(report['problems'])} problem"
        )
        return report

    return run


def found(report: dict[str, Any]) -> list[tuple[str, int | None]]:
    """Code and position of each problem."""
    return [(one["code"], one.get("position")) for one in report["problems"]]


def mended(room: Room, verify: Verify, report: dict[str, Any]) -> None:
    """Carry out what the first problem says; then everything is as it was, but for what a rebuild has the log say of itself."""
    mend = report["problems"][0]["mend"]
    carry_out(mend, room.data, room.backup)
    again = verify()
    assert again["ok"]
    with EventStore.open(room.data / "pixelog.db", read_only=True) as store:
        assert [event.chain for event in store.read(until=LAST)] == room.chain
        said = [event.type for event in store.read(after=LAST)]
        assert said == [] or (said == ["log.opened", "log.attested"] and "rebuild" in mend)


def test_the_directory_is_whole(room: Room, verify: Verify) -> None:
    """Before any damage nothing is found; every area has events, and every kind of row is there."""
    report = verify()
    assert (report["ok"], report["events"], report["head"]) == (True, LAST, LAST)
    with EventStore.open(room.data / "pixelog.db", read_only=True) as store, store.snapshot() as db:
        assert {area.name for area in AREAS if folding.changed_at(db, area.name) == 0} == set()
        assert db.execute("SELECT count(*) FROM requests").get == damaging.REQUESTS
        assert db.execute("SELECT count(*) FROM clock_attested").get == 3


# -- events --------------------------------------------------------------------------------------------------------------------------

HEADER = ("stream", "version", "type", "schemaversion", "id", "logtime", "time", "actor", "correlationid", "causationid", "tags")


@pytest.mark.parametrize("column", [*HEADER, "data"])
def test_a_flipped_bit_in_an_event(room: Room, verify: Verify, column: str) -> None:
    """In whichever column: the hash of that very event does not fit, and no other's; what follows from it is said with it."""
    flip(room.data, "events", column, f"position = {AT}", bit=6 if column == "version" else 0)
    report = verify()
    assert ("chain", AT) in found(report)
    assert [position for code, position in found(report) if code == "chain"] == [AT]
    assert {code for code, _ in found(report)} <= {"chain", "version", "logtime", "fold", "projection", "attested"}
    assert found(report)[0][1] == AT
    assert {one["mend"] for one in report["problems"]} == {RESTORE}
    mended(room, verify, report)


def test_a_flipped_bit_in_a_hash(room: Room, verify: Verify) -> None:
    """It fits neither its own event nor the next one."""
    flip(room.data, "events", "chain", f"position = {AT}")
    report = verify()
    assert found(report) == [("chain", AT), ("chain", AT + 1)]
    mended(room, verify, report)


@pytest.mark.parametrize("column", ["data", "chain", "logtime"])
def test_a_flipped_bit_in_the_last_event(room: Room, verify: Verify, column: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A start notices that, too, and does not write on."""
    flip(room.data, "events", column, f"position = {LAST}")
    assert main(["message", "more", "--data", str(room.data)]) == 3
    assert f"event {LAST} is not what was written" in capsys.readouterr().err
    report = verify()
    assert found(report)[0] == ("chain", LAST)
    mended(room, verify, report)


@pytest.mark.parametrize(("first", "last"), [(1, 1), (AT, AT), (AT, AT + 4), (LAST, LAST)])
def test_deleted_events(room: Room, verify: Verify, first: int, last: int) -> None:
    """One gap, with the first position that is missing."""
    change(room.data, f"DELETE FROM events WHERE position BETWEEN {first} AND {last}")
    report = verify()
    assert ("gap", first) in found(report)
    assert [position for code, position in found(report) if code == "gap"] == [first]
    assert "chain" not in {code for code, _ in found(report)}
    message = f"event {first} is" if first == last else f"events {first} to {last} are"
    assert f"{message} missing from the log" in [one["message"] for one in report["problems"]]
    mended(room, verify, report)


def test_a_log_cut_short(room: Room, verify: Verify) -> None:
    """Whoever takes the last events and turns the head back as well is told by the tables, which know more than the log."""
    change(
        room.data,
        f"DELETE FROM events WHERE position > {LAST - 1}",
        "UPDATE head SET (position, chain, logtime, time) = (SELECT position, chain, logtime, time FROM events ORDER BY position DESC LIMIT 1)",
    )
    report = verify()
    assert found(report)[0] == ("head", LAST)
    mended(room, verify, report)


def test_two_events_that_changed_places(room: Room, verify: Verify) -> None:
    """Each is named, and each that follows one of them."""
    other = AT + 7
    change(
        room.data,
        f"UPDATE events SET position = -1 WHERE position = {AT}",
        f"UPDATE events SET position = {AT} WHERE position = {other}",
        f"UPDATE events SET position = {other} WHERE position = -1",
    )
    report = verify()
    chain = [position for code, position in found(report) if code == "chain"]
    assert chain == [AT, AT + 1, other, other + 1]
    assert found(report)[0][1] == AT
    mended(room, verify, report)


_COPIED = "stream, version, type, schemaversion, id, logtime, time, actor, correlationid, causationid, tags, data, chain"
_FORGED = _COPIED.replace("stream, version", "'forged', 1")


def test_an_inserted_event(room: Room, verify: Verify) -> None:
    """In the middle, everything after it moved up: it and the one after it do not fit."""
    change(
        room.data,
        f"UPDATE events SET position = -position WHERE position >= {AT}",
        "UPDATE events SET position = 1 - position WHERE position < 0",
        f"INSERT INTO events (position, {_COPIED}) SELECT {AT}, {_FORGED} FROM events WHERE position = {AT + 1}",
        f"UPDATE head SET position = {LAST + 1}",
    )
    report = verify()
    assert found(report)[0] == ("logtime", AT + 1) or found(report)[0] == ("chain", AT)
    assert ("chain", AT) in found(report)
    mended(room, verify, report)


@pytest.mark.parametrize("moved", [False, True], ids=["behind the head", "with the head"])
def test_an_appended_forgery(room: Room, verify: Verify, moved: bool) -> None:
    """An event at the end that the store did not write."""
    later = _FORGED.replace("logtime", "logtime + 1")
    statements = [f"INSERT INTO events (position, {_COPIED}) SELECT {LAST + 1}, {later} FROM events WHERE position = {LAST}"]
    if moved:
        statements.append(f"UPDATE head SET position = {LAST + 1}, logtime = logtime + 1")
    change(room.data, *statements)
    report = verify()
    assert found(report)[0] == ("chain" if moved else "head", LAST + 1)
    mended(room, verify, report)


# -- beside the events ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "position"),
    [
        (f"UPDATE head SET position = {LAST - 1}", LAST - 1),
        (f"UPDATE head SET position = {LAST + 1}", LAST + 1),
        ("UPDATE head SET chain = zeroblob(32)", LAST),
        ("UPDATE head SET logtime = logtime | 1 << 40", LAST),
        ("UPDATE head SET time = time - 1", LAST),
        (f"UPDATE head SET synced_position = {LAST + 64}", LAST + 1),
        ("DELETE FROM head", None),
    ],
)
def test_an_edited_head(room: Room, verify: Verify, statement: str, position: int | None) -> None:
    """The head row is held against the last event."""
    change(room.data, statement)
    report = verify()
    codes = {None: "sqlite", LAST + 1: "head" if "synced" in statement else "gap"}
    assert found(report)[0] == (codes.get(position, "head"), position)
    mended(room, verify, report)


@pytest.mark.parametrize("guard", ["events_in_order", "events_not_updated", "events_not_deleted", "head_only_forward"])
def test_a_dropped_guard(room: Room, verify: Verify, guard: str) -> None:
    """What keeps the log append-only is part of it."""
    change_schema(room.data, f"DROP TRIGGER {guard}")
    report = verify()
    assert found(report) == [("guard", None)]
    assert f"the trigger {guard}," in report["problems"][0]["message"]
    mended(room, verify, report)


@pytest.mark.parametrize("index", ["events_by_stream", "requests_relaxed"])
def test_a_dropped_index_of_the_log(room: Room, verify: Verify, index: str) -> None:
    """Tables and indexes of the log are those that were made."""
    change_schema(room.data, f"DROP INDEX {index}")
    report = verify()
    assert found(report)[0] == ("schema", None)
    assert report["problems"][0]["message"] == f"the index {index} of the log is missing"
    mended(room, verify, report)


def change_schema(data: Path, statement: str) -> None:
    """Change the schema as it is, triggers included."""
    db = apsw.Connection(str(data / "pixelog.db"))
    db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    "change_to",
    [
        "position = 999",
        "first = 999",
        "count = 77",
        "fingerprint = x'00'",
        "answer = x'7b7d'",
        "status = 404",
        "logtime = logtime + 1",
        "key = 'key-1' || 'x'",
        "relaxed = 2",
    ],
)
def test_a_kept_answer_that_cannot_be(room: Room, verify: Verify, change_to: str) -> None:
    """A repeat must not be answered with what the log does not hold."""
    change(room.data, f"UPDATE requests SET {change_to} WHERE key = 'key-1'")
    report = verify()
    assert found(report) == [("request", None)]
    assert "the answer kept under the key 'key-1" in report["problems"][0]["message"]
    mended(room, verify, report)


# -- projections ---------------------------------------------------------------------------------------------------------------------

ROWS = {
    "media": ("media_items", "filename", "slug = 'picture-1'"),
    "loop": ("loop_items", "rank", "slug = 'picture-1'"),
    "active": ("active_item", "slug", "only = 1"),
    "playback": ("playback_state", "held", "only = 1"),
    "settings": ("settings_values", "value", "name = 'fit'"),
    "messages": ("messages_posted", "text", "text = 'message 3'"),
    "jobs": ("jobs_all", "title", "title = 'job 6'"),
    "heartbeats": ("heartbeats_services", "details", "service = 'worker'"),
    "display": ("display_panel", "width", "only = 1"),
    "device": ("device_state", "model", "only = 1"),
    "plays": ("plays_played", "frames_shown", "position = (SELECT max(position) - 20 FROM plays_played)"),
    "access": ("access_sessions", "agent", "id = 'offer-1'"),
    "adoptions": ("adoptions_records", "fingerprint", "key = (SELECT min(key) FROM adoptions_records)"),
    "clock": ("clock_state", "boot_id", "only = 1"),
}
"""In each area a row, and a field of it to edit."""


def first_impossible(data: Path, table: str, key: tuple[Any, ...], stored: list[Any] | None) -> int | None:
    """By folding the log event by event: the first position after which this row, stored so, could not have been."""
    area = next(area for area in AREAS if any(one.name == table for one in area.tables))
    rows = MemoryRows(area.tables)
    before = rows.row(table, key)
    seed = None if before is None else list(before)
    written, last = None, 0 if seed == stored else None
    with EventStore.open(data / "pixelog.db", read_only=True) as store, store.reading() as db:
        for position in range(1, LAST + 1):
            folding.fold_to(db, position, [area], rows, position - 1)
            row = rows.row(table, key)
            row = None if row is None else list(row)
            if written is None and row != seed:
                written = position
            if row == stored:
                last = position
    return written if last is None else last + 1


def row_of(data: Path, table: str, where: str) -> list[Any]:
    """The one stored row."""
    names = ", ".join(one for area in AREAS for each in area.tables if each.name == table for one in each.names)
    with EventStore.open(data / "pixelog.db", read_only=True) as store, store.reading() as db:
        (row,) = db.execute(f"SELECT {names} FROM {table} WHERE {where}").fetchall()
    return list(row)


def key_of(area: str, table: str, row: list[Any]) -> tuple[Any, ...]:
    """Its key."""
    return tuple(row[: next(one for one in BY_NAME[area].tables if one.name == table).key_columns])


def test_every_area_has_a_row_to_damage() -> None:
    """A new area is named above."""
    assert ROWS.keys() == BY_NAME.keys()


@pytest.mark.parametrize("area", ROWS)
def test_an_edited_row(room: Room, verify: Verify, area: str) -> None:
    """Area, table, key and field are named, and the first position after which the row could not have been so."""
    table, column, where = ROWS[area]
    before = row_of(room.data, table, where)
    flip(room.data, table, column, where)
    key = key_of(area, table, before)
    stored = row_of(room.data, table, at_key(area, table, key))
    (one, *others) = verify()["problems"]
    assert others == []
    assert (one["code"], one["area"], one["table"], one["key"]) == ("projection", area, table, list(key))
    assert one["message"].startswith(f"area {area}: {table} row {key[0]!r}, field {column} is ")
    assert one.get("position") == first_impossible(room.data, table, key, stored)
    assert one["position"] is not None
    assert one["mend"] == f"make it anew from the log: pixelog rebuild {area}"
    mended(room, verify, {"problems": [one]})


def at_key(area: str, table: str, key: tuple[Any, ...]) -> str:
    """A condition for one key, in plain SQL."""
    names = next(one for one in BY_NAME[area].tables if one.name == table).names
    quoted = [part if isinstance(part, int) else "'" + str(part).replace("'", "''") + "'" for part in key]
    return " AND ".join([f"{name} = {value}" for name, value in zip(names, quoted, strict=False)])


@pytest.mark.parametrize("area", ROWS)
def test_a_deleted_row(room: Room, verify: Verify, area: str) -> None:
    """The row that is lacking is named, and the event since which it had to be there."""
    table, _, where = ROWS[area]
    key = key_of(area, table, row_of(room.data, table, where))
    change(room.data, f"DELETE FROM {table} WHERE {where}")
    (one, *others) = verify()["problems"]
    assert others == []
    assert (one["code"], one["area"], one["table"], one["key"]) == ("projection", area, table, list(key))
    assert one["message"] == f"area {area}: {table} lacks the row {key[0]!r}"
    assert one.get("position") == first_impossible(room.data, table, key, None)
    mended(room, verify, {"problems": [one]})


@pytest.mark.parametrize("area", ROWS)
def test_an_inserted_row(room: Room, verify: Verify, area: str) -> None:
    """A row of which the log knows nothing could never have been: it has no position."""
    table, _, where = ROWS[area]
    names = next(one for one in BY_NAME[area].tables if one.name == table).names
    forged = "777777" if isinstance(row_of(room.data, table, where)[0], int) else "'zz forged'"
    change(room.data, f"INSERT INTO {table} SELECT {', '.join([forged, *names[1:]])} FROM {table} WHERE {where}")
    (one, *others) = verify()["problems"]
    assert others == []
    assert (one["code"], one["area"], one["table"], one["key"]) == (
        "projection",
        area,
        table,
        [json.loads(forged.replace("'", '"'))],
    )
    assert one["message"] == f"area {area}: {table} has a row {forged} that the log does not account for"
    assert "position" not in one
    mended(room, verify, {"problems": [one]})


def test_a_row_as_it_once_was(room: Room, verify: Verify) -> None:
    """A row that missed an event could have been until that event."""
    with EventStore.open(room.data / "pixelog.db", read_only=True) as store:
        renamed = next(one.position for one in store.read(types=["media.updated"]) if "renamed" in one.data)
        with store.reading() as db:
            earlier = folding.fold_to(db, renamed - 1).row("media_items", ("picture-2",))
    assert earlier is not None
    names = BY_NAME["media"].tables[0].names
    marks = ", ".join([f"{name} = ?" for name in names])
    damaging.plain(room.data, lambda db: db.execute(f"UPDATE media_items SET {marks} WHERE slug = 'picture-2'", earlier) and None)
    report = verify()
    assert {(one["code"], one["area"], one.get("position")) for one in report["problems"]} == {("projection", "media", renamed)}
    mended(room, verify, report)


@pytest.mark.parametrize(
    ("statement", "area", "said"),
    [
        ("UPDATE jobs_count SET total = total + 1", "jobs", "jobs_count is [(1, 17, 11)]; by the log it is [(1, 16, 11)]"),
        ("UPDATE media_text SET text = 'other' WHERE text LIKE 'picture-1 %'", "media", "media_text of 'picture-1' is 'other'"),
        ("DROP VIEW messages", "messages", "the view messages is missing"),
        ("DROP INDEX plays_by_slug", "plays", "the index plays_by_slug is missing"),
        ("DROP TRIGGER messages_posted_added", "messages", "the trigger messages_posted_added is missing"),
        ("UPDATE projections SET changed = changed - 1 WHERE area = 'loop'", "loop", "is noted to have changed last at"),
        ("ALTER TABLE heartbeats_services DROP COLUMN details", "heartbeats", "area heartbeats cannot be read"),
    ],
)
def test_what_is_derived(room: Room, verify: Verify, statement: str, area: str, said: str) -> None:
    """Counters, search text, views, indexes, triggers and the note of how far an area is folded are checked as well, and made anew with it."""
    if statement.startswith("ALTER"):
        change_schema(room.data, "DROP VIEW heartbeats")
    change_schema(room.data, statement)
    report = verify()
    assert {(one["code"], one["area"]) for one in report["problems"]} == {("projection", area)}
    assert said in report["problems"][0]["message"]
    mended(room, verify, report)


def test_drift_that_the_log_attests(room: Room, verify: Verify) -> None:
    """The log says itself that rows were wrong: from when on, and until when they were right. A rebuild attests anew."""
    with StateService(room.data) as state:
        right_at = damaging.attest(state)
        state.set_active("picture-0")
    change(room.data, "UPDATE active_item SET slug = 'forged'")
    with StateService(room.data) as state:
        wrong_at = damaging.attest(state)
    (attested, drifted) = verify()["problems"]
    assert (attested["code"], attested["area"], attested["position"]) == ("attested", "active", wrong_at)
    assert attested["message"].endswith(f"as event {wrong_at + 1} attests; at position {right_at} they were right")
    assert (drifted["code"], drifted["area"], drifted["key"]) == ("projection", "active", [1])
    carry_out(attested["mend"], room.data, room.backup)
    assert verify()["ok"]


# -- files ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["add", "restore"])
@pytest.mark.parametrize("damage", ["missing", "altered", "truncated", "empty"])
def test_a_damaged_file(room: Room, verify: Verify, damage: str, act: str) -> None:
    """The item is named; adding its file again mends it, and so does a backup."""
    name = "picture-3.png"
    content = damaging.FILES[name]
    (path,) = [path for path in (room.data / "blobs").glob("*/*") if path.read_bytes() == content]
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"altered": content[:-1] + bytes([content[-1] ^ 1]), "truncated": content[:-1], "empty": b""}[damage])
    (one, *others) = verify()["problems"]
    assert others == []
    assert (one["code"], one["area"], one["key"]) == (
        "blob_missing" if damage == "missing" else "blob_damaged",
        "media",
        ["picture-3"],
    )
    assert f"the file of 'picture-3' ({path.name})" in one["message"]
    carry_out(one["mend"], room.data, room.backup, room.files / name if act == "add" else None)
    assert verify()["ok"]
    assert path.read_bytes() == content


def test_a_removed_item_needs_no_file(room: Room, verify: Verify) -> None:
    """It may go; but one that is kept to bring the item back is not to be a wrong one."""
    content = damaging.FILES["picture-5.png"]
    (path,) = [path for path in (room.data / "blobs").glob("*/*") if path.read_bytes() == content]
    path.write_bytes(content[:-1])
    report = verify()
    assert [(one["code"], one["key"], one["mend"]) for one in report["problems"]] == [
        ("blob_damaged", ["picture-5"], f"delete {path}")
    ]
    mended(room, verify, report)
    assert not path.exists()


@pytest.mark.parametrize("byte", [2, 20, 32 + 2, 32 + 12, 32 + 20, 32 + 24 + 1_000])
def test_a_flipped_bit_in_the_write_ahead_log(room: Room, verify: Verify, tmp_path: Path, byte: int) -> None:
    """After a power cut the newest commits are in it alone. SQLite would take what follows the bit for never written; verify says where the log ends
    now, and leaves everything as it is."""
    with StateService(room.data) as state:
        for number in range(3):
            state.set_active(f"picture-{number}")
        shutil.copytree(room.data, tmp_path / "cut", ignore=shutil.ignore_patterns("*-shm"))
    shutil.rmtree(room.data)
    (tmp_path / "cut").rename(room.data)
    wal = room.data / "pixelog.db-wal"
    raw = bytearray(wal.read_bytes())
    raw[byte] ^= 4
    wal.write_bytes(raw)
    report = verify()
    assert found(report) == [("wal", LAST + 1)]
    begins = 0 if byte < 32 else 32 + (byte - 32) // (24 + 4_096) * (24 + 4_096)
    where = f"in what begins at byte {begins}: what was written after position {LAST} is not seen"
    assert where in report["problems"][0]["message"]
    assert wal.read_bytes() == raw
    mended(room, verify, report)
