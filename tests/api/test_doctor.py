"""`pixelog doctor` over machines made of files: what it finds, the line that mends it, and what it answers."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from machines import build

from api import config
from api.cli import doctoring, installing
from api.cli.doctoring import Case, Finding
from api.cli.main import main
from api.device.facts import Roots
from api.room import UNDO_SECONDS

CMDLINE = "console=tty1 root=PARTUUID=1-02 cgroup_disable=memory\n"


@pytest.fixture
def diagnose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finding]:
    """`diagnose(check, …)`: the finding of one check over a Zero 2 W whose files are changed."""
    monkeypatch.chdir(tmp_path)

    def run(
        check: Callable[[Case], Finding],
        *,
        display: str = "ili9341",
        user: str = "maria",
        flags: Any = None,
        service: Any = None,
        **tree: Any,
    ) -> Finding:
        shutil.rmtree(tmp_path / "machine", ignore_errors=True)
        root = build(tmp_path / "machine", **tree)
        settings = config.load(tmp_path / "data", flags, {})
        case = Case(Roots.under(root), tmp_path / "data", settings, display, user, service is not None, **(service or {}))
        return check(case)

    return run


TROUBLES: list[tuple[str, dict[str, Any], str, str]] = [
    ("power", {"sys__class__hwmon__hwmon1__in0_lcrit_alarm": "1"}, "bad", "5.1 V"),
    ("power", {"sys__devices__platform__soc__soc:firmware__get_throttled": "50000"}, "warn", "5.1 V"),
    ("temperature", {"sys__class__thermal__thermal_zone0__temp": "81000"}, "warn", "heat sink"),
    ("spi", {"without": ("dev/spidev",)}, "bad", "sudo reboot"),
    (
        "spi",
        {"without": ("dev/spidev",), "boot__firmware__config_dot_txt": "#dtparam=spi=on\n"},
        "bad",
        "sudo raspi-config nonint do_spi 0 && sudo reboot",
    ),
    (
        "spi",
        {"without": ("dev/spidev", "proc/device-tree"), "boot__firmware__config_dot_txt": "#dtparam=spi=on\n"},
        "bad",
        "echo dtparam=spi=on | sudo tee -a /boot/firmware/config.txt && sudo reboot",
    ),
    (
        "spi",
        {"without": ("dev/spidev", "boot/"), "boot__config_dot_txt": "", "display": "auto"},
        "bad",
        "sudo raspi-config nonint do_spi 0 && sudo reboot",
    ),
    ("groups", {"user": "jo"}, "bad", "sudo usermod -aG spi,gpio jo  # then log in again"),
    ("groups", {"user": "jo", "display": "sim"}, "warn", "sudo usermod -aG spi,gpio jo  # then log in again"),
    ("groups", {"user": "jo", "display": "fb"}, "bad", "sudo usermod -aG video jo  # then log in again"),
    ("gpio", {"flags": {"display.cs": "CE0"}}, "bad", "echo dtoverlay=spi0-0cs | sudo tee -a /boot/firmware/config.txt"),
    ("gpio", {"flags": {"display.cs": "D8"}}, "bad", "leave display.cs out of pixelog.toml"),
    (
        "gpio",
        {"sys__kernel__debug__gpio": " gpio-536 (GPIO24              |sysfs               ) out lo\n"},
        "bad",
        "stop what uses GPIO24 (sudo gpioinfo), or name another pin as display.reset in pixelog.toml",
    ),
    ("gpio", {"without": ("dev/gpiochip",)}, "bad", "sudo apt-get full-upgrade"),
    ("clock", {"without": ("run/",)}, "warn", "sudo timedatectl set-ntp true"),
    ("boot_clock", {"proc__sys__kernel__random__boot_id": ""}, "warn", "/proc"),
    ("disk", {"proc__self__mounts": "/dev/mmcblk0p2 / ext4 ro,noatime 0 0\n"}, "bad", "dmesg"),
    (
        "card",
        {"dev__kmsg": "3,9,1,-;I/O error, dev mmcblk0, sector 2048 op 0x1:(WRITE)\n"},
        "warn",
        "pixelog backup FILE --data ",
    ),
    ("memory", {"proc__meminfo": "MemTotal: 437072 kB\nMemAvailable: 20000 kB\n"}, "warn", "do_boot_behaviour"),
    ("memory", {"proc__cmdline": CMDLINE}, "warn", "sudo sed -i '1s/$/ cgroup_enable=memory/' /boot/firmware/cmdline.txt"),
    ("panel_library", {}, "bad", "-m pip install 'gpiod>=2.2.2,<3'"),
    ("panel_library", {"display": "fb"}, "warn", "-m pip install 'gpiod>=2.2.2,<3'"),
    ("shared_memory", {"without": ("dev/shm",)}, "warn", "/dev/shm"),
]


@pytest.mark.parametrize(
    ("check", "tree", "status", "mend"), TROUBLES, ids=[f"{name}-{at}" for at, (name, *_) in enumerate(TROUBLES)]
)
def test_a_trouble_is_found_with_the_line_that_mends_it(
    diagnose: Callable[..., Finding], check: str, tree: dict[str, Any], status: str, mend: str
) -> None:
    """Each check tells its trouble, how bad it is, and what to type."""
    found = diagnose(getattr(doctoring, check), **tree)
    assert (found.status, mend in (found.mend or "")) == (status, True), found


@pytest.mark.parametrize("check", doctoring.CHECKS, ids=lambda check: check.__name__)
def test_a_healthy_zero_2_w_lacks_nothing(diagnose: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch, check: Any) -> None:
    """With everything in place every check is content."""
    version = doctoring.importlib.metadata.version
    monkeypatch.setattr(doctoring.importlib.metadata, "version", lambda name: "2.4.0" if name == "gpiod" else version(name))
    found = diagnose(check, flags={"port": 0})
    assert (found.status, found.mend) == ("ok", None), found


@pytest.mark.parametrize(("service", "call"), [(None, "pixelog"), ({}, "sudo pixelog")])
def test_room_is_made_by_a_command_that_finds_the_data(
    diagnose: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: Any, call: str
) -> None:
    """A service's data is closed to others and lies where no command looks by itself; what is low here is what makes the service shed."""
    disk = doctoring.facts.Disk(31_000_000_000, doctoring.facts.DISK_LOW_BYTES - 1, False)
    monkeypatch.setattr(doctoring.facts, "disk_of", lambda *_: disk)
    said = diagnose(doctoring.disk, service=service).mend or ""
    assert said.endswith(f"ten minutes later: {call} rm SLUG --data {tmp_path}/data")
    assert UNDO_SECONDS == 600


