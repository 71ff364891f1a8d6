"""The worker: takes up jobs that make frame packs, one at a time, each in a limited child. What it needs of the outside is handed in."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Protocol

import msgspec

from player.child import Cancelled, prepare_limited
from player.prepare import Geometry, MediaError, Prepared

IDLE_SECONDS = 5.0
"""The longest wait between looks for work, should a wake-up get lost."""

REPORT_SECONDS = 0.5
"""Progress is reported at most this often: people see no more, and each report is an event."""


class Task(msgspec.Struct, frozen=True):
    """A claimed job: which attempt at it, which item, where its file is, for which panel."""

    job_id: str
    attempt: int
    slug: str
    sha256: str
    source: Path
    geometry: Geometry


class Desk(Protocol):
    """Where tasks come from and where their outcome goes."""

    def take(self) -> Task | None:
        """The next task, or None when there is nothing to do."""
        ...

    def progress(self, task: Task, percent: int, stage: str) -> bool:
        """Note how far it is; False when the task was cancelled meanwhile."""
        ...

    def prepared(self, task: Task, prepared: Prepared) -> None: ...

    def refused(self, task: Task, error: MediaError) -> None: ...

    def cancelled(self, task: Task) -> None: ...

    def wait(self, seconds: float) -> None:
        """Until there may be work, or so long."""
        ...


class Worker:
    """Works until told to stop. One thread calls `run`; `stop` may come from any thread or signal handler."""

    def __init__(self, desk: Desk, packs: Path) -> None:
        self._desk = desk
        self._packs = packs
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask for the end; a child under way is ended, its job is taken up again by the next worker."""
        self._stop.set()

    def run(self) -> None:
        """Take up tasks as they come."""
        self._sweep()
        while not self._stop.is_set():
            task = self._desk.take()
            if task is None:
                self._desk.wait(IDLE_SECONDS)
            else:
                self._work(task)

    def _sweep(self) -> None:
        """Remove what a power cut left of packs under way: nobody else writes here."""
        for leftover in self._packs.glob(".prepare-*"):
            leftover.unlink(missing_ok=True)

    def _work(self, task: Task) -> None:
        wanted = True
        reported_at = 0.0

        def progress(percent: int, stage: str) -> None:
            nonlocal wanted, reported_at
            if time.monotonic() - reported_at >= REPORT_SECONDS:
                reported_at = time.monotonic()
                wanted = self._desk.progress(task, min(percent, 99), stage)

        try:
            prepared = prepare_limited(
                task.source, self._packs, task.geometry, progress, cancelled=lambda: self._stop.is_set() or not wanted
            )
        except Cancelled:
            if not self._stop.is_set():
                self._desk.cancelled(task)
        except MediaError as error:
            self._desk.refused(task, error)
        except FileNotFoundError:
            self._desk.refused(task, MediaError("not_media", "The file of this item is gone from the disk. Upload it again."))
        except OSError as error:
            # The disk's fault, not the file's: say so, leave the job to its lease, and do not spin.
            print(f"pixelog worker: {task.slug}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the worker's log
            self._stop.wait(IDLE_SECONDS)
        else:
            self._desk.prepared(task, prepared)
