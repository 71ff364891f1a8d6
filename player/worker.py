"""The worker: takes up jobs that make frame packs, one at a time, each in a limited child. What it needs of the outside is handed in."""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from player.child import Cancelled, prepare_limited
from player.prepare import Geometry, MediaError, Prepared

IDLE_SECONDS = 5.0
"""The longest wait between looks for work, should a wake-up get lost."""

REPORT_SECONDS = 0.5
"""Progress is reported at most this often: people see no more, and each report is an event."""


HAND_IN_TRIES_MAX = 720
"""An outcome is handed in again for an hour before it is given up: time for somebody to make room on a full disk. Making it once more would cost
minutes of a small machine and one of the few attempts at the job."""

DISK_TRIES_MAX = 10
"""A task whose pack the disk has no room for is tried again so often, five minutes in all: time for the service to shed what nobody needs. Left to
its lease at once, it would have used up its attempts within a minute, and the file would get the blame. More would keep smaller ones waiting."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What a disk says that may take the same pack later."""


class NotNow(Exception):
    """A desk can take nothing and give nothing just now, as while the disk is full or others are writing; after a while it may. The text says why."""


class DeskClosed(Exception):
    """A desk that will answer no more; another process may open a new one. The text says why."""


class Task(msgspec.Struct, frozen=True):
    """A claimed job: which attempt at it, which item, where its file is, for which panel."""

    job_id: str
    attempt: int
    slug: str
    sha256: str
    source: Path
    geometry: Geometry


class Desk(Protocol):
    """Where tasks come from and where their outcome goes. Each call may raise NotNow, and then has done nothing; or DeskClosed."""

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
        self._troubles: set[str] = set()

    def stop(self) -> None:
        """Ask for the end; a child under way is ended, its job is taken up again by the next worker."""
        self._stop.set()

    def run(self) -> None:
        """Take up tasks as they come. Returns when told to stop, or when the desk has closed."""
        self._sweep()
        try:
            while not self._stop.is_set():
                self._turn()
        except DeskClosed as error:
            _say(f"{error}; this worker ends")

    def _turn(self) -> None:
        try:
            task = self._desk.take()
            self._recovered("desk")
            if task is None:
                self._desk.wait(IDLE_SECONDS)
                return
        except NotNow as error:
            self._complain("desk", str(error))
            self._stop.wait(IDLE_SECONDS)
            return
        self._work(task)

    def _sweep(self) -> None:
        """Remove what a power cut left of packs under way: nobody else writes here."""
        for leftover in self._packs.glob(".prepare-*"):
            leftover.unlink(missing_ok=True)

    def _work(self, task: Task) -> None:
        """Prepare it and hand in what came of it. A disk that does not take the pack is at fault, not the file: then it is tried again."""
        for attempt in range(DISK_TRIES_MAX):
            try:
                hand_in = self._outcome(task)
            except OSError as error:
                self._complain("disk", f"{task.slug}: {error}")
                if self._stop.wait(IDLE_SECONDS * (attempt + 1)) or error.errno not in NO_ROOM:
                    return
            else:
                self._recovered("disk")
                self._hand_in(hand_in)
                return

    def _outcome(self, task: Task) -> Callable[[], None]:
        """What to say at the desk once the child has ended. Raises OSError: the disk's fault."""
        wanted = True
        report_at = time.monotonic()

        def progress(percent: int, stage: str) -> None:
            nonlocal wanted, report_at
            if time.monotonic() < report_at:
                return
            report_at = time.monotonic() + REPORT_SECONDS
            try:
                wanted = self._desk.progress(task, min(percent, 99), stage)
            except NotNow as error:
                self._complain("desk", str(error))
                report_at = time.monotonic() + IDLE_SECONDS
            else:
                self._recovered("desk")

        try:
            prepared = prepare_limited(
                task.source, self._packs, task.geometry, progress, cancelled=lambda: self._stop.is_set() or not wanted
            )
        except Cancelled:
            return lambda: None if self._stop.is_set() else self._desk.cancelled(task)
        except MediaError as error:
            refusal = error
        except FileNotFoundError:
            refusal = MediaError("not_media", "The file of this item is gone from the disk. Upload it again.")
        else:
            return lambda: self._desk.prepared(task, prepared)
        return lambda: self._desk.refused(task, refusal)

    def _hand_in(self, outcome: Callable[[], None]) -> None:
        """Say it at the desk, again and again while that cannot be. Given up, the job is left to its lease."""
        for _ in range(HAND_IN_TRIES_MAX):
            try:
                outcome()
            except NotNow as error:
                self._complain("desk", str(error))
                if self._stop.wait(IDLE_SECONDS):
                    return
            else:
                self._recovered("desk")
                return

    def _complain(self, about: Literal["desk", "disk"], what: str) -> None:
        """Once for each time that something keeps the work from going on."""
        if about not in self._troubles:
            self._troubles.add(about)
            _say(f"{what}; it is tried again until it works")

    def _recovered(self, about: Literal["desk", "disk"]) -> None:
        if about in self._troubles:
            self._troubles.remove(about)
            _say("the work goes on")


def _say(what: str) -> None:
    print(f"pixelog worker: {what}", file=sys.stderr, flush=True)  # noqa: T201 - the worker's log
