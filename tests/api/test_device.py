"""The machine beneath: its facts from trees of files, what goes into the log, and what a caller sees."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from machines import build

from api.commands.deciding import Context, Rejected
from api.commands.device import ReportDevice, decide
from api.device import facts
from api.device.facts import ClockFacts, Device, Disk, Memory, Power, Roots
from api.device.watching import DeviceWatch, noted
from eventstore.clock import Reading
from projections import device
from projections.device import DeviceReported, Known

READING = Reading(1_767_225_600_000_000, 5_000_000, "boot-1", True)
DISK = Disk(31_000_000_000, 20_000_000_000, False)
MIB = 1024**2


def space(free_bytes: int = 20_000_000_000) -> Any:
    """A disk of 31 GB with so much free."""
    numbers = (4096, 4096, 31_000_000_000 // 4096, free_bytes // 4096, free_bytes // 4096, 0, 0, 0, 0, 255)
    return lambda _: os.statvfs_result(numbers)


def test_a_healthy_zero_2_w(tmp_path: Path) -> None:
    """Every fact is read from its file; nothing is wrong."""
    now = facts.report(Roots.under(build(tmp_path)), Path("/var/lib/pixelog"), READING, statvfs=space())
    assert now == Device(
        model="Raspberry Pi Zero 2 W Rev 1.0",
        boot_id="boot-1",
        uptime_seconds=5123.47,
        cpu_temperature_celsius=48.3,
        power=Power(False, False, False, False),
        memory=Memory(437_072 * 1024, 259_816 * 1024),
        disk=Disk(30_999_998_464, 19_999_997_952, False),
        clock=ClockFacts(True, False),
        spi_devices=("spidev0.0", "spidev0.1"),
        conditions=(),
    )


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    """What is not there is None, and no trouble."""
    now = facts.report(Roots.under(tmp_path), Path("/"), READING, statvfs=space())
    assert (now.model, now.uptime_seconds, now.cpu_temperature_celsius, now.memory) == (None, None, None, None)
    assert (now.power, now.conditions, now.spi_devices) == (Power(), (), ())


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0", Power(False, False, False, False)),
        ("50005", Power(True, True, True, True)),
        ("0x50000", Power(False, True, False, True)),
        ("50000", Power(False, True, False, True)),
        ("1", Power(True, False, False, False)),
        ("junk", Power(False)),
    ],
)
def test_the_firmwares_bits(tmp_path: Path, bits: str, expected: Power) -> None:
    """Under-voltage and throttling, now and since the start; unreadable bits leave the kernel's alarm."""
    root = build(tmp_path)
    (root / "sys/devices/platform/soc/soc:firmware/get_throttled").write_text(bits + "\n")
    assert facts.power(Roots.under(root)) == expected


def test_the_kernels_alarm_alone(tmp_path: Path) -> None:
    """Where the firmware's bits are not offered the alarm of the voltage sensor tells."""
    root = build(tmp_path, without=("sys/devices",), sys__class__hwmon__hwmon1__in0_lcrit_alarm="1\n")
    assert facts.power(Roots.under(root)) == Power(True)


@pytest.mark.parametrize(
    ("mounts", "place", "expected"),
    [
        ("/dev/root / ext4 rw,noatime 0 0", "/var/lib", False),
        ("/dev/root / ext4 ro,noatime 0 0", "/var/lib", True),
        ("/dev/root / ext4 ro 0 0\n/dev/sda1 /var ext4 rw 0 0", "/var/lib", False),
        ("/dev/sda1 /var ext4 rw 0 0\n/dev/root / ext4 ro 0 0", "/var/lib", False),
        ("/dev/root / ext4 rw 0 0\noverlay / overlay ro 0 0", "/var/lib", True),
        (r"/dev/sda1 /my\040disk ext4 ro,x 0 0", "/my disk/data", True),
        ("/dev/sda1 /variable ext4 ro 0 0", "/var/lib", None),
        ("nonsense", "/", None),
    ],
)
def test_the_deepest_newest_mount_decides(mounts: str, place: str, expected: bool | None) -> None:
    """Read-only is a matter of the mount that holds the place."""
    assert facts.mounted_read_only(mounts, Path(place)) == expected


@pytest.mark.parametrize(
    ("celsius", "power", "memory", "disk", "clock", "before", "expected"),
    [
        (79.9, Power(), None, None, ClockFacts(True, False), (), ()),
        (80.0, Power(), None, None, ClockFacts(True, False), (), ("overheated",)),
        (75.0, Power(), None, None, ClockFacts(True, False), ("overheated",), ("overheated",)),
        (74.9, Power(), None, None, ClockFacts(True, False), ("overheated",), ()),
        (None, Power(True, True, True, True), None, DISK, ClockFacts(True, False), (), ("throttled", "under_voltage")),
        (None, Power(False, True), None, DISK, ClockFacts(False, False), (), ("clock_untrusted",)),
        (None, Power(), None, Disk(1, 256 * MIB - 1, True), ClockFacts(True, False), (), ("disk_low", "disk_read_only")),
        (None, Power(), None, Disk(1, 300 * MIB, False), ClockFacts(True, False), (), ()),
        (None, Power(), None, Disk(1, 300 * MIB, False), ClockFacts(True, False), ("disk_low",), ("disk_low",)),
        (None, Power(), Memory(400 * MIB, 31 * MIB), None, ClockFacts(True, True), (), ("memory_low",)),
    ],
)
def test_what_is_wrong(
    celsius: float | None, power: Power, memory: Any, disk: Any, clock: ClockFacts, before: Any, expected: Any
) -> None:
    """Each condition has its bound; one that was known ends at a second one, so that it does not come and go."""
    assert facts.conditions(celsius, power, memory, disk, clock, before) == expected


