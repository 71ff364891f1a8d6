"""The ports of player and worker, built over a StateService: the composition root's own adapters. Nothing is decided here."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
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
from api.commands.jobs import CancelJob, QueueJob, UpdateJob
from api.commands.media import PREPARE, FailPreparing, FinishPreparing
from api.commands.plays import Played
from api.service import StateService
from eventstore.clock import logtime_at
from eventstore.errors import Refused
from eventstore.errors import Stopped as LogStopped
from eventstore.reading import read_head
from eventstore.record import Head, Origin
from player.prepare import Geometry, MediaError, Prepared
from player.run import Fact
from player.worker import Task
from projections import jobs, loop, media, picture, planning, settings
from projections.display import DisplayAttached, DisplayFallback, DisplayLost, PlayerShown, PlayerStarted, PlayerStopped
from projections.media import Pack
from projections.plays import PlayerPlayed

T = TypeVar("T")

UNREPORTED = (Refused, LogStopped, Rejected)
"""What a report may meet without the player being at fault: a full or read-only disk, a stopped log, a refused fact."""

LEASE_SECONDS = 15.0
"""A worker that is silent for this long is dead; each report of progress renews the lease."""

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
        service.executor.execute(RecordFacts(tuple(said)), origin=origin)

    return report


class PrepareDesk:
    """`player.worker.Desk` over a StateService: claims jobs of kind `prepare`, and queues one for each item that lacks a pack for the present
    panel, rotation and fit."""

    def __init__(self, service: StateService) -> None:
        self._service = service
        self._name = f"worker-{os.getpid()}"
        self._origin = Origin("worker")
        self._seen = 0

    def take(self) -> Task | None:
        """Claim a job, or queue what is missing and claim that."""
        service = self._service
        self._seen = service.store.head().position
        now_us = service.store.now_us()
        with service.store.snapshot() as db:
            waiting = jobs.first_waiting(db, [PREPARE]) is not None or bool(jobs.expired(db, [PREPARE], now_us, 1))
            lacking = None if waiting else self._lacking(db)
        if lacking is not None:
            slug, sha256, key = lacking
            self._queue(slug, sha256, key)
        elif not waiting:
            return None
        job = service.claim_job([PREPARE], self._name, LEASE_SECONDS)
        if job is None:
            return None
        slug, sha256 = str((job.input or {}).get("slug", "")), str((job.input or {}).get("sha256", ""))
        return Task(job.id, job.attempt, slug, sha256, service.blobs.path(sha256), self._geometry())

    def _geometry(self) -> Geometry:
        with self._service.store.snapshot() as db:
            panel, values = picture.panel(db), settings.get(db)
        return msgspec.convert(
            {"width": panel.width, "height": panel.height, "rotation": values["rotation"], "fit": values["fit"]}, Geometry
        )

    def _lacking(self, db: apsw.Connection) -> tuple[str, str, str] | None:
        """The next item without a pack for the present geometry (what plays first), and the key that keeps its job single."""
        panel, values = picture.panel(db), settings.get(db)
        rotation, fit = int(values["rotation"]), str(values["fit"])
        turn = planning.newest_turn(db)
        prefer = [turn.slug] if turn is not None and turn.slug is not None else []
        prefer += [entry.slug for entry in loop.entries(db)]
        found = media.lacking_pack(db, panel.width, panel.height, rotation, fit, 1, prefer)
        if not found:
            return None
        slug, sha256 = found[0]
        return slug, sha256, f"{PREPARE}/{sha256}/{panel.width}x{panel.height}/{rotation}/{fit}"

    def _queue(self, slug: str, sha256: str, key: str) -> None:
        command = QueueJob(kind=PREPARE, title=slug[:200], input={"slug": slug, "sha256": sha256}, dedupe_key=key, max_attempts=3)
        self._service.executor.execute(command, origin=self._origin)

    def missing(self, slug: str, pack: str) -> None:
        """The player lacks a pack that the log names: have it made again."""
        with self._service.store.reading() as db:
            files = media.files(db, slug)
        if files is not None and files.sha256 is not None:
            self._queue(slug, files.sha256, f"{PREPARE}/{pack}")

    def progress(self, task: Task, percent: int, stage: str) -> bool:
        """Report; False when the job was cancelled or taken away."""
        try:
            report = UpdateJob(id=task.job_id, progress=percent, stage=stage, worker=self._name, attempt=task.attempt)
            self._service.executor.execute(report, origin=self._origin)
        except Rejected:
            return False
        job = self._service.get_job(task.job_id)
        return job is not None and not job.cancel_requested

    def prepared(self, task: Task, prepared: Prepared) -> None:
        """The pack is there: say so, and finish the job."""
        geometry = task.geometry
        pack = Pack(prepared.pack, geometry.width, geometry.height, geometry.rotation, geometry.fit, prepared.pack_size_bytes)
        command = FinishPreparing(
            task.job_id, task.slug, task.sha256, prepared.kind, prepared.type, prepared.width, prepared.height,
            prepared.frame_count, prepared.delays, pack, prepared.thumbnail, prepared.made_by,
        )  # fmt: skip
        self._service.executor.execute(command, origin=self._origin)

    def refused(self, task: Task, error: MediaError) -> None:
        """The file cannot be played: say why, and fail the job."""
        command = FailPreparing(task.job_id, task.slug, task.sha256, error.code, error.message)
        self._service.executor.execute(command, origin=self._origin)

    def cancelled(self, task: Task) -> None:
        """Honour a request to cancel."""
        try:
            self._service.executor.execute(UpdateJob(id=task.job_id, status="cancelled"), origin=self._origin)
        except Rejected:
            self._service.executor.execute(CancelJob(task.job_id), origin=self._origin)

    def wait(self, seconds: float) -> None:
        """Until the log has moved since the last look."""
        self._service.store.watch.wait(self._seen, seconds)


def end_with_parent(descriptor: int, stop: Callable[[], None]) -> None:
    """Call `stop` when the other end of the inherited pipe closes: when whoever started this process is gone, however it went."""

    def watch() -> None:
        while os.read(descriptor, 1):
            continue
        stop()

    threading.Thread(target=watch, name="pixelog-parent", daemon=True).start()
