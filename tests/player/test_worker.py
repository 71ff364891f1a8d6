"""The worker, at a desk of its own and at the real one: what it takes up, what becomes of it, and how it ends."""

from __future__ import annotations

import errno
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import apsw
import pytest
from PIL import Image

from api.cli import ports
from api.cli.ports import PrepareDesk
from api.commands.display import Attached, RecordFacts
from api.commands.jobs import ClaimJob
from api.device.facts import DISK_KEPT_BYTES, Disk
from api.service import StateService
from eventstore.clock import Reading
from eventstore.errors import Stopped, StoreError
from eventstore.store import EventStore
from eventstore.testing.faults import Fault, FaultyVFS
from player import worker
from player.framepack import FramePack
from player.media_error import MediaError
from player.prepare import Geometry, Prepared
from player.worker import DeskClosed, NotNow, Task, Worker
from projections import jobs, media, preparing

S = 1_000_000
WIDTH, HEIGHT = 30, 20


def picture(colour: tuple[int, int, int]) -> bytes:
    """A small PNG."""
    file = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(file, "PNG")
    return file.getvalue()


class Hand:
    """Clocks that stand still until they are moved."""

    def __init__(self) -> None:
        self.us = 5 * S

    def read(self) -> Reading:
        return Reading(1_767_225_600_000_000 + self.us, self.us, "boot-1", True)


