"""A clock that stands still until it is told to move."""

from __future__ import annotations

import threading

from eventstore.clock import Reading

TIME_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z, where a fake clock begins."""


class FakeClock:
    """All clocks of a machine, moved by hand. Safe to move while a store reads it."""

    def __init__(
        self, wall_us: int = TIME_US, boottime_us: int = 5_000_000, boot_id: str = "boot-1", synchronised: bool = True
    ) -> None:
        self._lock = threading.Lock()
        self._wall_us, self._boottime_us, self._boot_id, self._synchronised = wall_us, boottime_us, boot_id, synchronised
        self._boots = 1

    def read(self) -> Reading:
        """What the clocks show."""
        with self._lock:
            return Reading(self._wall_us, self._boottime_us, self._boot_id, self._synchronised)

    def advance(self, us: int) -> None:
        """Time passes, on both clocks."""
        with self._lock:
            self._wall_us += us
            self._boottime_us += us

    def step_wall(self, us: int) -> None:
        """Somebody sets the wall clock; no time passes."""
        with self._lock:
            self._wall_us += us

    def set_wall(self, wall_us: int) -> None:
        """Somebody sets the wall clock to an instant; no time passes."""
        with self._lock:
            self._wall_us = wall_us

    def synchronise(self, synchronised: bool = True) -> None:
        """The kernel begins, or ceases, to trust the wall clock."""
        with self._lock:
            self._synchronised = synchronised

    def reboot(self, wall_us: int | None = None) -> None:
        """The machine starts anew: another boot id, its boot-time clock near zero, the wall clock at `wall_us` if given, unsynchronised."""
        with self._lock:
            self._boots += 1
            self._boot_id, self._boottime_us, self._synchronised = f"boot-{self._boots}", 1_000_000, False
            if wall_us is not None:
                self._wall_us = wall_us
