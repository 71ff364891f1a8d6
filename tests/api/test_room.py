"""Making room: what goes when there is little on the disk, in which order, what never does, and what is said of it afterwards."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api import backups, past, room, upkeep
from api.commands.deciding import Rejected
from api.commands.display import Attached, RecordFacts, Started
from api.commands.media import FinishPreparing
from api.data import DataDirectory
from api.device.facts import DISK_ENOUGH_BYTES, DISK_LOW_BYTES, Disk
from api.service import StateService
from api.upkeep import Upkeep
from api.verification import verify
from eventstore import backup
from eventstore.clock import Reading
from eventstore.errors import OutOfSpace
from eventstore.store import EventStore
from eventstore.testing.faults import Fault, FaultyVFS
from player.prepare import Geometry, prepare
from projections.media import Pack
from projections.replay import points

HOUR = 3600.0
SIZE_BYTES = 300


class Hand:
    """Clocks that stand still until they are moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def read(self) -> Reading:
        us = 5_000_000 + int(self.seconds * 1_000_000)
        return Reading(1_767_225_600_000_000 + us, us, "boot-1", True)


def pack_name(name: str) -> str:
    """How the pack is called that the tests call so."""
    return hashlib.sha256(name.encode()).hexdigest()


class Bench:
    """An open directory on a disk of which the test says how full it is; time passes for the log, the upkeep and the files alike."""

    def __init__(self, folder: Path) -> None:
        self.hand = Hand()
        self.state = StateService(folder, clock=self.hand)
        self.free_bytes = DISK_ENOUGH_BYTES
        self.read_only = False
        self._held_bytes = 0
        self.upkeep = Upkeep(
            self.state.data,
            self.state.executor,
            lambda: self.hand.seconds,
            now=lambda: time.time() + self.hand.seconds,
            disk=lambda: Disk(1 << 40, self.free_bytes + self._held_bytes - self._bytes(), self.read_only),
        )

    def _bytes(self) -> int:
        folders = self.state.data.blobs, self.state.data.packs, self.state.data.temporary
        return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())

    def short_of(self, size_bytes: int) -> None:
        """From now on so many bytes lack until there is enough."""
        self.free_bytes, self._held_bytes = DISK_ENOUGH_BYTES - size_bytes, self._bytes()

    def add(self, name: str, pack: bool = False) -> Path:
        """An item of SIZE_BYTES, maybe with a pack of that size; the file of its content."""
        content = name.encode().ljust(SIZE_BYTES, b"x")
        item = self.state.add_media(content, filename=f"{name}.gif", slug=name)
        if pack:
            self.pack(name).write_bytes(content)
            self.name_pack(name, item.sha256 or "")
        return self.state.blobs.path(item.sha256 or "")

    def pack(self, name: str) -> Path:
        """The file of a pack."""
        return self.state.data.pack(pack_name(name))

    def name_pack(self, slug: str, sha256: str, of: str | None = None) -> None:
        """The pack of that name was made of the item: its job is finished."""
        made = Pack(pack_name(of or slug), 240, 320, 0, "contain", SIZE_BYTES)
        self.state.executor.execute(
            FinishPreparing(None, slug, sha256, "image", "image/gif", 9, 9, 1, ((1, 0),), made, None, "t")
        )

    def orphan(self, name: str) -> Path:
        """A blob that no event names."""
        with self.state.blobs.writer() as writer:
            writer.write(name.encode().ljust(SIZE_BYTES, b"o"))
            return self.state.blobs.path(writer.commit().sha256)

    def after(self, seconds: float) -> None:
        """So much later; nothing is looked at on the way."""
        self.hand.seconds += seconds

    def look(self, times: int = 1) -> None:
        """Looks of the upkeep, some seconds apart, while somebody writes all the time."""
        for _ in range(times):
            self.after(10)
            self.state.post_message("busy")
            self.upkeep.turn()
        assert all(duty.failure is None for duty in self.upkeep.duties)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """One over an empty directory; the check of everything is not begun."""
    monkeypatch.setattr(upkeep, "CHECK_AFTER_SECONDS", 1e9)
    one = Bench(tmp_path / "data")
    yield one
    one.state.close()


def changed(file: Path, at: float) -> None:
    """Let a file have been changed then."""
    os.utime(file, (at, at))