class House:
    """A data directory with a small panel, and the desk over it."""

    def __init__(self, root: Path) -> None:
        self.clock = Hand()
        self.service = StateService(root / "data", clock=self.clock)
        self.service.executor.execute(RecordFacts((Attached("sim", WIDTH, HEIGHT),)))
        self.desk = PrepareDesk(self.service)

    def add(self, name: str, content: bytes | None = None, **flags: bool) -> str:
        """An item; its content is a picture of its own unless given."""
        colour = (len(name) * 8 % 256, ord(name[0]) % 256, sum(name.encode()) % 256)
        return self.service.add_media(picture(colour) if content is None else content, filename=f"{name}.png", **flags).slug

    def work(self, tasks: int = 1) -> None:
        """Let a worker do so many tasks, or until there are none."""
        done = 0
        desk = self.desk

        class Counted(PrepareDesk):
            def take(self) -> Task | None:
                nonlocal done
                task = None if done == tasks else desk.take()
                done += 1
                if task is None:
                    one.stop()
                return task

        one = Worker(Counted(self.service), self.service.data.packs)
        one.run()

    def item(self, slug: str) -> media.Media:
        """The item as callers see it."""
        found = self.service.get_media(slug)
        assert found is not None
        return found

    def files(self, slug: str) -> media.Files:
        """The item's files."""
        with self.service.store.reading() as db:
            found = media.files(db, slug)
        assert found is not None
        return found

    def jobs(self) -> list[tuple[str, str, int]]:
        """Title, status and priority of every job, the newest first."""
        with self.service.store.reading() as db:
            return [(job.title, job.status, job.priority) for job in jobs.listing(db)[0]]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A house; closed at the end."""
    one = House(tmp_path)
    yield one
    one.service.close()


def test_an_upload_becomes_a_pack_of_the_panels_geometry(house: House) -> None:
    """Item ready, job completed, pack and thumbnail on the disk."""
    slug = house.add("cat")
    house.work()
    item, files = house.item(slug), house.files(slug)
    assert (item.status, item.kind, item.width, item.height) == ("ready", "image", 6, 4)
    (pack,) = files.packs
    assert (pack.width, pack.height, pack.rotation, pack.fit) == (WIDTH, HEIGHT, 0, "contain")
    with FramePack.open(house.service.data.pack(pack.name)) as opened:
        assert (opened.width, opened.height, opened.frame_count) == (WIDTH, HEIGHT, 1)
    assert house.service.data.thumbnail(files.thumbnail or "").is_file()
    assert house.jobs() == [("cat.png", "completed", 0)]
    assert house.desk.take() is None


def test_what_is_no_picture_fails_with_a_sentence(house: House) -> None:
    """The item says why, and so does its job; nothing is left in the packs; it is not taken up again."""
    slug = house.add("cat", b"this is no picture")
    house.work(3)
    item = house.item(slug)
    assert (item.status, house.jobs()) == ("failed", [("cat.png", "failed", 0)])
    assert item.error
    assert list(house.service.data.packs.iterdir()) == []


def test_a_file_that_is_gone_fails(house: House) -> None:
    """There is nothing to prepare."""
    slug = house.add("cat")
    house.service.blobs.path(house.item(slug).sha256 or "").unlink()
    house.work(3)
    assert "gone from the disk" in (house.item(slug).error or "")


def test_a_removed_item_costs_no_pack(house: House) -> None:
    """Its job ends; the library stays as it is."""
    slug = house.add("cat")
    house.service.remove_media(slug)
    house.work()
    assert (house.jobs(), house.files(slug).packs) == ([("cat.png", "completed", 0)], ())


def test_a_turned_panel_has_new_packs_made_what_plays_soon_first(house: House) -> None:
    """Before the uploads that wait; then the newest; each once, the old packs kept."""
    for name in ("aa", "bbb", "cccc"):
        house.add(name)
    house.work(3)
    house.service.reorder_loop(["bbb"])
    house.service.change_settings({"rotation": 90})
    house.add("ddddd")
    house.work(10)
    assert [(title, status, priority) for title, status, priority in house.jobs()] == [
        ("aa", "completed", 0),
        ("cccc", "completed", 0),
        ("bbb", "completed", ports.SOON),
        ("ddddd.png", "completed", 0),
        ("cccc.png", "completed", 0),
        ("bbb.png", "completed", 0),
        ("aa.png", "completed", 0),
    ]
    done = [event.stream for event in house.service.store.read(types=["media.processed"])]
    assert done == ["media/aa", "media/bbb", "media/cccc", "media/bbb", "media/ddddd", "media/cccc", "media/aa"]
    assert [pack.rotation for pack in house.files("bbb").packs] == [0, 90]
    assert house.desk.take() is None


def test_a_look_for_work_is_cheap_when_there_is_none(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is looked through once; an event that concerns no item costs no further look, another one only after a while."""
    looks = 0
    look = media.lacking_pack

    def counted(*arguments: object) -> list[tuple[str, str]]:
        nonlocal looks
        looks += 1
        return look(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(media, "lacking_pack", counted)
    house.add("cat")
    house.work()
    for _ in range(20):
        house.service.heartbeat("camera")
        assert house.desk.take() is None
    assert looks == 1
    for number in range(20):
        house.service.update_media("cat", tags=[str(number)])
        assert house.desk.take() is None
    assert looks == 1
    house.service.change_settings({"fit": "cover"})
    assert house.desk.take() is not None
    assert looks == 1 + 1


def test_a_missing_pack_is_made_again(house: House) -> None:
    """On the player's word; asked twice, once; the file is there again under its name."""
    slug = house.add("cat")
    house.work()
    (pack,) = house.files(slug).packs
    path = house.service.data.pack(pack.name)
    path.unlink()
    house.desk.missing(slug, pack.name)
    house.desk.missing(slug, pack.name)
    head = house.service.store.head().position
    house.work(5)
    assert path.is_file()
    assert house.files(slug).packs == (pack,)
    assert [event.type for event in house.service.store.read(head, types=["media.*"])] == ["media.processed"]
    house.desk.missing("nobody", "x")
    assert house.desk.take() is None


def test_an_item_whose_job_came_to_nothing_is_taken_up_again(house: House) -> None:
    """Removed while it waited, prepared for nobody, then restored: it does not wait for ever."""
    slug = house.add("cat")
    house.service.remove_media(slug)
    house.work()
    house.service.restore_media(slug)
    assert house.item(slug).status == "pending"
    house.work(3)
    assert house.item(slug).status == "ready"
    assert house.desk.take() is None


def test_a_cancelled_preparation_stays_cancelled(house: House) -> None:
    """Nobody takes it up behind the owner's back."""
    slug = house.add("cat")
    house.service.cancel_job(house.service.claim_job(["prepare"], "x", 9).id)  # type: ignore[union-attr]
    house.clock.us += 60 * S
    house.work(3)
    assert (house.item(slug).status, house.jobs()) == ("pending", [("cat.png", "cancelled", 0)])


def test_a_file_that_costs_every_worker_its_life_is_to_blame(house: House) -> None:
    """Three workers fall silent over it; then the item has failed, and nobody tries again."""
    slug = house.add("cat")
    for _ in range(3):
        outcome = house.service.executor.execute(ClaimJob(("prepare",), "doomed", 10))
        assert outcome.events[-1].type == "job.claimed"
        house.clock.us += 11 * S
    assert house.desk.take() is None  # the job is given up; that is an event, so the worker looks again
    assert house.desk.take() is None
    assert house.item(slug).status == "failed"
    assert "again and again" in (house.item(slug).error or "")
    house.work(3)
    assert [status for _, status, _ in house.jobs()] == ["failed"]


def test_a_job_that_ended_under_its_worker_costs_it_nothing(house: House) -> None:
    """Cancelled for good while its worker was silent: there is nothing left to say, and nothing to fail at."""
    house.add("cat")
    task = house.desk.take()
    assert task is not None
    house.clock.us += 60 * S
    house.service.cancel_job(task.job_id)
    assert house.desk.progress(task, 5, "decode") is False
    house.desk.cancelled(task)
    assert house.jobs() == [("cat.png", "cancelled", 0)]


def test_a_job_that_another_worker_has_by_now_is_left_to_it(house: House) -> None:
    """Who was silent for too long ends its own child, not the other's job."""
    house.add("cat")
    task = house.desk.take()
    assert task is not None
    house.clock.us += 60 * S
    other = house.service.claim_job(["prepare"], "other", 60)
    assert other is not None
    assert other.id == task.job_id
    assert house.desk.progress(task, 5, "decode") is False
    house.desk.cancelled(task)
    job = house.service.get_job(other.id)
    assert job is not None
    assert (job.status, job.worker, job.cancel_requested) == ("running", "other", False)


def test_a_full_queue_does_not_end_the_worker(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack that cannot even be queued waits; what is in the queue is taken up."""
    house.add("aa")
    house.work()
    house.service.change_settings({"rotation": 90})
    monkeypatch.setattr("api.commands.jobs.UNFINISHED_MAX", 0)
    assert house.desk.take() is None
    house.add("bb", make_active=True)
    task = house.desk.take()
    assert task is not None
    assert task.slug == "bb"


def test_nothing_is_taken_up_without_room_for_a_pack(house: House) -> None:
    """Each failed attempt would count against the file. An empty queue needs no room."""
    full = PrepareDesk(house.service, lambda: Disk(1 << 30, DISK_KEPT_BYTES - 1, False))
    assert full.take() is None
    house.add("cat")
    for _ in range(5):
        with pytest.raises(NotNow, match=r"the disk is full \(31 MiB free\)"):
            full.take()
    assert house.jobs() == [("cat.png", "queued", 0)]
    roomy = PrepareDesk(house.service, lambda: Disk(1 << 30, DISK_KEPT_BYTES, False))
    task = roomy.take()
    assert task is not None
    assert task.attempt == 1


@pytest.mark.parametrize("error", [kind("not now") for kind in ports.PASSING], ids=lambda error: error.code)
def test_what_passes_at_the_store_is_told_apart_from_what_lasts(
    house: House, monkeypatch: pytest.MonkeyPatch, error: StoreError
) -> None:
    """By each call of the desk; a log that stopped is over for this process."""
    house.add("cat")
    task = house.desk.take()
    assert task is not None
    prepared = worker.prepare_limited(task.source, house.service.data.packs, task.geometry, lambda percent, stage: None)
    calls: list[Callable[[], object]] = [
        house.desk.take,
        lambda: house.desk.progress(task, 50, "x"),
        lambda: house.desk.prepared(task, prepared),
        lambda: house.desk.refused(task, MediaError("damaged", "x")),
        lambda: house.desk.cancelled(task),
    ]
    for answer, meant in ((error, NotNow), (Stopped("over"), DeskClosed)):

        def refuse(*_: object, answer: StoreError = answer, **__: object) -> None:
            raise answer

        with monkeypatch.context() as patched:
            patched.setattr(house.service.executor, "execute", refuse)
            patched.setattr(house.service, "claim_job", refuse)
            patched.setattr(house.service.store, "snapshot", refuse)
            for call in calls:
                with pytest.raises(meant):
                    call()


def test_a_result_outlives_a_full_disk_and_its_own_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log cannot be written when the pack is made: it is handed in once it can, and made only once."""
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.02)
    with FaultyVFS("full-under-the-worker") as vfs:
        opening = EventStore.open

        def planted(path: Path, **options: Any) -> EventStore:
            return opening(path, vfs=vfs.name, **options)

        monkeypatch.setattr(EventStore, "open", planted)
        house = House(tmp_path)
        slug = house.add("cat")
        made: list[Path] = []
        prepare = worker.prepare_limited

        def fills_up(source: Path, into: Path, *arguments: object, **options: object) -> Prepared:
            made.append(source)
            prepared = prepare(source, into, *arguments, **options)  # type: ignore[arg-type]
            vfs.plant(Fault("enospc", 1, ("write",), for_good=True))
            return prepared

        monkeypatch.setattr(worker, "prepare_limited", fills_up)
        one = Worker(house.desk, house.service.data.packs)
        thread = threading.Thread(target=one.run)
        thread.start()
        wait_until(lambda: vfs.fired >= 5)
        house.clock.us += 60 * S
        vfs.plant(None)
        wait_until(lambda: house.item(slug).status == "ready")
        one.stop()
        thread.join(10)
        assert (thread.is_alive(), len(made), house.jobs()) == (False, 1, [("cat.png", "completed", 0)])
        house.service.close()
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "pixelog worker: the disk is full; free some space and try again, nothing was stored; it is tried again until it works",
        "pixelog worker: the work goes on",
    ]


