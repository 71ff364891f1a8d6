"""Area device: what was last recorded of the machine beneath, such as its power, heat, memory and disk."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from projections.area import Area, At
from projections.rows import Patch, Table, Write
from projections.times import rfc3339


class DeviceReported(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """The machine's troubles are others than before, or it was started anew. `conditions` are codes in alphabetical order; what the machine
    does not say is left out. Sizes are those of the moment."""

    boot_id: str
    conditions: tuple[str, ...] = ()
    model: str | None = None
    cpu_temperature_celsius: float | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    disk_total_bytes: int | None = None
    disk_free_bytes: int | None = None
    disk_read_only: bool | None = None


Event = DeviceReported
EVENTS: dict[str, type[msgspec.Struct]] = {"device.reported": DeviceReported}

STATE = Table(
    "device_state",
    (
        ("only", "INTEGER", False),
        ("boot_id", "TEXT", True),
        ("conditions", "TEXT", False),  # JSON
        ("model", "TEXT", True),
        ("cpu_temperature_celsius", "REAL", True),
        ("memory_total_bytes", "INTEGER", True),
        ("memory_available_bytes", "INTEGER", True),
        ("disk_total_bytes", "INTEGER", True),
        ("disk_free_bytes", "INTEGER", True),
        ("disk_read_only", "INTEGER", True),
        ("reported_at", "INTEGER", True),  # µs; null: never
        ("reported_logtime", "INTEGER", True),
    ),
    seed=((1, None, "[]", None, None, None, None, None, None, None, None, None),),
)
TABLES = (STATE,)
_COLUMNS = ", ".join(STATE.names[1:-1])
VIEWS = (f"CREATE VIEW device AS SELECT {_COLUMNS} FROM device_state WHERE reported_at IS NOT NULL",)


def stream(event: Event) -> str:
    """There is one machine."""
    return "device"


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    row = {name: getattr(event, name) for name in event.__struct_fields__}
    celsius = event.cpu_temperature_celsius
    row |= {
        "conditions": msgspec.json.encode(event.conditions).decode(),
        "cpu_temperature_celsius": None if celsius is None else float(celsius),
        "disk_read_only": None if event.disk_read_only is None else int(event.disk_read_only),
        "reported_at": at.time_us,
        "reported_logtime": at.logtime_us,
    }
    return (Patch(STATE, (1,), row),)


# -- queries -------------------------------------------------------------------------------------------------------------------------


class Device(msgspec.Struct, frozen=True, rename="camel"):
    """The machine as last recorded, at the instant `reported_at`."""

    boot_id: str
    conditions: tuple[str, ...]
    model: str | None
    cpu_temperature_celsius: float | None
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    reported_at: str


class Storage(msgspec.Struct, frozen=True, rename="camel"):
    """The file system of the data directory as last recorded."""

    total_bytes: int
    free_bytes: int
    read_only: bool
    low: bool
    reported_at: str


class Known(msgspec.Struct, frozen=True):
    """What the next report is compared with."""

    boot_id: str
    conditions: tuple[str, ...]
    reported_logtime_us: int


def _row(db: apsw.Connection) -> dict[str, Any] | None:
    row: Any = db.execute(f"SELECT {_COLUMNS} FROM device").fetchone()
    return None if row is None else dict(zip(STATE.names[1:-1], row, strict=True))


def get(db: apsw.Connection) -> Device | None:
    """The machine; None when nothing was ever reported."""
    row = _row(db)
    if row is None:
        return None
    conditions = msgspec.json.decode(row["conditions"], type=tuple[str, ...])
    return Device(
        boot_id=row["boot_id"],
        conditions=conditions,
        model=row["model"],
        cpu_temperature_celsius=row["cpu_temperature_celsius"],
        memory_total_bytes=row["memory_total_bytes"],
        memory_available_bytes=row["memory_available_bytes"],
        reported_at=rfc3339(row["reported_at"]),
    )


def storage(db: apsw.Connection) -> Storage | None:
    """The disk; None when nothing was ever reported of it."""
    row = _row(db)
    if row is None or row["disk_total_bytes"] is None:
        return None
    low = "disk_low" in msgspec.json.decode(row["conditions"])
    free_bytes, read_only = row["disk_free_bytes"] or 0, bool(row["disk_read_only"])
    return Storage(row["disk_total_bytes"], free_bytes, read_only, low, rfc3339(row["reported_at"]))


def known(db: apsw.Connection) -> Known | None:
    """What was reported last; None: nothing."""
    row: Any = db.execute("SELECT boot_id, conditions, reported_logtime FROM device_state").fetchone()
    if row[0] is None:
        return None
    return Known(row[0], msgspec.json.decode(row[1], type=tuple[str, ...]), row[2])


def resources(db: apsw.Connection) -> dict[str, Device]:
    """The machine under its one key."""
    found = get(db)
    return {} if found is None else {"device": found}


AREA = Area("device", EVENTS, TABLES, fold, stream, resources, VIEWS)
