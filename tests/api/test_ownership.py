"""Whose the files of a data directory are when root works in the directory of a service. The tests must run as root, too."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pixelog
from api.adopt.moving import _Mover  # pyright: ignore[reportPrivateUsage]
from api.cli.installing import make_data
from api.cli.main import main
from api.ownership import hand_over
from eventstore.head import runtime_folder

SERVICE = 54_321
"""A user that is not root; it needs no account to own files."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def owners(root: Path) -> dict[str, set[str]]:
    """The names below a folder, and the folder itself, by their owners."""
    found: dict[str, set[str]] = {}
    for path in (root, *root.rglob("*")):
        found.setdefault(str(path.lstat().st_uid), set()).add(str(path.relative_to(root)))
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of a service, as its installation makes it."""
    make_data(tmp_path / "data", SERVICE, SERVICE)
    return tmp_path / "data"


def test_an_installation_makes_data_and_secrets_as_the_user(data: Path) -> None:
    """Before anybody else can: the secrets are closed to all others."""
    assert owners(data) == {str(SERVICE): {".", "secrets"}}
    assert (stat.S_IMODE(data.stat().st_mode), stat.S_IMODE((data / "secrets").stat().st_mode)) == (0o750, 0o700)
    assert (data.stat().st_gid, (data / "secrets").stat().st_gid) == (SERVICE, SERVICE)


@pytest.mark.parametrize("command", [["pair"], ["token", "add", "door"]])
def test_root_leaves_what_the_service_can_read(data: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The database, the key and everything else that root was the first to make belong to the service."""
    assert main([*command, "--data", str(data)]) == 0
    assert set(owners(data)) == {str(SERVICE)}
    assert set(owners(runtime_folder(data))) == {str(SERVICE)}
    assert (data / "pixelog.db").is_file()
    if command == ["pair"]:
        assert stat.S_IMODE((data / "secrets/pairing.key").stat().st_mode) == 0o600
    capsys.readouterr()