def test_orphans_are_found_at_their_limit(house: House) -> None:
    """Those longest in the library first; those with a job under way are none."""
    for name in ("aa", "bbb", "cccc"):
        house.add(name)

    def orphans(db: apsw.Connection) -> list[preparing.Orphan]:
        return preparing.orphans(db, "prepare", 2)

    with house.service.store.reading() as db:
        assert orphans(db) == []
    house.service.executor.store.transact(lambda t: t.db.execute("DELETE FROM jobs_all WHERE title <> 'bbb.png'") and None)
    with house.service.store.reading() as db:
        assert [(one.slug, one.blamed) for one in orphans(db)] == [("aa", False), ("cccc", False)]
    house.service.executor.store.transact(lambda t: t.db.execute("DELETE FROM jobs_all") and None)
    with house.service.store.reading() as db:
        assert [one.slug for one in orphans(db)] == ["aa", "bbb"]


# -- the worker itself ---------------------------------------------------------------------------------------------------------------


def wait_until(true: Callable[[], bool]) -> None:
    """Until it is, half a minute at most."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Desk:
    """A desk with these tasks on it that notes what comes back."""

    def __init__(self, *tasks: Task) -> None:
        self.tasks = list(tasks)
        self.noted: list[tuple[str, object]] = []
        self.wanted = True
        self.idle = threading.Event()
        self.on_progress: Callable[[], None] = lambda: None

    def take(self) -> Task | None:
        return self.tasks.pop(0) if self.tasks else None

    def progress(self, task: Task, percent: int, stage: str) -> bool:
        self.noted.append(("progress", percent))
        self.on_progress()
        return self.wanted

    def prepared(self, task: Task, prepared: Prepared) -> None:
        self.noted.append(("prepared", prepared.frame_count))

    def refused(self, task: Task, error: MediaError) -> None:
        self.noted.append(("refused", error.code))

    def cancelled(self, task: Task) -> None:
        self.noted.append(("cancelled", task.job_id))

    def wait(self, seconds: float) -> None:
        self.idle.set()
        time.sleep(0.005)


def task(folder: Path, name: str, content: bytes | None) -> Task:
    """A task about a file of this content."""
    source = folder / name
    if content is not None:
        source.write_bytes(content)
    return Task(name, 1, name, "0" * 64, source, Geometry(WIDTH, HEIGHT))


def run(desk: Desk, packs: Path) -> None:
    """Let a worker go through the desk."""
    one = Worker(desk, packs)
    thread = threading.Thread(target=one.run)
    thread.start()
    assert desk.idle.wait(30)
    one.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_one_bad_file_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    """Each task has its outcome, in order; what a power cut left among the packs is swept first."""
    packs = tmp_path / "packs"
    packs.mkdir()
    (packs / ".prepare-1-x.part").write_bytes(b"half")
    desk = Desk(
        task(tmp_path, "a", picture((1, 2, 3))),
        task(tmp_path, "b", b"no"),
        task(tmp_path, "c", None),
        task(tmp_path, "d", picture((9, 9, 9))),
    )
    run(desk, packs)
    assert [what for what in desk.noted if what[0] != "progress"] == [
        ("prepared", 1),
        ("refused", "not_media"),
        ("refused", "not_media"),
        ("prepared", 1),
    ]
    assert sorted(path.suffix for path in packs.iterdir()) == [".pack", ".pack", ".png", ".png"]


def long_animation() -> bytes:
    """One that takes a while."""
    file = io.BytesIO()
    images = [Image.effect_noise((400, 400), 90 + number).convert("P") for number in range(120)]
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=50)
    return file.getvalue()


def test_a_cancelled_task_ends_soon_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The desk says so in answer to a report; the outcome is that it was cancelled."""
    monkeypatch.setattr(worker, "REPORT_SECONDS", 0.0)
    packs = tmp_path / "packs"
    packs.mkdir()
    desk = Desk(task(tmp_path, "a", long_animation()))
    desk.wanted = False
    run(desk, packs)
    assert desk.noted[-1] == ("cancelled", "a")
    assert len(desk.noted) < 40
    assert list(packs.iterdir()) == []


