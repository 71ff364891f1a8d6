"""What all routes share: the service behind them, one read connection for the event loop, threads for what takes longer, and the end.

Short reads run on the event loop itself over a connection of its own: handing them to a thread costs more than they do. Whatever may take
longer than a few milliseconds, and every command, goes to a thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, TypeVar

import apsw
import msgspec

from api.device.facts import DISK_KEPT_BYTES
from api.execution import Outcome, Repeat, Respond, Stored
from api.http.attempts import Attempts
from api.http.camera import Camera
from api.http.problems import Problem
from api.http.tail import Tail
from api.service import StateService
from eventstore.clock import logtime_at
from eventstore.reading import read_head
from eventstore.record import Head, Origin
from player.screen import ScreenReader

T = TypeVar("T")

COMMAND_THREADS = 32
"""Commands under way at once: they wait together for one sync of the disk, so more threads would only wait."""

COMMANDS_MAX = 1_024
"""Commands accepted at once; beyond that the caller is better told so than kept."""

READ_THREADS = 2
"""Slow reads at once: of the pool's four connections one is the event loop's and one is left for whoever looks at the head."""

UPLOAD_BYTES_MAX = 2 * 1024**3
"""Bytes of one uploaded file, unless configured otherwise."""

Stage = Literal["starting", "ready", "stopping"]


class Limits(msgspec.Struct, frozen=True):
    """What the owner may configure."""

    upload_bytes: int = UPLOAD_BYTES_MAX
    hosts: tuple[str, ...] = ()
    """Further names under which the service may be called."""


class Snapshot(msgspec.Struct, frozen=True):
    """One consistent state of the log and its tables. Valid inside the block that gave it."""

    db: apsw.Connection
    head: Head
    log_id: str
    now_us: int


class Door:
    """Opened and closed by the application's lifespan, on the event loop."""

    def __init__(self, service: StateService, screen: ScreenReader | None, limits: Limits) -> None:
        self.service = service
        self.camera = Camera(screen)
        self.limits = limits
        self.attempts = Attempts()
        self.looking_back = asyncio.Semaphore(1)
        """Held while a screen of the past is computed: each may decode a film, and one at a time is enough for a small machine."""
        self.stage: Stage = "starting"
        self.stopping = asyncio.Event()
        self._commands = 0
        self._command_threads = ThreadPoolExecutor(COMMAND_THREADS, "pixelog-command")
        self._read_threads = ThreadPoolExecutor(READ_THREADS, "pixelog-read")
        self._tail: Tail | None = None
        self._lease: AbstractContextManager[apsw.Connection] | None = None
        self._db: apsw.Connection | None = None

    def open(self) -> None:
        """Take the event loop's connection and begin to listen to the log."""
        self._lease = self.service.store.reading()
        self._db = self._lease.__enter__()
        self._tail = Tail(self.service.store, self._db)
        self.stage = "ready"

    def begin_stop(self) -> None:
        """End the endless answers and refuse commands from now on. On the event loop."""
        self.stage = "stopping"
        self.stopping.set()
        if self._tail is not None:
            self._tail.wake_all()

    def close(self) -> None:
        """Wait for what is under way and give everything back."""
        self.begin_stop()
        if self._tail is not None:
            self._tail.close()
        self._command_threads.shutdown()
        self._read_threads.shutdown()
        if self._lease is not None:
            self._lease.__exit__(None, None, None)
            self._lease = self._db = None

    @property
    def tail(self) -> Tail:
        """The newest events. Problem: not_ready."""
        if self._tail is None:
            raise _not_ready()
        return self._tail

    @contextmanager
    def snapshot(self) -> Generator[Snapshot]:
        """One state, read on the event loop; for short reads without an `await` inside."""
        db = self._db
        if db is None:
            raise _not_ready()
        db.execute("BEGIN")
        try:
            yield self._snapshot(db)
        finally:
            db.execute("ROLLBACK")

    def _snapshot(self, db: apsw.Connection) -> Snapshot:
        store = self.service.store
        head = read_head(db)
        return Snapshot(db, head, store.log_id, logtime_at(head, store.clock.read()))

    async def read(self, query: Callable[[Snapshot], T]) -> T:
        """One state, read on a thread; for reads that may take a while."""

        def work() -> T:
            with self.service.store.snapshot() as db:
                return query(self._snapshot(db))

        return await asyncio.get_running_loop().run_in_executor(self._read_threads, work)

    def free_bytes(self) -> int:
        """Bytes that the disk of the data directory still takes."""
        disk = os.statvfs(self.service.data.root)
        return disk.f_bavail * disk.f_frsize

    def room_bytes(self) -> int:
        """How many of them files may take."""
        return max(0, self.free_bytes() - DISK_KEPT_BYTES)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run something that blocks and does not need the log."""
        return await asyncio.get_running_loop().run_in_executor(None, work)

    async def execute(
        self, command: msgspec.Struct, respond: Respond[Stored], origin: Origin, repeat: Repeat | None
    ) -> Outcome[Stored]:
        """Carry out a command and return after its commit. Raises Problem (overloaded, not_ready), and what `Executor.execute` raises."""
        if self.stage != "ready":
            raise _not_ready()
        if self._commands >= COMMANDS_MAX:
            raise Problem("overloaded", f"{COMMANDS_MAX:,} commands are under way; try again in a second")
        executor = self.service.executor

        def work() -> Outcome[Stored]:
            return executor.execute(command, respond, origin=origin, repeat=repeat)

        self._commands += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._command_threads, work)
        finally:
            self._commands -= 1


def _not_ready() -> Problem:
    return Problem("not_ready", "the service is starting or stopping; try again in a moment")
