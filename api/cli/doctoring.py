"""`pixelog doctor`: what this machine lacks to run pixelog well, each with the line that mends it. Looks only; changes nothing.

A check is a function from the case to one finding. The facts come from `api/device`; here is what they mean for pixelog and what to do about it.
Exit code 0 when nothing is bad: a warning is about what works today and may not tomorrow.
"""

from __future__ import annotations

import errno
import getpass
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import socket
import stat
import sys
import time
import urllib.error
import urllib.request
import zoneinfo
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import apsw
import msgspec

from api import config
from api.cli.command import Call, Command
from api.cli.installing import LOW_PORTS, Installed, Places
from api.config import Config
from api.data import CONFIG, DataDirectory
from api.device import facts
from api.device.facts import Roots
from eventstore.clock import SystemClock
from eventstore.errors import Unusable

Status = Literal["ok", "warn", "bad"]

GIB = 1024**3

PYTHON_LEAST = (3, 11)
SQLITE_LEAST = (3, 54)
"""Versions before 3.51.3 may in rare cases damage a log when its write-ahead part begins anew; pixelog is tested with 3.54."""

GPIOD_LEAST = (2, 2, 2)
"""What Blinka asks for on a Raspberry Pi."""

CLOCK_SANE_S = 1_735_689_600
"""2025-01-01: a wall clock before it was never set."""

CARD_LINES_MAX = 3
"""Lines of the kernel's log that are shown; the mend shows the others."""

CHIP_SELECTS = {"CE0": "GPIO8", "D8": "GPIO8", "CE1": "GPIO7", "D7": "GPIO7"}
"""Pins that the kernel's SPI driver owns, and their lines."""


class Finding(msgspec.Struct, frozen=True):
    """One check's outcome: what is so, and, unless it is ok, what mends it."""

    name: str
    status: Status
    what: str
    mend: str | None = None


class Case(msgspec.Struct, frozen=True):
    """What is examined: the machine, the data directory with its configuration, the display that is meant, and who would run it.

    `closed`: the configuration is a service's own and closed to us; `settings` then hold the defaults. `low_port`: whether the unit lets that service
    listen below 1024; None: no service is judged."""

    roots: Roots
    data: Path
    settings: Config
    display: str
    user: str
    installed: bool
    closed: bool = False
    low_port: bool | None = None

    @property
    def wants_spi(self) -> bool:
        """Whether the display hangs on a real SPI bus."""
        from player.panels.presets import PRESETS

        return self.display in PRESETS


Check = Callable[[Case], Finding]


def examine(case: Case) -> list[Finding]:
    """Every check, in the order in which troubles are best mended."""
    return [check(case) for check in CHECKS]


# -- the machine ---------------------------------------------------------------------------------------------------------------------


def power(case: Case) -> Finding:
    """Under-voltage, now or since the start."""
    said = facts.power(case.roots)
    mend = "use a supply of 5.1 V and at least 2.5 A with a short, thick cable; then: sudo reboot"
    if said.under_voltage:
        return Finding(
            "power", "bad", "the supply's voltage is too low now: cards get damaged and the processor slows down", mend
        )
    if said.under_voltage_seen:
        return Finding("power", "warn", "the supply's voltage was too low at some time since the start", mend)
    if said.under_voltage is None:
        return Finding("power", "ok", "this machine does not say how its supply is")
    return Finding("power", "ok", "the voltage is right")


def temperature(case: Case) -> Finding:
    """Heat, and what it slows down."""
    celsius, said = facts.temperature(case.roots), facts.power(case.roots)
    if celsius is None:
        return Finding("temperature", "ok", "this machine does not say how warm it is")
    if celsius >= facts.HOT_CELSIUS or said.throttled:
        return Finding("temperature", "warn", f"{celsius:g} °C: the processor is slowed down", "give it air or a heat sink")
    return Finding("temperature", "ok", f"{celsius:g} °C")


def architecture(case: Case) -> Finding:
    """Whether ready-made packages exist for this kind of system."""
    machine = platform.machine()
    if sys.maxsize < 2**32 or machine in ("armv6l", "armv7l"):
        what = f"a 32-bit system ({machine}): some packages have no wheels here and must be compiled, which takes hours or fails"
        return Finding("architecture", "warn", what, "write 64-bit Raspberry Pi OS to the card with Raspberry Pi Imager")
    return Finding("architecture", "ok", f"{machine}, 64-bit")


