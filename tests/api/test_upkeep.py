"""The service's idle time: what is attested, swept and checked, and what never is."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import upkeep
from api.data import DataDirectory
from api.service import StateService
from api.upkeep import Upkeep
from api.verification import verify
from eventstore.errors import OutOfSpace
from eventstore.store import EventStore
from eventstore.testing.faults import Fault, FaultyVFS
from projections import attesting

DAY = 24 * 3600.0


class Bench:
    """An open directory, its upkeep, and a clock to move."""

    def __init__(self, folder: Path) -> None:
        self.state = StateService(folder)
        self.seconds = 0.0
        self.upkeep = Upkeep(self.state.data, self.state.executor, lambda: self.seconds, packs_bytes_max=1000)

    def after(self, seconds: float) -> None:
        """So much later, with two looks: one that sees what moved, one that finds it idle."""
        self.upkeep.turn()
        self.seconds += seconds
        self.upkeep.turn()

    def attested(self) -> list[int]:
        """Positions that were attested, oldest first."""
        with self.state.store.reading() as db:
            return [one.said.at for one in reversed(attesting.newest(db, 100))]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """One over an empty directory; the check of everything is only begun where a test wants it."""
    monkeypatch.setattr(upkeep, "CHECK_AFTER_SECONDS", 1e9)
    one = Bench(tmp_path)
    yield one
    one.state.close()


def old(path: Path, days: float) -> Path:
    """A file as old as that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(b"x" * 300)
    then = time.time() - days * DAY
    os.utime(path, (then, then))
    return path