@pytest.mark.parametrize(("free_mib", "status"), [(10, "bad"), (63, "bad"), (64, "warn"), (255, "warn"), (256, "ok")])
def test_a_card_that_fills_up(
    diagnose: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch, free_mib: int, status: str
) -> None:
    """First a warning, then a trouble."""
    disk = doctoring.facts.Disk(31_000_000_000, free_mib * 1024**2, False)
    monkeypatch.setattr(doctoring.facts, "disk_of", lambda *_: disk)
    assert diagnose(doctoring.disk).status == status


def test_a_chip_select_that_the_kernel_gave_up(diagnose: Callable[..., Finding]) -> None:
    """With the overlay spi0-0cs the line is free for us."""
    found = diagnose(
        doctoring.gpio, flags={"display.cs": "CE0"}, boot__firmware__config_dot_txt="dtparam=spi=on\ndtoverlay=spi0-0cs\n"
    )
    assert found.status == "ok"


def test_a_port_that_another_program_has(diagnose: Callable[..., Finding]) -> None:
    """The one who listens is not pixelog: how to find it, and another port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = diagnose(doctoring.port, flags={"port": port})
    assert found.status == "bad"
    assert f"sudo ss -ltnp 'sport = :{port}'" in (found.mend or "")


@pytest.mark.parametrize(
    ("service", "port", "status", "words"),
    [
        ({"closed": True, "low_port": False}, None, "ok", "sudo pixelog doctor looks inside"),
        ({"low_port": False}, 80, "bad", "the service may not listen on 80"),
        ({"low_port": True}, 80, "ok", "80 is for the service"),
        (None, 80, "bad", "ports below 1024 are not for every user"),
    ],
)
def test_a_port_that_is_not_known_or_not_for_all(
    diagnose: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch, service: Any, port: int | None, status: str, words: str
) -> None:
    """Without sudo nothing is said of a port that is not known; a low one is judged by what the unit lets the service do."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(doctoring.socket.socket, "bind", refuse)
    monkeypatch.setattr(doctoring, "_is_pixelog", lambda _: False)
    found = diagnose(doctoring.port, flags={"port": port}, service=service)
    assert (found.status, words in found.what, bool(found.mend)) == (status, True, status == "bad"), found