def test_who_holds_the_lines(tmp_path: Path) -> None:
    """The kernel's list names each held line and its holder."""
    assert facts.gpio_users(Roots.under(build(tmp_path))) == {"SPI_CE0_N": "spi0 CS0", "SPI_CE1_N": "spi0 CS1"}


def test_the_kernels_log_of_a_dying_card() -> None:
    """Errors of the card and its file system are found, ordinary lines are not."""
    log = (
        "6,1,0,-;mmc0: new high speed SDHC card at address aaaa\n"
        "3,9,1,-;I/O error, dev mmcblk0, sector 2048 op 0x1:(WRITE)\n"
        "3,10,2,-;mmc0: error -110 whilst initialising SD card\n"
        "2,11,3,-;EXT4-fs error (device mmcblk0p2): ext4_journal_check_start:83\n"
        "2,12,4,-;EXT4-fs (mmcblk0p2): Remounting filesystem read-only\n"
        "6,13,5,-;EXT4-fs (mmcblk0p2): mounted filesystem with ordered data mode\n"
    )
    assert [line.split()[0] for line in facts.storage_trouble(log)] == ["I/O", "mmc0:", "EXT4-fs", "EXT4-fs"]


# -- in the log ----------------------------------------------------------------------------------------------------------------------

KNOWN = Known("boot-1", ("overheated",), 1_000_000_000)


@pytest.mark.parametrize(
    ("command", "state", "after_seconds", "reported"),
    [
        (ReportDevice(boot_id="boot-1"), None, 0, True),
        (ReportDevice(boot_id="boot-1", conditions=("overheated",)), KNOWN, 3_600, False),
        (ReportDevice(boot_id="boot-1", conditions=("overheated",), cpu_temperature_celsius=99.0), KNOWN, 3_600, False),
        (ReportDevice(boot_id="boot-1"), KNOWN, 59, False),
        (ReportDevice(boot_id="boot-1"), KNOWN, 60, True),
        (ReportDevice(boot_id="boot-2", conditions=("overheated",)), KNOWN, 60, True),
    ],
)
def test_only_news_is_noted_and_at_most_once_a_minute(
    command: ReportDevice, state: Known | None, after_seconds: int, reported: bool
) -> None:
    """Other conditions or another boot are news; figures alone are not."""
    context = Context(1_000_000_000 + after_seconds * 1_000_000, 1, "id", 1, None)
    assert bool(decide(command, state, context)) == reported


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (ReportDevice(boot_id=""), "/bootId"),
        (ReportDevice(boot_id="b", conditions=("x",) * 33), "/conditions"),
        (ReportDevice(boot_id="b", cpu_temperature_celsius=float("nan")), "/cpuTemperatureCelsius"),
        (ReportDevice(boot_id="b", disk_free_bytes=-1), "/diskFreeBytes"),
    ],
)
def test_what_is_wrong_is_named(command: ReportDevice, pointer: str) -> None:
    """A report with impossible values is refused with its field."""
    with pytest.raises(Rejected) as caught:
        decide(command, None, Context(1, 1, "id", 1, None))
    assert [fault.pointer for fault in caught.value.faults] == [pointer]


def test_the_log_keeps_what_was_reported_last(bench: Any, tmp_path: Path) -> None:
    """A look appends one event, a second one none; under-voltage appends another, and the tables show it."""
    root = build(tmp_path / "pi")
    watch = DeviceWatch(bench.executor, tmp_path, Roots.under(root))
    assert bench.ask(device.get) is None
    assert bench.ask(device.storage) is None
    watch.look()
    bench.clock.advance(61)
    watch.look()
    first = bench.ask(device.get)
    assert first is not None
    assert (first.model, first.conditions, first.reported_at) == (
        "Raspberry Pi Zero 2 W Rev 1.0", (), "2026-01-01T00:00:00.000000Z",
    )  # fmt: skip
    (root / "sys/class/hwmon/hwmon1/in0_lcrit_alarm").write_text("1\n")
    watch.look()
    second, storage = bench.ask(device.get), bench.ask(device.storage)
    assert second is not None
    assert storage is not None
    assert (second.conditions, second.reported_at) == (("under_voltage",), "2026-01-01T00:01:01.000000Z")
    assert (storage.read_only, storage.low) == (False, False)
    assert bench.ask(lambda db: db.execute("SELECT count(*) FROM events WHERE type = 'device.reported'").get) == 2
    assert watch.unreported == 0


def test_a_report_is_folded_whole(bench: Any) -> None:
    """Figures that are absent become null again."""
    bench.do(ReportDevice(boot_id="a", conditions=("disk_low",), disk_total_bytes=10, disk_free_bytes=1, disk_read_only=True))
    storage = bench.ask(device.storage)
    assert (storage.total_bytes, storage.free_bytes, storage.read_only, storage.low) == (10, 1, True, True)
    bench.clock.advance(61)
    assert bench.do(ReportDevice(boot_id="b")) == [DeviceReported(boot_id="b")]
    assert bench.ask(device.storage) is None
    assert bench.ask(device.resources)["device"].conditions == ()


def test_what_is_noted_are_the_figures(tmp_path: Path) -> None:
    """The report for the log has the live report's figures."""
    now = facts.report(Roots.under(build(tmp_path)), Path("/"), READING, statvfs=space())
    command = noted(now)
    assert (command.boot_id, command.memory_total_bytes, command.disk_read_only) == ("boot-1", 437_072 * 1024, False)
