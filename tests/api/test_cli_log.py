"""`pixelog log`: what is read, in which form, and following."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pixelog
from api.cli.main import main
from eventstore.record import NewEvent
from eventstore.store import EventStore
from projections.times import rfc3339

Lines = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A log of eight events."""
    with pixelog.open(tmp_path / "data") as state:
        for name in ("cat", "dog"):
            state.add_media(name.encode(), filename=f"{name}.png")
        state.set_active("cat")
        state.post_message("hello")
        state.set_active(None)
    return tmp_path / "data"


@pytest.fixture
def log(data: Path, capsys: pytest.CaptureFixture[str]) -> Lines:
    """Runs `pixelog log --json` and gives its lines."""

    def run(*arguments: str) -> list[dict[str, Any]]:
        assert main(["log", "--json", "--data", str(data), *arguments]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def positions(events: list[dict[str, Any]]) -> list[int]:
    """Their positions."""
    return [event["position"] for event in events]


def test_json_is_one_cloud_event_a_line(log: Lines, data: Path) -> None:
    """All of the log, in order, in the one envelope."""
    events = log()
    assert positions(events) == [1, 2, 3, 4, 5, 6, 7, 8]
    event = events[5]
    assert event["specversion"] == "1.0"
    assert (event["type"], event["subject"], event["actor"]) == ("active.set", "active", "python")
    assert event["data"]["slug"] == "cat"
    assert event["sequence"] == f"{6:020}"


def test_an_empty_log_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither for people nor for programs."""
    for json_flag in ([], ["--json"]):
        assert main(["log", "--data", str(tmp_path / "none"), *json_flag]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_filters_narrow_it(log: Lines) -> None:
    """By position, number, type and stream; patterns of one kind are alternatives."""
    assert positions(log("--after", "6")) == [7, 8]
    assert positions(log("--limit", "2")) == [1, 2]
    assert positions(log("--limit", "0")) == []
    assert positions(log("--after", "2", "--limit", "3")) == [3, 4, 5]
    assert positions(log("--type", "active.*")) == [6, 8]
    assert positions(log("--type", "active.*", "--type", "message.posted")) == [6, 7, 8]
    assert positions(log("--stream", "media/*")) == [2, 4]
    assert positions(log("--type", "media.*", "--stream", "media/dog")) == [4]
    assert positions(log("--after", "99")) == []


def test_since_and_until_take_times_and_positions(log: Lines) -> None:
    """A time counts from (or before) the wall clock's time, a position includes itself."""
    fourth = log()[3]["time"]
    assert positions(log("--since", fourth)) == [4, 5, 6, 7, 8]
    assert positions(log("--until", fourth)) == [1, 2, 3]
    assert positions(log("--since", "-1h")) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert positions(log("--until", "-1h")) == []
    assert positions(log("--since", "3", "--until", "5")) == [3, 4, 5]
    assert positions(log("--since", "head")) == [8]
    assert positions(log("--until", rfc3339(0))) == []


def test_people_get_a_line_for_each_event(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Position, time, type, stream, actor and the beginning of the data."""
    assert main(["log", "--data", str(data), "--type", "message.*"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[0] == "7"
    assert line.split()[3] == "message.posted"
    assert '"text":"hello"' in line


def test_follow_goes_on_with_what_comes_and_ends_by_interrupt(data: Path) -> None:
    """An event of another process appears without delay; Ctrl-C ends it with 130 and no word."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pixelog", "log", "--follow", "--json", "--after", "7", "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert process.stdout is not None
    try:
        assert json.loads(_line(process))["position"] == 8
        with pixelog.open(data) as state:
            state.set_active("dog")
        assert json.loads(_line(process))["data"]["slug"] == "dog"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, said) == (130, b"")
    finally:
        process.kill()
        process.communicate()


def test_follow_with_a_limit_ends_by_itself(data: Path, log: Lines) -> None:
    """After so many events it is over."""
    assert positions(log("--follow", "--limit", "3")) == [1, 2, 3]


def _line(process: subprocess.Popen[bytes]) -> bytes:
    """The next line, within 20 seconds."""
    assert process.stdout is not None
    line, deadline = b"", time.monotonic() + 20
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, "no line within 20 s"
        line += os.read(process.stdout.fileno(), 1)
    return line


@pytest.mark.parametrize("kind", [("foreign.thing", "not json", 1), ("message.posted", '{"of":"tomorrow"}', 99)])
def test_an_event_of_a_newer_pixelog_is_shown_as_it_is(
    kind: tuple[str, str, int], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its meaning is not asked for; commands that need it say in one line what mends it, and exit with 3."""
    with EventStore.open(data / "pixelog.db") as store:
        store.append("foreign", NewEvent(*kind))
    for _ in range(2):
        assert main(["log", "--after", "8", "--data", str(data)]) == 0
        line = capsys.readouterr().out
        assert kind[0] in line
        assert line.endswith(f"foreign  -  {kind[1]}\n")
    assert main(["log", "--after", "8", "--json", "--data", str(data)]) == 0
    event = json.loads(capsys.readouterr().out)
    assert (event["type"], event["data"]) == (kind[0], "not json" if kind[0] == "foreign.thing" else {"of": "tomorrow"})
    for command in (["message", "x"], ["status"], ["ls"], ["rebuild"]):
        assert main([*command, "--data", str(data)]) == 3
        assert capsys.readouterr().err.startswith("pixelog: the log holds events of a newer pixelog: update it")
