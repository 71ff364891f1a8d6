"""The two times of an event, from the machine's clocks. Reading clocks happens here and nowhere else in the store.

`time` is the wall clock as read. `logtime` is moved by the boot-time clock alone: within one boot it advances exactly as that clock
does, from boot to boot it goes on where the log ended. A device without a battery clock may believe it is 1970 or 2036; neither moves logtime.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from eventstore.record import Head

WALL_STEP_US = 1_000_000
"""A change of (wall − logtime) beyond this within one boot is a step and is recorded. NTP slews at ≤ 500 ppm, so an hour of slewing
stays near this; below it, seconds on a screen are right anyway."""


class Reading(msgspec.Struct, frozen=True):
    """All clocks, read together: wall µs since 1970, boot-time µs, the boot's id, and whether the wall clock is synchronised."""

    wall_us: int
    boottime_us: int
    boot_id: str
    synchronised: bool


class Clock(Protocol):
    """Where a store gets its times from."""

    def read(self) -> Reading: ...


class _Timex(ctypes.Structure):
    # struct timex of adjtimex(2): only the first field is set (modes = 0: read only); the rest is room for the kernel's answer.
    _fields_ = [("modes", ctypes.c_uint), ("rest", ctypes.c_char * 252)]


class SystemClock:
    """The machine's own clocks (CLOCK_REALTIME, CLOCK_BOOTTIME, the kernel's boot id, adjtimex)."""

    _SYNC_CHECK_US = 5_000_000  # adjtimex is a system call; synchronisation changes rarely, so ask at most every 5 s

    def __init__(self) -> None:
        self._boot_id = _boot_id()
        self._clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        self._synchronised = False
        self._next_check_us = 0
        try:
            self._adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
        except (OSError, AttributeError):
            self._adjtimex = None

    def read(self) -> Reading:
        """Read every clock now."""
        boottime_us = time.clock_gettime_ns(self._clock) // 1000
        if boottime_us >= self._next_check_us:
            self._next_check_us = boottime_us + self._SYNC_CHECK_US
            self._synchronised = self._ask_kernel()
        return Reading(time.time_ns() // 1000, boottime_us, self._boot_id, self._synchronised)

    def _ask_kernel(self) -> bool:
        if self._adjtimex is None:
            return False
        state = self._adjtimex(ctypes.byref(_Timex(modes=0)))
        return 0 <= state < 5  # TIME_ERROR (5): the clock is not synchronised


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        # No kernel id (not Linux): the moment of boot to the minute tells boots apart well enough for development.
        moment = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
        return f"boot-{round(moment / 60)}"


def logtime_at(head: Head, reading: Reading) -> int:
    """Logtime of this reading, given the end of the log: strictly greater than the head's logtime."""
    if reading.boot_id == head.boot_id:
        return head.logtime_us + max(1, reading.boottime_us - head.boottime_us)
    return head.logtime_us + 1


_UUID7_RANDOM = (1 << 80) - 1 & ~(0xF << 76) & ~(0x3 << 62)
_UUID7_FIXED = 0x7 << 76 | 0b10 << 62  # version 7, variant 2


def uuid7(wall_us: int, random: bytes) -> bytes:
    """A UUIDv7 (RFC 9562 §5.7) of 16 bytes: 48 bits of milliseconds, version, 74 bits taken from `random` (≥ 10 bytes)."""
    millis = max(0, wall_us // 1000) & (1 << 48) - 1
    tail = int.from_bytes(random[:10], "big") & _UUID7_RANDOM | _UUID7_FIXED
    return (millis << 80 | tail).to_bytes(16, "big")


def uuid7s(wall_us: int, count: int, randomness: Callable[[int], bytes]) -> list[bytes]:
    """So many UUIDv7 of one instant; the randomness is asked once, which is a system call."""
    random = randomness(10 * count)
    return [uuid7(wall_us, random[start : start + 10]) for start in range(0, 10 * count, 10)]


def random_bytes(count: int) -> bytes:
    """The default source of randomness for event ids."""
    return os.urandom(count)