def test_the_log_attests_after_so_many_events(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before, and not again until as many more have come."""
    monkeypatch.setattr(upkeep, "ATTEST_EVENTS", 5)
    for number in range(4):
        bench.state.post_message(f"{number}")
    head = bench.state.store.head().position
    bench.after(11)
    assert bench.attested() == ([head] if head >= 5 else [])
    bench.state.post_message("more")
    bench.after(11)
    many = len(bench.attested())
    bench.after(11)
    assert len(bench.attested()) == many >= 1
    assert verify(bench.state.data).problems == ()


def test_a_quiet_log_attests_once_a_day(bench: Bench) -> None:
    """If anything happened at all."""
    bench.state.post_message("hello")
    bench.after(3600)
    assert bench.attested() == []
    bench.after(DAY)
    (at,) = bench.attested()
    bench.after(3 * DAY)
    assert bench.attested() == [at]


def test_an_orderly_end_attests(bench: Bench) -> None:
    """What happened since the last time; an end after nothing adds nothing."""
    bench.state.post_message("hello")
    head = bench.state.store.head().position
    bench.upkeep.stop()
    assert bench.attested() == [head]
    end = bench.state.store.head().position
    Upkeep(bench.state.data, bench.state.executor).stop()
    assert bench.state.store.head().position == end


def test_old_files_under_way_are_swept(bench: Bench) -> None:
    """Those that nobody can be working on any more."""
    left, young = old(bench.state.data.temporary / "blob-1", 4), old(bench.state.data.temporary / "blob-2", 1)
    bench.after(3601)
    assert not left.exists()
    assert young.exists()


def test_blobs_that_nobody_names_are_swept(bench: Bench) -> None:
    """After a day; those of items never, those of removed items after thirty days of the log's own time."""
    state, blobs = bench.state, bench.state.blobs
    kept, removed = state.add_media(b"GIF89a kept", filename="k.gif"), state.add_media(b"GIF89a removed", filename="r.gif")
    state.remove_media(removed.slug)
    paths = {name: old(blobs.path(item.sha256 or ""), 40) for name, item in (("kept", kept), ("removed", removed))}
    orphan, young = old(blobs.path("e" * 64), 2), old(blobs.path("f" * 64), 0.5)
    bench.after(3601)
    assert [path.exists() for path in (paths["kept"], paths["removed"], orphan, young)] == [True, True, False, True]
    state.store.transact(
        lambda t: t.db.execute("UPDATE media_items SET removed_at = ? WHERE slug = 'r'", (-31 * 86_400_000_000,)) and None
    )
    bench.after(3601)
    assert [path.exists() for path in paths.values()] == [True, False]


def test_the_original_of_an_adopted_item_is_kept(bench: Bench) -> None:
    """An upload that cannot be played here goes out again with its item: its file is not swept while the item is there."""
    item = bench.state.add_media(b"GIF89a frames", filename="f.gif")
    original = old(bench.state.blobs.path("a" * 64), 40)
    extra = '{"pixelogOriginal": {"sha256": "' + "a" * 64 + '"}}'
    bench.state.store.transact(
        lambda t: t.db.execute("UPDATE media_items SET extra = ? WHERE slug = ?", (extra, item.slug)) and None
    )
    bench.after(3601)
    assert original.exists()


def test_content_that_comes_again_is_young_again(bench: Bench) -> None:
    """An upload of bytes that an old unnamed file has is not swept before its event."""
    state = bench.state
    with state.blobs.writer() as writer:
        writer.write(b"GIF89a again")
        blob = writer.commit()
    path = old(state.blobs.path(blob.sha256), 5)
    with state.blobs.writer() as writer:
        writer.write(b"GIF89a again")
        assert writer.commit().existed
    bench.after(3601)
    assert path.exists()


def test_packs_are_shed_to_their_budget(bench: Bench) -> None:
    """Those of no item first, the oldest first; those of what plays never."""
    from api.commands.media import FinishPreparing
    from projections.media import Pack

    state = bench.state
    names = ["p0", "p1", "p2"]
    for number, name in enumerate(names):
        item = state.add_media(b"GIF89a" + bytes([number]), filename=f"i{number}.gif", add_to_loop=number == 0)
        pack = Pack(name, 240, 320, 0, "contain", 300)
        state.executor.execute(
            FinishPreparing(
                None, item.slug, item.sha256 or "", "animation", "image/gif", 9, 9, 2, ((2, 40_000),), pack, name, "t"
            )
        )
    packs = [old(state.data.pack(name), 10 + number) for number, name in enumerate(names)]
    nobodys = [old(state.data.pack(f"n{number}"), number) for number in range(3)]
    bench.after(601)
    assert [path.exists() for path in packs] == [True, True, True]
    assert [path.exists() for path in nobodys] == [False, False, False]
    for path, days in zip(packs, (9, 1, 5), strict=True):
        path.write_bytes(b"x" * 450)
        old(path, days)
    bench.after(601)
    assert [path.exists() for path in packs] == [True, True, False]


def test_everything_is_checked_in_a_process_of_its_own(bench: Bench) -> None:
    """The outcome is part of the health; damage makes it fail, with what would mend it."""
    bench.state.post_message("hello")
    assert bench.upkeep.checks()["verified"].value == "not yet since the start"
    bench.upkeep.check_now()
    said = bench.upkeep.checks()["verified"]
    assert (said.status, said.unit) == ("ok", "events, all as they should be")
    bench.state.store.transact(lambda t: t.db.execute("DELETE FROM messages_posted") and None)
    bench.upkeep.check_now()
    said = bench.upkeep.checks()["verified"]
    assert said.status == "failed"
    assert "pixelog rebuild messages" in str(said.value)
    assert said.mend == "make it anew from the log: pixelog rebuild messages"


def test_an_outcome_stays_until_the_next(bench: Bench) -> None:
    """Beyond the service that found it, too: a problem is not forgotten by a restart, and looked for again soon."""
    bench.state.post_message("hello")
    bench.upkeep.check_now()
    known = bench.upkeep.checks()["verified"]
    assert (known.status, known.figures) == ("ok", {"at": known.figures["at"], "position": 2})  # type: ignore[index]
    after = Upkeep(bench.state.data, bench.state.executor)
    assert after.checks()["verified"] == known
    assert after._verifying.due_at == upkeep.CHECK_AFTER_SECONDS
    bench.state.store.transact(lambda t: t.db.execute("DELETE FROM messages_posted") and None)
    bench.upkeep.check_now()
    failed = bench.upkeep.checks()["verified"]
    after = Upkeep(bench.state.data, bench.state.executor)
    assert after.checks()["verified"] == failed
    assert after._verifying.due_at == upkeep.CHECK_SOON_SECONDS
    assert bench.upkeep._verifying.due_at == bench.seconds + upkeep.CHECK_AGAIN_SECONDS
    (bench.state.data.runtime() / upkeep.CHECKED).write_bytes(b"{")
    assert Upkeep(bench.state.data, bench.state.executor).checks()["verified"].value == "not yet since the start"


def test_a_check_with_much_to_say_comes_to_its_end(bench: Bench) -> None:
    """More than a pipe holds that nobody reads meanwhile."""
    bench.state.heartbeat("player")
    bench.state.store.transact(
        lambda t: (
            t.db.execute(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 700) INSERT INTO heartbeats_services "
                "SELECT printf('%0120d', x), status, details, seen_at, seen_logtime, stale_after, dead_after FROM n, heartbeats_services"
            )
            and None
        )
    )
    bench.seconds = 700.0
    bench.upkeep._begin_check()
    deadline = time.monotonic() + 60
    while bench.upkeep.checks()["verified"].status == "ok":
        assert time.monotonic() < deadline, "the check does not end"
        time.sleep(0.05)
        bench.upkeep.turn()
    assert str(bench.upkeep.checks()["verified"].value).startswith("700 problems, first projection: area heartbeats: ")


