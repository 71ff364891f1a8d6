"""Relaxed events are on the disk in time: one thread of each log that is open for writing sees to it.

What is unsynced is found by a look, twice in the time that it may wait, whoever committed it: a process that was killed syncs nothing any more, and
whoever has the log open besides does it in its stead. A look is one SELECT. How long something has waited is told by its logtime, so it does not
matter when it was found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakMethod

import apsw
import msgspec

from eventstore.errors import Refused, Stopped

T = TypeVar("T")

LOOKS = 2
"""Looks in the time that an event may wait, while nothing is behind: what is found is not due yet, and an idle machine is hardly woken."""

OTHERS_LATER = 0.05
"""How much longer, as a part of that time, what others left may wait: they sync it themselves if they live, and two need not wait for one lock."""


class Behind(msgspec.Struct, frozen=True):
    """The disk has the log up to `position` and not all of it; the first event after it is `age_seconds` old."""

    position: int
    age_seconds: float


def of_living(method: Callable[[], T]) -> Callable[[], T]:
    """A bound method that does not keep its object; raises Stopped when that is gone. A log that was forgotten instead of closed goes as any object
    does, though a thread has it in its eye."""
    held = WeakMethod(method)

    def call() -> T:
        living = held()
        if living is None:
            raise Stopped("the log was let go")
        return living()

    return call


class Syncer:
    """The thread. `look` says what is behind, or None when nothing is; `sync` brings all to the disk. Stopped, from either, ends it."""

    def __init__(self, look: Callable[[], Behind | None], sync: Callable[[], None], after_seconds: float) -> None:
        """`after_seconds`: how long an event may wait until it is synced."""
        self._look = look
        self._sync = sync
        self._after_seconds = after_seconds
        self._own = False  # whether this process left something unsynced since the last look
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if it has not begun yet."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="pixelog-sync", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # no thread to be had now; the next commit asks again
            self._thread = thread

    def note(self) -> None:
        """A commit of this process left something unsynced. Called after the commit, so that the next look sees it."""
        self._own = True
        if self._thread is None:
            self.start()

    def end(self, wait_seconds: float | None = None) -> None:
        """End the thread and wait for it, for a sync under way no longer than `wait_seconds`."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(wait_seconds)

    def step(self, seen: int | None, own: bool) -> tuple[int | None, float]:
        """Look, and sync what was behind at the look before and should not be any more. `seen`: up to where the disk had the log then, None when it
        had all; `own`: this process has committed something since. Returns the next `seen`, and the seconds until the next look."""
        behind = self._look()
        if behind is None:
            return None, 0.0
        if behind.position == seen:
            self._sync()
            return None, 0.0
        after_seconds = self._after_seconds * (1.0 if own else 1.0 + OTHERS_LATER)
        return behind.position, max(0.0, after_seconds - behind.age_seconds)

    def _run(self) -> None:
        seen: int | None = None
        while not self._ended.is_set():
            if seen is None and self._ended.wait(self._after_seconds / LOOKS):
                return
            own, self._own = self._own, False  # before the look: what is committed after it is noted again
            try:
                seen, wait_seconds = self.step(seen, own)
            except Stopped:
                return
            except (Refused, apsw.Error):
                wait_seconds = self._after_seconds  # no room, or another process is writing: it stays unsynced until the next try
            if wait_seconds and self._ended.wait(wait_seconds):
                return
