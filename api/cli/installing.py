"""`pixelog service install`, `uninstall`, `status`: running at boot under systemd, as a user of its own.

Here: which files that takes, and what systemd is told. The unit itself is a template in `api/systemd`. With --root the files go below a folder
and nobody is told anything: for images of cards, and for tests.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.resources
import ipaddress
import os
import pwd
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from argparse import ArgumentParser
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from api import config, ownership
from api.cli.command import Call, Command, Usage
from api.cli.listening import bind
from api.data import CONFIG, DATABASE, DataDirectory

UNIT = "pixelog.service"
MARK = "Written by `pixelog service install`; changes belong into a drop-in: systemctl edit pixelog"
DATA_DEFAULT = Path("/var/lib/pixelog")
GROUPS = ("spi", "gpio", "video")
"""Who may open a panel's bus, its lines, and the framebuffer on Raspberry Pi OS."""

HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"))
"""What the unit's ProtectHome= hides from the service."""

PASSING = (Path("/tmp"), Path("/var/tmp"), Path("/run"), Path("/dev"), Path("/proc"), Path("/sys"))
"""Where no data outlives a restart: the first two are other folders to the service (PrivateTmp=), the rest is memory or the kernel's."""

LOW_PORTS = range(1, 1024)
"""What the kernel leaves to who has CAP_NET_BIND_SERVICE (ip_unprivileged_port_start as it comes)."""

LOW_PORT_CAPABILITY = "CAP_NET_BIND_SERVICE"

SYSTEMCTL_SECONDS = 90
"""A start waits for the unit to be ready; then we say how to look, instead of waiting on."""

STEPS_SINCE = 254
"""The version of systemd that lengthens the wait from restart to restart; before, the wait is always the same."""

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")

_HOST_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([\w-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([\w-]{0,61}[A-Za-z0-9_])?)*\.?", re.ASCII
)

HOST_ADVICE = "take 0.0.0.0 for all addresses of this machine, or 127.0.0.1 for itself alone"

SAID_BY_UNIT = "not needed: the unit says where the data is"

SYSUSERS = """# {mark}
g spi - -
g gpio - -
u {user} - "pixelog" {data}
m {user} spi
m {user} gpio
m {user} video
"""
"""For systemd-sysusers(8): the user, and the groups that a system without a Pi's rules lacks, since a unit that names a missing group fails."""


class Places(NamedTuple):
    """The files of an installation below a root."""

    unit: Path
    users: Path
    wanted: Path

    @classmethod
    def below(cls, root: Path) -> Places:
        """Under `/` or a staged root."""
        units = root / "etc/systemd/system"
        return cls(units / UNIT, root / "etc/sysusers.d/pixelog.conf", units / "multi-user.target.wants" / UNIT)


# -- install -------------------------------------------------------------------------------------------------------------------------


def _install_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--user", default="pixelog", help="the user that it runs as, made if missing (default pixelog)")
    parser.add_argument("--host", help="where to listen (default 127.0.0.1; 0.0.0.0 for the whole network)")
    parser.add_argument("--port", type=int, help="the port (default 8420)")
    parser.add_argument("--display", help="auto, ili9341, st7789, …, fb, none (default auto)")
    parser.add_argument("--size", metavar="WxH", help="the panel's pixels, such as 240x240")
    parser.add_argument("--root", metavar="DIR", type=Path, help="write the files below this folder and start nothing")


def _install(call: Call) -> int:
    options = call.options
    staged = options.root is not None
    if not _USER.fullmatch(options.user):
        raise Usage(f"{options.user!r} is no name for a user; take small letters, such as pixelog")
    data = _data(call)
    settings = _settings(call, data)
    command = [*_program(), "up", "--data", str(data), *_up_options(call)]
    if not staged:
        _need_root("install")
        _need_visible_program()
        _need_own_folder(data)
        _need_own_address(settings.host)
    places = Places.below(options.root or Path("/"))
    said: list[str] = []
    changed = _write(places.users, SYSUSERS.format(mark=MARK, user=options.user, data=data), said)
    text = unit_text(command, data, options.user, systemd_version(), settings.port in LOW_PORTS)
    changed |= _write(places.unit, text, said)
    if staged:
        _link(places.wanted, said)
        following = f"the files are below {options.root}; they start pixelog when that root is booted"
    else:
        following = _bring_up(places, data, options.user, changed, said)
    if call.out.json:
        call.out.document({"unit": str(places.unit), "data": str(data), "user": options.user, "done": said, "next": following})
    for line in said:
        call.out.line(line)
    call.out.line(f"next: {following}")
    return 0