def test_a_stop_in_the_middle_leaves_the_task_to_the_next_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child is ended at once, nothing is said of the job, nothing is left."""
    monkeypatch.setattr(worker, "REPORT_SECONDS", 0.0)
    packs = tmp_path / "packs"
    packs.mkdir()
    desk = Desk(task(tmp_path, "a", long_animation()))
    one = Worker(desk, packs)
    desk.on_progress = one.stop
    began = time.monotonic()
    one.run()
    assert {what for what, _ in desk.noted} == {"progress"}
    assert list(packs.iterdir()) == []
    assert time.monotonic() - began < 20


def test_a_disk_that_cannot_be_written_is_not_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said on stderr, the job is left to its lease, and the worker goes on after a wait."""
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.01)
    broken = tmp_path / "file"
    broken.write_bytes(b"")
    desk = Desk(task(tmp_path, "a", picture((1, 2, 3))))
    run(desk, broken)
    assert [what for what in desk.noted if what[0] != "progress"] == []
    assert "pixelog worker: a:" in capsys.readouterr().err


class ShutDesk(Desk):
    """One that does not answer to each call of some kinds the first so many times."""

    def __init__(self, refusals: dict[str, int], *tasks: Task) -> None:
        super().__init__(*tasks)
        self.refusals = refusals

    def _ask(self, kind: str) -> None:
        if self.refusals.get(kind, 0):
            self.refusals[kind] -= 1
            raise NotNow("not now")

    def take(self) -> Task | None:
        self._ask("take")
        return super().take()

    def progress(self, task: Task, percent: int, stage: str) -> bool:
        self._ask("progress")
        return super().progress(task, percent, stage)

    def prepared(self, task: Task, prepared: Prepared) -> None:
        self._ask("prepared")
        super().prepared(task, prepared)

    def refused(self, task: Task, error: MediaError) -> None:
        self._ask("refused")
        super().refused(task, error)

    def cancelled(self, task: Task) -> None:
        self._ask("cancelled")
        super().cancelled(task)

    def left(self) -> int:
        """Refusals that were not met."""
        return sum(self.refusals.values())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that waits hardly at all."""
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(worker, "REPORT_SECONDS", 0.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["take", "progress", "prepared"])
def test_a_desk_that_does_not_answer_is_asked_again(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is lost; it is said once that it waits, and once that it goes on."""
    desk = ShutDesk({kind: 3}, task(tmp_path, "a", long_animation()))
    run(desk, tmp_path)
    assert ([what for what in desk.noted if what[0] != "progress"], desk.left()) == ([("prepared", 120)], 0)
    said = capsys.readouterr().err.splitlines()
    assert said == ["pixelog worker: not now; it is tried again until it works", "pixelog worker: the work goes on"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("kind", "outcome"), [("refused", "not_media"), ("cancelled", "a")])
