"""What a machine refuses, said to the person at the shell: a full disk and a missing permission are no failures of pixelog's own."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest

import pixelog
from api.cli.failures import failed, owner_hint
from api.cli.main import main
from eventstore.errors import Unusable

DATA = Path("/srv/pixelog")


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (OSError(errno.ENOSPC, "x"), 3, "the disk of /srv/pixelog is full; free some space and try again"),
        (
            OSError(errno.EDQUOT, "x", "/srv/pixelog/tmp/a"),
            3,
            "the disk of /srv/pixelog/tmp/a is full; free some space and try again",
        ),
        (OSError(errno.ENOSPC, "x", "/a", None, "/card/b"), 2, "the disk of /card/b is full; free some space and try again"),
        (OSError(errno.EROFS, "x", "/card/b"), 2, "/card/b: read-only file system"),
        (OSError(errno.ENOENT, "x", "/card/b"), 2, "/card/b: no such file or directory"),
        (OSError(errno.ENAMETOOLONG, "x", "/card/b"), 2, "/card/b: file name too long"),
        (OSError(errno.ENOTDIR, "x", "/srv/pixelog/tmp"), 3, "/srv/pixelog/tmp: not a directory"),
        (
            apsw.CorruptError("malformed"),
            3,
            "the log of /srv/pixelog is damaged (malformed); see pixelog verify, restore a backup: pixelog restore FILE --replace",
        ),
        (apsw.IOError("disk I/O error"), 3, "the log of /srv/pixelog cannot be read or written (disk I/O error); check the card"),
        (apsw.FullError("x"), 3, "the disk of /srv/pixelog, or that of temporary files, is full; free some space and try again"),
    ],
)
def test_what_a_machine_refuses_is_said(error: Exception, code: int, sentence: str) -> None:
    """With the path, and an exit code that tells the data directory from everything else."""
    found = failed(error, DATA)
    assert found is not None
    assert (found.code, str(found)) == (code, sentence)


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(errno.EPIPE, "x"),
        FileNotFoundError(errno.ENOENT, "x", "/srv/pixelog/blobs/ab/abc"),
        OSError("no number"),
        Unusable("damaged", "x"),
        ValueError("x"),
    ],
)
def test_what_else_fails_stays_what_it_is(error: Exception) -> None:
    """A file that is missing in the data directory is a defect, not a mistake of whoever typed."""
    assert failed(error, DATA) is None


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is somebody's who may write nowhere, as far as it can tell."""
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]


@pytest.mark.usefixtures("somebody")
def test_who_may_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of the file, or of the folder in which it would be, by name, and the line that runs the command as that one."""
    owner = tmp_path.stat().st_uid
    names = {owner: "pixelog"}
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_name=names[uid]))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    run = "sudo -u pixelog pixelog …" if owner else "sudo pixelog …"
    assert owner_hint(tmp_path / "not" / "there") == f"; it belongs to pixelog: {run}"
    names.clear()
    assert owner_hint(tmp_path) == f"; it belongs to user {owner}"
    found = failed(PermissionError(errno.EACCES, "x", str(tmp_path / "a")), tmp_path)
    assert found is not None
    assert (found.code, str(found)) == (
        3,
        f"{tmp_path / 'a'}: permission denied; check owner and permissions; it belongs to user {owner}",
    )
    unusable = failed(Unusable("not_writable", "it is not writable"), tmp_path)
    assert str(unusable) == f"it is not writable; it belongs to user {owner}"


def test_root_needs_no_hint(tmp_path: Path) -> None:
    """Nor does the owner."""
    assert owner_hint(tmp_path) == ""


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk of {data} is full; free some space and try again"),
        (
            PermissionError(errno.EACCES, "Permission denied", "{data}/secrets/x"),
            "{data}/secrets/x: permission denied; check owner and permissions",
        ),
    ],
)
@pytest.mark.parametrize("command", [["add", "{file}"], ["pair"], ["adopt", "loop", "{source}"]])
def test_commands_that_write_say_it_in_one_line(
    error: OSError,
    sentence: str,
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 3, no word of a failure of pixelog's own; with --debug the traceback, as ever."""
    data, file, source = tmp_path / "data", tmp_path / "cat.gif", tmp_path / "loop"
    file.write_bytes(b"cat")
    (source / "media" / "raw").mkdir(parents=True)
    (source / "media" / "index.json").write_text('{"media": {"a": {"slug": "a", "filename": "a.gif"}}, "loop": []}')
    (source / "media" / "raw" / "a_a.gif").write_bytes(b"GIF89a")
    places = {"data": data, "file": file, "source": source}
    kind, name = type(error), error.filename and str(error.filename).format(**places)

    def fail(*arguments: Any, **options: Any) -> Any:
        raise kind(error.errno, error.strerror, name) if name else kind(error.errno, error.strerror)

    with pixelog.open(data):
        pass
    monkeypatch.setattr("eventstore.blobs.BlobStore.writer", fail)
    monkeypatch.setattr("api.secrets._make_key", fail)
    arguments = [one.format(**places) for one in command]
    assert main([*arguments, "--data", str(data)]) == 3
    assert capsys.readouterr().err == f"pixelog: {sentence.format(**places)}\n"
    with pytest.raises(Exception, match=r"full|permission"):
        main([*arguments, "--data", str(data), "--debug"])


def test_an_export_to_where_nothing_can_be_made_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The path that was given is named."""
    with pixelog.open(tmp_path / "data") as state:
        state.add_media(b"cat", filename="cat.png")
    (tmp_path / "file").write_text("")
    assert main(["export", "loop", str(tmp_path / "file" / "out"), "--data", str(tmp_path / "data")]) == 2
    assert capsys.readouterr().err.startswith(f"pixelog: {tmp_path}/file/out")


def test_a_damage_that_a_command_comes_upon_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Deep in the database, where opening it does not look: every command ends well, or with this line."""
    with pixelog.open(tmp_path) as state:
        state.add_media(b"cat", filename="cat.png")
    db = apsw.Connection(str(tmp_path / "pixelog.db"))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    root: int = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'media_items'").get
    page_bytes: int = db.execute("PRAGMA page_size").get
    db.close()
    with open(tmp_path / "pixelog.db", "r+b") as file:
        file.seek((root - 1) * page_bytes)
        file.write(b"\xa5" * page_bytes)
    for command in (["ls"], ["show", "cat"], ["rm", "cat"]):
        assert main([*command, "--data", str(tmp_path)]) == 3
        assert capsys.readouterr().err.startswith(f"pixelog: the log of {tmp_path} is damaged (")


def test_a_backup_that_may_not_be_read_is_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not called something else."""
    file = tmp_path / "pixelog.tar"
    file.write_bytes(b"")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    assert main(["restore", str(file), "--data", str(tmp_path / "data")]) == 2
    assert capsys.readouterr().err == f"pixelog: {file} cannot be read: permission denied; nothing was changed\n"