# -- contents ----------------------------------------------------------------------------------------------------------------------------


def test_low_is_what_the_device_calls_low(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Above it nothing goes, though it be less than enough; below it what was removed goes, soon, while others write."""
    kept, removed = bench.add("kept"), bench.add("removed")
    bench.state.remove_media("removed")
    bench.after(HOUR)
    bench.short_of(DISK_ENOUGH_BYTES - DISK_LOW_BYTES)
    bench.look(2)
    assert (kept.exists(), removed.exists()) == (True, True)
    bench.short_of(DISK_ENOUGH_BYTES - DISK_LOW_BYTES + 1)
    bench.look()
    assert (kept.exists(), removed.exists()) == (True, False)
    assert caplog.messages == ["the disk is nearly full: 1 KiB of what removed media had were cleared away (files: 1)"]


@pytest.fixture
def narrow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Low and enough are the same here, so that bytes can be counted."""
    monkeypatch.setattr(room, "DISK_LOW_BYTES", DISK_ENOUGH_BYTES)
    return bench


def test_no_more_goes_than_is_needed(narrow: Bench) -> None:
    """The oldest removal first; with nothing left to shed, what the library has stays."""
    files = {name: narrow.add(name) for name in ("kept", "second", "first", "third")}
    for name in ("first", "second", "third"):
        narrow.after(HOUR)
        narrow.state.remove_media(name)
    narrow.after(HOUR)
    narrow.short_of(SIZE_BYTES + 1)
    narrow.look(3)
    assert [name for name, file in files.items() if file.exists()] == ["kept", "third"]
    narrow.short_of(1 << 20)
    narrow.look(3)
    assert [name for name, file in files.items() if file.exists()] == ["kept"]
    assert verify(narrow.state.data).problems == ()


def test_what_was_removed_a_moment_ago_is_spared(narrow: Bench) -> None:
    """So that it can be brought back; ten minutes later it goes."""
    file = narrow.add("cat")
    narrow.after(HOUR)
    narrow.state.remove_media("cat")
    narrow.short_of(1 << 20)
    narrow.look(50)
    assert file.exists()
    assert narrow.state.restore_media("cat").slug == "cat"
    narrow.state.remove_media("cat")
    narrow.after(room.UNDO_SECONDS + room.AGAIN_SECONDS)
    narrow.look()
    assert not file.exists()


def test_what_went_is_said_to_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To whoever restores it, and to whoever looks at the past: a screen of our own stands in its place."""
    monkeypatch.setattr(upkeep, "CHECK_AFTER_SECONDS", 1e9)
    bench = Bench(tmp_path / "data")
    report = bench.state.executor.execute
    report(RecordFacts((Started(1, "boot-1"), Attached("sim", 30, 20))))
    image = io.BytesIO()
    Image.new("RGB", (6, 4), (255, 0, 0)).save(image, "PNG")
    item = bench.state.add_media(image.getvalue(), filename="cat.png", add_to_loop=True)
    source = bench.state.blobs.path(item.sha256 or "")
    made = prepare(source, bench.state.data.packs, Geometry(30, 20), lambda percent, stage: None)
    pack = Pack(made.pack, 30, 20, 0, "contain", made.pack_size_bytes)
    report(
        FinishPreparing(
            None, item.slug, item.sha256 or "", made.kind, made.type, made.width, made.height, made.frame_count, made.delays,
            pack, made.thumbnail, made.made_by,
        )
    )  # fmt: skip
    bench.after(5)
    position = bench.state.store.head().position

    def why() -> Any:
        with bench.state.store.reading() as db:
            instant = points.resolve(db, str(position), None, bench.hand.read().wall_us)
        screen = past.screen(bench.state.data, bench.state.store, instant)
        assert screen is not None
        return screen.why

    assert why() is None
    bench.state.remove_media(item.slug)
    bench.after(HOUR)
    bench.short_of(64 << 20)
    bench.free_bytes -= 64 << 20
    bench.look(2)
    assert not source.exists()
    with pytest.raises(Rejected, match="is no longer held; upload it again") as refusal:
        bench.state.restore_media(item.slug)
    assert refusal.value.code == "gone"
    assert why() == "blob_gone"
    bench.state.close()


def test_a_content_that_came_again_stays(narrow: Bench) -> None:
    """Whether an item of another name has it by now, or an upload is about to."""
    first, second = narrow.add("first"), narrow.add("second")
    for name in ("first", "second"):
        narrow.state.remove_media(name)
    narrow.after(HOUR)
    content = b"first".ljust(SIZE_BYTES, b"x")
    narrow.state.add_media(content, filename="again.gif", slug="again")
    with narrow.state.blobs.writer() as writer:
        writer.write(b"second".ljust(SIZE_BYTES, b"x"))
        writer.commit()
    changed(second, time.time() + narrow.hand.seconds)
    narrow.short_of(1 << 20)
    narrow.look()
    assert (first.exists(), second.exists()) == (True, True)


def test_a_content_that_is_named_meanwhile_stays(narrow: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the removal an item came that has it."""
    file = narrow.add("cat")
    narrow.state.remove_media("cat")
    narrow.after(HOUR)
    narrow.short_of(1 << 20)
    look = room.Room._sheddable  # pyright: ignore[reportPrivateUsage]

    def slow(self: room.Room) -> Any:
        found = look(self)
        narrow.state.restore_media("cat")
        return found

    monkeypatch.setattr(room.Room, "_sheddable", slow)
    narrow.look()
    assert file.exists()
    assert verify(narrow.state.data).problems == ()


@pytest.fixture
def real(narrow: Bench) -> Callable[[], bool]:
    """`real()` makes room by the clock that files have; for the log an hour has passed since the removal of `cat`, which is old on the disk."""
    file = narrow.add("cat")
    narrow.state.remove_media("cat")
    narrow.after(HOUR)
    changed(file, time.time() - HOUR)
    disk = Disk(1 << 40, DISK_ENOUGH_BYTES - (1 << 20), False)
    return room.Room(narrow.state.data, narrow.state.store, lambda: disk, lambda: narrow.hand.seconds).make


def blob_of(bench: Bench, name: str) -> Path:
    """The file that `Bench.add` made."""
    return bench.state.blobs.path(hashlib.sha256(name.encode().ljust(SIZE_BYTES, b"x")).hexdigest())


def test_what_is_about_to_be_restored_stays(narrow: Bench, real: Callable[[], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is made after the file was seen to be there, and before the event names it."""
    execute = narrow.state.executor.execute

    def late(*arguments: Any, **options: Any) -> Any:
        real()
        return execute(*arguments, **options)

    monkeypatch.setattr(narrow.state.executor, "execute", late)
    assert narrow.state.restore_media("cat").slug == "cat"
    assert blob_of(narrow, "cat").exists()
    assert verify(narrow.state.data).problems == ()


@pytest.mark.parametrize("how", ["uploaded", "touched"])
def test_a_content_that_comes_at_the_last_moment_stays(
    narrow: Bench, real: Callable[[], bool], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Between the look at its age and its removal; nothing is left beside it."""
    file, look, came = blob_of(narrow, "cat"), room.modified, list[bool]()
    content = file.read_bytes()

    def slow(path: Path) -> float:
        seen = look(path)
        if path == file and not came:
            came.append(True)
            if how == "uploaded":
                narrow.state.store_blob(io.BytesIO(content))
            else:
                assert narrow.state.keep_blob(file.name)
        return seen

    monkeypatch.setattr(room, "modified", slow)
    real()
    assert came == [True]
    assert file.read_bytes() == content
    assert list(narrow.state.data.temporary.iterdir()) == []


def test_what_was_put_aside_by_a_killed_service_is_swept(narrow: Bench, real: Callable[[], bool]) -> None:
    """It bears the name of a writer's file."""
    unlink, aside = Path.unlink, list[Path]()

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.parent == narrow.state.data.temporary:
            aside.append(path)
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            real()
    assert room.is_left(aside[0], time.time() + room.CLOSED_KEPT_SECONDS)


def test_the_original_of_an_adopted_item_stays_as_long_as_the_item(narrow: Bench) -> None:
    """It goes out again with it; once the item is removed it goes as its content does."""
    narrow.add("cat")
    original = narrow.orphan("original")
    extra = f'{{"pixelogOriginal": {{"sha256": "{original.name}"}}}}'
    narrow.state.store.transact(lambda t: t.db.execute("UPDATE media_items SET extra = ?", (extra,)) and None)
    narrow.after(3 * HOUR)
    narrow.short_of(1 << 20)
    narrow.look()
    assert original.exists()
    narrow.state.remove_media("cat")
    narrow.after(HOUR)
    narrow.look()
    assert not original.exists()


def test_what_no_event_names_goes_before_all_else(narrow: Bench) -> None:
    """Once it cannot be an upload under way any more."""
    file = narrow.add("cat")
    narrow.state.remove_media("cat")
    orphan = narrow.orphan("left")
    narrow.after(room.UNNAMED_KEPT_SECONDS - 60)
    narrow.short_of(1)
    narrow.look()
    assert (orphan.exists(), file.exists()) == (True, False)
    narrow.after(60)
    narrow.short_of(1)
    narrow.look()
    assert not orphan.exists()


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Files that cannot be moved or removed."""
    kept = set[Path]()
    unlink, rename = Path.unlink, os.rename

    def refusing_unlink(path: Path, missing_ok: bool = False) -> None:
        if path in kept:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        unlink(path, missing_ok)

    def refusing_rename(source: Path, target: Path) -> None:
        if source in kept:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(source))
        rename(source, target)

    monkeypatch.setattr(Path, "unlink", refusing_unlink)
    monkeypatch.setattr(os, "rename", refusing_rename)
    return kept


def test_what_cannot_be_removed_does_not_keep_the_rest(narrow: Bench, refusing: set[Path]) -> None:
    """A content, a pack, a temporary file; that is said as long as room lacks, and no longer."""
    files = [narrow.add(name, pack=True) for name in ("first", "second")]
    packs = [narrow.pack(name) for name in ("first", "second")]
    for name in ("first", "second"):
        narrow.state.remove_media(name)
    left = narrow.state.data.temporary / "blob-999999999-7f-1"
    left.write_bytes(b"x")
    narrow.after(HOUR)
    refusing.update((left, files[0], packs[0]))
    narrow.short_of(1 << 20)
    for _ in range(60):
        narrow.after(10)
        narrow.upkeep.turn()
        said = narrow.upkeep.checks()["upkeep"]
        assert (said.status, "Operation not permitted" in str(said.value)) == ("degraded", True)
        assert [one.exists() for one in (*files, *packs)] == [True, False, True, False]
    refusing.clear()
    narrow.after(room.AGAIN_SECONDS)
    narrow.upkeep.turn()
    assert [one.exists() for one in (left, files[0], packs[0])] == [False, False, False]
    narrow.after(600)
    narrow.look()


def test_more_goes_in_the_place_of_what_cannot_be_removed(
    narrow: Bench, refusing: set[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than is needed, also when as many are refused as go at once."""
    monkeypatch.setattr(room, "FILES_PER_TURN", 1)
    files = [narrow.add(name) for name in ("first", "second", "third")]
    for name in ("first", "second", "third"):
        narrow.state.remove_media(name)
        narrow.after(HOUR)
    refusing.add(files[0])
    narrow.short_of(SIZE_BYTES)
    for _ in range(3):
        narrow.after(10)
        narrow.upkeep.turn()
    assert [file.exists() for file in files] == [True, False, True]


def test_files_of_other_names_are_let_be(narrow: Bench) -> None:
    """Also those whose name is no text; they keep nothing else from going."""
    file = narrow.add("cat", pack=True)
    narrow.state.remove_media("cat")
    strange = [
        narrow.state.data.blobs / os.fsdecode(b"caf\xe9.jpg"),
        narrow.state.data.blobs / "notes.txt",
        narrow.state.data.packs / os.fsdecode(b"caf\xe9.pack"),
        narrow.state.data.packs / "notes.pack",
    ]
    for path in strange:
        path.write_bytes(b"x")
    narrow.after(3 * HOUR)
    narrow.short_of(1 << 20)
    narrow.look()
    assert (file.exists(), narrow.pack("cat").exists()) == (False, False)
    narrow.after(40 * 24 * HOUR)
    narrow.upkeep.turn()
    narrow.after(10)
    narrow.upkeep.turn()
    assert [path.exists() for path in strange] == [True] * 4


def test_a_disk_that_is_not_low_keeps_everything(bench: Bench) -> None:
    """And so does one that cannot be written, and one of which nobody says how full it is."""
    file = bench.add("cat")
    bench.state.remove_media("cat")
    bench.after(HOUR)
    bench.look()
    bench.short_of(DISK_ENOUGH_BYTES)
    bench.read_only = True
    bench.look()
    assert file.exists()
    silent = room.Room(bench.state.data, bench.state.store, lambda: None)
    silent.ask(SIZE_BYTES)
    assert silent.make() is False
    assert file.exists()


def test_a_log_without_room_does_not_keep_room_from_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk on which nothing can be written any more."""
    with FaultyVFS("full-below-the-upkeep") as vfs:
        opening = EventStore.open

        def planted(path: Path, **options: Any) -> EventStore:
            return opening(path, vfs=vfs.name, **options)

        monkeypatch.setattr(EventStore, "open", planted)
        monkeypatch.setattr(upkeep, "CHECK_AFTER_SECONDS", 1e9)
        bench = Bench(tmp_path / "data")
        file = bench.add("cat")
        bench.state.remove_media("cat")
        bench.after(HOUR)
        bench.free_bytes = 0
        vfs.plant(Fault("enospc", 1, ("write",), for_good=True))
        with pytest.raises(OutOfSpace):
            bench.state.post_message("full")
        bench.upkeep.turn()
        vfs.plant(None)
        assert not file.exists()
        bench.state.close()


@pytest.mark.parametrize("removed", [True, False])
def test_a_backup_goes_on_while_room_is_made(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    """What a removed item had is left out when it goes meanwhile, and what comes back is as it should be; of a present one nothing may be missing."""
    files = [bench.add(name) for name in ("first", "second", "third")]
    if removed:
        for name in ("first", "second", "third"):
            bench.state.remove_media(name)
    bench.state.add_media(b"GIF89a kept", filename="kept.gif")
    adding = backup._add_file  # pyright: ignore[reportPrivateUsage]

    def slow(tar: Any, name: str, path: Path) -> Any:
        files[1].unlink(missing_ok=True)
        return adding(tar, name, path)

    monkeypatch.setattr(backup, "_add_file", slow)
    target = tmp_path / "pixelog.backup"
    if not removed:
        with pytest.raises(FileNotFoundError):
            backups.write(bench.state.data, bench.state.store, target)
        assert not target.exists()
        return
    manifest = backups.write(bench.state.data, bench.state.store, target)
    assert sum(one.name.startswith("blobs/") for one in manifest.files) == 3
    again = DataDirectory(tmp_path / "again")
    backups.restore(target, again)
    assert verify(again).problems == ()


# -- packs -------------------------------------------------------------------------------------------------------------------------------


def test_packs_of_removed_items_go_before_their_contents(narrow: Bench) -> None:
    """They can be made again; those of the library stay, and so does one whose result waits to be handed in."""
    kept, file = narrow.add("kept", pack=True), narrow.add("gone", pack=True)
    narrow.state.remove_media("gone")
    narrow.after(HOUR)
    fresh = narrow.pack("fresh")
    fresh.write_bytes(b"x" * SIZE_BYTES)
    narrow.short_of(SIZE_BYTES)
    narrow.look()
    assert [one.exists() for one in (kept, file, narrow.pack("kept"), narrow.pack("gone"), fresh)] == [
        True,
        True,
        True,
        False,
        True,
    ]
    narrow.short_of(1 << 20)
    narrow.look()
    assert [one.exists() for one in (kept, file, narrow.pack("kept"), fresh)] == [True, False, True, True]
    narrow.after(2 * HOUR)
    narrow.look()
    assert [one.exists() for one in (narrow.pack("kept"), fresh)] == [True, False]


def test_a_pack_that_was_made_again_waits_to_be_named(narrow: Bench) -> None:
    """Though a removed item had the same one: as long as an item is being prepared, and two hours at most."""
    narrow.add("gone", pack=True)
    narrow.state.remove_media("gone")
    narrow.after(HOUR)
    narrow.add("twin")
    assert narrow.state.claim_job(["prepare"], "worker", HOUR) is not None
    changed(narrow.pack("gone"), time.time() + narrow.hand.seconds)
    narrow.short_of(1 << 20)
    narrow.after(0.9 * room.UNNAMED_KEPT_SECONDS)
    narrow.look()
    assert narrow.pack("gone").exists()
    narrow.after(0.1 * room.UNNAMED_KEPT_SECONDS)
    narrow.look()
    assert not narrow.pack("gone").exists()


def test_a_pack_that_is_named_meanwhile_stays(narrow: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the removal an item came that has it."""
    narrow.add("gone", pack=True)
    narrow.state.remove_media("gone")
    narrow.after(3 * HOUR)
    narrow.short_of(1 << 20)
    look = room.Room._sheddable  # pyright: ignore[reportPrivateUsage]

    def slow(self: room.Room) -> Any:
        found = look(self)
        narrow.name_pack("twin", narrow.add("twin").name, of="gone")
        return found

    monkeypatch.setattr(room.Room, "_sheddable", slow)
    narrow.look()
    assert narrow.pack("gone").exists()


def test_the_pack_of_what_was_removed_a_moment_ago_is_spared(narrow: Bench) -> None:
    """As its content is."""
    narrow.add("cat", pack=True)
    narrow.after(3 * HOUR)
    narrow.state.remove_media("cat")
    narrow.short_of(1 << 20)
    narrow.look()
    assert narrow.pack("cat").exists()


# -- asked -------------------------------------------------------------------------------------------------------------------------------


def test_a_refused_upload_has_room_made_for_it(bench: Bench) -> None:
    """Also on a disk that is not low, at the next look; when it would not fit even then, nothing goes."""
    files = [bench.add(name) for name in ("first", "second", "third")]
    for name in ("first", "second", "third"):
        bench.state.remove_media(name)
        bench.after(HOUR)
    bench.look()
    bench.short_of(DISK_ENOUGH_BYTES - DISK_LOW_BYTES)
    bench.upkeep.want_room(4 * SIZE_BYTES)
    bench.upkeep.turn()
    assert all(file.exists() for file in files)
    bench.upkeep.want_room(2 * SIZE_BYTES)
    bench.upkeep.turn()
    assert [file.exists() for file in files] == [False, False, True]
    bench.look(3)
    assert files[2].exists(), "it was asked for once"


@pytest.mark.parametrize("looked", [True, False])
def test_what_was_asked_for_is_forgotten(bench: Bench, looked: bool) -> None:
    """Once there is room for it, and after ten minutes at the latest: nothing goes for it weeks later."""
    file = bench.add("cat")
    bench.state.remove_media("cat")
    bench.after(HOUR)
    bench.upkeep.want_room(1 << 30)
    if looked:
        bench.short_of(-(2 << 30))
        bench.look()
    else:
        bench.after(room.WISH_SECONDS)
    bench.short_of(DISK_ENOUGH_BYTES - DISK_LOW_BYTES - (1 << 30) + SIZE_BYTES)
    bench.look(2)
    assert file.exists()
    bench.upkeep.want_room(1 << 30)
    bench.look()
    assert not file.exists()


def test_many_files_go_in_turns(narrow: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at once as keep others waiting for a moment only; the next turn follows at once. What is shed is said."""
    monkeypatch.setattr(room, "FILES_PER_TURN", 2)
    files = [narrow.add(f"m{number}") for number in range(5)]
    for number in range(5):
        narrow.state.remove_media(f"m{number}")
    narrow.after(HOUR)
    narrow.short_of(1 << 20)
    counts: list[int] = []
    for _ in range(4):
        narrow.upkeep.turn()
        counts.append(sum(file.exists() for file in files))
    assert counts == [3, 1, 0, 0]


def test_a_look_that_found_nothing_is_not_repeated_at_once(narrow: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes through all files; who is refused has another one made."""
    looks = 0
    look = room.Room._sheddable  # pyright: ignore[reportPrivateUsage]

    def counted(self: room.Room) -> Any:
        nonlocal looks
        looks += 1
        return look(self)

    monkeypatch.setattr(room.Room, "_sheddable", counted)
    narrow.add("cat")
    narrow.short_of(1 << 20)
    narrow.look(20)
    assert looks == 1
    narrow.upkeep.want_room(1)
    narrow.look(2)
    assert looks == 2
    narrow.after(room.AGAIN_SECONDS)
    narrow.look()
    assert looks == 3


# -- what writers left -------------------------------------------------------------------------------------------------------------------

WRITER = """
import sys, pixelog
from eventstore.blobs import BlobStore
from pathlib import Path
folder = Path(sys.argv[1])
writer = BlobStore(folder / "blobs", folder / "tmp").writer()
writer.write(b"half")
print("writing", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def writing(bench: Bench) -> Iterator[subprocess.Popen[bytes]]:
    """Another process in the middle of an upload."""
    command = [sys.executable, "-c", WRITER, str(bench.state.data.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        yield process
        process.kill()


def test_a_killed_writers_file_is_swept_soon_and_a_living_ones_is_not(bench: Bench, writing: subprocess.Popen[bytes]) -> None:
    """However long nothing comes: the file is open. Only after days it goes nevertheless, as there are file systems that say so of every file."""
    folder = bench.state.data.temporary
    with bench.state.blobs.writer() as mine:
        assert len(list(folder.iterdir())) == 2
        bench.after(room.TEMPORARY_KEPT_SECONDS - 3 * HOUR)
        bench.look()
        assert len(list(folder.iterdir())) == 2
        writing.kill()
        writing.wait()
        bench.after(HOUR)
        bench.look()
        assert len(list(folder.iterdir())) == 1
        mine.write(b"still there")
        assert bench.state.blobs.holds(mine.commit().sha256)


def test_a_file_that_is_said_to_be_open_for_ever_goes_in_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network file system every lease may be refused."""

    def refused(*_: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("fcntl.fcntl", refused)
    left = bench.state.data.temporary / "blob-999999999-7f-1"
    left.write_bytes(b"x")
    assert not room.is_left(left, time.time() + 0.9 * room.TEMPORARY_KEPT_SECONDS)
    assert room.is_left(left, time.time() + 1.1 * room.TEMPORARY_KEPT_SECONDS)


def test_a_file_of_a_writer_that_died_before_is_swept_at_the_start(bench: Bench, writing: subprocess.Popen[bytes]) -> None:
    """At the first look; one to which something came a moment ago may belong to a writer that cannot be seen from here."""
    writing.kill()
    writing.wait()
    (left,) = bench.state.data.temporary.iterdir()
    bench.upkeep.turn()
    assert left.exists()
    changed(left, time.time() - room.LEFT_AFTER_SECONDS)
    Upkeep(bench.state.data, bench.state.executor).turn()
    assert not left.exists()


def test_a_closed_file_of_a_living_process_is_swept_after_a_while(bench: Bench) -> None:
    """Its upload failed, or another process has its number by now. What is no writer's of ours is kept for days."""
    left, strange = bench.state.data.temporary / f"blob-{os.getpid()}-7f-1", bench.state.data.temporary / "notes"
    for path in (left, strange):
        path.write_bytes(b"x")
    now = time.time()
    assert [room.is_left(path, now + 0.9 * room.CLOSED_KEPT_SECONDS) for path in (left, strange)] == [False, False]
    assert [room.is_left(path, now + 1.1 * room.CLOSED_KEPT_SECONDS) for path in (left, strange)] == [True, False]
    assert room.is_left(strange, now + 1.1 * room.TEMPORARY_KEPT_SECONDS)


def test_where_nobody_says_what_is_open_only_age_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system without leases."""

    def refused(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("fcntl.fcntl", refused)
    left = bench.state.data.temporary / "blob-999999999-7f-1"
    left.write_bytes(b"x")
    assert not room.is_left(left, time.time() + 0.9 * room.TEMPORARY_KEPT_SECONDS)
    assert room.is_left(left, time.time() + 1.1 * room.TEMPORARY_KEPT_SECONDS)


def test_what_killed_writers_left_goes_before_anything_that_can_be_restored(narrow: Bench) -> None:
    """And when that is enough, nothing else does."""
    file = narrow.add("cat")
    narrow.state.remove_media("cat")
    left = narrow.state.data.temporary / "blob-999999999-7f-1"
    left.write_bytes(b"x" * SIZE_BYTES)
    narrow.after(HOUR)
    narrow.short_of(SIZE_BYTES)
    narrow.look()
    assert (left.exists(), file.exists()) == (False, True)
