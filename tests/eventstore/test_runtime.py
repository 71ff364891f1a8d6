"""The folder in shared memory, in which everybody may put something of that name first: nobody makes another write elsewhere."""

from __future__ import annotations

import os
import shutil
import stat
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