def test_what_root_adds_and_restores_belongs_to_the_service(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that a person brings with sudo, and a whole directory put in the place of the service's, with its permissions."""
    (tmp_path / "cat.gif").write_bytes(b"GIF89a")
    assert main(["add", str(tmp_path / "cat.gif"), "--data", str(data)]) == 0
    assert set(owners(data)) == {str(SERVICE)}
    assert main(["backup", str(tmp_path / "kept"), "--data", str(data)]) == 0
    assert main(["message", "later", "--data", str(data)]) == 0
    assert main(["restore", str(tmp_path / "kept"), "--replace", "--data", str(data)]) == 0
    assert set(owners(data)) == {str(SERVICE)}
    assert stat.S_IMODE(data.stat().st_mode) == 0o750
    assert set(owners(runtime_folder(data))) <= {str(SERVICE)}
    capsys.readouterr()


def test_root_paired_before_the_installation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The installation takes over what root left, and nothing of a third one."""
    data = tmp_path / "data"
    assert main(["pair", "--data", str(data)]) == 0
    (data / "notes").write_text("mine")
    os.chown(data / "notes", 777, 777)
    assert set(owners(data)) == {"0", "777"}
    make_data(data, SERVICE, SERVICE)
    found = owners(data)
    assert found.pop("777") == {"notes"}
    assert set(found) == {str(SERVICE)}
    assert (data / "secrets/pairing.key").is_file()
    capsys.readouterr()


@contextmanager
def as_the_service() -> Generator[None]:
    """What is done inside is done by the user that the data belongs to."""
    os.setegid(SERVICE)
    os.seteuid(SERVICE)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def reached() -> Iterator[Path]:
    """A data directory with a log, as `data`, but where others than root can get to."""
    with tempfile.TemporaryDirectory(prefix="pixelog-reached-") as folder:
        os.chmod(folder, 0o755)
        make_data(Path(folder) / "data", SERVICE, SERVICE)
        assert main(["message", "hello", "--data", f"{folder}/data"]) == 0
        assert main(["rebuild", "--data", f"{folder}/data"]) == 0
        yield Path(folder) / "data"


def test_a_rebuild_by_root_leaves_a_lock_of_the_services(reached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where an earlier one left it to root; whatever it was allowed to others, the service can rebuild afterwards."""
    lock = reached / "pixelog.db.rebuild"
    assert set(owners(reached)) == {str(SERVICE)}
    os.chown(lock, 0, 0)
    lock.chmod(0o600)
    assert main(["rebuild", "--data", str(reached)]) == 0
    assert lock.stat().st_uid == SERVICE
    with as_the_service():
        assert main(["rebuild", "--data", str(reached)]) == 0
    capsys.readouterr()


def test_a_lock_of_roots_does_not_keep_the_service_from_rebuilding(reached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It can be locked by whoever can read it; one that cannot be read is named, with what to do."""
    lock = reached / "pixelog.db.rebuild"
    os.chown(lock, 0, 0)
    with as_the_service():
        assert main(["rebuild", "--data", str(reached)]) == 0
    lock.chmod(0o600)
    capsys.readouterr()
    with as_the_service():
        assert main(["rebuild", "--data", str(reached)]) == 3
    assert f"sudo chown --reference={reached} {lock}" in capsys.readouterr().err


def test_a_move_by_root_leaves_files_that_the_worker_can_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each upload before the log names it: a running service prepares it at once."""
    raw = tmp_path / "app/media/raw"
    raw.mkdir(parents=True)
    (raw / "a_a.gif").write_bytes(b"GIF89a")
    (raw.parent / "index.json").write_text(json.dumps({"media": {"a": {"filename": "a.gif", "url": "/media/raw/a_a.gif"}}}))
    (tmp_path / "app/config.json").write_text('{"wifi": {"password": "FAKE"}}')
    seen: list[set[int]] = []
    judge = _Mover._judge  # pyright: ignore[reportPrivateUsage]

    def spied(self: _Mover, *given: object) -> object:
        seen.append({path.stat().st_uid for path in (data / "blobs").rglob("*")})
        return judge(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(_Mover, "_judge", spied)
    assert main(["adopt", "loop", str(tmp_path / "app"), "--data", str(data), "--verify"]) == 0
    assert seen == [{SERVICE}]
    assert set(owners(data)) == {str(SERVICE)}


def test_roots_own_directory_stays_roots(tmp_path: Path) -> None:
    """There is nobody to hand it to."""
    with pixelog.open(tmp_path / "data"):
        pass
    hand_over(tmp_path / "data")
    assert set(owners(tmp_path / "data")) == {"0"}


def test_links_are_not_followed(data: Path, tmp_path: Path) -> None:
    """A link in the directory gives nothing outside of it away."""
    (tmp_path / "shadow").write_text("root's")
    (data / "link").symlink_to(tmp_path / "shadow")
    hand_over(data)
    assert ((data / "link").lstat().st_uid, (tmp_path / "shadow").stat().st_uid) == (SERVICE, 0)


def test_what_has_a_second_name_stays_roots(data: Path, tmp_path: Path) -> None:
    """The other name may be anywhere: whoever may write into the directory may give it a name there."""
    (tmp_path / "shadow").write_text("root's")
    os.link(tmp_path / "shadow", data / "mine")
    (data / "made").write_text("by root")
    hand_over(data)
    hand_over(data, [data / "mine"])
    assert ((tmp_path / "shadow").stat().st_uid, (data / "made").stat().st_uid) == (0, SERVICE)


@pytest.mark.parametrize("swap_at", ["blobs", "a"])
def test_a_folder_that_is_swapped_for_a_link_leads_nowhere(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap_at: str
) -> None:
    """Between the look at a folder and the look at what is in it, its owner puts a link to root's files there."""
    (tmp_path / "etc").mkdir()
    (data / "blobs").mkdir()
    for name in ("a", "b"):
        (tmp_path / "etc" / name).write_text("root's")
        (data / "blobs" / name).write_text("by root")
    real = os.open

    def swapped(path: str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if path == swap_at and not (data / "away").exists():
            opened = real(path, flags, *rest, dir_fd=dir_fd)
            (data / "blobs").rename(data / "away")
            (data / "blobs").symlink_to(tmp_path / "etc")
            return opened
        return real(path, flags, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapped)
    hand_over(data)
    assert (data / "blobs").is_symlink()
    assert owners(tmp_path / "etc") == {"0": {".", "a", "b"}}
    assert {(data / "away" / name).stat().st_uid for name in ("a", "b")} == {SERVICE}


def test_given_paths_are_not_reached_through_a_link(data: Path, tmp_path: Path) -> None:
    """No part of them may be one, and none may lead out of the directory."""
    (tmp_path / "etc/a").mkdir(parents=True)
    (tmp_path / "etc/a/b").write_text("root's")
    (data / "blobs").symlink_to(tmp_path / "etc")
    (data / "packs").mkdir()
    (data / "packs/one").write_text("by root")
    hand_over(data, [data / "blobs/a", data / "blobs/a/b", data / "packs/one", data / "packs/gone/away"])
    assert owners(tmp_path / "etc") == {"0": {".", "a", "a/b"}}
    assert ((data / "packs").stat().st_uid, (data / "packs/one").stat().st_uid) == (0, SERVICE)
    for path in (tmp_path / "etc/a", data / "../etc/a"):
        with pytest.raises(ValueError, match=r"subpath|upwards"):
            hand_over(data, [path])
    assert owners(tmp_path / "etc") == {"0": {".", "a", "a/b"}}


def test_handing_over_keeps_the_locks_of_an_open_database(data: Path) -> None:
    """A file that is opened to be read, and closed, would end all locks that this process has on it."""
    with sqlite3.connect(data / "kept.db") as db:
        db.execute("CREATE TABLE t (a)")
        db.commit()
        db.execute("BEGIN EXCLUSIVE")
        hand_over(data)
        assert (data / "kept.db").stat().st_uid == SERVICE
        program = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN EXCLUSIVE')"
        said = subprocess.run(
            [sys.executable, "-c", program, data / "kept.db"], capture_output=True, text=True, timeout=60, check=False
        )
        assert "database is locked" in said.stderr
        db.rollback()
    db.close()


def test_deep_folders_end_somewhere(data: Path) -> None:
    """Its owner may make more of them than can be open at once."""
    folder = data
    for _ in range(100):
        folder = folder / "d"
        folder.mkdir()
    hand_over(data)
    assert [(data / "/".join("d" * depth)).stat().st_uid for depth in (1, 16, 17)] == [SERVICE, SERVICE, 0]
