"""What the kernel's files say of this machine, as values: a Pi's power and heat, memory, disk, clock, buses.

Here: where each fact lies, how its text is read, and when a fact is a trouble. All folders are parameters (`Roots`), so that every machine can
be stood in for by a tree of files. Not here: what to do about a trouble; the doctor says that.

Sources: Linux Documentation/hwmon/sysfs-interface (alarms), Documentation/filesystems/proc (meminfo, mounts, uptime), and for the bits of
`get_throttled` the table of `vcgencmd get_throttled` in Raspberry Pi's documentation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec

from eventstore.clock import Reading

ROOT_VARIABLE = "PIXELOG_MACHINE_ROOT"
"""Environment variable that names another root for /proc, /sys, /dev, /etc, /run and /boot, to stand in for a machine."""

FILE_BYTES_MAX = 256 * 1024
"""The files read here have some hundred bytes; the largest, the list of GPIO lines, some ten thousand."""

Condition = Literal["clock_untrusted", "disk_low", "disk_read_only", "memory_low", "overheated", "throttled", "under_voltage"]
"""What is wrong with a machine at a moment, from a closed set."""

HOT_CELSIUS, COOL_CELSIUS = 80.0, 75.0
"""From 80 °C on every Pi slows down; the lower bound keeps a machine at the edge from telling so each minute."""

DISK_LOW_BYTES, DISK_ENOUGH_BYTES = 256 * 1024**2, 320 * 1024**2
"""Below the first a film no longer fits; above the second it is enough again."""

DISK_BAD_BYTES = 64 * 1024**2
"""Below this the next uploads fail, and soon the log cannot grow."""

DISK_KEPT_BYTES = 32 * 1024**2
"""What uploads and preparations leave free: commands, too, take room, and the one that removes something must find it. A pack of some hundred frames
would not fit anyway."""

MEMORY_LOW_BYTES, MEMORY_ENOUGH_BYTES = 32 * 1024**2, 48 * 1024**2
"""Available memory below which the kernel soon begins to kill."""


class Roots(msgspec.Struct, frozen=True):
    """Where the kernel's and the system's files are."""

    proc: Path
    sys: Path
    dev: Path
    etc: Path
    run: Path
    boot: Path

    @classmethod
    def under(cls, root: str | Path = "/") -> Roots:
        """All of them below one folder."""
        base = Path(root)
        return cls(*(base / name for name in ("proc", "sys", "dev", "etc", "run", "boot")))

    @classmethod
    def here(cls) -> Roots:
        """This machine's, or the one that stands in for it (see ROOT_VARIABLE)."""
        return cls.under(os.environ.get(ROOT_VARIABLE) or "/")


class Power(msgspec.Struct, frozen=True, rename="camel"):
    """What a Pi says of its supply. `…_seen`: at some time since it was started. None: this machine does not say."""

    under_voltage: bool | None = None
    under_voltage_seen: bool | None = None
    throttled: bool | None = None
    throttled_seen: bool | None = None


class Memory(msgspec.Struct, frozen=True, rename="camel"):
    """Main memory; `available_bytes` can be had without swapping."""

    total_bytes: int
    available_bytes: int


class Disk(msgspec.Struct, frozen=True, rename="camel"):
    """The file system of the data directory; `free_bytes` is what pixelog may still use."""

    total_bytes: int
    free_bytes: int
    read_only: bool


class ClockFacts(msgspec.Struct, frozen=True, rename="camel"):
    """`synchronised`: the kernel trusts the wall clock. `battery`: there is a clock that runs while the power is off."""

    synchronised: bool
    battery: bool


