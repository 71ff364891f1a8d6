"""The folder in shared memory, in which everybody may put something of that name first: nobody makes another write elsewhere."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.head import Bell, open_shared, runtime_folder
from eventstore.store import EventStore
from tests.eventstore.conftest import event, texts

STRANGER = 54_322
"""A user that is neither root nor the owner; it needs no account to own files."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def names(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """The first and the second name of the folder of `tmp_path`, with nothing there yet."""
    found = runtime_folder(tmp_path)
    both = (found, found.with_name(f"{found.name}-{tmp_path.stat().st_uid}"))
    for one in both:
        shutil.rmtree(one, ignore_errors=True)
    yield both
    for one in both:
        if one.is_symlink() or one.is_file():
            one.unlink()
        shutil.rmtree(one, ignore_errors=True)


def occupy(folder: Path, how: str, tmp_path: Path) -> None:
    """What a stranger may do who was here first."""
    if how == "link":
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        folder.symlink_to(tmp_path / "elsewhere")
        return
    if how == "file":
        folder.touch()
        return
    folder.mkdir()
    folder.chmod({"open to all": 0o777, "open to a group": 0o775}.get(how, 0o700))
    if how == "a stranger's":
        os.chown(folder, STRANGER, STRANGER)


HOWS = ["link", "file", "open to all", "open to a group", pytest.param("a stranger's", marks=as_root)]


@pytest.mark.parametrize("how", HOWS)
def test_a_folder_that_was_not_made_by_us_is_left_alone(names: tuple[Path, Path], tmp_path: Path, how: str) -> None:
    """All find the second name; when that is taken, too, there is none, and nothing fails."""
    first, second = names
    occupy(first, how, tmp_path)
    assert [runtime_folder(tmp_path), runtime_folder(tmp_path)] == [second, second]
    assert stat.S_IMODE(second.stat().st_mode) == stat.S_IMODE(tmp_path.stat().st_mode)
    second.rmdir()
    occupy(second, how, tmp_path)
    assert not os.path.lexists(runtime_folder(tmp_path))
    with EventStore.open(tmp_path / "log.db") as store:
        store.append("s", event())
        assert len(texts(store)) == 1


def test_a_data_directory_for_a_group_has_such_a_folder(names: tuple[Path, Path], tmp_path: Path) -> None:
    """Whoever may write the log may ring, and nobody else: as open as the data directory, to the same group."""
    tmp_path.chmod(0o2775)
    found = runtime_folder(tmp_path)
    assert (found, stat.S_IMODE(found.stat().st_mode), found.stat().st_gid) == (names[0], 0o775, tmp_path.stat().st_gid)
    tmp_path.chmod(0o755)
    assert runtime_folder(tmp_path) == names[1]


@pytest.mark.parametrize("how", ["link", "second name", "pipe", pytest.param("a stranger's", marks=as_root)])
def test_the_bell_writes_nowhere_else(names: tuple[Path, Path], tmp_path: Path, how: str) -> None:
    """Whatever lies in its place: the events are appended, and the file behind it stays as it was."""
    victim, bell = tmp_path / "victim", runtime_folder(tmp_path) / "log.db.bell"
    with EventStore.open(tmp_path / "log.db") as store:
        store.append("s", event())
    bell.unlink()
    victim.write_bytes(b"important secret")
    match how:
        case "link":
            bell.symlink_to(victim)
        case "second name":
            # On one file system: a link by name cannot leave shared memory.
            victim = bell.with_name("victim")
            victim.write_bytes(b"important secret")
            os.link(victim, bell)
        case "pipe":
            os.mkfifo(bell)
        case _:
            bell.write_bytes(b"important secret")
            os.chown(bell, STRANGER, STRANGER)
            victim = bell
    with EventStore.open(tmp_path / "log.db") as store:
        assert store.append("s", event()).position == 2
    assert victim.read_bytes() == b"important secret"
    assert not Bell(bell).in_reach


@as_root
def test_a_bell_made_by_root_belongs_to_the_owner(tmp_path: Path) -> None:
    """And the folder with it: the service must be able to ring what an administrator's command made."""
    os.chown(tmp_path, STRANGER, STRANGER)
    folder = runtime_folder(tmp_path)
    bell = Bell(folder / "log.db.bell")
    assert bell.in_reach
    bell.close()
    assert [(one.stat().st_uid, one.stat().st_gid) for one in (folder, folder / "log.db.bell")] == [(STRANGER, STRANGER)] * 2
    shutil.rmtree(folder)