def test_a_missing_data_directory_is_made_and_its_neighbours_left_alone(
    diagnose: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The mend names the folder itself, never the one in which it is to be."""
    monkeypatch.setattr(doctoring.os, "access", lambda *_: False)
    assert diagnose(doctoring.data).mend == f"sudo install -d -o maria {tmp_path}/data; or choose another --data"
    (tmp_path / "data").mkdir()
    assert diagnose(doctoring.data).mend == f"sudo chown -R maria: {tmp_path}/data; or choose another --data"


def test_a_data_directory_of_a_newer_pixelog(diagnose: Callable[..., Finding], tmp_path: Path) -> None:
    """It is named as what it is, and nothing is written there."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/pixelog.db").write_bytes(b"no database at all, but long enough to be looked at" * 40)
    found = diagnose(doctoring.data)
    assert found.status == "bad"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["pixelog.db"]


def ask(capsysbinary: pytest.CaptureFixture[bytes], *arguments: str) -> tuple[int, Any]:
    """`pixelog doctor --json`: code and document."""
    code = main(["doctor", "--json", *arguments])
    return code, msgspec.json.decode(capsysbinary.readouterr().out)


def test_the_whole_command(capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 when something is bad, 0 when nothing is; one document with every check."""
    monkeypatch.setenv("PIXELOG_PORT", "0")
    machine, data = str(build(tmp_path / "machine")), str(tmp_path / "data")
    common = ["--machine", machine, "--data", data, "--user", "maria"]
    code, report = ask(capsysbinary, *common, "--display", "sim")
    assert (code, report["ok"]) == (0, True)
    assert len(report["checks"]) == len(doctoring.CHECKS)
    assert all(set(check) == {"name", "status", "what", "mend"} for check in report["checks"])
    assert all(check["mend"] for check in report["checks"] if check["status"] != "ok")
    build(tmp_path / "machine", sys__class__hwmon__hwmon1__in0_lcrit_alarm="1")
    code, report = ask(capsysbinary, *common, "--display", "sim")
    assert (code, report["ok"], [one["name"] for one in report["checks"] if one["status"] == "bad"]) == (1, False, ["power"])
    assert not (tmp_path / "data").exists()


def test_people_get_each_mend_on_a_line(capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    """The table first, then each trouble with what to type."""
    machine = build(tmp_path / "machine", without=("dev/spidev",), boot__firmware__config_dot_txt="")
    code = main(
        ["doctor", "--machine", str(machine), "--data", str(tmp_path / "data"), "--display", "ili9341", "--user", "maria"]
    )
    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert code == 1
    assert "  sudo raspi-config nonint do_spi 0 && sudo reboot" in lines


def test_the_installed_service_is_what_is_judged(
    capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word its data, user, port and display are taken from its unit."""
    monkeypatch.delenv("PIXELOG_DATA", raising=False)
    monkeypatch.setattr(installing, "PASSING", ())  # the folders of tests lie in /tmp
    machine = build(tmp_path / "machine", etc__group="spi:x:993:\ngpio:x:992:pixelog\n")
    data = tmp_path / "elsewhere"
    install = ["service", "install", "--root", str(machine), "--data", str(data), "--display", "st7789", "--port", "80"]
    assert main(install) == 0
    capsysbinary.readouterr()
    code, report = ask(capsysbinary, "--machine", str(machine))
    found = {check["name"]: check for check in report["checks"]}
    assert (code, found["groups"]["status"]) == (1, "bad")
    assert found["groups"]["mend"] == "sudo usermod -aG spi pixelog && sudo systemctl restart pixelog"
    assert found["data"]["what"] == f"{data} (new)"
    # Installed before it had a low port: the unit does not let the service listen there.
    unit = machine / "etc/systemd/system/pixelog.service"
    assert "service may not" not in found["port"]["what"]
    unit.write_text(unit.read_text().replace("CAP_NET_BIND_SERVICE", ""))
    _, report = ask(capsysbinary, "--machine", str(machine))
    assert {check["name"]: check for check in report["checks"]}["port"]["what"].startswith("the service may not listen on 80")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_that_root_left_in_a_services_directory_are_told(diagnose: Callable[..., Finding], tmp_path: Path) -> None:
    """The service cannot read them; the line makes them its own again."""
    data = tmp_path / "data"
    (data / "secrets").mkdir(parents=True)
    (data / "secrets/pairing.key").write_bytes(bytes(32))
    for path in (data, data / "secrets"):
        os.chown(path, 54_321, 54_321)
    found = diagnose(doctoring.data)
    assert (found.status, found.mend) == ("bad", f"sudo chown -R --reference={data} {data}")
    assert "secrets/pairing.key" in found.what
    subprocess.run(["sh", "-c", (found.mend or "").removeprefix("sudo ")], check=True, timeout=20)
    assert diagnose(doctoring.data).status == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(("mode", "status"), [(0o644, "ok"), (0o600, "bad")])
def test_a_configuration_that_root_wrote_is_in_order(
    diagnose: Callable[..., Finding], tmp_path: Path, mode: int, status: str
) -> None:
    """With `sudo nano` it is root's, and the service can read it, unless it is closed."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "pixelog.toml").write_text("port = 9000\n")
    (data / "pixelog.toml").chmod(mode)
    os.chown(data, 54_321, 54_321)
    assert diagnose(doctoring.data).status == status


IN_THE_DOCUMENT: list[tuple[str, dict[str, Any], int | None]] = [
    ("clock", {"without": ("run/",)}, None),
    ("spi", {"without": ("dev/spidev",), "boot__firmware__config_dot_txt": ""}, None),
    ("groups", {"user": "pi"}, None),
    ("gpio", {"flags": {"display.cs": "CE0"}}, None),
    ("panel_library", {}, None),
    ("disk", {"proc__self__mounts": "/dev/mmcblk0p2 / ext4 ro,noatime 0 0\n"}, None),
    ("disk", {"service": {}}, 200),
    ("power", {"sys__class__hwmon__hwmon1__in0_lcrit_alarm": "1"}, None),
    ("power", {"sys__devices__platform__soc__soc:firmware__get_throttled": "50000"}, None),
    ("memory", {"proc__cmdline": CMDLINE}, None),
]
"""Troubles of the table in docs/raspberry-pi.md; with so many MiB free, where that matters."""


def test_the_document_says_what_the_doctor_says(
    diagnose: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each row of the table of troubles is the doctor's sentence with the doctor's mend, to the letter."""
    page = (Path(__file__).parents[2] / "docs/raspberry-pi.md").read_text()
    table = page.split("<!-- doctor -->")[1].split("<!-- /doctor -->")[0]
    version = doctoring.importlib.metadata.version
    monkeypatch.setattr(doctoring, "_pip", lambda: "sudo /opt/pixelog/bin/python -m pip")
    monkeypatch.setattr(doctoring.importlib.metadata, "version", lambda name: "2.1.3" if name == "gpiod" else version(name))
    rows: list[str] = []
    for check, tree, free_mib in IN_THE_DOCUMENT:
        with pytest.MonkeyPatch.context() as patch:
            if free_mib is not None:
                disk = doctoring.facts.Disk(29 * 1024**3, free_mib * 1024**2, False)
                patch.setattr(doctoring.facts, "disk_of", lambda *_, disk=disk: disk)
            found = diagnose(getattr(doctoring, check), **tree)
        mend = (found.mend or "").replace("|", "\\|").replace(str(tmp_path / "data"), "/var/lib/pixelog")
        rows.append(f"| {found.name}: {found.what} | `{mend}` |")
    assert table.strip().splitlines()[2:] == rows
