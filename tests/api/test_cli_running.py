"""Where the service listens: an address that cannot be had is refused with what is to blame."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import apsw
import pytest

import pixelog
from api.cli.main import main
from api.cli.running import address_of
from eventstore import connection

NO_ADDRESS = "no address is known for {host!r}; choose another --host: 0.0.0.0 listens on all addresses of this machine"


@pytest.mark.parametrize("command", ["serve", "up"])
@pytest.mark.parametrize("host", ["pixelog.invalid", "a b", "a..b", "x" * 70, "[::1]"])
def test_a_host_that_is_no_name_is_to_blame_itself(
    command: str, host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the port."""
    display = ["--display", "none"] if command == "up" else []
    assert main([command, "--host", host, "--port", "0", *display, "--data", str(tmp_path / "data")]) == 2
    assert capsys.readouterr().err == f"pixelog: {NO_ADDRESS.format(host=host)}\n"


def test_an_address_of_another_machine_is_to_blame_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """192.0.2.1 is nobody's address (RFC 5737)."""
    assert main(["serve", "--host", "192.0.2.1", "--port", "0", "--data", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "192.0.2.1:0: Cannot assign requested address; that is no address of this machine; choose another --host" in said
    assert "--port" not in said


def test_a_port_that_is_taken_is_to_blame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the port that it is."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--port", str(port), "--data", str(tmp_path)]) == 2
    said = f"pixelog: 127.0.0.1:{port}: Address already in use; choose another --port, or stop what uses it\n"
    assert capsys.readouterr().err == said


def test_under_a_service_manager_an_address_may_come_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At boot the network may not have given this machine its address yet: the end asks for another start."""
    command = ["up", "--host", "192.0.2.1", "--port", "0", "--display", "none", "--data", str(tmp_path)]
    assert main(command) == 2
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert main(command) == 75
    one, other = capsys.readouterr().err.splitlines()
    assert one == other


def test_the_usual_port_of_the_web_is_not_said() -> None:
    """Nobody has to type it, and the panel has little room."""
    assert [address_of("pi.local", 80), address_of("::1", 80), address_of("pi.local", 8420)] == [
        "http://pi.local", "http://[::1]", "http://pi.local:8420",
    ]  # fmt: skip


def test_a_part_that_meets_a_held_log_is_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `pixelog up` its end asks for another start; alone it is the answer that the directory cannot be used."""
    pixelog.open(tmp_path).close()
    monkeypatch.setattr(connection, "BUSY_MS", 50)
    monkeypatch.setattr(connection, "PRAGMAS", (("busy_timeout", 50, ""), *connection.PRAGMAS[1:]))
    with contextlib.closing(apsw.Connection(str(tmp_path / "pixelog.db"))) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").fetchall()
        assert main(["worker", "--data", str(tmp_path)]) == 3
        reading, writing = os.pipe()
        monkeypatch.setenv("PIXELOG_PARENT_FD", str(reading))
        assert main(["worker", "--data", str(tmp_path)]) == 75
        os.close(reading)
        os.close(writing)
        other.execute("ROLLBACK")
    alone, supervised = capsys.readouterr().err.splitlines()
    assert alone == supervised
    assert "end it and start again" in alone
