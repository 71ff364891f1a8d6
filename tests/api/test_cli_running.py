"""Where the service listens: an address that cannot be had is refused with what is to blame."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from api.cli.main import main

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
