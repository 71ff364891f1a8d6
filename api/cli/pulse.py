"""The pulse of `pixelog up`: tells the service manager when the start is over, and feeds its watchdog while everything is seen to work.

The watchdog is fed by what was seen, not by being alive: the service answered, and the player's loop turned. Whoever does not answer is not
killed here; the manager, fed no more, starts everything anew.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from api.notify import Notifier

PANEL_WAIT_SECONDS = 20.0
"""A start waits this long for the panel. After that it counts without one, and says so: the page is what a person mends a panel with."""

READY_LOOK_SECONDS = 0.1
"""Between two looks whether the start is over."""

RETRY_SECONDS = 1.0
"""Between two looks once something does not answer: many fit into what is left of the watchdog's patience."""

STATUS_SECONDS = 30.0
"""Between two looks where there is no watchdog, for the line of status alone."""

SILENCE_SECONDS = 20.0
"""The player's loop turns at least every ten seconds, also when it looks for a lost panel."""


class Turns:
    """Whether the loop of a process turns: its main thread goes to sleep and wakes again.

    A stopped process, one that is stuck in the kernel, and one that waits for a lock for ever do not. Seen from outside, so that it holds
    for a player without a panel too.
    """

    def __init__(
        self,
        pid: Callable[[], int | None],
        silence_seconds: float = SILENCE_SECONDS,
        proc: Path = Path("/proc"),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pid` gives the process that is meant now; None while it is being started again."""
        self._pid, self._silence_seconds, self._proc, self._monotonic = pid, silence_seconds, proc, monotonic
        self._seen: tuple[int, int] | None = None
        self._seen_at_seconds = monotonic()

    def go_on(self) -> bool:
        """Whether it has turned within the silence that is allowed."""
        now_seconds = self._monotonic()
        seen = self._look()
        if seen is not None and seen != self._seen:
            self._seen, self._seen_at_seconds = seen, now_seconds
        return now_seconds - self._seen_at_seconds <= self._silence_seconds

    def _look(self) -> tuple[int, int] | None:
        """The process, and how often its main thread has gone to sleep."""
        pid = self._pid()
        if pid is None:
            return None
        try:
            found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", (self._proc / str(pid) / "status").read_text(), re.M)
        except OSError:
            return None
        return None if found is None else (pid, int(found[1]))


class Pulse:
    """Lives in the supervisor's loop: `turn` when `wait_seconds` are over. Does nothing when no manager listens."""

    def __init__(
        self,
        notifier: Notifier,
        page: str,
        service_answers: Callable[[], bool],
        panel_shows: Callable[[], bool],
        player_turns: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notifier, self._page, self._monotonic = notifier, page, monotonic
        self._service_answers, self._panel_shows, self._player_turns = service_answers, panel_shows, player_turns
        self._begun_at_seconds = self._due_seconds = monotonic()
        self._ready = False
        self._said = ""

    def wait_seconds(self) -> float:
        """Until the next turn."""
        return self._due_seconds - self._monotonic() if self._notifier.listening else float("inf")

    def turn(self) -> None:
        """Look, if it is time, and say what was seen."""
        if self.wait_seconds() > 0 or not self._notifier.listening:
            return
        pause_seconds = self._beat() if self._ready else self._begin()
        self._due_seconds = self._monotonic() + pause_seconds

    def stop(self, why: str | None = None) -> None:
        """The end has begun; `why`, when nobody asked for it."""
        self._notifier.stopping()
        if why is not None:
            self._say(why)

    def _begin(self) -> float:
        patient = self._monotonic() - self._begun_at_seconds < PANEL_WAIT_SECONDS
        if not self._service_answers() or (patient and not self._panel_shows()):
            return READY_LOOK_SECONDS
        self._ready, self._said = True, self._standing()
        self._notifier.ready(self._said)
        return self._beat()

    def _beat(self) -> float:
        """Feed the watchdog if all is well; the pause until the next look, half of what the watchdog allows."""
        patience_seconds = self._notifier.watchdog_seconds
        trouble = self._trouble()
        self._say(trouble or self._standing())
        if trouble is None:
            self._notifier.alive()
            return STATUS_SECONDS if patience_seconds is None else patience_seconds / 2
        return RETRY_SECONDS if patience_seconds is None else min(RETRY_SECONDS, patience_seconds / 8)

    def _trouble(self) -> str | None:
        if not self._service_answers():
            return "the service does not answer"
        return None if self._player_turns() else "the player does not go on"

    def _standing(self) -> str:
        return f"page {self._page}" + ("" if self._panel_shows() else ", no panel; see pixelog doctor")

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._notifier.status(text)