def test_a_refusal_and_a_cancellation_are_handed_in_again(tmp_path: Path, kind: str, outcome: str) -> None:
    """As a result is."""
    desk = ShutDesk({kind: 3}, task(tmp_path, "a", long_animation() if kind == "cancelled" else b"no"))
    desk.wanted = kind == "refused"
    run(desk, tmp_path)
    assert ([what for what in desk.noted if what[0] != "progress"], desk.left()) == ([(kind, outcome)], 0)


@pytest.mark.usefixtures("impatient")
def test_a_result_is_not_handed_in_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the job is left to its lease, and the next task has its turn."""
    monkeypatch.setattr(worker, "HAND_IN_TRIES_MAX", 4)
    desk = ShutDesk({"prepared": 4}, task(tmp_path, "a", picture((1, 2, 3))), task(tmp_path, "b", picture((3, 2, 1))))
    run(desk, tmp_path)
    assert ([what for what in desk.noted if what[0] != "progress"], desk.left()) == ([("prepared", 1)], 0)


def test_a_worker_that_waits_for_its_desk_can_be_stopped(tmp_path: Path) -> None:
    """At once, however long the wait would have been."""
    desk = ShutDesk({"prepared": 10**6}, task(tmp_path, "a", picture((1, 2, 3))))
    one = Worker(desk, tmp_path)
    thread = threading.Thread(target=one.run)
    thread.start()
    wait_until(lambda: desk.left() < 10**6)
    one.stop()
    thread.join(2)
    assert (thread.is_alive(), desk.left()) == (False, 10**6 - 1)


def test_a_desk_that_closed_ends_the_worker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In order, so that it is started again over a desk of its own."""

    class Closed(Desk):
        def take(self) -> Task | None:
            raise DeskClosed("a sync failed")

    Worker(Closed(), tmp_path).run()
    assert capsys.readouterr().err == "pixelog worker: a sync failed; this worker ends\n"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("number", "tries"), [(errno.ENOSPC, 3), (errno.EIO, 1)])
