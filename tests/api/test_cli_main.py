"""The frame of the command line: finding commands, exit codes, one line for every failure, output for people and for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pixelog
from api.cli.command import Command
from api.cli.main import COMMANDS, main

ROOT = Path(__file__).parent.parent.parent


def run(*arguments: str, data: Path | None = None, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m pixelog …` as a process of its own."""
    where = [] if data is None else ["--data", str(data)]
    return subprocess.run(
        [sys.executable, "-m", "pixelog", *arguments, *where],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=os.environ | (environment or {}),
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help prints usage, the common options and an example, and touches nothing."""
    assert main([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert f"pixelog {name}" in out
    assert f"example: pixelog {COMMANDS[name].example}" in out
    assert "--data DIR" in out
    assert "--json" in out


def test_help_says_where_the_data_of_the_service_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Not where a shell's would be."""
    for name, said in (("install", "/var/lib/pixelog"), ("uninstall", "the unit says"), ("status", "the unit says")):
        assert main(["service", name, "--help"]) == 0
        out = capsys.readouterr().out
        assert said in out
        assert "pixelog-data" not in out


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`pixelog --help` names all commands, `pixelog replay --help` those of the group."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert main(["replay", "--help"]) == 0
    out = capsys.readouterr().out
    assert "replay state" in out
    assert "activate" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which command? see pixelog --help"),
        (["nope"], "no such command: nope; see pixelog --help"),
        (["replay", "nope"], "no such command: replay nope; see pixelog --help"),
        (["loop", "nope"], "no such command: loop nope; see pixelog --help"),
        (["replay"], "replay needs one of: state,"),
        (["ls", "--nope"], "unrecognized arguments: --nope; see pixelog ls --help"),
        (["--nope"], "--nope is no option here; see pixelog --help"),
        (["show"], "the following arguments are required: SLUG"),
        (["show", "ghost"], "there is no item 'ghost'"),
        (["rm", "ghost"], "there is no item 'ghost'"),
        (["activate"], "name one item, or --none"),
        (["activate", "cat", "--none"], "name one item, or --none"),
        (["add", "/nowhere/cat.gif"], "/nowhere/cat.gif cannot be read: No such file or directory; nothing was added"),
        (["message", ""], "text"),
        (["log", "--limit", "-1"], "--after and --limit are 0 or more"),
        (["log", "--since", "yesterday"], "'yesterday' is not a point"),
        (["log", "--follow"], "there is no log in"),
        (["rebuild", "lop"], "no area 'lop'"),
        (["rebuild"], "nothing to rebuild from"),
        (["sql", "DELETE FROM media"], "cannot modify media because it is a view"),
        (["replay", "state", "--at", "7"], "position 7 is beyond 0"),
        (["replay", "explain", "1"], "there is no event 1"),
        (["replay", "screen", "-o", "x.png"], "either --at POINT, or --from POINT --to POINT"),
        (["replay", "screen", "--at", "1", "-o", "x.bmp"], "a picture is a .png"),
        (["replay", "state", "--at", "-999999999d"], "'999999999d-ago' lies before all times"),
        (["replay", "history", "media"], "which row of media? write media/KEY"),
        (["replay", "history", "media/ghost"], "pixelog replay state --at head --area media lists those that are"),
        (["log", "--after", "99999999999999999999"], "after is a position"),
        (["log", "--stream", "\udcff"], "streams has one that is not Unicode text"),
        (["show", "\udcff"], "'\\udcff' is not text: it has bytes that are not UTF-8"),
        (["rm", "\udcff"], "'\\udcff' is not text"),
        (["loop", "rm", "\udcff"], "'\\udcff' is not text"),
        (["message", "--dismiss", "\udcff"], "'\\udcff' is not text"),
        (["add", "/dev/full"], "/dev/full is a device or a pipe, not a file; nothing was added"),
        (["add", "a\0b"], "cannot be read: embedded null byte; nothing was added"),
        (["restore", __file__], "is not a backup of pixelog; nothing was changed"),
        (["export", "loop", "/proc/pixelog"], "/proc/pixelog: no such file or directory"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line says what is wrong and what to do; stdout stays empty."""
    monkeypatch.setenv("PIXELOG_DATA", str(tmp_path / "data"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pixelog: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_options_of_all_commands_stand_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--data and --json before the command, between its words and after it mean the same."""
    with pixelog.open(tmp_path) as state:
        state.add_media(b"x", filename="cat.gif")
    data = str(tmp_path)
    answers: list[str] = []
    for arguments in (
        ["--data", data, "--json", "loop", "set", "cat"],
        ["loop", f"--data={data}", "set", "cat", "--json"],
        ["loop", "set", "--json", "cat", "--data", data],
    ):
        assert main(arguments) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] == answers[2]
    assert json.loads(answers[0])["items"] == [{"slug": "cat"}]


def test_the_data_directory_comes_from_the_environment_or_is_beside_us(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """$PIXELOG_DATA, else ./pixelog-data; --data wins over both."""
    for name in ("one", "two", "pixelog-data"):
        with pixelog.open(tmp_path / name) as state:
            state.add_media(b"x", filename=f"{name}.gif")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIXELOG_DATA", raising=False)

    def only_slug(*arguments: str) -> str:
        assert main(["ls", "--json", *arguments]) == 0
        (item,) = json.loads(capsys.readouterr().out)["items"]
        return item["slug"]

    assert only_slug() == "pixelog-data"
    monkeypatch.setenv("PIXELOG_DATA", "one")
    assert only_slug() == "one"
    assert only_slug("--data", "two") == "two"


@pytest.mark.parametrize(
    "arguments", [["ls"], ["status"], ["loop"], ["log"], ["verify"], ["sql", "SELECT * FROM media"], ["config"]]
)
def test_looking_at_a_directory_that_is_not_there_creates_nothing(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It counts as an empty one, and is still not there afterwards."""
    data = tmp_path / "data"
    assert main([*arguments, "--data", str(data)]) == 0
    assert main([*arguments, "--data", str(data), "--json"]) == 0
    assert not data.exists()
    assert capsys.readouterr().err == ""


def test_a_directory_of_a_newer_version_is_refused_untouched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3 and one line, for reading and for writing; every byte stays."""
    with pixelog.open(tmp_path) as state:
        state.set_active(None)
        state.store.transact(lambda transaction: transaction.db.execute("PRAGMA user_version = 99").fetchall())
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    for arguments in (["ls"], ["verify"], ["next"], ["log"], ["rebuild"]):
        assert main([*arguments, "--data", str(tmp_path)]) == 3
        captured = capsys.readouterr()
        assert captured.err.startswith(f"pixelog: {tmp_path}/pixelog.db was written by a newer pixelog")
        assert captured.err.count("\n") == 1
    assert {file: file.read_bytes() for file in before} == before


def test_a_stretch_that_ends_before_it_begins_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A search that looked at nothing would say that it never was; one that began before the log is none of it."""
    with pixelog.open(tmp_path) as state:
        state.post_message("hello")
    assert main(["replay", "bisect", "--where", "1", "--from", "head", "--to", "1", "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "pixelog: --to lies before --from\n"
    assert main(["replay", "bisect", "--where", "1", "--to", "-1h", "--data", str(tmp_path)]) == 1


def test_a_log_of_a_time_before_all_times_is_whole_or_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However long ago is asked for."""
    with pixelog.open(tmp_path) as state:
        state.post_message("hello")
    assert main(["log", "--since", "-999999999d", "--json", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("\n") == 2
    assert main(["log", "--until", "-999999999d", "--json", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


def test_a_name_that_no_folder_can_have_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """It is the data directory that cannot be used."""
    assert main(["ls", "--data", "x" * 300]) == 3
    assert capsys.readouterr().err == f"pixelog: {'x' * 300}: file name too long\n"


@pytest.mark.parametrize("content", [b"this is not a database, not even nearly" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_log_is_refused(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another file in place of the database: exit code 3, and it stays."""
    (tmp_path / "pixelog.db").write_bytes(content)
    assert main(["ls", "--data", str(tmp_path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "pixelog.db").read_bytes() == content


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3 and what to do."""
    (tmp_path / "data").write_text("")
    assert main(["activate", "--none", "--data", str(tmp_path / "data")]) == 3
    assert "is a file, not a folder" in capsys.readouterr().err


def test_an_unforeseen_failure_is_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its kind and message, exit code 3; with --debug the traceback."""

    def fail(call: object) -> int:
        raise RuntimeError("the floor\nis wet")

    monkeypatch.setattr("api.cli.effective.CONFIG", Command(fail))
    assert main(["config"]) == 3
    assert (
        capsys.readouterr().err == "pixelog: this went wrong: RuntimeError: the floor is wet; run it with --debug to see where\n"
    )
    with pytest.raises(RuntimeError, match="the floor"):
        main(["config", "--debug"])


def test_an_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C says nothing."""

    def interrupt(call: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("api.cli.effective.CONFIG", Command(interrupt))
    assert main(["config"]) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    """`pixelog log | head -1` ends without a word."""
    with pixelog.open(tmp_path) as state:
        for number in range(400):
            state.post_message(f"{number} " + "x" * 900)
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m pixelog log --json --data {tmp_path} | head -c 10"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert (done.stdout, done.stderr) == ('{"specvers', "")


def test_the_program_runs_as_a_module(tmp_path: Path) -> None:
    """`python -m pixelog` is the command line, with its exit codes and streams."""
    done = run("--version")
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "pixelog", "")
    done = run("ls", data=tmp_path / "data")
    assert (done.returncode, done.stderr) == (0, "")
    done = run("nope")
    assert (done.returncode, done.stdout) == (2, "")


def test_texts_from_the_log_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters are shown as something harmless; in JSON they are escaped."""
    with pixelog.open(tmp_path) as state:
        state.post_message("a\x1b[31mb")
    assert main(["sql", "SELECT text FROM messages", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "text\na�[31mb\n"
    assert main(["sql", "SELECT text FROM messages", "--json", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == '[{"text":"a\\u001b[31mb"}]\n'