def unit_text(command: Sequence[str], data: Path, user: str, version: int, low_port: bool = False) -> str:
    """The unit, for this version of systemd. `low_port`: it listens below 1024, the one thing for which it then has a right. Raises Usage."""
    storage = f"ReadWritePaths={quoted(str(data))}"
    if data.is_relative_to("/var/lib") and data != Path("/var/lib"):
        storage = f"StateDirectory={quoted(str(data.relative_to('/var/lib')))}\nStateDirectoryMode=0750"
    restart = "RestartSec=5"
    if version >= STEPS_SINCE:
        restart += "\nRestartSteps=6\nRestartMaxDelaySec=120"
    values = {
        "MARK": MARK,
        "COMMAND": " ".join(quoted(part, "$") for part in command),
        "ENVIRONMENT": quoted(f"PIXELOG_DATA={data}"),
        "DATA": str(data).replace("%", "%%"),
        "USER": user,
        "GROUPS": " ".join(GROUPS),
        "STORAGE": storage,
        "RESTART": restart,
        "CAPABILITIES": LOW_PORT_CAPABILITY if low_port else "",
    }
    template = importlib.resources.files("api.systemd").joinpath(UNIT).read_text("utf-8")
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], template)


def quoted(text: str, doubled: str = "") -> str:
    """A word as unit files take it (systemd.syntax(7)); `doubled`: signs besides % that must stand twice to mean themselves."""
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in text):
        raise Usage(f"{text!r} has control characters, which a unit file cannot hold")
    for sign in "%" + doubled:
        text = text.replace(sign, sign * 2)
    if re.fullmatch(r"[\w@%+=:,./$-]+", text, re.ASCII):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def systemd_version() -> int:
    """The version of systemd that is installed here; 0: none."""
    try:
        said = _run(["systemctl", "--version"]).stdout
    except FileNotFoundError:
        return 0
    match = re.match(r"systemd (\d+)", said)
    return int(match[1]) if match else 0


def _settings(call: Call, data: Path) -> config.Config:
    """The configuration with which the service will start, checked as `up` would, and for what `up` may and a service may not. Raises Usage,
    BadConfig, UnknownDisplay."""
    from player.panels.open import check_display

    options = call.options
    place = data if options.root is None else options.root / data.relative_to("/")
    flags = {"host": options.host, "port": options.port, "display.size": options.size}
    settings = config.load(place, flags, {})
    check_display(options.display or "auto", settings.size)
    if not _is_host(settings.host):
        raise Usage(f"{settings.host!r} is no address and no name to listen on{_whence(settings, 'host', place)}; {HOST_ADVICE}")
    if settings.port == 0:
        raise Usage(
            f"with port 0 nobody could find the service{_whence(settings, 'port', place)}; take a number such as 8420, or 80"
        )
    return settings


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # What has the form of an address, and is none, is not tried as a name.
        return _HOST_NAME.fullmatch(host) is not None and re.fullmatch(r"[\d.]+", host) is None
    return True


def _whence(settings: config.Config, key: str, data: Path) -> str:
    return f" ({key} in {data / CONFIG})" if settings.settings[key].source == "file" else ""


def _up_options(call: Call) -> list[str]:
    """The options of `up` that were given."""
    options = call.options
    given = (("--host", options.host), ("--port", options.port), ("--display", options.display), ("--size", options.size))
    return [part for name, value in given if value is not None for part in (name, str(value))]


def _bring_up(places: Places, data: Path, user: str, changed: bool, said: list[str]) -> str:
    """Make the user, enable and start the unit; returns what to do next. Raises Usage when the machine refuses."""
    _must(["systemd-sysusers", str(places.users)], f"the user {user} cannot be made")
    try:
        account = pwd.getpwnam(user)
        make_data(data, account.pw_uid, account.pw_gid)
    except (KeyError, OSError) as error:
        raise Usage(f"{data} cannot be made for {user}: {error}") from error
    if not _booted():
        _link(places.wanted, said)
        return "systemd does not run here; pixelog starts with the next boot"
    _must(["systemctl", "daemon-reload"], "systemd does not read the unit")
    _must(["systemctl", "enable", UNIT], "the unit cannot be enabled")
    said.append("it starts at boot")
    _must(["systemctl", "restart" if changed else "start", UNIT], "it does not start; see journalctl -u pixelog -n 20")
    said.append("it runs")
    return "pixelog service status"