def spi(case: Case) -> Finding:
    """Whether programs may open an SPI bus."""
    devices = facts.spi_devices(case.roots)
    if devices:
        return Finding("spi", "ok", ", ".join(devices))
    if not case.wants_spi and not (facts.is_pi(case.roots) and case.display == "auto"):
        return Finding("spi", "ok", f"no SPI device, and the display {case.display} needs none")
    place, lines = facts.boot_settings(case.roots)
    if "dtparam=spi=on" in lines:
        return Finding("spi", "bad", f"SPI is switched on in {place.name} but not there yet", "sudo reboot")
    mend = (
        "sudo raspi-config nonint do_spi 0 && sudo reboot" if facts.is_pi(case.roots) else _append("dtparam=spi=on", place, case)
    )
    return Finding("spi", "bad", "SPI is off: there is no /dev/spidev*", mend)


def groups(case: Case) -> Finding:
    """Whether the user may open the bus and its lines."""
    known = facts.groups(case.roots)
    needed = [name for name in (("video",) if case.display == "fb" else ("spi", "gpio")) if name in known]
    if case.user == "root" or not needed:
        return Finding("groups", "ok", "no group is needed here" if not needed else "root may open every device")
    missing = [name for name in needed if case.user not in known[name]]
    if not missing:
        return Finding("groups", "ok", f"{case.user} is in {' and '.join(needed)}")
    again = " && sudo systemctl restart pixelog" if case.installed else "  # then log in again"
    mend = f"sudo usermod -aG {','.join(missing)} {case.user}{again}"
    return Finding(
        "groups",
        "bad" if case.wants_spi or case.display == "fb" else "warn",
        f"{case.user} is not in {' and '.join(missing)}",
        mend,
    )


def gpio(case: Case) -> Finding:
    """Whether the panel's lines are free."""
    pin = case.settings.get("display.cs")
    lines = facts.boot_settings(case.roots)[1]
    if pin in CHIP_SELECTS and facts.spi_devices(case.roots) and not any(one.startswith("dtoverlay=spi0-0cs") for one in lines):
        what = f"display.cs = {pin} is busy: the kernel's SPI driver drives that line itself"
        mend = "leave display.cs out of pixelog.toml; or " + _append(
            "dtoverlay=spi0-0cs", facts.boot_settings(case.roots)[0], case
        )
        return Finding("gpio", "bad", what, mend)
    users = facts.gpio_users(case.roots)
    for key in ("dc", "reset", "backlight", "cs"):
        line = _line(case.settings.get(f"display.{key}"))
        holder = users.get(line or "", "")
        if holder and not any(ours in holder.lower() for ours in ("blinka", "pixelog")):
            mend = f"stop what uses {line} (sudo gpioinfo), or name another pin as display.{key} in pixelog.toml"
            return Finding("gpio", "bad", f"{line}, the panel's {key}, is in use by {holder}", mend)
    if case.wants_spi and not any(case.roots.dev.glob("gpiochip*")):
        return Finding("gpio", "bad", "there is no /dev/gpiochip*", "sudo apt-get update && sudo apt-get full-upgrade")
    return Finding("gpio", "ok", "nobody else holds the panel's lines" if users else "no trouble is known")


def clock(case: Case) -> Finding:
    """Whether the wall clock can be believed."""
    reading = SystemClock().read()
    synchronised = (
        reading.synchronised if case.roots == Roots.under("/") else (case.roots.run / "systemd/timesync/synchronized").exists()
    )
    if time.time() < CLOCK_SANE_S:
        return Finding("clock", "bad", "the clock was never set", "sudo timedatectl set-ntp true")
    if not synchronised:
        what = "the clock is not synchronised: hours and days of the loop are ignored until it is"
        return Finding("clock", "warn", what, "sudo timedatectl set-ntp true")
    return Finding("clock", "ok", "synchronised")


def boot_clock(case: Case) -> Finding:
    """What the log's own time runs on."""
    boot = facts.text(case.roots.proc / "sys/kernel/random/boot_id")
    if not hasattr(time, "CLOCK_BOOTTIME") or not boot:
        what = "the kernel gives no boot-time clock or no boot id: times across restarts are guesses"
        return Finding("boot clock", "warn", what, "run pixelog on Linux with /proc mounted")
    return Finding("boot clock", "ok", f"boot {boot[:8]}")


