"""`pixelog up`: service, player and worker as children of one supervisor, which binds the port, restarts what dies, and stops all together.

The children are exec'd and hold the reading end of a pipe whose writing end only the supervisor has: however it dies, they notice. They do not
outlive it, so the next start finds the directory free. Nothing of the domain lives here.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from api.cli.listening import PARENT_VARIABLE
from api.cli.pulse import Pulse

BACK_OFF_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Waits before a dead part is started again; the last one repeats, so a broken part costs one start in five seconds."""

STEADY_SECONDS = 30.0
"""A part that ran this long starts again without a wait: its death was not a failed start."""

STOP_SECONDS = 4.0
"""Time for an orderly end before SIGKILL; all is over within five seconds."""

FATAL_EXITS = {
    2: "it was called wrongly; see pixelog config, mend what the line above names, and start again",
    3: "its own line above says why; mend that, or see pixelog doctor, and start again",
}
"""Wrong usage and an unusable directory do not get better by another start, so a part that ends this way at its start ends everything: by exit
code, what to do. One that had run steadily is started again: what is unusable says so again then."""


class Part:
    """One supervised child."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        pass_fds: Sequence[int],
        parent_fd: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.due = 0.0
        self.was_steady = False
        """Whether it had run for long when it last ended."""
        self._arguments = [sys.executable, "-m", "pixelog", *arguments]
        self._pass_fds = (*pass_fds, parent_fd)
        self._environment = os.environ | {PARENT_VARIABLE: str(parent_fd)} | dict(environment or {})
        self._failures = 0
        self._started = 0.0

    def start(self) -> None:
        """Start the child."""
        self.process = subprocess.Popen(self._arguments, stdin=subprocess.DEVNULL, pass_fds=self._pass_fds, env=self._environment)
        self.pidfd = os.pidfd_open(self.process.pid)
        self._started = time.monotonic()

    def ended(self) -> int:
        """Take note that the child has ended: plans the next start, returns the exit code."""
        code = self.process.wait() if self.process is not None else 0
        os.close(self.pidfd)
        self.process, self.pidfd = None, -1
        now = time.monotonic()
        self.was_steady = now - self._started >= STEADY_SECONDS
        self._failures = 0 if self.was_steady else self._failures + 1
        self.due = now + (BACK_OFF_SECONDS[min(self._failures, len(BACK_OFF_SECONDS)) - 1] if self._failures else 0)
        return code


class Supervisor:
    """Keeps parts running until a signal. `ready` is called once, from the loop, when `is_ready` first answers true; from then on `pulse`
    has its turns."""

    def __init__(self, parts: Sequence[Part], is_ready: Callable[[], bool], ready: Callable[[], None], pulse: Pulse) -> None:
        self._parts = parts
        self._is_ready = is_ready
        self._ready = ready
        self._pulse = pulse
        self._stopping = False
        self._why: str | None = None
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT (0), or until a part says at its start that going on is pointless (its code; stderr and the service manager are
        told which part, and what to do)."""
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGABRT):  # the last one is a watchdog's
            signal.signal(number, self._on_signal)
        self._selector.register(reading, selectors.EVENT_READ, None)
        for part in self._parts:
            self._start(part)
        announced, code = False, 0
        while not self._stopping:
            for key, _ in self._selector.select(self._pause(announced)):
                if key.data is None:
                    os.read(reading, 64)
                else:
                    code = self._ended(key.data) or code
            for part in self._parts:
                if part.process is None and part.due <= time.monotonic() and not self._stopping:
                    self._start(part)
            if not announced and not self._stopping and self._is_ready():
                announced = True
                self._ready()
            if announced and not self._stopping:
                self._pulse.turn()
        self._pulse.stop(self._why)
        self._stop()
        return code

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _pause(self, announced: bool) -> float:
        waits = [part.due - time.monotonic() for part in self._parts if part.process is None]
        return max(0.0, min([*waits, *([60.0, self._pulse.wait_seconds()] if announced else [0.02])]))

    def _start(self, part: Part) -> None:
        part.start()
        self._selector.register(part.pidfd, selectors.EVENT_READ, part)

    def _ended(self, part: Part) -> int:
        self._selector.unregister(part.pidfd)
        code = part.ended()
        if self._stopping:
            return 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if code in FATAL_EXITS and not part.was_steady:
            self._stopping = True
            self._why = f"the {part.name} ended at its start ({how}), so everything ends: {FATAL_EXITS[code]}"
            print(f"pixelog: {self._why}", file=sys.stderr, flush=True)
            return code
        print(f"pixelog: the {part.name} ended ({how}); starting it again", file=sys.stderr, flush=True)
        return 0

    def _stop(self) -> None:
        running = [part.process for part in self._parts if part.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(url: str) -> bool:
    """Whether GET url gives a 2xx now."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return 200 <= answer.status < 300
    except (urllib.error.URLError, OSError):
        return False
