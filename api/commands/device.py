"""Commands of area device: note how the machine is, when that is news."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from api.commands import bounds
from api.commands.deciding import Context, Fault, Handler
from projections import device
from projections.device import DeviceReported, Known

INTERVAL_US = 60_000_000
"""Reports lie at least this far apart: a supply at the edge of what is enough must not fill the log."""

CONDITIONS_MAX = 32
"""More than there are."""

SIZE_BYTES_MAX = 2**53
"""What every reader of JSON takes as a whole number."""


class ReportDevice(DeviceReported, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The machine is like this now; the fields are those of the event. Appends nothing when that is known."""


def load(db: apsw.Connection, command: ReportDevice, now_us: int) -> Known | None:
    """What was reported last."""
    return device.known(db)


def decide(command: ReportDevice, state: Known | None, context: Context) -> Sequence[msgspec.Struct]:
    """An event when the conditions or the boot are others than those reported last, at most once in INTERVAL_US."""
    bounds.refuse(_faults(command))
    conditions = tuple(sorted(set(command.conditions)))
    if state is not None:
        if (state.boot_id, state.conditions) == (command.boot_id, conditions):
            return ()
        if context.now_us - state.reported_logtime_us < INTERVAL_US:
            return ()
    fields: dict[str, Any] = msgspec.structs.asdict(command) | {"conditions": conditions}
    return (DeviceReported(**fields),)


def _faults(command: ReportDevice) -> list[Fault]:
    faults = [*bounds.name("/bootId", command.boot_id), *bounds.text("/model", command.model, bounds.NAME_CHARACTERS_MAX)]
    if len(command.conditions) > CONDITIONS_MAX:
        faults.append(Fault("/conditions", f"must be at most {CONDITIONS_MAX}"))
    faults += [fault for one in command.conditions[:CONDITIONS_MAX] for fault in bounds.name("/conditions", one)]
    faults += bounds.number("/cpuTemperatureCelsius", command.cpu_temperature_celsius, -273, 1_000)
    sizes = {
        "/memoryTotalBytes": command.memory_total_bytes,
        "/memoryAvailableBytes": command.memory_available_bytes,
        "/diskTotalBytes": command.disk_total_bytes,
        "/diskFreeBytes": command.disk_free_bytes,
    }
    return faults + [fault for pointer, size in sizes.items() for fault in bounds.number(pointer, size, 0, SIZE_BYTES_MAX)]


HANDLERS = {ReportDevice: Handler(load, decide)}