def disk(case: Case) -> Finding:
    """Whether the card takes writes, and how many more."""
    found = facts.disk_of(case.roots, case.data)
    if found is None:
        return Finding("disk", "warn", "nobody says how full the disk is", f"df -h {shlex.quote(str(case.data))}")
    if found.read_only:
        what = "the file system is read-only: a worn card, or the kernel stopped writing after an error"
        return Finding("disk", "bad", what, "sudo dmesg | grep -iE 'mmc|ext4'; then put a new card in and restore the backup")
    free = f"{found.free_bytes / GIB:.1f} of {found.total_bytes / GIB:.1f} GiB free"
    remove = f"remove media, whose room comes free ten minutes later: {_ours('rm SLUG', case)}"
    mend = f"sudo journalctl --vacuum-size=50M && sudo apt-get clean; or {remove}"
    if found.free_bytes < facts.DISK_LOW_BYTES:
        return Finding("disk", "bad" if found.free_bytes < facts.DISK_BAD_BYTES else "warn", f"nearly full: {free}", mend)
    return Finding("disk", "ok", free)


def card(case: Case) -> Finding:
    """What the kernel's log says of the card."""
    log = facts.kernel_log(case.roots)
    if log is None:
        return Finding("card", "ok", "the kernel's log is for root: sudo pixelog doctor looks at it")
    trouble = facts.storage_trouble(log)
    if trouble:
        shown = "; ".join(trouble[-CARD_LINES_MAX:])
        return Finding(
            "card", "warn", f"{len(trouble)} errors: {shown}", f"{_ours('backup FILE', case)} now; then replace the card"
        )
    return Finding("card", "ok", "no errors since the start")


def memory(case: Case) -> Finding:
    """Whether there is some, and whether limits hold."""
    found = facts.memory_of(case.roots)
    if found is not None and found.available_bytes < facts.MEMORY_LOW_BYTES:
        what = f"only {found.available_bytes // 1024**2} MiB of memory are available"
        return Finding(
            "memory",
            "warn",
            what,
            "stop other programs; a desktop alone takes 300 MiB: sudo raspi-config nonint do_boot_behaviour B1",
        )
    words = (facts.text(case.roots.proc / "cmdline") or "").split()
    off = [place for place, word in enumerate(words) if word == "cgroup_disable=memory"]
    on = [place for place, word in enumerate(words) if word == "cgroup_enable=memory"]
    if off and (not on or on[-1] < off[-1]):
        place = facts.boot_settings(case.roots)[0].with_name("cmdline.txt")
        mend = f"sudo sed -i '1s/$/ cgroup_enable=memory/' {_named(place, case)} && sudo reboot"
        return Finding("memory", "warn", "the kernel keeps no memory limits, so the service's are not in force", mend)
    return Finding("memory", "ok", "" if found is None else f"{found.available_bytes // 1024**2} MiB available")


def shared_memory(case: Case) -> Finding:
    """Where the parts meet."""
    if os.access(case.roots.dev / "shm", os.W_OK):
        return Finding("shared memory", "ok", "/dev/shm is writable")
    what = "/dev/shm cannot be written: the parts meet in /tmp instead, which wears the card"
    return Finding("shared memory", "warn", what, "sudo mount -t tmpfs -o mode=1777 tmpfs /dev/shm")


# -- the programs --------------------------------------------------------------------------------------------------------------------


def python(case: Case) -> Finding:
    """The interpreter."""
    if sys.version_info < PYTHON_LEAST:
        return Finding("python", "bad", f"Python {platform.python_version()} is too old", "sudo apt-get install python3.11")
    return Finding("python", "ok", platform.python_version())


def sqlite(case: Case) -> Finding:
    """The database, which comes inside APSW."""
    version = apsw.sqlite_lib_version()
    what = f"SQLite {version}, APSW {apsw.apsw_version()}"
    if _numbers(version) < SQLITE_LEAST:
        return Finding("sqlite", "bad", f"{what} is too old", f"{_pip()} install --upgrade apsw")
    return Finding("sqlite", "ok", what)


