"""The ports of player and worker, built over a StateService: the composition root's own adapters. Nothing is decided here."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import apsw
import msgspec

from api.commands.deciding import Rejected
from api.commands.display import (
    Attached,
    Fallback,
    Lost,
    RecordFacts,
    Shown,
    Started,
    Stopped,
)
from api.commands.display import Fact as ReportedFact
from api.commands.jobs import QueueJob, UpdateJob
from api.commands.media import PREPARE, PREPARE_ATTEMPTS_MAX, FailPreparing, FinishPreparing
from api.commands.plays import Played
from api.device.facts import DISK_KEPT_BYTES, Disk, Roots, disk_of
from api.service import StateService
from eventstore.clock import logtime_at
from eventstore.errors import Busy, OutOfSpace, Overloaded, ReadOnly, Refused, TooSlow
from eventstore.errors import Stopped as LogStopped
from eventstore.reading import read_head
from eventstore.record import Head, Origin
from player.prepare import Geometry, MediaError, Prepared
from player.run import Fact
from player.worker import DeskClosed, NotNow, Task
from projections import active, jobs, loop, media, picture, planning, preparing, settings
from projections.display import DisplayAttached, DisplayFallback, DisplayLost, PlayerShown, PlayerStarted, PlayerStopped
from projections.media import Pack
from projections.plays import PlayerPlayed

T = TypeVar("T")

UNREPORTED = (Refused, LogStopped, Rejected)
"""What a report may meet without the player being at fault: a full or read-only disk, a stopped log, a refused fact."""

PASSING = (Busy, OutOfSpace, Overloaded, ReadOnly, TooSlow)
"""What the worker may meet at the store without being at fault, and without having done anything: it goes by, or somebody mends it."""

LEASE_SECONDS = 15.0
"""A worker that is silent for this long is dead; each report of progress renews the lease."""

SOON = 1
"""Priority of a job for an item that is on or comes soon: before the uploads that wait."""

PREFERRED_MAX = 100
"""Entries of the loop that count as coming soon: looking at them costs less than a millisecond."""

FOUND_MAX = 500
"""Items found lacking in one look through the library."""

SEARCH_AGAIN_SECONDS = 30.0
"""Wait until the library is looked through again when nothing was lacking: at 100,000 items a look takes some tens of milliseconds."""

ORPHANS_MAX = 100
"""Items without a job that are seen to at once."""

_REPORTED: dict[type[msgspec.Struct], type[msgspec.Struct]] = {
    PlayerStarted: Started,
    PlayerStopped: Stopped,
    PlayerShown: Shown,
    PlayerPlayed: Played,
    DisplayAttached: Attached,
    DisplayLost: Lost,
    DisplayFallback: Fallback,
}


class LogSource:
    """`player.run.Source` over an event store."""

    def __init__(self, service: StateService) -> None:
        self._store = service.store
        self._head: Head = self._store.head()

    def read(self, load: Callable[[apsw.Connection], T]) -> T:
        """Run `load` in a snapshot and take its head for the time line."""
        with self._store.snapshot() as db:
            result = load(db)
            self._head = read_head(db)
            return result

    def wait(self, after: int, seconds: float) -> bool:
        """Wait for the head to move beyond `after`."""
        return self._store.watch.wait(after, seconds)

    def now_us(self) -> int:
        """Logtime now, from the head seen last: within a boot the line is the same for every head."""
        return logtime_at(self._head, self._store.clock.read())


def reporter(service: StateService) -> Callable[[Sequence[Fact]], None]:
    """`Ports.report` for this service."""
    origin = Origin("player")

    def report(facts: Sequence[Fact]) -> None:
        said: list[ReportedFact] = [_REPORTED[fact.__class__](*msgspec.structs.astuple(fact)) for fact in facts]  # type: ignore[misc]
        try:
            service.executor.execute(RecordFacts(tuple(said)), origin=origin)
        except Rejected as error:
            # Trying again would be refused again; the facts that follow need not suffer for it.
            print(f"pixelog player: {len(facts)} facts were refused: {error}", file=sys.stderr, flush=True)

    return report


@contextmanager
def _as_a_desk() -> Generator[None]:
    """What the store answers, in a desk's words."""
    try:
        yield
    except PASSING as error:
        raise NotNow(str(error)) from error
    except LogStopped as error:
        raise DeskClosed(str(error)) from error


