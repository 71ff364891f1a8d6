"""Telling the service manager how we are: ready, alive, a line of status, stopping.

The protocol is that of sd_notify(3): datagrams of `NAME=value` lines to the socket that $NOTIFY_SOCKET names; a name that begins with @ is in
Linux's abstract namespace. Not here: when something is true; the supervisor knows that.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What the manager sets. Taken out of the environment: the parts must not speak in our name."""


class Notifier:
    """A voice towards the service manager; silent when there is none. A message that cannot be sent is lost: the manager then acts as if
    we had said nothing, which is what its watchdog is for."""

    def __init__(self, address: str | None = None, watchdog_us: int | None = None) -> None:
        """`address` as $NOTIFY_SOCKET has it; `watchdog_us`: how long the manager bears silence."""
        self.watchdog_seconds = None if address is None or not watchdog_us else watchdog_us / 1_000_000
        self._address = None if not address else "\0" + address[1:] if address.startswith("@") else address
        self.lost = 0
        """Messages that could not be sent."""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ, pid: int | None = None) -> Notifier:
        """As the manager asks for it, and no longer in the environment afterwards. A watchdog that is meant for another process is not ours."""
        address, watchdog, watched = (environ.pop(name, "") for name in VARIABLES)
        ours = not watched or watched == str(os.getpid() if pid is None else pid)
        return cls(address or None, int(watchdog) if ours and watchdog.isascii() and watchdog.isdigit() else None)

    @property
    def listening(self) -> bool:
        """Whether there is a manager who wants to know."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """The start is over."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """One line for people."""
        self._send(f"STATUS={status}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1", "STATUS=stopping")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        text = "\n".join(line.replace("\n", " ") for line in lines)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as voice:
            try:
                voice.sendto(text.encode(), self._address)
            except OSError:
                self.lost += 1