def panel_library(case: Case) -> Finding:
    """The vendor's drivers, and what Blinka needs beside them on a Pi."""
    missing = [name for name in ("adafruit_rgb_display", "busio") if importlib.util.find_spec(name) is None]
    serious: Status = "bad" if case.wants_spi else "warn"
    if missing:
        what = f"{' and '.join(missing)} are not installed"
        mend = f"{_pip()} install adafruit-blinka adafruit-circuitpython-rgb-display"
        return Finding("panel library", serious, what, mend)
    if facts.is_pi(case.roots):
        try:
            version = importlib.metadata.version("gpiod")
        except importlib.metadata.PackageNotFoundError:
            version = ""
        if _numbers(version) < GPIOD_LEAST:
            what = f"gpiod {version or 'is not installed'}; Blinka needs 2.2.2 or newer on a Raspberry Pi"
            return Finding("panel library", serious, what, f"{_pip()} install 'gpiod>=2.2.2,<3'")
    return Finding("panel library", "ok", importlib.metadata.version("adafruit-circuitpython-rgb-display"))


def time_zones(case: Case) -> Finding:
    """The rules of daylight saving, by which hours of the loop are meant."""
    try:
        zoneinfo.ZoneInfo("Europe/Berlin")
    except zoneinfo.ZoneInfoNotFoundError:
        return Finding("time zones", "bad", "there is no time zone data", "sudo apt-get install tzdata")
    return Finding("time zones", "ok", "known")


def data(case: Case) -> Finding:
    """The data directory: whether it can be used, and whether all of it is its owner's."""
    if case.installed and case.data.is_dir() and not os.access(case.data, os.W_OK | os.X_OK):
        return Finding("data", "ok", f"{case.data} belongs to {case.user}; sudo pixelog doctor looks inside")
    try:
        DataDirectory(case.data).check()
    except Unusable as error:
        what, _, mend = str(error).rpartition("; ")  # its text ends with what to do
        return Finding(
            "data", "bad", what or str(error), mend if what else f"sudo chown -R {case.user}: {shlex.quote(str(case.data))}"
        )
    place = case.data
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        # Not all that lies beside it: the folder alone, where it is missing.
        make = f"sudo install -d -o {case.user}" if place != case.data else f"sudo chown -R {case.user}:"
        mend = f"{make} {shlex.quote(str(case.data))}; or choose another --data"
        return Finding("data", "bad", f"{place} is not writable", mend)
    strangers = _strangers(case.data)
    if strangers:
        what = f"{len(strangers)} of the files belong to root, such as {strangers[0]}: the service cannot read them"
        return Finding(
            "data", "bad", what, f"sudo chown -R --reference={shlex.quote(str(case.data))} {shlex.quote(str(case.data))}"
        )
    return Finding("data", "ok", f"{case.data}{'' if place == case.data else ' (new)'}")


def _strangers(data: Path) -> list[Path]:
    """What root has left in a directory of somebody else's, near its top: secrets, blobs and packs have their folders there. The configuration may
    be root's if everybody may read it: the service only reads it."""
    if not data.is_dir() or data.stat().st_uid == 0:
        return []
    near = [*data.glob("*"), *data.glob("*/*")]
    return sorted(path.relative_to(data) for path in near if path.lstat().st_uid == 0 and not _is_plain_config(path, data))


def _is_plain_config(path: Path, data: Path) -> bool:
    found = path.lstat()
    return path == data / CONFIG and stat.S_ISREG(found.st_mode) and bool(found.st_mode & stat.S_IROTH)


def port(case: Case) -> Finding:
    """Whether the port is free, or ours."""
    settings = case.settings
    if case.closed and settings.settings["port"].source == "default":
        return Finding("port", "ok", f"the port is in a file of {case.user}'s; sudo pixelog doctor looks inside")
    if settings.port in LOW_PORTS and case.low_port is False:
        what = f"the service may not listen on {settings.port}, a port below 1024"
        return Finding(
            "port",
            "bad",
            what,
            "install it again, with the options as before: its unit then may (sudo pixelog service install …)",
        )
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        if error.errno == errno.EACCES and case.low_port:
            if _is_pixelog(settings):
                return Finding("port", "ok", f"pixelog answers on {settings.port}")
            return Finding("port", "ok", f"{settings.port} is for the service; sudo pixelog doctor sees whether it is free")
        if error.errno == errno.EACCES:
            what = f"{settings.host}:{settings.port} cannot be used (ports below 1024 are not for every user)"
            return Finding("port", "bad", what, "choose another --port, or let the service have it: sudo pixelog service install")
        if error.errno != errno.EADDRINUSE:
            what = f"{settings.host}:{settings.port} cannot be used ({error.strerror})"
            return Finding("port", "bad", what, "choose another --host or --port")
        if _is_pixelog(settings):
            return Finding("port", "ok", f"pixelog answers on {settings.port}")
        mend = f"sudo ss -ltnp 'sport = :{settings.port}' names it; stop it, or: pixelog up --port {settings.port + 1}"
        return Finding("port", "bad", f"another program listens on {settings.port}", mend)
    return Finding("port", "ok", f"{settings.port} is free")


