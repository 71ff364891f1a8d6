"""Running at boot: the files of an installation, what systemd thinks of them, and the unit under a manager that obeys its lines."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from manager import Manager, Unit, descendants

from api.cli import installing
from api.cli.installing import Installed, Places, ending, make_data, quoted, unit_text
from api.cli.main import main
from api.cli.pulse import Pulse, Turns
from api.notify import Notifier

EXPOSURE_MAX = 3.0


@pytest.fixture
def stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of tests count as such that stay, although they lie in /tmp."""
    monkeypatch.setattr(installing, "PASSING", ())


def install(root: Path, *options: str) -> Path:
    """`pixelog service install` below a root; the unit's file."""
    assert main(["service", "install", "--root", str(root), *options]) == 0
    return Places.below(root).unit


def files(root: Path) -> dict[str, str]:
    """Every file and link below the root with what it holds."""
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


# -- files ---------------------------------------------------------------------------------------------------------------------------


def test_a_staged_root_holds_unit_user_and_link(tmp_path: Path) -> None:
    """Three files are all there is, and a second time changes nothing."""
    install(tmp_path, "--host", "0.0.0.0", "--display", "st7789", "--size", "240x240")
    before = files(tmp_path)
    assert list(before) == [
        "etc/systemd/system/multi-user.target.wants/pixelog.service",
        "etc/systemd/system/pixelog.service",
        "etc/sysusers.d/pixelog.conf",
    ]
    install(tmp_path, "--host", "0.0.0.0", "--display", "st7789", "--size", "240x240")
    assert files(tmp_path) == before
    unit = Unit(tmp_path / "etc/systemd/system/pixelog.service")
    assert unit.command[-8:] == ["--data", "/var/lib/pixelog", "--host", "0.0.0.0", "--display", "st7789", "--size", "240x240"]
    assert unit.environment == {
        "PIXELOG_DATA": "/var/lib/pixelog",
        "BLINKA_SKIP_DEPENDENCY_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    assert (unit.one("Type"), unit.one("User"), unit.one("StateDirectory")) == ("notify", "pixelog", "pixelog")


def test_another_install_changes_only_what_was_asked(tmp_path: Path) -> None:
    """Other options rewrite the unit and nothing else."""
    install(tmp_path)
    before = files(tmp_path)
    install(tmp_path, "--port", "8500")
    after = files(tmp_path)
    assert {name for name in after if before[name] != after[name]} == {"etc/systemd/system/pixelog.service"}


@pytest.mark.usefixtures("stays")
def test_uninstall_leaves_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files are gone, the data is named and untouched; a second time there is nothing to remove."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "pixelog.db").write_text("precious")
    install(tmp_path / "root", "--data", str(data))
    capsys.readouterr()
    assert main(["service", "uninstall", "--root", str(tmp_path / "root")]) == 0
    assert f"your data is untouched in {data}" in capsys.readouterr().out
    assert files(tmp_path / "root") == {}
    assert (data / "pixelog.db").read_text() == "precious"
    assert main(["service", "uninstall", "--root", str(tmp_path / "root")]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_status_in_plain_words(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Not installed is a no; installed but not running is one too, and says so."""
    root = ["--root", str(tmp_path)]
    assert main(["service", "status", *root]) == 1
    assert b"not installed" in capsysbinary.readouterr().out
    install(tmp_path, "--port", "9000")
    capsysbinary.readouterr()
    assert main(["service", "status", "--json", *root]) == 1
    report = msgspec.json.decode(capsysbinary.readouterr().out)
    assert (report["installed"], report["startsAtBoot"], report["running"], report["data"]) == (
        True,
        True,
        False,
        "/var/lib/pixelog",
    )


def test_somebody_elses_unit_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A unit of that name that pixelog did not write is refused, and stays."""
    places = Places.below(tmp_path)
    places.unit.parent.mkdir(parents=True)
    places.unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert main(["service", "install", "--root", str(tmp_path)]) == 2
    assert main(["service", "uninstall", "--root", str(tmp_path)]) == 2
    assert "was not written by pixelog" in capsys.readouterr().err
    assert places.unit.read_text() == "[Service]\nExecStart=/bin/true\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--user", "Bad User"], "take small letters, such as pixelog"),
        (["--display", "nosuch"], "there are auto"),
        (["--port", "70000"], "a number from 0 to 65535"),
        (["--port", "0"], "take a number such as 8420, or 80"),
        (["--host", "a b"], "take 0.0.0.0 for all addresses of this machine"),
        (["--host", "http://pi.local"], "take 0.0.0.0 for all addresses of this machine"),
        (["--host", "300.1.2.3"], "take 0.0.0.0 for all addresses of this machine"),
        (["--size", "big"], "WIDTHxHEIGHT"),
        (["--display", "st7789", "--size", "7x7"], "7x7"),
        (["--data", "/home/pi/pixelog-data"], "take /var/lib/pixelog, or a folder such as /srv/pixelog"),
        (["--data", "/root/pixelog"], "take /var/lib/pixelog, or a folder such as /srv/pixelog"),
        (["--data", "/srv/../home/pi/pixelog"], "take /var/lib/pixelog, or a folder such as /srv/pixelog"),
        (["--data", "/tmp/pixelog"], "take /var/lib/pixelog, or a folder such as /srv/pixelog"),
        (["--data", "/var/tmp/pixelog"], "take /var/lib/pixelog, or a folder such as /srv/pixelog"),
        (["--data", "/dev/shm/pixelog"], "take /var/lib/pixelog, or a folder such as /srv/pixelog"),
        (["--data", "pixelog-data"], "needs the whole path, such as /var/lib/pixelog"),
        (["--data", ""], "needs"),
    ],
)
def test_what_could_never_start_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    """Wrong options are found now and not at the next boot; one line says what to do, and nothing is written."""
    assert main(["service", "install", "--root", str(tmp_path), *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert (len(lines), said in lines[0]) == (1, True), lines
    assert files(tmp_path) == {}


@pytest.mark.parametrize("host", ["127.0.0.1", "::", "fe80::1%eth0", "localhost", "pi.local", "my_pi", "pi-2.example."])
def test_addresses_and_names_are_taken(tmp_path: Path, host: str) -> None:
    """In every form in which a machine may be named."""
    assert install(tmp_path, "--host", host).is_file()


@pytest.mark.parametrize(
    ("text", "said"),
    [("port = 0\n", "(port in {file})"), ('host = "a b"\n', "(host in {file})"), ("prot = 1\n", "{file}")],
)
def test_what_the_file_sets_is_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    """On a staged root, that root's own file; the message names it."""
    file = tmp_path / "var/lib/pixelog/pixelog.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert main(["service", "install", "--root", str(tmp_path)]) == 2
    assert said.format(file=file) in capsys.readouterr().err
    assert list(files(tmp_path)) == ["var/lib/pixelog/pixelog.toml"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stays: None) -> Path:
    """A root that counts as this machine's own; systemd is not there, so that nothing is started."""
    here = Places.below(tmp_path / "machine")
    monkeypatch.setattr(Places, "below", lambda root: here)
    monkeypatch.setattr(installing, "_need_root", lambda action: None)
    monkeypatch.setattr(installing, "_need_visible_program", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "machine"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("192.0.2.1", "192.0.2.1 is no address of this machine"),
        ("a..b", "is no address"),
        ("pixelog.invalid", "no address is known"),
    ],
)
def test_an_address_of_another_machine_is_refused(
    machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, said: str
) -> None:
    """On the machine itself the address is tried."""
    assert main(["service", "install", "--host", host, "--data", str(tmp_path / "data")]) == 2
    assert said in capsys.readouterr().err
    assert files(tmp_path) == {}


def put(folder: Path, *names: str) -> None:
    """A folder with files of these names, and with folders of those that end so."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).mkdir() if name.endswith("/") else (folder / name).write_text("# dear")


@pytest.mark.parametrize(
    "names",
    [
        ["letters.txt"],
        ["secrets/", "letters.txt"],
        ["secrets/letters.txt"],
        ["blobs/", "tmp/letters.txt"],
        ["secrets"],
        ["media/"],
    ],
)
def test_a_folder_with_files_of_others_is_not_given_away(
    machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    """All below the data directory becomes the service's: of the whole of /srv that would be too much."""
    theirs = tmp_path / "srv"
    put(theirs, *names)
    assert main(["service", "install", "--data", str(theirs)]) == 2
    assert f"take an empty folder, such as {theirs}/pixelog" in capsys.readouterr().err
    assert files(tmp_path / "machine") == {}


@pytest.mark.parametrize(
    "names",
    [
        ["lost+found/"],
        ["secrets/", "lost+found/"],
        ["secrets/", "blobs/", "packs/", "tmp/"],
        ["pixelog.db", "secrets/pairing.key", "notes"],
        ["pixelog.toml"],
    ],
)
def test_a_folder_of_pixelogs_is_taken(
    machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    """One with a log or settings, and what an installation leaves that got no further."""
    put(tmp_path / "ours", *names)
    assert main(["service", "install", "--data", str(tmp_path / "ours")]) == 2
    assert "systemd-sysusers is not there" in capsys.readouterr().err  # it went on


@pytest.mark.parametrize(
    ("options", "text", "capability"),
    [
        (["--port", "80"], "", "CAP_NET_BIND_SERVICE"),
        (["--port", "1023"], "", "CAP_NET_BIND_SERVICE"),
        (["--port", "1024"], "port = 80\n", ""),
        ([], "port = 80\n", "CAP_NET_BIND_SERVICE"),
        ([], "", ""),
    ],
)
def test_a_low_port_is_the_one_right_that_a_service_may_have(
    tmp_path: Path, options: list[str], text: str, capability: str
) -> None:
    """Below 1024, by option or by file, the unit has the capability for it; else it has none."""
    file = tmp_path / "var/lib/pixelog/pixelog.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    unit = Unit(install(tmp_path, *options))
    assert (unit.values["CapabilityBoundingSet"], unit.values["AmbientCapabilities"]) == ([capability], [capability])


def test_it_needs_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One clear line for everybody else."""
    monkeypatch.setattr(installing.os, "geteuid", lambda: 1000)
    assert main(["service", "install"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "sudo" in said[0]


@pytest.mark.usefixtures("stays")
def test_status_without_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a machine without it the words stay plain: installed, not running, nobody answers, and what to do."""
    unit = install(tmp_path, "--data", str(tmp_path / "data"), "--port", "1")
    monkeypatch.setattr(installing, "_booted", lambda: False)
    monkeypatch.setattr(Places, "below", lambda root: Places(unit, unit, unit.parent / "multi-user.target.wants/pixelog.service"))
    monkeypatch.setenv("PATH", str(tmp_path))
    capsys.readouterr()
    assert main(["service", "status"]) == 1
    said = capsys.readouterr()
    assert said.err == ""
    assert "no (systemd does not run here)" in said.out
    assert "no answer at http://127.0.0.1:1" in said.out


@pytest.mark.usefixtures("stays")
def test_installing_without_systemd_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2, and the data is not touched."""
    here = Places.below(tmp_path / "root")
    monkeypatch.setattr(Places, "below", lambda root: here)
    monkeypatch.setattr(installing, "_need_root", lambda action: None)
    monkeypatch.setattr(installing, "_need_visible_program", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["service", "install", "--data", str(tmp_path / "data")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "systemd-sysusers is not there" in said[0]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("data", ["/var/lib/pixelog", "/srv/my media/50%", "/data/$HOME", '/data/"quoted"'])
def test_paths_keep_their_meaning(data: str, tmp_path: Path) -> None:
    """What is special in unit files is written so that it is meant literally."""
    text = unit_text(["/opt/pixelog/bin/pixelog", "up", "--data", data], Path(data), "pixelog", 252)
    (tmp_path / "unit").write_text(text)
    unit = Unit(tmp_path / "unit")
    assert unit.command == ["/opt/pixelog/bin/pixelog", "up", "--data", data]
    assert unit.environment["PIXELOG_DATA"] == data
    assert ("StateDirectory" in unit.values) == data.startswith("/var/lib")
    assert "@" not in re.sub(r"@(?:system-service|privileged)", "", text)


def test_control_characters_cannot_enter_a_unit() -> None:
    """A line break in a path would be a line of the unit."""
    with pytest.raises(installing.Usage):
        quoted("/data\nExecStartPre=/bin/evil")


@pytest.mark.parametrize(("version", "steps"), [(252, False), (254, True), (257, True)])
def test_the_wait_grows_where_systemd_can(version: int, steps: bool) -> None:
    """The lines of the growing wait are left out for a systemd that would warn of them."""
    text = unit_text(["/bin/true"], Path("/var/lib/pixelog"), "pixelog", version)
    assert "RestartSec=5\n" in text
    assert ("RestartSteps=" in text, "RestartMaxDelaySec=" in text) == (steps, steps)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"Result": "success", "ExecMainCode": "0", "ExecMainStatus": "0"}, None),
        ({"Result": "success", "ExecMainCode": "1", "ExecMainStatus": "0"}, "in order"),
        (
            {"Result": "exit-code", "ExecMainCode": "1", "ExecMainStatus": "3"},
            "the data directory is unusable; see pixelog doctor",
        ),
        (
            {"Result": "watchdog", "ExecMainCode": "2", "ExecMainStatus": "15"},
            "it did not answer for 30 seconds and was started again",
        ),
        ({"Result": "signal", "ExecMainCode": "2", "ExecMainStatus": "9"}, "killed by signal 9"),
        ({"Result": "oom-kill", "ExecMainCode": "2", "ExecMainStatus": "9"}, "it took more memory than it may"),
    ],
)
def test_how_it_ended(known: dict[str, str], words: str | None) -> None:
    """What systemd knows of the last run, in plain words."""
    assert ending(known) == words


def status_of(
    monkeypatch: pytest.MonkeyPatch, unit: Path, config_of: Callable[..., Any], status_text: str, code: int = 0
) -> list[str]:
    """`pixelog service status` where systemd says that it runs and `config_of` reads the configuration; the addresses that were asked."""
    asked: list[str] = []
    places = Places(unit, unit, unit.parent / "multi-user.target.wants/pixelog.service")
    monkeypatch.setattr(Places, "below", lambda root: places)
    monkeypatch.setattr(installing, "_booted", lambda: True)
    known = {"ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0", "StatusText": status_text}
    monkeypatch.setattr(installing, "properties", lambda: known)
    monkeypatch.setattr(installing, "_answer", lambda url: asked.append(url) or "ready")
    monkeypatch.setattr(installing.config, "load", config_of)
    assert main(["service", "status"]) == code
    return asked


def closed(data: Path, *_: Any, **__: Any) -> Any:
    """What somebody without rights gets of the service's configuration."""
    if data == Path(os.devnull):
        return installing.config.Config(
            {name: installing.config.Setting(key.default, "default") for name, key in installing.config.BY_NAME.items()}
        )
    raise installing.config.BadConfig(f"{data}/pixelog.toml cannot be read (Permission denied); check owner and permissions")


@pytest.mark.parametrize(
    ("options", "status_text", "asked"),
    [
        (["--port", "9000"], "", ["http://127.0.0.1:9000/readyz"]),
        (["--port", "9000", "--host", "0.0.0.0"], "page http://192.168.1.7:9000", ["http://127.0.0.1:9000/readyz"]),
        ([], "page http://192.168.1.7:8500", ["http://192.168.1.7:8500/readyz"]),
        ([], "page http://[fd00::7]:8500, no panel; see pixelog doctor", ["http://[fd00::7]:8500/readyz"]),
        ([], "the player does not go on", []),
        ([], "the service does not answer", []),
        ([], "", []),
    ],
)  # fmt: skip
def test_status_without_rights_asks_the_right_port_or_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    status_text: str,
    asked: list[str],
) -> None:
    """The unit is everybody's to read, and so is what the service told systemd; where neither names the port, that is said, and no success."""
    unit = install(tmp_path, *options)
    capsys.readouterr()
    assert status_of(monkeypatch, unit, closed, status_text, code=0 if asked else 1) == asked
    said = capsys.readouterr().out
    assert ("ready at " in said) == bool(asked)
    assert ("8420" in said, "not asked: the port is in" in said) == (False, not asked)


@pytest.mark.usefixtures("stays")
def test_status_takes_host_and_port_from_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the unit names none of them, they are those of pixelog.toml."""
    unit = install(tmp_path, "--data", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/pixelog.toml").write_text('host = "127.0.0.9"\nport = 9001\n')
    assert status_of(monkeypatch, unit, installing.config.load, "") == ["http://127.0.0.9:9001/readyz"]
    assert "ready at http://127.0.0.9:9001" in capsys.readouterr().out


@pytest.mark.usefixtures("stays")
def test_an_installation_is_read_back(tmp_path: Path) -> None:
    """Data, user and address are found again in the unit."""
    install(tmp_path, "--data", str(tmp_path / "my data"), "--user", "kiosk", "--host", "0.0.0.0", "--port", "8500")
    found = Installed.read(Places.below(tmp_path))
    assert found is not None
    assert (found.data, found.user, found.url()) == (tmp_path / "my data", "kiosk", "http://127.0.0.1:8500")


@pytest.mark.parametrize("kind", ["link", "dangling", "file"])
def test_secrets_behind_a_link_are_refused(tmp_path: Path, kind: str) -> None:
    """Whose the folder is may have put it there: what it leads to stays as open as it was."""
    data, etc = tmp_path / "data", tmp_path / "etc"
    data.mkdir()
    etc.mkdir(mode=0o755)
    if kind == "file":
        (data / "secrets").write_text("a file")
    else:
        (data / "secrets").symlink_to(etc if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match=r"move it away first: .*/data/secrets"):
        make_data(data, os.geteuid(), os.getegid())
    assert etc.stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "nowhere").exists()


def test_secrets_that_are_there_are_closed(tmp_path: Path) -> None:
    """Whoever could look into them before."""
    (tmp_path / "data/secrets").mkdir(parents=True, mode=0o755)
    make_data(tmp_path / "data", os.geteuid(), os.getegid())
    assert (tmp_path / "data/secrets").stat().st_mode & 0o777 == 0o700


# -- what systemd thinks -------------------------------------------------------------------------------------------------------------


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """systemd-analyze, which must be there."""
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is not on this machine; install it: apt-get install systemd"
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.systemd
@pytest.mark.parametrize("options", [[], ["--port", "80"]])
@pytest.mark.parametrize("data", ["/var/lib/pixelog", "/srv/my media"])
def test_systemd_accepts_the_unit(tmp_path: Path, data: str, options: list[str]) -> None:
    """`systemd-analyze verify` has nothing to say."""
    unit = install(tmp_path, "--data", data, "--display", "ili9341", *options)
    said = analyze("verify", str(unit))
    assert (said.returncode, said.stderr, said.stdout) == (0, "", "")


@pytest.mark.systemd
@pytest.mark.parametrize("options", [[], ["--port", "80"]])
def test_the_unit_is_shut_in(tmp_path: Path, options: list[str]) -> None:
    """`systemd-analyze security` rates the exposure at most 3."""
    said = analyze("security", "--offline=true", "--no-pager", str(install(tmp_path, *options)))
    found = re.search(r"Overall exposure level for pixelog\.service: ([\d.]+)", said.stdout)
    assert found is not None, said.stderr
    assert float(found[1]) <= EXPOSURE_MAX


@pytest.mark.systemd
def test_the_user_can_be_made(tmp_path: Path) -> None:
    """systemd-sysusers makes the user with its groups from our file."""
    install(tmp_path)
    program = shutil.which("systemd-sysusers")
    assert program is not None, "systemd-sysusers is not on this machine; install it: apt-get install systemd"
    subprocess.run([program, f"--root={tmp_path}", "pixelog.conf"], check=True, capture_output=True, timeout=60)
    groups = (tmp_path / "etc/group").read_text()
    assert all(re.search(rf"^{name}:x:\d+:pixelog$", groups, re.M) for name in ("spi", "gpio", "video"))
    assert re.search(r"^pixelog:x:\d+:\d+:pixelog:/var/lib/pixelog:", (tmp_path / "etc/passwd").read_text(), re.M)


# -- under a manager -----------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


class House:
    """One installed unit under a manager, with a client."""

    def __init__(self, folder: Path) -> None:
        self.data, port = folder / "data", free_port()
        unit = install(folder / "root", "--data", str(self.data), "--port", str(port), "--display", "sim:ili9341")
        self.page = f"http://127.0.0.1:{port}"
        self.manager = Manager(unit, folder)

    def get(self, path: str) -> Any:
        """GET as JSON; HTTP errors raise."""
        with urllib.request.urlopen(self.page + path, timeout=5) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        """POST JSON."""
        request = urllib.request.Request(
            self.page + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def part(self, name: str) -> int:
        """The process of a part."""
        assert self.manager.process is not None
        (found,) = (
            pid for pid in descendants(self.manager.process.pid)
            if f"\0{name}\0" in Path(f"/proc/{pid}/cmdline").read_text()
        )  # fmt: skip
        return found


@pytest.fixture
def house(tmp_path: Path, stays: None) -> Iterator[House]:
    """An installed unit; whatever runs of it at the end is stopped."""
    one = House(tmp_path)
    yield one
    one.manager.close()


def test_ready_only_when_ready(house: House) -> None:
    """At the moment of READY the service answers and the panel shows a picture; the watchdog is fed; the end is announced."""
    seen: list[Any] = []
    house.manager.on_ready = lambda: seen.append((house.get("/readyz"), house.get("/api/v1/player")["display"]["state"]))
    house.manager.start()
    house.manager.until(lambda: house.manager.ready == 1)
    assert seen == [({"status": "ok"}, "attached")]
    assert f"STATUS=page {house.page}" in house.manager.said
    house.manager.until(lambda: house.manager.said.count("WATCHDOG=1") >= 3)
    assert house.manager.stop() == 0
    assert house.manager.said[-2:] == ["STOPPING=1", "STATUS=stopping"]


def test_a_service_that_hangs_is_restarted(house: House) -> None:
    """Its process is stopped: the watchdog starves, everything is started anew, and answers again."""
    house.manager.start()
    house.manager.until(lambda: house.manager.ready == 1)
    os.kill(house.part("serve"), signal.SIGSTOP)
    house.manager.until(lambda: house.manager.ready == 2, 40)
    assert "STATUS=the service does not answer" in house.manager.said
    assert house.get("/readyz") == {"status": "ok"}


def test_it_comes_back_after_kill_9_of_everything(house: House) -> None:
    """The manager starts it again, and what was answered is there."""
    house.manager.start()
    house.manager.until(lambda: house.manager.ready == 1)
    kept = house.post("/api/v1/messages", {"text": "still here", "priority": "info"})
    for round in (2, 3):
        house.manager.kill_everything()
        house.manager.until(lambda expected=round: house.manager.ready == expected, 40)
        assert [one["id"] for one in house.get("/api/v1/messages")["items"]] == [kept["id"]]
    assert house.manager.last_code == -signal.SIGKILL


def test_an_unusable_directory_is_not_tried_again(house: House) -> None:
    """It ends with 3 before it is ever ready, and the unit says not to try again."""
    house.data.write_text("a file where the folder should be")
    house.manager.start()
    house.manager.until(lambda: house.manager.state == "dead")
    assert (house.manager.last_code, house.manager.starts, house.manager.ready) == (3, 1, 0)
    assert len(house.manager.errors().strip().splitlines()) == 1


# -- the pulse -----------------------------------------------------------------------------------------------------------------------


class Voice(Notifier):
    """Remembers instead of sending."""

    def __init__(self) -> None:
        super().__init__("/nowhere", 30_000_000)
        self.said: list[str] = []

    def _send(self, *lines: str) -> None:
        self.said += lines


class Bed:
    """A pulse with every answer in the test's hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.service = self.panel = self.player = True
        self.voice = Voice()
        self.pulse = Pulse(
            self.voice, "http://pi", lambda: self.service, lambda: self.panel, lambda: self.player, lambda: self.now
        )

    def after(self, seconds: float) -> list[str]:
        """What is said when so much time has passed, in steps of a tenth."""
        del self.voice.said[:]
        end = self.now + seconds
        while self.now < end:
            self.pulse.turn()
            self.now = round(self.now + 0.1, 1)
        return self.voice.said


def test_a_panel_that_never_comes_does_not_keep_the_page_away() -> None:
    """After twenty seconds the start counts without a panel, and the status says so until there is one."""
    bed = Bed()
    bed.panel = False
    assert bed.after(20) == []
    assert bed.after(0.2) == ["READY=1", "STATUS=page http://pi, no panel; see pixelog doctor", "WATCHDOG=1"]
    bed.panel = True
    assert bed.after(16) == ["STATUS=page http://pi", "WATCHDOG=1"]


def test_a_service_that_never_answers_is_never_ready() -> None:
    """However long it takes."""
    bed = Bed()
    bed.service = False
    assert bed.after(300) == []


def test_the_watchdog_is_fed_at_half_its_patience() -> None:
    """Every 15 of 30 seconds while all is well; not once while something is not, and at once when it is well again."""
    bed = Bed()
    assert bed.after(44) == ["READY=1", "STATUS=page http://pi", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
    bed.player = False
    assert bed.after(30) == ["STATUS=the player does not go on"]
    bed.player = True
    assert bed.after(2) == ["STATUS=page http://pi", "WATCHDOG=1"]


def test_without_a_manager_nobody_looks() -> None:
    """No question is asked, and the loop has no reason to wake."""
    asked: list[int] = []
    pulse = Pulse(Notifier(), "http://pi", lambda: bool(asked.append(1)), lambda: True, lambda: True, lambda: 0.0)
    pulse.turn()
    assert (asked, pulse.wait_seconds()) == ([], float("inf"))


@pytest.mark.parametrize(("counts", "goes_on"), [([5, 6, 7], True), ([5, 5, 5], False)])
def test_a_loop_that_no_longer_turns(tmp_path: Path, counts: list[int], goes_on: bool) -> None:
    """A main thread that has not slept and woken for longer than is allowed does not go on."""
    now = [0.0]
    turns = Turns(lambda: 7, 20, tmp_path, lambda: now[0])
    (tmp_path / "7").mkdir()
    answers: list[bool] = []
    for count in counts:
        (tmp_path / "7/status").write_text(f"Name:\tpython\nvoluntary_ctxt_switches:\t{count}\nnonvoluntary_ctxt_switches:\t9\n")
        answers.append(turns.go_on())
        now[0] += 15
    assert answers == [True, True, goes_on]


def test_a_stopped_process_is_noticed() -> None:
    """On a real process: it turns, is stopped, and no longer turns."""
    program = "import time\nwhile True: time.sleep(0.01)"
    with subprocess.Popen([sys.executable, "-c", program]) as child:
        try:
            turns = Turns(lambda: child.pid, 0.5)
            seen_for(lambda: turns.go_on(), 1.0)
            os.kill(child.pid, signal.SIGSTOP)
            until(lambda: not turns.go_on())
        finally:
            child.kill()


def seen_for(condition: Callable[[], bool], seconds: float) -> None:
    """The condition holds all the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition()
        time.sleep(0.05)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """The condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