class PrepareDesk:
    """`player.worker.Desk` over a StateService: claims jobs of kind `prepare`, and queues one for each item that lacks a pack for the present
    panel, rotation and fit, what plays next before all others."""

    def __init__(self, service: StateService, disk: Callable[[], Disk | None] | None = None) -> None:
        """`disk` says how full it is; None: look."""
        self._service = service
        self._disk = disk or (lambda: disk_of(Roots.here(), service.data.root))
        self._name = f"worker-{os.getpid()}"
        self._origin = Origin("worker")
        self._seen = 0
        self._nothing_lacks_at = -1  # position of the last event that could matter, when nothing was lacking
        self._searched_for: tuple[int, int, int, str] | None = None
        self._search_again_at = 0.0
        self._searched = False
        self._found: list[tuple[str, str]] = []  # lacking a pack for that geometry when last searched

    @_as_a_desk()
    def take(self) -> Task | None:
        """Claim a job, or queue what is missing and claim that."""
        service = self._service
        self._seen = service.store.head().position
        now_us = service.store.now_us()
        with service.store.snapshot() as db:
            waiting = jobs.first_waiting(db, [PREPARE]) is not None or bool(jobs.expired(db, [PREPARE], now_us, 1))
            lacking = self._lacking(db, waiting)
            if lacking is not None and preparing.last_status(db, PREPARE, lacking[2]) == "failed":
                orphans = [preparing.Orphan(lacking[0], lacking[1], blamed=True)]
            elif lacking is not None or waiting:
                orphans = []
            else:
                orphans = preparing.orphans(db, PREPARE, ORPHANS_MAX)
        try:
            if lacking is not None and not orphans:
                slug, sha256, key, priority = lacking
                self._queue(slug, sha256, key, priority)
            for orphan in orphans:
                self._adopt(orphan)
        except Rejected as error:
            if error.code != "too_many":  # then what waits already comes first
                raise
        if lacking is None and not orphans and not waiting:
            return None
        self._check_room()
        job = service.claim_job([PREPARE], self._name, LEASE_SECONDS)
        if job is None:
            return None
        slug, sha256 = str((job.input or {}).get("slug", "")), str((job.input or {}).get("sha256", ""))
        return Task(job.id, job.attempt, slug, sha256, service.blobs.path(sha256), self._geometry())

    def _check_room(self) -> None:
        disk = self._disk()
        if disk is not None and disk.free_bytes < DISK_KEPT_BYTES:
            raise NotNow(f"the disk is full ({disk.free_bytes >> 20} MiB free): nothing can be prepared until there is room")

    def _adopt(self, orphan: preparing.Orphan) -> None:
        """See to an item that nobody prepares: once more from the beginning, unless it has already cost as many workers as it may."""
        if orphan.blamed:
            why = "Preparing this file failed again and again. Save it again with another program, or make it smaller."
            self._service.executor.execute(FailPreparing(None, orphan.slug, orphan.sha256, "damaged", why), origin=self._origin)
        else:
            self._queue(orphan.slug, orphan.sha256, f"{PREPARE}/{orphan.sha256}")

    def _geometry(self) -> Geometry:
        with self._service.store.snapshot() as db:
            width, height, rotation, fit = _wanted(db)
        return msgspec.convert({"width": width, "height": height, "rotation": rotation, "fit": fit}, Geometry)

    def _lacking(self, db: apsw.Connection, waiting: bool) -> tuple[str, str, str, int] | None:
        """The next item without a pack for the present geometry: slug, SHA-256, the key that keeps its job single, priority. What plays soon goes
        before the jobs that wait, all else after them."""
        changed_at = picture.changed_at(db)
        if changed_at == self._nothing_lacks_at:
            return None
        wanted = _wanted(db)
        turn = planning.newest_turn(db)
        soon = [slug for slug in (None if turn is None else turn.slug, active.get(db)[0].slug) if slug is not None]
        soon += [entry.slug for entry in loop.entries(db)[:PREFERRED_MAX]]
        found, priority = media.preferred_lacking_pack(db, *wanted, soon), SOON
        if found is None and not waiting:
            self._searched = False
            found, priority = self._search(db, wanted), 0
            if found is None and self._searched:
                self._nothing_lacks_at = changed_at
        if found is None:
            return None
        width, height, rotation, fit = wanted
        key = f"{PREPARE}/{found[1]}/{width}x{height}/{rotation}/{fit}"
        return None if jobs.open_with_key(db, key) is not None else (*found, key, priority)

    def _search(self, db: apsw.Connection, wanted: tuple[int, int, int, str]) -> tuple[str, str] | None:
        """Any item that lacks a pack. Looks through the library for many at once, and not again so soon when it found none."""
        if wanted != self._searched_for:
            self._searched_for, self._search_again_at, self._found = wanted, 0.0, []
        while True:
            while self._found:
                found = media.preferred_lacking_pack(db, *wanted, [self._found.pop(0)[0]])
                if found is not None:
                    return found
            if time.monotonic() < self._search_again_at:
                return None
            self._searched = True
            self._found = media.lacking_pack(db, *wanted, FOUND_MAX)
            if not self._found:
                self._search_again_at = time.monotonic() + SEARCH_AGAIN_SECONDS
                return None

    def _queue(self, slug: str, sha256: str, key: str, priority: int = 0) -> None:
        command = QueueJob(
            kind=PREPARE,
            title=slug[:200],
            input={"slug": slug, "sha256": sha256},
            priority=priority,
            dedupe_key=key,
            max_attempts=PREPARE_ATTEMPTS_MAX,
        )
        self._service.executor.execute(command, origin=self._origin)

    def missing(self, slug: str, pack: str) -> None:
        """The player lacks a pack that the log names: have it made again."""
        with self._service.store.reading() as db:
            files = media.files(db, slug)
        if files is not None and files.sha256 is not None:
            self._queue(slug, files.sha256, f"{PREPARE}/{pack}")

    @_as_a_desk()
    def progress(self, task: Task, percent: int, stage: str) -> bool:
        """Report; False when the job was cancelled or taken away."""
        try:
            report = UpdateJob(id=task.job_id, progress=percent, stage=stage, worker=self._name, attempt=task.attempt)
            self._service.executor.execute(report, origin=self._origin)
        except Rejected:
            return False
        job = self._service.get_job(task.job_id)
        return job is not None and not job.cancel_requested

    @_as_a_desk()
    def prepared(self, task: Task, prepared: Prepared) -> None:
        """The pack is there: say so, and finish the job."""
        geometry = task.geometry
        pack = Pack(prepared.pack, geometry.width, geometry.height, geometry.rotation, geometry.fit, prepared.pack_size_bytes)
        command = FinishPreparing(
            task.job_id, task.slug, task.sha256, prepared.kind, prepared.type, prepared.width, prepared.height,
            prepared.frame_count, prepared.delays, pack, prepared.thumbnail, prepared.made_by,
        )  # fmt: skip
        self._service.executor.execute(command, origin=self._origin)

    @_as_a_desk()
    def refused(self, task: Task, error: MediaError) -> None:
        """The file cannot be played: say why, and fail the job."""
        command = FailPreparing(task.job_id, task.slug, task.sha256, error.code, error.message)
        self._service.executor.execute(command, origin=self._origin)

    @_as_a_desk()
    def cancelled(self, task: Task) -> None:
        """Honour a request to cancel."""
        ended = UpdateJob(id=task.job_id, status="cancelled", worker=self._name, attempt=task.attempt)
        try:
            self._service.executor.execute(ended, origin=self._origin)
        except Rejected:
            return  # it has ended already, or is with another worker now

    def wait(self, seconds: float) -> None:
        """Until the log has moved since the last look."""
        self._service.store.watch.wait(self._seen, seconds)


def _wanted(db: apsw.Connection) -> tuple[int, int, int, str]:
    """Width, height, rotation and fit for which packs are made now."""
    panel, values = picture.panel(db), settings.get(db)
    return panel.width, panel.height, int(values["rotation"]), str(values["fit"])


def end_with_parent(descriptor: int, stop: Callable[[], None]) -> None:
    """Call `stop` when the other end of the inherited pipe closes: when whoever started this process is gone, however it went."""

    def watch() -> None:
        while os.read(descriptor, 1):
            continue
        stop()

    threading.Thread(target=watch, name="pixelog-parent", daemon=True).start()
