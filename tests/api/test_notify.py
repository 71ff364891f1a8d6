"""The voice towards the service manager, heard on real sockets."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from api.notify import Notifier


def ear(address: str) -> socket.socket:
    """A manager's socket."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.bind(address)
    one.settimeout(2)
    return one


def test_every_message_arrives(tmp_path: Path) -> None:
    """Ready, alive, status and stopping come as the lines that the manager knows."""
    with ear(str(tmp_path / "notify")) as manager:
        voice = Notifier(str(tmp_path / "notify"), 30_000_000)
        voice.ready("page http://pi:8420")
        voice.alive()
        voice.status("two\nlines")
        voice.stopping()
        said = [manager.recv(1024).decode() for _ in range(4)]
    assert said == ["READY=1\nSTATUS=page http://pi:8420", "WATCHDOG=1", "STATUS=two lines", "STOPPING=1\nSTATUS=stopping"]
    assert (voice.listening, voice.watchdog_seconds, voice.lost) == (True, 30.0, 0)


def test_an_abstract_socket_is_reached() -> None:
    """A name that begins with @ lies in the abstract namespace."""
    name = f"pixelog-test-{os.getpid()}"
    with ear("\0" + name) as manager:
        Notifier("@" + name).alive()
        assert manager.recv(64) == b"WATCHDOG=1"


def test_nobody_listens() -> None:
    """Without a manager everything is silent, and there is no watchdog to feed."""
    voice = Notifier.from_environment({"WATCHDOG_USEC": "1000000"})
    voice.ready("up")
    assert (voice.listening, voice.watchdog_seconds, voice.lost) == (False, None, 0)


def test_a_manager_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    """A message that cannot be sent is counted, and nothing else happens."""
    voice = Notifier(str(tmp_path / "gone"), 1_000_000)
    voice.alive()
    assert voice.lost == 1


@pytest.mark.parametrize(("pid", "watchdog_seconds"), [("", 3.0), ("77", 3.0), ("78", None)])
def test_the_environment_is_taken_over(pid: str, watchdog_seconds: float | None) -> None:
    """The variables are ours alone afterwards; a watchdog for another process is left to that one."""
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": pid, "HOME": "/"}
    voice = Notifier.from_environment(environ, 77)
    assert voice.watchdog_seconds == watchdog_seconds
    assert environ == {"HOME": "/"}
