"""The watch over the machine: looks once a minute and has the log note what changed. Lives in the service's process."""

from __future__ import annotations

import threading
from pathlib import Path

from api.commands.deciding import Rejected
from api.commands.device import ReportDevice
from api.device.facts import Device, Roots, report
from api.execution import Executor
from eventstore.errors import Refused, Stopped
from eventstore.record import Origin
from projections import device

LOOK_SECONDS = 60.0
"""Interval of looks; the first comes after one, when a start is over and a clock had time to be set."""


class DeviceWatch:
    """A thread of its own, from `start` to `stop`."""

    def __init__(self, executor: Executor, data: Path, roots: Roots | None = None, seconds: float = LOOK_SECONDS) -> None:
        self._executor, self._data = executor, data
        self._roots = roots or Roots.here()
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pixelog-device", daemon=True)
        self.unreported = 0
        """Looks whose outcome the log could not take, such as that of a disk which is read-only."""

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns when the look under way is over."""
        self._stop.set()
        self._thread.join()

    def look(self) -> Device:
        """Look now, and have it noted when it is news."""
        store = self._executor.store
        with store.reading() as db:
            known = device.known(db)
        now = report(self._roots, self._data, store.clock.read(), () if known is None else known.conditions)
        try:
            self._executor.execute(noted(now), origin=Origin("device"))
        except (Refused, Rejected, Stopped):
            self.unreported += 1
        return now

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self.look()


def noted(now: Device) -> ReportDevice:
    """What of the machine goes into the log."""
    memory, disk = now.memory, now.disk
    return ReportDevice(
        boot_id=now.boot_id,
        conditions=now.conditions,
        model=now.model,
        cpu_temperature_celsius=now.cpu_temperature_celsius,
        memory_total_bytes=None if memory is None else memory.total_bytes,
        memory_available_bytes=None if memory is None else memory.available_bytes,
        disk_total_bytes=None if disk is None else disk.total_bytes,
        disk_free_bytes=None if disk is None else disk.free_bytes,
        disk_read_only=None if disk is None else disk.read_only,
    )
