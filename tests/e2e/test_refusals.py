"""What is wrong is refused with words that help, and leaves everything as it was."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from harness import ROOT, WAIT_SECONDS, Pixelog, command, environment, run

ROOT_RUNS_THIS = os.geteuid() == 0

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if ROOT_RUNS_THIS else ()
"""Before a command: makes it run as a user whom permissions bind. They do not bind root."""

needs_nobody = pytest.mark.skipif(
    ROOT_RUNS_THIS and shutil.which("setpriv") is None, reason="root needs setpriv, to become nobody"
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pixelog]:
    """One pixelog for all that it refuses."""
    with Pixelog(tmp_path_factory.mktemp("refusals") / "data") as one:
        yield one


@pytest.fixture(scope="module", autouse=True)
def second(shared: Pixelog) -> Iterator[subprocess.Popen[str]]:
    """Another `up` on the same directory. It waits for five seconds for the first to go, while other tests run."""
    process = subprocess.Popen(
        command("up", "--port", "0", "--display", "sim", "--data", str(shared.data)),
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    yield process
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


OF_THE_MACHINE = ("player.", "display.", "device.")
"""Events that come by themselves."""


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on stderr of a command that must end with that code."""
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("pixelog: ")
    return done.stderr


BAD = [
    ("PUT", "/active", {"slug": "nobody-knows"}, "/slug", "nobody-knows"),
    ("PUT", "/loop", {"items": [{"slug": "nobody-knows"}]}, "/items/0/slug", "nobody-knows"),
    ("PUT", "/active", {"slug": 5}, "/slug", "not int"),
    ("PUT", "/active", {"slug": None, "colour": "red"}, "/colour", "known"),
    ("PATCH", "/settings", {"brightness": 101}, "/brightness", "100"),
    ("PATCH", "/settings", {"rotation": 45}, "/rotation", "90"),
    ("PATCH", "/settings", {"glitter": True}, "/glitter", "no setting"),
    ("POST", "/messages", {"text": 5, "priority": "huge"}, "/text", "str"),
    ("POST", "/jobs", {"kind": "errand"}, "/title", "missing"),
]


@pytest.mark.parametrize(("method", "path", "body", "pointer", "words"), BAD)
def test_a_wrong_body_is_refused_field_by_field(
    shared: Pixelog, method: str, path: str, body: Any, pointer: str, words: str
) -> None:
    """422 as a problem that points at the field and says what is wrong; nothing is appended."""
    head = shared.get("/events", limit=1)["head"]
    answer = shared.http.request(method, path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    problem = answer.json()
    faults = {fault["pointer"]: fault["message"] for fault in problem["errors"]}
    assert words in faults[pointer] + problem["detail"]
    assert [
        event["type"] for event in shared.get("/events", after=head)["items"] if not event["type"].startswith(OF_THE_MACHINE)
    ] == []


def test_each_fault_of_a_body_is_named(shared: Pixelog) -> None:
    """Several wrong fields and slugs are all named at once."""
    answer = shared.http.put("/loop", json={"items": [{"slug": "ghost"}, {"slug": "phantom"}]})
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/items/0/slug", "/items/1/slug"]
    answer = shared.http.post("/messages", json={"text": 5, "priority": "huge", "size": 3})
    assert sorted(fault["pointer"] for fault in answer.json()["errors"]) == ["/priority", "/size", "/text"]


@pytest.mark.parametrize("body", [b"{", b"", b'{"slug": "a"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused(shared: Pixelog, body: bytes) -> None:
    """400 as a problem."""
    answer = shared.http.put("/active", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    """Exit 2 with the address in it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = one_line(run("up", "--port", port, "--display", "sim", "--data", str(tmp_path / "data")), 2)
    assert f"127.0.0.1:{port}" in line


@pytest.mark.parametrize(
    "part", [("up", "--port", "0"), ("serve", "--port", "0"), ("player",), ("worker",), ("ls",), ("verify",)]
)
def test_a_file_is_no_data_directory(tmp_path: Path, part: tuple[str, ...]) -> None:
    """Exit 3 in one line, and the file is what it was."""
    file = tmp_path / "data"
    file.write_bytes(b"my letters")
    line = one_line(run(*part, "--data", str(file)), 3)
    assert str(file) in line
    assert file.read_bytes() == b"my letters"


@needs_nobody
def test_a_folder_that_may_not_be_written_is_one_line() -> None:
    """As a user without rights: exit 3, and nothing is made in the folder."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o555)
        _readable_by_all(ROOT)
        for part in (("up", "--port", "0"), ("serve", "--port", "0"), ("worker",)):
            line = one_line(run(*part, "--data", str(folder), prefix=NOBODY), 3)
            assert "not writable" in line
        assert list(folder.iterdir()) == []


@needs_nobody
def test_a_directory_of_another_user_is_one_line() -> None:
    """A directory in use by its owner, tried as a user who may only read: exit 3 from each part, and nothing is touched."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        _readable_by_all(ROOT)
        assert run("message", "mine", "--data", str(folder)).returncode == 0
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = _hashes(folder)
        for part in (("up", "--port", "0"), ("serve", "--port", "0"), ("player",), ("worker",), ("message", "yours")):
            one_line(run(*part, "--data", str(folder), prefix=NOBODY), 3)
        assert _hashes(folder) == before
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)


def _readable_by_all(folder: Path) -> None:
    """Skips where nobody could not even read the program: that would prove nothing."""
    done = subprocess.run(
        [*NOBODY, sys.executable, "-c", "import pixelog"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        timeout=20,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("the program lies where nobody may not read")


def test_a_directory_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """The mark of a newer version, in the WAL alone: exit 3 in one line from every part, database and WAL byte for byte as they were."""
    live = tmp_path / "live"
    with Pixelog(live) as one:
        one.send("POST", "/messages", {"text": "before"})
        one.kill_all()
    data = tmp_path / "data"
    connection = apsw.Connection(str(live / "pixelog.db"))
    version = connection.pragma("user_version")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.pragma("user_version", version + 1)
    # A copy while it is open: closing would move the mark from the WAL into the database.
    shutil.copytree(live, data)
    connection.close()
    assert (data / "pixelog.db-wal").stat().st_size > 0
    before = _hashes(data)
    for part in (
        ("up", "--port", "0"),
        ("serve", "--port", "0"),
        ("player",),
        ("worker",),
        ("ls",),
        ("verify",),
        ("add", __file__),
    ):
        line = one_line(run(*part, "--data", str(data)), 3)
        assert "newer" in line
    assert _hashes(data) == before


def _hashes(folder: Path) -> dict[str, str]:
    """What must not change: every file but SQLite's own shared memory."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }


def test_wrong_usage_is_one_line(tmp_path: Path) -> None:
    """An unknown command, display and option: exit 2 with what would be right."""
    data = str(tmp_path / "data")
    for arguments in (
        ("dance",),
        ("up", "--display", "hologram"),
        ("up", "--port", "many"),
        ("up", "--size", "big"),
        ("activate",),
    ):
        one_line(run(*arguments, "--data", data), 2)
    assert not (tmp_path / "data").exists()


def test_a_second_up_on_the_same_directory_is_one_line(shared: Pixelog, second: subprocess.Popen[str]) -> None:
    """It says who is there already, ends with 3, and the first one works on."""
    _, errors = second.communicate(timeout=WAIT_SECONDS)
    line = one_line(subprocess.CompletedProcess(second.args, second.returncode, "", errors), 3)
    assert "running" in line
    assert str(shared.data) in line
    assert shared.errors() == ""
    assert shared.http.get("/player").json()["display"]["state"] == "attached"