def make_data(data: Path, uid: int, gid: int) -> None:
    """The data directory with its folder for secrets, as this user's: before anybody else makes one of them, such as root with `pixelog pair`. What
    root has left there goes to the user. Raises OSError."""
    data.mkdir(mode=0o750, parents=True, exist_ok=True)
    # By descriptor from here on: the user may have the folder already, and put a link to anything into it.
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchown(folder, uid, gid)
        _make_closed(DataDirectory(data).secrets, folder)
    finally:
        os.close(folder)
    ownership.hand_over(data)


def _make_closed(path: Path, parent: int) -> None:
    """A folder in the folder that is open as `parent`, closed to all but its owner; there may be one of that name. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path.name, 0o700, dir_fd=parent)
    try:
        folder = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise NotADirectoryError(
            error.errno, "a link or a file in the place of a folder; move it away first", str(path)
        ) from error
    try:
        os.fchmod(folder, 0o700)
    finally:
        os.close(folder)


def _write(path: Path, text: str, said: list[str]) -> bool:
    """Put a file of ours in place; False when it was there already. Raises Usage for a file that is not ours."""
    try:
        before = path.read_text("utf-8", "replace") if path.exists() else None
        if before is not None and MARK not in before:
            raise Usage(f"{path} was not written by pixelog; move it away first")
        if before == text:
            said.append(f"{path} is as it should be")
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".new")
        beside.write_text(text, "utf-8")
        beside.chmod(0o644)
        beside.replace(path)
    except OSError as error:
        raise Usage(f"{path} cannot be written ({error.strerror})") from error
    said.append(f"wrote {path}")
    return True


def _link(path: Path, said: list[str]) -> None:
    """Enable the unit as `systemctl enable` would."""
    if path.is_symlink():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(f"/etc/systemd/system/{UNIT}")
    said.append("it starts at boot")


# -- uninstall -----------------------------------------------------------------------------------------------------------------------


def _root_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--root", metavar="DIR", type=Path, help="a staged root instead of this machine")


def _uninstall(call: Call) -> int:
    root: Path | None = call.options.root
    places = Places.below(root or Path("/"))
    installed = Installed.read(places)
    if root is None and (installed is not None or places.users.exists()):
        _need_root("uninstall")
    said: list[str] = []
    if installed is not None and root is None and _booted():
        _must(["systemctl", "disable", "--now", UNIT], "it does not stop; see journalctl -u pixelog -n 20")
        said.append("it has stopped, and does not start at boot")
    for path in (places.wanted, places.unit, places.users):
        if path.is_symlink() or path.exists():
            path.unlink()
            said.append(f"removed {path}")
    if installed is not None and root is None and _booted():
        _must(["systemctl", "daemon-reload"], "systemd does not read its units")
    kept = None if installed is None else str(installed.data)
    if call.out.json:
        call.out.document({"removed": said, "data": kept})
    for line in said or ["there is nothing to remove: pixelog is not installed as a service"]:
        call.out.line(line)
    if installed is not None:
        call.out.line(f"your data is untouched in {installed.data}, and so is the user {installed.user}")
        call.out.line(f"to part with them too: sudo rm -r {shlex.quote(kept or '')} && sudo userdel {installed.user}")
    return 0


# -- status --------------------------------------------------------------------------------------------------------------------------


class Installed(NamedTuple):
    """What an installed unit says of itself. `options` are those of `up`, by name; `low_port`: it may listen below 1024."""

    data: Path
    user: str
    options: dict[str, str]
    low_port: bool

    @classmethod
    def read(cls, places: Places) -> Installed | None:
        """From the unit; None when there is none. Raises Usage for one that is not ours."""
        try:
            text = places.unit.read_text("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Usage(f"{places.unit} cannot be read ({error.strerror})") from error
        if MARK not in text:
            raise Usage(f"{places.unit} was not written by pixelog; see systemctl status pixelog")
        values = dict(re.findall(r"^(ExecStart|WorkingDirectory|User|AmbientCapabilities)=(.*)$", text, re.M))
        words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(values["ExecStart"])]
        options = {name: value for name, value in pairwise(words) if name.startswith("--")}
        return cls(
            Path(values["WorkingDirectory"].replace("%%", "%")),
            values["User"],
            options,
            LOW_PORT_CAPABILITY in values.get("AmbientCapabilities", ""),
        )

    def url(self, status_text: str = "") -> str | None:
        """Where the service answers on this machine: from its unit, else from its configuration, else from `status_text`, in which it tells systemd
        the address of its page; None when none of them can be had."""
        host, port = self.options.get("--host"), self.options.get("--port")
        if host is None or port is None:
            try:
                settings = config.load(self.data, environ={})
            except config.BadConfig:  # closed to us, or wrong: what is wrong with it the service says itself
                page = re.match(r"page (http://[^\s,]+)", status_text)
                if page is not None:
                    return page[1]
                if port is None:
                    return None
                settings = config.load(Path(os.devnull), environ={})
            host, port = host or settings.host, port or settings.port
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _status(call: Call) -> int:
    root: Path | None = call.options.root
    places = Places.below(root or Path("/"))
    installed = Installed.read(places)
    if installed is None:
        if call.out.json:
            call.out.document({"installed": False, "running": False})
        call.out.line("not installed; sudo pixelog service install makes it start at boot")
        return 1
    known = properties() if root is None and _booted() else {}
    url = installed.url(known.get("StatusText", ""))
    answer = "not asked" if root is not None or url is None else _answer(f"{url}/readyz")
    running = known.get("ActiveState") == "active" if known else answer == "ready"
    report: dict[str, Any] = {
        "installed": True,
        "startsAtBoot": places.wanted.is_symlink() if not known else known.get("UnitFileState") == "enabled",
        "running": running,
        "state": known.get("ActiveState"),
        "since": known.get("ActiveEnterTimestamp") or None,
        "restarts": int(known.get("NRestarts") or 0) if known else None,
        "lastExit": ending(known) if known else None,
        "says": known.get("StatusText") or None,
        "health": answer,
        "data": str(installed.data),
        "user": installed.user,
    }
    if call.out.json:
        call.out.document(report)
    call.out.fields(
        [
            ("installed", f"yes, as user {installed.user}, over {installed.data}"),
            ("at boot", "starts" if report["startsAtBoot"] else "does not start; sudo systemctl enable pixelog"),
            ("running", ("yes" if running else f"no ({known.get('ActiveState') or 'systemd does not run here'})")),
            ("since", report["since"]),
            ("restarts", report["restarts"]),
            ("last exit", report["lastExit"]),
            ("says", report["says"]),
            ("health", f"{answer} at {url}" if url is not None else f"not asked: {_unknown_port(installed)}"),
        ]
    )
    if not running and root is None:
        call.out.line("to start it: sudo systemctl start pixelog; what it said last: journalctl -u pixelog -n 20")
    # An address that nobody knows is no good sign: while all is well, the service tells it to systemd.
    return 0 if running and answer == "ready" else 1


def _unknown_port(installed: Installed) -> str:
    """Why nobody knows where to ask."""
    if os.access(installed.data, os.R_OK | os.X_OK):
        return f"the port is in {installed.data / CONFIG}, which is not right; see pixelog config --data {shlex.quote(str(installed.data))}"
    return f"the port is in a file of {installed.user}'s; see sudo pixelog service status"


_PROPERTIES = (
    "ActiveState", "SubState", "ActiveEnterTimestamp", "UnitFileState", "NRestarts", "Result", "ExecMainCode", "ExecMainStatus",
    "StatusText",
)  # fmt: skip


def properties() -> dict[str, str]:
    """What systemd knows of the unit; empty when it does not answer."""
    try:
        said = _run(["systemctl", "show", UNIT, "--property", ",".join(_PROPERTIES)])
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line) if said.returncode == 0 else {}


_ENDINGS = {
    "watchdog": "it did not answer for 30 seconds and was started again",
    "oom-kill": "it took more memory than it may",
    "timeout": "it was not ready, or did not end, in time",
    "start-limit-hit": "it was started too often",
}


def ending(known: dict[str, str]) -> str | None:
    """How the last run ended, in plain words; None while there was none."""
    result, code, status = known.get("Result", ""), known.get("ExecMainCode", "0"), known.get("ExecMainStatus", "0")
    if result in _ENDINGS:
        return _ENDINGS[result]
    if code == "1":
        meanings = {"0": "in order", "2": "it was started wrongly", "3": "the data directory is unusable; see pixelog doctor"}
        return meanings.get(status, f"with exit code {status}")
    return f"killed by signal {status}" if code in ("2", "3") else None


def _answer(url: str) -> str:
    """What the service says when asked: ready, not ready, or no answer."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return "ready"
    except urllib.error.HTTPError as error:
        return f"not ready ({error.code})"
    except (OSError, ValueError):
        return "no answer"


