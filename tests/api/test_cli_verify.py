"""`pixelog verify`, `rebuild` and `config`: what is damage, what is not, and what mends it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

import pixelog
from api.cli.main import main

Verify = Callable[..., dict[str, Any]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with two items, a loop and a message."""
    with pixelog.open(tmp_path / "data") as state:
        for name in ("cat", "dog"):
            state.add_media(name.encode(), filename=f"{name}.png", add_to_loop=True)
        state.post_message("hello")
        state.heartbeat("player")
    return tmp_path / "data"


@pytest.fixture
def verify(data: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Runs `pixelog verify --json`; the exit code must fit the answer."""

    def run(directory: Path = data) -> dict[str, Any]:
        code = main(["verify", "--json", "--data", str(directory)])
        report = json.loads(capsys.readouterr().out)
        assert code == (0 if report["ok"] else 1)
        assert report["ok"] == (report["problems"] == [])
        return report

    return run


def change(data: Path, *statements: str) -> None:
    """Change the database with a plain SQLite connection, the guards taken off and put back."""
    db = apsw.Connection(str(data / "pixelog.db"))
    guards = db.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND (name LIKE 'events%' OR name LIKE 'head%')"
    ).fetchall()
    for name, _ in guards:
        db.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        db.execute(statement)
    for _, sql in guards:
        db.execute(str(sql))
    db.close()


def test_a_whole_directory_is_ok(verify: Verify, data: Path) -> None:
    """Events counted, head and digest said; again and beside an open service the same."""
    report = verify()
    assert (report["ok"], report["events"], report["head"]) == (True, 9, 9)
    assert len(report["digest"]) == 64
    with pixelog.open(data):
        assert verify() == report


@pytest.mark.parametrize("made", [(), ("blobs", "tmp"), ("pixelog.db",)])
def test_an_empty_or_half_created_directory_is_a_fresh_one(made: tuple[str, ...], verify: Verify, tmp_path: Path) -> None:
    """No directory, one with folders only, one with an empty database file: no events and no problem, and nothing is created."""
    fresh = tmp_path / "fresh"
    for name in made:
        fresh.mkdir(exist_ok=True)
        (fresh / name).touch() if "." in name else (fresh / name).mkdir()
    before = sorted(tmp_path.rglob("*"))
    report = verify(fresh)
    assert (report["ok"], report["events"], report["head"]) == (True, 0, 0)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_rebuild_gives_the_same_digest(verify: Verify, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Projections made anew have the digest that they had; one more event changes it."""
    shutil.copytree(data, tmp_path / "copy")
    digest = verify()["digest"]
    assert main(["rebuild", "--json", "--data", str(tmp_path / "copy")]) == 0
    assert json.loads(capsys.readouterr().out)["position"] == 9
    assert verify(tmp_path / "copy")["digest"] == digest
    with pixelog.open(tmp_path / "copy") as state:
        state.set_active("cat")
    assert verify(tmp_path / "copy")["digest"] != digest


def test_a_changed_event_is_damage(verify: Verify, data: Path) -> None:
    """The event is named, with what would mend it."""
    change(data, "UPDATE events SET data = replace(data, 'hello', 'jello') WHERE type = 'message.posted'")
    report = verify()
    assert [(problem["code"], problem.get("position")) for problem in report["problems"]] == [("chain", 8), ("projection", 8)]
    assert report["problems"][0]["mend"] == "restore a backup: pixelog restore FILE --replace"


def test_what_a_start_refuses_is_checked_all_the_same(verify: Verify, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log whose last event was changed is not written on, in one line that says where and what mends it; the check finds everything else, too."""
    change(
        data,
        "UPDATE events SET data = replace(data, 'player', 'prayer') WHERE position = 9",
        "UPDATE events SET data = replace(data, 'hello', 'jello') WHERE position = 8",
        "DELETE FROM loop_items WHERE slug = 'dog'",
    )
    found = [(problem["code"], problem.get("position")) for problem in verify()["problems"]]
    assert found[:2] == [("chain", 8), ("chain", 9)]
    assert "loop_items lacks the row 'dog'" in str(verify()["problems"])
    assert main(["message", "again", "--data", str(data)]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "event 9 is not what was written: its hash does not fit (position 9); restore a backup: pixelog restore FILE" in said


def test_a_missing_event_is_damage(verify: Verify, data: Path) -> None:
    """The gap is named, and the answer comes although the rest no longer folds."""
    change(data, "DELETE FROM events WHERE type = 'media.added' AND position > 2")
    codes = {problem["code"] for problem in verify()["problems"]}
    assert "gap" in codes


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE media_items SET filename = 'x' WHERE slug = 'cat'", "media_items row 'cat', field filename is 'x'; by the log it is 'cat.png'"),
        ("DELETE FROM loop_items WHERE slug = 'dog'", "loop_items lacks the row 'dog'"),
        ("INSERT INTO settings_values VALUES ('fit', '\"cover\"', 1)", "settings_values has a row 'fit' that the log does not account for"),
        ("UPDATE active_item SET slug = 'cat'", "active_item row 1, field slug is 'cat'; by the log it is None"),
        ("DROP TABLE heartbeats_services", "area heartbeats cannot be read"),
    ],
)  # fmt: skip
def test_a_changed_projection_is_damage_that_a_rebuild_mends(
    statement: str, said: str, verify: Verify, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row and the field are named; the command that is given makes it whole again."""
    whole = verify()
    db = apsw.Connection(str(data / "pixelog.db"))
    db.execute(statement)
    db.close()
    report = verify()
    problem = report["problems"][0]
    assert problem["code"] == "projection"
    assert said in problem["message"]
    command, _, area = problem["mend"].removeprefix("make it anew from the log: pixelog ").partition(" ")
    assert main([command, area, "--data", str(data)]) == 0
    capsys.readouterr()
    assert verify() == whole


def test_files_are_checked_against_their_names(verify: Verify, data: Path) -> None:
    """A missing file of a present item and one with other bytes are damage; one that nobody names is none. A removed item needs no
    file, but the one that is kept for it is to be right."""
    blobs = sorted((data / "blobs").glob("*/*"), key=lambda path: path.read_bytes())
    assert [path.read_bytes() for path in blobs] == [b"cat", b"dog"]
    (data / "blobs" / "00").mkdir()
    (data / "blobs" / "00" / ("00" * 32)).write_bytes(b"nobody's")
    (data / "tmp" / "half").write_bytes(b"under way")
    assert verify()["ok"]
    blobs[0].unlink()
    blobs[1].write_bytes(b"dug")
    found = [(problem["code"], problem["message"]) for problem in verify()["problems"]]
    assert [code for code, _ in found] == ["blob_missing", "blob_damaged"]
    assert "'cat'" in found[0][1]
    assert "'dog'" in found[1][1]
    with pixelog.open(data) as state:
        state.remove_media("cat")
        state.remove_media("dog")
    assert [(one["code"], one["mend"]) for one in verify()["problems"]] == [("blob_damaged", f"delete {blobs[1]}")]
    blobs[1].unlink()
    assert verify()["ok"]


def test_missing_packs_are_no_damage(verify: Verify, data: Path) -> None:
    """They are made from the files again."""
    shutil.rmtree(data / "packs")
    assert verify()["ok"]


def test_projections_that_are_behind_are_caught_up_like_at_a_start(verify: Verify, data: Path) -> None:
    """Events that were appended without being folded are recovered, not reported."""
    whole = verify()
    db = apsw.Connection(str(data / "pixelog.db"))
    db.execute("DELETE FROM messages_posted; UPDATE projections SET position = 7 WHERE area = 'messages'")
    db.close()
    assert verify() == whole


def test_a_file_that_is_half_overwritten_is_reported_not_thrown(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged database gives an answer: problems with exit code 1, or one line with 3 when it cannot be opened at all."""
    database = data / "pixelog.db"
    raw = bytearray(database.read_bytes())
    raw[8192:40960] = b"\x00" * (40960 - 8192)
    database.write_bytes(raw)
    code = main(["verify", "--json", "--data", str(data)])
    captured = capsys.readouterr()
    if code == 1:
        assert json.loads(captured.out)["ok"] is False
    else:
        assert (code, captured.err.count("\n")) == (3, 1)


def test_people_read_what_is_wrong_and_what_mends_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each problem; without one, that all is well."""
    assert main(["verify", "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith("all is well: 9 events\ndigest ")
    db = apsw.Connection(str(data / "pixelog.db"))
    db.execute("DELETE FROM loop_items WHERE slug = 'dog'")
    db.close()
    assert main(["verify", "--data", str(data)]) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert (
        first
        == "projection: area loop: loop_items lacks the row 'dog' (position 7); make it anew from the log: pixelog rebuild loop"
    )


def test_rebuild_takes_the_areas_that_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of the catalogue; beside an open service."""
    with pixelog.open(data) as state:
        assert main(["rebuild", "loop", "media", "--json", "--data", str(data)]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["digests"].keys() == {"media", "loop"}
        del said["digests"]
        assert said == {"areas": ["media", "loop"], "position": 9, "differed": [], "stopped": {}}
        assert state.list_loop() == ["cat", "dog"]
        state.set_active("cat")
    assert main(["verify", "--data", str(data)]) == 0


def test_an_end_that_was_taken_out_of_the_log_is_said(verify: Verify, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Projections ahead of the log are the sign of it: named with the position and a backup as the mend, again and again; commands do not hang."""
    change(
        data,
        "DELETE FROM events WHERE position = 9",
        "UPDATE head SET (position, synced_position, chain, logtime, time) = "
        "(SELECT position, position, chain, logtime, time FROM events WHERE position = 8)",
    )
    for _ in range(2):
        report = verify()
        first = report["problems"][0]
        assert (report["head"], first["code"], first["position"]) == (8, "head", 9)
        assert first["mend"] == "restore a backup: pixelog restore FILE --replace"
        assert {problem["mend"] for problem in report["problems"]} == {first["mend"]}
    assert main(["message", "again", "--data", str(data)]) == 0
    assert main(["log", "--limit", "1", "--data", str(data)]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("table", ["messages_posted", "media_count", "projections", "requests"])
def test_a_trigger_that_is_not_ours_is_named(table: str, verify: Verify, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It could change what is written; those that areas make are known, also after a rebuild, and so is what stands on tables of others."""
    change(data, "CREATE TABLE mine (a)", "CREATE TRIGGER own AFTER INSERT ON mine BEGIN SELECT 1; END")
    assert main(["rebuild", "--data", str(data)]) == 0
    capsys.readouterr()
    assert verify()["problems"] == []
    change(data, f"CREATE TRIGGER spy AFTER DELETE ON {table} BEGIN SELECT 1; END")
    (problem,) = verify()["problems"]
    assert (problem["code"], problem["mend"]) == ("schema", "take it out with any SQLite tool, then look again: DROP TRIGGER spy")
    assert problem["message"].startswith(f"the trigger spy on {table} was not made by pixelog")


@pytest.mark.parametrize(
    "statement", ["DELETE FROM log", "UPDATE log SET value = 'other' WHERE key = 'log_id'", "UPDATE head SET epoch = -1"]
)
def test_a_log_without_its_name_is_damage(statement: str, verify: Verify, data: Path) -> None:
    """The answer is a report, not a failure of the check."""
    change(data, statement)
    report = verify()
    assert report["problems"][0]["code"] in ("schema", "head", "chain")
    assert report["problems"][0]["mend"] == "restore a backup: pixelog restore FILE --replace"