class Device(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The machine now. What it does not say is None. `conditions` are its troubles, in alphabetical order."""

    model: str | None
    boot_id: str
    uptime_seconds: float | None
    cpu_temperature_celsius: float | None
    power: Power
    memory: Memory | None
    disk: Disk | None
    clock: ClockFacts
    spi_devices: tuple[str, ...]
    conditions: tuple[Condition, ...]


def report(
    roots: Roots,
    data: Path,
    reading: Reading,
    before: Iterable[str] = (),
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
) -> Device:
    """The machine now. `data` is the data directory, `reading` the clocks, `before` the conditions that were known last."""
    celsius, supply, memory, disk = temperature(roots), power(roots), memory_of(roots), disk_of(roots, data, statvfs)
    clock = ClockFacts(reading.synchronised, any((roots.sys / "class/rtc").glob("rtc*")))
    return Device(
        model=model(roots),
        boot_id=reading.boot_id,
        uptime_seconds=uptime_seconds(roots),
        cpu_temperature_celsius=celsius,
        power=supply,
        memory=memory,
        disk=disk,
        clock=clock,
        spi_devices=spi_devices(roots),
        conditions=conditions(celsius, supply, memory, disk, clock, before),
    )


def conditions(
    celsius: float | None, power: Power, memory: Memory | None, disk: Disk | None, clock: ClockFacts, before: Iterable[str] = ()
) -> tuple[Condition, ...]:
    """What is wrong. A condition that was there `before` ends only at its second bound."""
    known = set(before)
    hot = COOL_CELSIUS if "overheated" in known else HOT_CELSIUS
    little_disk = DISK_ENOUGH_BYTES if "disk_low" in known else DISK_LOW_BYTES
    little_memory = MEMORY_ENOUGH_BYTES if "memory_low" in known else MEMORY_LOW_BYTES
    rules: tuple[tuple[Condition, bool], ...] = (
        ("clock_untrusted", not clock.synchronised),
        ("disk_low", disk is not None and disk.free_bytes < little_disk),
        ("disk_read_only", disk is not None and disk.read_only),
        ("memory_low", memory is not None and memory.available_bytes < little_memory),
        ("overheated", celsius is not None and celsius >= hot),
        ("throttled", bool(power.throttled)),
        ("under_voltage", bool(power.under_voltage)),
    )
    return tuple(name for name, true in rules if true)


# -- single facts --------------------------------------------------------------------------------------------------------------------


def text(path: Path) -> str | None:
    """The text of a small file without the NULs and line ends around it; None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(FILE_BYTES_MAX).decode("utf-8", "replace").strip("\0\r\n\t ")
    except OSError:
        return None


def number(path: Path) -> int | None:
    """A whole number, in hexadecimal when it begins with 0x; None when there is none."""
    try:
        return int(text(path) or "", 0)
    except ValueError:
        return None


def model(roots: Roots) -> str | None:
    """The board's name as its device tree has it, such as `Raspberry Pi Zero 2 W Rev 1.0`."""
    return text(roots.proc / "device-tree/model") or text(roots.sys / "firmware/devicetree/base/model")


def is_pi(roots: Roots) -> bool:
    """Whether this is a Raspberry Pi."""
    return (model(roots) or "").startswith("Raspberry Pi")


def temperature(roots: Roots) -> float | None:
    """Of the processor, in °C."""
    zones = sorted((roots.sys / "class/thermal").glob("thermal_zone*"))
    zones.sort(key=lambda zone: "cpu" not in (text(zone / "type") or ""))  # the processor's own first
    for zone in zones:
        millidegrees = number(zone / "temp")
        if millidegrees is not None:
            return round(millidegrees / 1000, 1)
    return None


def power(roots: Roots) -> Power:
    """From the firmware's bits where they are offered, else from the kernel's alarm, which knows of under-voltage alone."""
    bits = _throttled_bits(roots)
    alarm = _voltage_alarm(roots)
    if bits is None:
        return Power(under_voltage=alarm)
    return throttled(bits) if alarm is None else msgspec.structs.replace(throttled(bits), under_voltage=alarm or bool(bits & 1))


def throttled(bits: int) -> Power:
    """The bits of `get_throttled`: 0 under-voltage, 1 frequency capped, 2 throttled, 3 soft heat limit; 16 higher: it has happened."""
    return Power(
        under_voltage=bool(bits & 1 << 0),
        under_voltage_seen=bool(bits & 1 << 16),
        throttled=bool(bits & 1 << 2),
        throttled_seen=bool(bits & 1 << 18),
    )


def _throttled_bits(roots: Roots) -> int | None:
    said = text(roots.sys / "devices/platform/soc/soc:firmware/get_throttled")
    try:
        return None if said is None else int(said, 16)  # hexadecimal, with or without 0x
    except ValueError:
        return None


def _voltage_alarm(roots: Roots) -> bool | None:
    for sensor in sorted((roots.sys / "class/hwmon").glob("hwmon*")):
        if text(sensor / "name") == "rpi_volt":
            alarm = number(sensor / "in0_lcrit_alarm")
            return None if alarm is None else alarm != 0
    return None


def memory_of(roots: Roots) -> Memory | None:
    """From /proc/meminfo."""
    kilobytes = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", text(roots.proc / "meminfo") or "", re.M)}
    if "MemTotal" not in kilobytes:
        return None
    return Memory(kilobytes["MemTotal"] * 1024, kilobytes.get("MemAvailable", kilobytes.get("MemFree", 0)) * 1024)


def disk_of(roots: Roots, data: Path, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> Disk | None:
    """The file system that holds `data`, or would; None when nobody says."""
    place = data.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        found = statvfs(place)
    except OSError:
        return None
    read_only = mounted_read_only(text(roots.proc / "self/mounts") or "", place.resolve())
    if read_only is None:
        read_only = bool(found.f_flag & os.ST_RDONLY)
    return Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, read_only)


def mounted_read_only(mounts: str, place: Path) -> bool | None:
    """Whether the mount that holds `place` is read-only, by /proc/self/mounts; None when no mount holds it.

    The last of the deepest mounts counts: a later mount covers an earlier one.
    """
    deepest, found = -1, None
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 4:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), parts[1]))
        if place.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, found = len(point.parts), "ro" in parts[3].split(",")
    return found