CHECKS: tuple[Check, ...] = (
    power, temperature, disk, card, memory, architecture, python, sqlite, panel_library, spi, groups, gpio, clock, boot_clock, time_zones,
    data, port, shared_memory,
)  # fmt: skip


def _is_pixelog(settings: Config) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    try:
        with urllib.request.urlopen(f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/livez", timeout=3) as answer:
            return answer.read(64) == b'{"status":"ok"}'
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _ours(words: str, case: Case) -> str:
    """A command of pixelog's for this data directory; a service's is closed to others."""
    return f"{'sudo ' if case.installed else ''}pixelog {words} --data {shlex.quote(str(case.data.absolute()))}"


def _pip() -> str:
    """How packages get into the environment that runs this; one that root has made needs root."""
    return f"{'sudo ' if Path(sys.prefix).stat().st_uid == 0 else ''}{sys.executable} -m pip"


def _append(line: str, place: Path, case: Case) -> str:
    return f"echo {line} | sudo tee -a {_named(place, case)} && sudo reboot"


def _named(place: Path, case: Case) -> str:
    """A file below /boot under the name that it has on the machine itself."""
    return f"/boot/{place.relative_to(case.roots.boot)}"


def _line(pin: str | None) -> str | None:
    """The GPIO line of a pin's name: D25 is GPIO25."""
    return f"GPIO{pin[1:]}" if pin is not None and pin[:1] == "D" and pin[1:].isdigit() else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


# -- the command ---------------------------------------------------------------------------------------------------------------------


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--display", help="judge for this display (default: the service's, else the configured one)")
    parser.add_argument("--machine", type=Path, metavar="DIR", help=SUPPRESS)  # another root for /proc, /sys, /dev, …
    parser.add_argument("--user", help=SUPPRESS)


def case_of(call: Call) -> Case:
    """What to examine: the installed service, unless the call says otherwise. Raises BadConfig."""
    options = call.options
    roots = Roots.here() if options.machine is None else Roots.under(options.machine)
    installed = Installed.read(Places.below(roots.etc.parent))
    flags: dict[str, object] = {}
    data, user, display, closed, low_port = call.data, getpass.getuser(), None, False, None
    if installed is not None and options.data is None and "PIXELOG_DATA" not in os.environ:
        data, user, display = installed.data, installed.user, installed.options.get("--display")
        flags = {"host": installed.options.get("--host"), "port": installed.options.get("--port")}
        low_port = installed.low_port
    try:
        settings = config.load(data, flags)
    except config.BadConfig:
        if os.access(data, os.X_OK):
            raise
        settings, closed = config.load(Path(os.devnull), flags), True
    display = options.display or display or settings.driver or "auto"
    if display == "auto":
        display = settings.driver or display
    return Case(roots, data, settings, display, options.user or user, installed is not None, closed, low_port)


def _doctor(call: Call) -> int:
    findings = examine(case_of(call))
    bad = [finding for finding in findings if finding.status == "bad"]
    warned = [finding for finding in findings if finding.status == "warn"]
    if call.out.json:
        call.out.document({"ok": not bad, "checks": findings})
        return 1 if bad else 0
    call.out.table(("", "CHECK", "WHAT"), ((finding.status, finding.name, finding.what) for finding in findings))
    for finding in [*bad, *warned]:
        call.out.line()
        call.out.strong(f"{finding.name}: {finding.what}")
        call.out.line(f"  {finding.mend}")
    call.out.line()
    call.out.line("nothing is missing" if not bad and not warned else f"{len(bad)} to mend, {len(warned)} to know about")
    return 1 if bad else 0


DOCTOR = Command(_doctor, _arguments)