def test_a_check_that_takes_too_long_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says so; so is one under way at the service's end."""
    processes: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        upkeep.subprocess, "Popen", lambda command, **options: processes.append(popen(["sleep", "600"])) or processes[-1]
    )
    bench.upkeep._begin_check()
    bench.seconds += upkeep.CHECK_SECONDS_MAX + 1
    bench.upkeep.turn()
    said = bench.upkeep.checks()["verified"]
    assert (said.status, said.value) == ("degraded", "the check of everything took too long and was ended")
    bench.upkeep._begin_check()
    bench.upkeep.stop()
    assert [process.returncode for process in processes] == [-9, -9]


def test_a_checkpoint_whose_sync_fails_stops_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In idle time as after a commit; the duty says so, and nothing is tried again."""
    with FaultyVFS("idle-duty") as vfs:
        opening = EventStore.open
        monkeypatch.setattr(EventStore, "open", lambda path, **options: opening(path, vfs=vfs.name, **options))
        one = Bench(tmp_path)
        one.state.post_message("hello")
        vfs.plant(Fault("eio", 1, ("sync",)))
        one.after(31)
        assert vfs.fired == 1
        assert one.state.store.writer is not None
        assert "restart to recover" in str(one.state.store.writer.stopped)
        said = one.upkeep.checks()["upkeep"]
        assert (said.status, "checkpoint: writing to the log failed" in str(said.value)) == ("degraded", True)
        one.after(31)
        assert vfs.fired == 1
        one.state.close()


def test_a_duty_that_fails_says_so_and_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on."""
    from eventstore import upkeep as files

    def full(store: object) -> int:
        raise OutOfSpace("the disk is full")

    left = old(bench.state.data.temporary / "blob-1", 4)
    with monkeypatch.context() as patched:
        patched.setattr(files, "forget_keys", full)
        bench.after(3601)
        assert bench.upkeep.checks()["upkeep"].status == "degraded"
        assert "keys: the disk is full" in str(bench.upkeep.checks()["upkeep"].value)
    assert not left.exists()
    bench.after(3601)
    assert bench.upkeep.checks()["upkeep"].status == "ok"


def test_a_stopped_area_is_said_loudly(bench: Bench) -> None:
    """With its name and the reason."""
    bench.state.store.transact(
        lambda t: t.db.execute("UPDATE projections SET stopped = 'event 7 does not fit' WHERE area = 'loop'") and None
    )
    said = bench.upkeep.checks()["areas"]
    assert (said.status, said.value) == ("failed", "loop is stopped: event 7 does not fit")
    assert said.mend == "update pixelog, then: pixelog rebuild loop"


def test_what_verify_may_say_is_understood() -> None:
    """Also when it says nothing."""
    assert upkeep.outcome(b"", 0).status == "degraded"
    said = upkeep.outcome(b'{"ok":true,"events":3,"head":4}', 1_000_000)
    assert (said.value, said.figures) == (3, {"at": "1970-01-01T00:00:01.000000Z", "position": 4})
    assert upkeep.outcome(b"[]", 0).status == "degraded"


def test_the_thread_begins_and_ends(tmp_path: Path) -> None:
    """Whatever it is doing."""
    with StateService(tmp_path) as state:
        one = Upkeep(DataDirectory(tmp_path), state.executor)
        one.start()
        one.stop()