# -- this machine --------------------------------------------------------------------------------------------------------------------


def _data(call: Call) -> Path:
    """The data directory of the service: not the one of this shell. Raises Usage for one that a service cannot have."""
    given = call.options.data
    if given is None:
        return DATA_DEFAULT
    if not Path(given).is_absolute():
        raise Usage(f"--data {given!r} depends on where one stands; a service needs the whole path, such as {DATA_DEFAULT}")
    # Links and `..` lead to where the folder will be; on another root they lead elsewhere.
    data = Path(given) if call.options.root is not None and ".." not in Path(given).parts else Path(os.path.realpath(given))
    other = f"take {DATA_DEFAULT}, or a folder such as /srv/pixelog"
    if any(data.is_relative_to(hidden) for hidden in HIDDEN):
        raise Usage(f"{data} lies in a home folder, which the service may not see; {other}")
    if any(data.is_relative_to(passing) for passing in PASSING):
        raise Usage(f"{data} lies where nothing stays, and /tmp and /var/tmp of the service are folders of its own; {other}")
    return data


def _need_own_folder(data: Path) -> None:
    """All of the folder will be the service's, so nothing of others may be in it."""
    try:
        found = {path.name for path in data.iterdir()} - {"lost+found"} if os.path.lexists(data) else set[str]()
        ours = bool(found & {DATABASE, CONFIG}) or all(_is_begun(data, name) for name in found)
    except OSError as error:
        raise Usage(f"{data} cannot be used ({error.strerror}); take {DATA_DEFAULT}, or a folder such as /srv/pixelog") from error
    if not ours:
        raise Usage(
            f"{data} holds files that are not pixelog's, and would be given to its user; take an empty folder, such as {data / 'pixelog'}"
        )


