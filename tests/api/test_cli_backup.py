"""`pixelog backup` and `pixelog restore`: a directory in one file and back, beside a running service, and never by halves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from moves import Move, frame, item

import pixelog
from api.cli.main import main
from api.data import DataDirectory, ServiceLock
from api.service import StateService


def gif(shade: int) -> bytes:
    """Some bytes that count as an image."""
    return b"GIF89a" + bytes([shade]) * 5_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with three items, one of them removed."""
    folder = tmp_path / "data"
    with pixelog.open(folder) as state:
        for number in range(3):
            state.add_media(gif(number), filename=f"item{number}.gif", add_to_loop=True)
        state.remove_media("item2")
    (folder / "secrets" / "key").write_text("geheim")
    (folder / "pixelog.toml").write_text("port = 8421\n")
    return folder


@pytest.fixture
def made(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A backup of it."""
    assert main(["backup", str(tmp_path / "b.tar"), "--data", str(data)]) == 0
    capsys.readouterr()
    return tmp_path / "b.tar"


def test_there_and_back(data: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The restored directory verifies, has the same events, items, files and configuration, and no secrets."""
    again = tmp_path / "again"
    assert main(["restore", str(made), "--json", "--data", str(again)]) == 0
    said = json.loads(capsys.readouterr().out)
    with pixelog.open(data) as one, pixelog.open(again) as other:
        assert said["head"] == one.store.head().position
        assert list(other.store.read()) == list(one.store.read())
        assert other.list_media() == one.list_media()
        assert other.store.head().epoch == one.store.head().epoch + 1
        assert other.restore_media("item2").slug == "item2"
    assert main(["verify", "--json", "--data", str(again)]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert (again / "pixelog.toml").read_text() == "port = 8421\n"
    assert list((again / "secrets").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "b.tar", "data"]


def test_secrets_only_when_asked(data: Path, tmp_path: Path) -> None:
    """Then they come back, and the file is for its owner alone."""
    target = tmp_path / "s.tar"
    assert main(["backup", str(target), "--secrets", "--data", str(data)]) == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert main(["restore", str(target), "--data", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "secrets" / "key").read_text() == "geheim"


def test_reading_commands_take_a_backup_for_a_directory(data: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They show what was backed up, and leave the file alone; commands that write refuse it."""
    before = made.read_bytes()
    with pixelog.open(data) as state:
        state.set_active("item1")
    for command in (
        ["ls", "--json"],
        ["verify", "--json"],
        ["sql", "SELECT slug FROM active", "--json"],
        ["replay", "state", "--at", "head", "--json"],
    ):
        assert main([*command, "--data", str(made)]) == 0, command
        said = json.loads(capsys.readouterr().out)
        if command[0] == "sql":
            assert said == [{"slug": None}] or said == []
        if command[0] == "ls":
            assert [item["slug"] for item in said["items"]] == ["item1", "item0"]
    assert main(["activate", "item0", "--data", str(made)]) == 3
    assert "choose another --data" in capsys.readouterr().err
    assert made.read_bytes() == before


def test_a_directory_that_holds_something_is_replaced_only_when_told(
    data: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then with what the log does not know kept; what was there is gone."""
    with pixelog.open(data) as state:
        state.set_active("item1")
    assert main(["restore", str(made), "--data", str(data)]) == 2
    assert "--replace" in capsys.readouterr().err
    with pixelog.open(data) as state:
        assert state.get_active() == "item1"
    assert main(["restore", str(made), "--replace", "--data", str(data)]) == 0
    with pixelog.open(data) as state:
        assert state.get_active() is None
    assert (data / "secrets" / "key").read_text() == "geheim"
    assert [path.name for path in data.parent.iterdir() if path.name.startswith(".")] == []


def test_a_fresh_directory_counts_as_empty(made: Path, tmp_path: Path) -> None:
    """One in which pixelog was started and nothing happened."""
    with pixelog.open(tmp_path / "fresh"):
        pass
    assert main(["restore", str(made), "--data", str(tmp_path / "fresh")]) == 0
    with pixelog.open(tmp_path / "fresh") as state:
        assert len(state.list_media()) == 2


HOLDER = """
import sys
from api.data import DataDirectory, ServiceLock
lock = ServiceLock(DataDirectory(sys.argv[1]).lock)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_running_service_is_not_replaced(data: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The restore says who runs, and changes nothing."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    try:
        assert main(["restore", str(made), "--replace", "--data", str(data)]) == 3
        assert f"process {holder.pid}" in capsys.readouterr().err
    finally:
        holder.stdin.close()
        holder.stdout.close()
        assert holder.wait(10) == 0
    with pixelog.open(data) as state:
        assert len(state.list_media()) == 2


@pytest.mark.parametrize("change", ["cut", "flipped"])
def test_a_damaged_backup_replaces_nothing(data: Path, made: Path, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is checked as a whole before anything is touched."""
    raw = bytearray(made.read_bytes())
    if change == "cut":
        raw = raw[: len(raw) // 2]
    else:
        raw[len(raw) // 3] ^= 1
    made.write_bytes(raw)
    assert main(["restore", str(made), "--replace", "--data", str(data)]) == 2
    assert "nothing was changed" in capsys.readouterr().err
    with pixelog.open(data) as state:
        assert len(state.list_media()) == 2
    assert [path.name for path in data.parent.iterdir() if path.name.startswith(".")] == []


def test_restore_of_an_item_still_works(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no backup file is a slug, also if it looks like neither."""
    assert main(["restore", "item2", "--data", str(data)]) == 0
    assert capsys.readouterr().out == "item2 is back\n"
    assert main(["restore", "nothing.tar", "--data", str(data)]) == 2
    assert "no file nothing.tar" in capsys.readouterr().err
    assert main(["restore", "nobody", "--data", str(data)]) == 2


def test_a_backup_is_not_written_over_something_else(data: Path, made: Path, tmp_path: Path) -> None:
    """Over a backup from before it is."""
    (tmp_path / "letter.txt").write_text("dear")
    assert main(["backup", str(tmp_path / "letter.txt"), "--data", str(data)]) == 2
    assert (tmp_path / "letter.txt").read_text() == "dear"
    assert main(["backup", str(made), "--data", str(data)]) == 0
    assert main(["backup", str(tmp_path / "no" / "b.tar"), "--data", str(data)]) == 2
    assert main(["backup", str(tmp_path / "e.tar"), "--data", str(tmp_path / "empty")]) == 2


def test_the_command_works_beside_a_service(data: Path, tmp_path: Path) -> None:
    """Which writes on, with locks that nobody drops."""
    with StateService(data) as state:
        lock = ServiceLock(DataDirectory(data).lock)
        done = subprocess.run(
            [sys.executable, "-m", "pixelog", "backup", str(tmp_path / "b.tar"), "--data", str(data)], check=False, timeout=60
        )
        assert done.returncode == 0
        state.set_active("item0")
        lock.release()
    assert main(["verify", "--data", str(tmp_path / "b.tar")]) == 0


def test_what_cannot_be_written_is_one_line(data: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that takes no files; a file that is the backup of another log. Exit code 2, and the file stays."""
    assert main(["backup", "/proc/x.tar", "--data", str(data)]) == 2
    assert capsys.readouterr().err == "pixelog: /proc/x.tar cannot be written: no file can be made there; nothing of it is left\n"
    pixelog.open(tmp_path / "other").close()
    before = made.read_bytes()
    assert main(["backup", str(made), "--data", str(tmp_path / "other")]) == 2
    assert f"pixelog: {made} is the backup of another log (" in capsys.readouterr().err
    assert made.read_bytes() == before
    assert main(["backup", str(made), "--data", str(data)]) == 0
    capsys.readouterr()


def test_uploads_behind_the_pictures_made_of_them_come_along(move: Move, tmp_path: Path) -> None:
    """An adopted clip plays from its frames; the file that was uploaded goes out to LOOP again, also after a restore."""
    frames = move.frames("a")
    for number in range(3):
        (frames / f"frame_{number:06d}.rgb").write_bytes(frame(number))
    upload = move.raw("a_a.mp4", b"\0\0\0\x18ftypmp42" + b"film" * 100)
    move.index({"a": item("a", filename="a.mp4", type="video/mp4")})
    move.adopt()
    with move.state() as state, state.store.reading() as db:
        original = db.execute("SELECT extra ->> '$.pixelogOriginal.sha256' FROM media_items").get
    assert main(["backup", str(tmp_path / "b.tar"), "--data", str(move.data.root)]) == 0
    again = DataDirectory(tmp_path / "again")
    assert main(["restore", str(tmp_path / "b.tar"), "--data", str(again.root)]) == 0
    assert again.blob_store().path(original).read_bytes() == upload
