"""A service manager in small: reads a unit file and does what its lines say, over the sockets and processes of this machine.

Known are ExecStart, Environment, WatchdogSec, WatchdogSignal, Restart, RestartSec, RestartPreventExitStatus, TimeoutStartSec, TimeoutStopSec.
All waits of the unit pass SPEED times as fast.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

SPEED = 10.0


class Unit:
    """The lines of the [Service] section. A name that stands several times has several values."""

    def __init__(self, path: Path) -> None:
        self.values: dict[str, list[str]] = {}
        section = path.read_text().split("[Service]")[1].split("\n[")[0]
        for line in section.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.partition("=")
                self.values.setdefault(name, []).append(value)

    def one(self, name: str, default: str = "") -> str:
        """The last value."""
        return self.values.get(name, [default])[-1]

    def seconds(self, name: str) -> float:
        """A time span in plain seconds, as fast as time passes here."""
        return float(self.one(name)) / SPEED

    @property
    def command(self) -> list[str]:
        """ExecStart as words."""
        return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(self.one("ExecStart"))]

    @property
    def environment(self) -> dict[str, str]:
        """Environment as names and values."""
        pairs = [word.partition("=") for line in self.values.get("Environment", []) for word in shlex.split(line)]
        return {name: value.replace("%%", "%") for name, _, value in pairs}


def descendants(pid: int) -> list[int]:
    """The process and all that it started and that lives."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


class Manager:
    """Runs one unit. `step` must be called often; `until` does, with a deadline."""

    def __init__(self, unit: Path, folder: Path) -> None:
        self.unit = Unit(unit)
        self.ready = 0
        """Starts that reported READY=1."""
        self.starts = 0
        self.said: list[str] = []
        self.state = "dead"
        self.last_code: int | None = None
        self.on_ready: Callable[[], None] = lambda: None
        self._address = str(folder / "notify")
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.bind(self._address)
        self._ear.settimeout(0.02)
        self._errors = folder / "stderr"
        self.process: subprocess.Popen[bytes] | None = None
        self._family: list[int] = []
        self._deadline = 0.0

    def start(self) -> None:
        """ExecStart, waiting for READY=1."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIXELOG_")}
        environment |= self.unit.environment
        environment |= {"NOTIFY_SOCKET": self._address, "WATCHDOG_USEC": str(round(self.unit.seconds("WatchdogSec") * 1_000_000))}
        with open(self._errors, "ab") as errors:
            self.process = subprocess.Popen(
                self.unit.command, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True
            )
        self.starts += 1
        self.state, self._deadline = "starting", time.monotonic() + self.unit.seconds("TimeoutStartSec")

    def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Obey the unit until the condition holds; fails when the time is over."""
        deadline = time.monotonic() + seconds
        while not condition():
            going_on = self.state != "dead" and time.monotonic() < deadline
            assert going_on, f"{self.state} after {self.starts} starts: {self.errors()}"
            self.step()

    def step(self) -> None:
        """Hear what was said, and do what is due."""
        self._hear()
        process, now = self.process, time.monotonic()
        if process is not None and process.poll() is not None:
            self._ended(process.returncode)
        elif self.state in ("starting", "running") and now > self._deadline:
            self._kill()
        elif self.state == "waiting" and now > self._deadline:
            self.start()

    def _hear(self) -> None:
        try:
            lines = self._ear.recv(4096).decode().splitlines()
        except TimeoutError:
            return
        self.said += lines
        if self.state == "starting" and "READY=1" in lines:
            self.state = "running"
            self.ready += 1
            self.on_ready()
        if self.state == "running" and ("READY=1" in lines or "WATCHDOG=1" in lines):
            self._deadline = time.monotonic() + self.unit.seconds("WatchdogSec")

    def _kill(self) -> None:
        """The watchdog bit, or the start took too long: the unit's signal to all, then SIGKILL to who is left."""
        assert self.process is not None
        family = descendants(self.process.pid)
        self._send(family, signal.Signals[self.unit.one("WatchdogSignal", "SIGABRT")])
        try:
            self.process.wait(float(self.unit.one("TimeoutStopSec")))
        except subprocess.TimeoutExpired:
            pass
        self._send(family, signal.SIGKILL)
        self._ended(self.process.wait(10))

    def kill_everything(self) -> None:
        """kill -9, as a power cut would leave it."""
        assert self.process is not None
        self._send(descendants(self.process.pid), signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, the end awaited, and all heard that was said; the exit code."""
        process = self.process
        if process is None:
            return 0
        family = descendants(process.pid)
        process.terminate()
        try:
            return process.wait(float(self.unit.one("TimeoutStopSec")))
        finally:
            self._send(family, signal.SIGKILL)
            process.wait(10)
            self.process = None
            while self._pending():
                continue

    def close(self) -> None:
        """Stop whatever runs."""
        self.stop()
        self._ear.close()

    def _pending(self) -> bool:
        before = len(self.said)
        self._hear()
        return len(self.said) > before

    def _ended(self, code: int) -> None:
        self.process, self.last_code = None, code
        again = self.unit.one("Restart") == "always" and str(code) not in self.unit.one("RestartPreventExitStatus").split()
        self.state = "waiting" if again else "dead"
        self._deadline = time.monotonic() + self.unit.seconds("RestartSec")

    def _send(self, family: list[int], number: signal.Signals) -> None:
        for pid in family:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def errors(self) -> str:
        """What the unit wrote."""
        return self._errors.read_text()[-2000:] if self._errors.exists() else ""