def _is_begun(data: Path, name: str) -> bool:
    """Whether this is an empty folder of pixelog's: what an installation leaves that got no further. Others have folders of such names, too, but not
    empty ones."""
    own = DataDirectory(data)
    path = data / name
    if path not in (own.secrets, own.blobs, own.packs, own.temporary) or path.is_symlink() or not path.is_dir():
        return False
    return not any(path.iterdir())


def _need_own_address(host: str) -> None:
    """Whether this machine can listen there."""
    try:
        bind(host, 0).close()
    except UnicodeError as error:
        raise Usage(f"no address is known for {host!r}; {HOST_ADVICE}") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise Usage(f"{host} is no address of this machine; {HOST_ADVICE}") from error
        if (error.errno or 0) < 0:  # what a name that nobody knows is refused with has numbers of its own, below those of errno
            raise Usage(f"no address is known for {host!r}; {HOST_ADVICE}") from error
        raise Usage(f"{error.strerror}; {HOST_ADVICE}") from error


def _program() -> list[str]:
    """How this very program is called by its full name."""
    here = Path(sys.executable).absolute().parent / "pixelog"
    return [str(here)] if here.is_file() else [str(Path(sys.executable).absolute()), "-m", "pixelog"]


def _need_root(action: str) -> None:
    if os.geteuid() != 0:
        raise Usage(f"pixelog service {action} changes the system: run it with sudo, or see --root")


def _need_visible_program() -> None:
    for path in (Path(_program()[0]), Path(sys.executable).resolve(), Path(__file__).resolve()):
        if any(path.is_relative_to(hidden) for hidden in HIDDEN):
            raise Usage(f"{path} lies in a home folder, which the service may not see; install pixelog into /opt/pixelog")


def _booted() -> bool:
    """Whether systemd runs this machine (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": ""}
    return subprocess.run(command, capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS, check=False, env=environment)


def _must(command: list[str], otherwise: str) -> None:
    try:
        said = _run(command)
    except FileNotFoundError as error:
        raise Usage(f"{otherwise}: {command[0]} is not there; pixelog needs systemd to start at boot") from error
    except subprocess.TimeoutExpired as error:
        raise Usage(f"{otherwise} ({shlex.join(command)} took longer than {SYSTEMCTL_SECONDS} s)") from error
    if said.returncode != 0:
        why = said.stderr.strip().splitlines()
        raise Usage(f"{otherwise} ({why[-1] if why else f'exit code {said.returncode}'})")


INSTALL = Command(_install, _install_arguments, data="the data directory of the service (default: /var/lib/pixelog)")
UNINSTALL = Command(_uninstall, _root_argument, data=SAID_BY_UNIT)
STATUS = Command(_status, _root_argument, data=SAID_BY_UNIT)