def test_a_file_there_is_not_opened_through_a_link(names: tuple[Path, Path], tmp_path: Path) -> None:
    """Neither to read nor to write, and one that is missing is made only when that was asked for."""
    folder, victim = runtime_folder(tmp_path), tmp_path / "victim"
    (folder / "one").symlink_to(victim)
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT):
        with pytest.raises(OSError):
            open_shared(folder / "one", flags)
    assert not victim.exists()
    with pytest.raises(FileNotFoundError):
        open_shared(folder / "two", os.O_RDONLY)
    os.close(open_shared(folder / "two", os.O_WRONLY | os.O_CREAT))
    assert (folder / "two").read_bytes() == b""


WRITES = """
import os, sys
sys.path.insert(0, sys.argv[2])
from eventstore.head import Bell, open_shared, runtime_folder
from pathlib import Path
user = int(sys.argv[3])
os.setgroups([]); os.setgid(user); os.setuid(user)
folder = runtime_folder(Path(sys.argv[1]))
bell = Bell(folder / "log.db.bell")
print(folder.name, bell.in_reach and os.access(folder, os.W_OK))
"""


def as_user(user: int, data: Path) -> str:
    """The folder that a process of this user finds for `data`, and whether it can ring and put files there."""
    command = [sys.executable, "-c", WRITES, str(data), str(Path(__file__).parent.parent.parent), str(user)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.strip()


@pytest.fixture
def given_away() -> Iterator[Path]:
    """A data directory that root has used, and that then got another owner; the folder that root used has its bell."""
    # Not under pytest's own folder, which is closed to other users.
    with tempfile.TemporaryDirectory(prefix="pixelog-test-") as name:
        data = Path(name)
        data.chmod(0o755)
        first = runtime_folder(data)
        Bell(first / "log.db.bell").close()
        os.chown(data, STRANGER, STRANGER)
        yield data
        for folder in first.parent.glob(f"{first.name}*"):
            shutil.rmtree(folder)


@as_root
@pytest.mark.parametrize("root_first", [False, True])
def test_a_data_directory_with_a_new_owner_has_a_folder_that_he_can_write(given_away: Path, root_first: bool) -> None:
    """What root left in shared memory is closed to him: he, root and a reader find the same other one, whoever comes first, and all write who may."""
    info = given_away.stat()
    second = f"pixelog-{info.st_dev:x}-{info.st_ino:x}-{STRANGER}"
    if root_first:
        assert runtime_folder(given_away).name == second
    assert as_user(STRANGER, given_away) == f"{second} True"
    assert runtime_folder(given_away).name == second
    assert as_user(STRANGER + 1, given_away) == f"{second} False"
    assert (runtime_folder(given_away).stat().st_uid, stat.S_IMODE(runtime_folder(given_away).stat().st_mode)) == (
        STRANGER,
        0o755,
    )


@as_root
def test_a_reader_is_not_in_the_way_of_the_owner(given_away: Path) -> None:
    """Who may not write the log makes no folder that its owner then has to leave alone."""
    info = given_away.stat()
    name = f"pixelog-{info.st_dev:x}-{info.st_ino:x}"
    shutil.rmtree(Path("/dev/shm") / name, ignore_errors=True)
    assert as_user(STRANGER + 1, given_away) == f"{name} False"
    assert not os.path.lexists(Path("/dev/shm") / name)
    assert as_user(STRANGER, given_away) == f"{name} True"
    assert as_user(STRANGER + 1, given_away) == f"{name} False"


@as_root
def test_what_root_makes_is_never_seen_as_roots(given_away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that root makes for the owner stands there when it is handed over, not before, and nothing half done stays."""
    seen: list[tuple[str, bool]] = []
    fchown = os.fchown

    def watched(fd: int, uid: int, gid: int) -> None:
        info = given_away.stat()
        seen.append(("fchown", os.path.lexists(f"/dev/shm/pixelog-{info.st_dev:x}-{info.st_ino:x}-{STRANGER}")))
        fchown(fd, uid, gid)

    monkeypatch.setattr(os, "fchown", watched)
    folder = runtime_folder(given_away)
    assert seen == [("fchown", False)] * 2
    assert folder.stat().st_uid == STRANGER
    assert list(folder.parent.glob(f".{folder.name}-*")) == []