def uptime_seconds(roots: Roots) -> float | None:
    """Since the machine was started."""
    try:
        return float((text(roots.proc / "uptime") or "").split()[0])
    except (IndexError, ValueError):
        return None


def spi_devices(roots: Roots) -> tuple[str, ...]:
    """Names of the SPI devices that programs may open, such as `spidev0.0`."""
    return tuple(sorted(path.name for path in roots.dev.glob("spidev*")))


def groups(roots: Roots) -> dict[str, frozenset[str]]:
    """The members of each group of /etc/group."""
    found: dict[str, frozenset[str]] = {}
    for line in (text(roots.etc / "group") or "").splitlines():
        parts = line.split(":")
        if len(parts) == 4:
            found[parts[0]] = frozenset(one for one in parts[3].split(",") if one)
    return found


def gpio_users(roots: Roots) -> dict[str, str]:
    """Who holds which GPIO line, by the line's name; empty where the kernel's list is not offered (only root may read it)."""
    said = text(roots.sys / "kernel/debug/gpio") or ""
    return {name: user.strip() for name, user in re.findall(r"gpio-\d+\s+\(\s*(\S+)\s*\|([^)]+)\)", said)}


def boot_settings(roots: Roots) -> tuple[Path, tuple[str, ...]]:
    """The firmware's config.txt, and its lines without comments. Since Debian 12 it lies in /boot/firmware."""
    places = (roots.boot / "firmware/config.txt", roots.boot / "config.txt")
    place = next((one for one in places if one.is_file()), places[0])
    lines = (line.split("#")[0].strip() for line in (text(place) or "").splitlines())
    return place, tuple(line for line in lines if line)


_STORAGE_TROUBLE = re.compile(
    r"I/O error, dev (?:mmcblk|sd)|mmc\d+: .*(?:error|timeout|card never left busy)|EXT4-fs error|Remounting filesystem read-only",
    re.I,
)


def storage_trouble(log: str) -> tuple[str, ...]:
    """The lines of a kernel log that speak of a failing card or file system, without their heads."""
    return tuple(line.split(";", 1)[-1].strip() for line in log.splitlines() if _STORAGE_TROUBLE.search(line))


def kernel_log(roots: Roots) -> str | None:
    """What the kernel still has of its log, up to FILE_BYTES_MAX; None when we may not read it."""
    try:
        descriptor = os.open(roots.dev / "kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    pieces: list[bytes] = []
    try:
        while sum(map(len, pieces)) < FILE_BYTES_MAX:
            try:
                piece = os.read(descriptor, 8192)  # a device gives one record for each read
            except BrokenPipeError:
                continue  # the kernel has overwritten the record that came next; the following ones are there
            except BlockingIOError:
                break  # all is read
            if not piece:
                break
            pieces.append(piece)
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode("utf-8", "replace")