def test_a_pack_for_which_there_is_no_room_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, tries: int
) -> None:
    """Within the same attempt; what else a disk answers is left to the lease."""
    prepare = worker.prepare_limited
    asked: list[str] = []

    def full(source: Path, *arguments: object, **options: object) -> Prepared:
        asked.append(source.name)
        if source.name == "a" and asked.count("a") < 3:
            raise OSError(number, os.strerror(number))
        return prepare(source, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "prepare_limited", full)
    desk = Desk(task(tmp_path, "a", picture((1, 2, 3))), task(tmp_path, "b", picture((1, 2, 3))))
    run(desk, tmp_path)
    assert asked == ["a"] * tries + ["b"]
    assert [what for what in desk.noted if what[0] == "prepared"] == [("prepared", 1)] * (2 if tries == 3 else 1)
    assert capsys.readouterr().err.count(f"a: [Errno {number}]") == 1


def test_each_trouble_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when there was nothing to do between two of them."""
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.0)
    answers = iter([NotNow("first"), NotNow("first"), None, NotNow("second"), None])

    class Bare:
        def take(self) -> Task | None:
            answer = next(answers, DeskClosed("closed"))
            if isinstance(answer, Exception):
                raise answer
            return answer

        def wait(self, seconds: float) -> None: ...

    Worker(cast(Any, Bare()), tmp_path).run()
    assert capsys.readouterr().err.splitlines() == [
        "pixelog worker: first; it is tried again until it works",
        "pixelog worker: the work goes on",
        "pixelog worker: second; it is tried again until it works",
        "pixelog worker: the work goes on",
        "pixelog worker: closed; this worker ends",
    ]
