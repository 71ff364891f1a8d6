"""The one loop that owns the panel: what the plan says, on absolute deadlines of the boot-time clock.

A frame is composed before it is due and sent when it is due; one whose successor is due already is dropped. A move of the log's head
interrupts the waiting, and the state is read again: the state, not the event, so missed wake-ups do no harm. Facts about what was shown leave by
a thread of their own, so that a slow card never delays a frame. What the loop needs of the outside is handed in.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import apsw
import msgspec

from player.compose import Composer, Frame
from player.panels.panel import Panel, PanelLost, PanelUnavailable
from player.screen import ScreenWriter
from projections import folding, picture, planning
from projections.catalogue import PLAN_AREAS
from projections.display import DisplayAttached, DisplayFallback, DisplayLost, PlayerShown, PlayerStarted, PlayerStopped
from projections.picture import Scene
from projections.planning import MESSAGES_MAX, Moment
from projections.plays import PlayerPlayed
from projections.times import rfc3339

T = TypeVar("T")

Fact = PlayerStarted | PlayerStopped | PlayerShown | PlayerPlayed | DisplayAttached | DisplayLost | DisplayFallback

REOPEN_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Waits between tries to open a lost panel; the last one repeats. A loose plug is tried again soon, a dead panel costs nothing."""

FACTS_WAITING_MAX = 1_000
"""Facts that wait to be reported while the log cannot be written; older ones are dropped first, and counted."""

FACTS_REPORTED_MAX = 100
"""Facts in one report."""

FPS_WINDOW = 32
"""Frames over which the rate is measured."""

FACTS_GATHERED_SECONDS = 0.25
"""Facts of one moment (this play ended, that item came on) share one commit: each commit costs pages on the card."""

IDLE_LOOK_SECONDS = 5.0
"""The longest wait: bounds what an unnoticed stop request or wake-up could cost."""


class Source(Protocol):
    """The log, as the player sees it."""

    def read(self, load: Callable[[apsw.Connection], T]) -> T:
        """Run `load` in one read transaction, and take the time line from the head that it sees."""
        ...

    def wait(self, after: int, seconds: float) -> bool:
        """Wait until the head is beyond `after`, at most so long."""
        ...

    def now_us(self) -> int:
        """Logtime now."""
        ...


class Ports(msgspec.Struct, frozen=True):
    """What is handed in. `open_panel` gives a panel, and (from, why) when it is a stand-in. `report` appends facts; it may raise
    `unreported`. `missing(slug, pack)` asks for a pack to be made again."""

    source: Source
    open_panel: Callable[[], tuple[Panel, tuple[str, str] | None]]
    report: Callable[[Sequence[Fact]], None]
    unreported: tuple[type[Exception], ...]
    missing: Callable[[str, str], None]
    packs: Path
    screen: Path
    address: str | None
    started: PlayerStarted


class Player:
    """Runs the panel until told to stop. One thread calls `run`; `stop` may come from any thread or signal handler."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._stop = threading.Event()
        self._composer = Composer(ports.packs, ports.missing)
        self._reporter = Reporter(ports.report, ports.unreported)
        self._panel: Panel | None = None
        self._screen: ScreenWriter | None = None
        self._shown: Frame | None = None
        self._scene: Scene | None = None
        self._moment = Moment(0, 0, 0)
        self._seen = -1
        self._play: _Play | None = None
        self._fallback_from: str | None = None
        self._recent: deque[int] = deque(maxlen=FPS_WINDOW)

    def stop(self) -> None:
        """Ask the loop to end; it does within a frame, or IDLE_LOOK_SECONDS when nothing moves."""
        self._stop.set()

    def run(self) -> None:
        """Play until stopped. Leaves the panel dark and the published screen closed."""
        try:
            self._reporter.now([self._ports.started])
            while not self._stop.is_set():
                if self._panel is None and not self._attach():
                    return
                try:
                    self._step()
                except PanelLost as error:
                    self._lose(error)
        finally:
            self._end_play(self._ports.source.now_us(), complete=False)
            self._reporter.close([PlayerStopped()])
            self._close_panel()
            self._composer.close()

    # -- the panel -----------------------------------------------------------------------------------------------------------------

    def _attach(self) -> bool:
        """Open the panel, trying again with bounded waits; False when told to stop meanwhile."""
        for attempt in range(sys.maxsize):
            try:
                panel, fallback = self._ports.open_panel()
                break
            except (PanelUnavailable, PanelLost) as error:
                if attempt == 0:
                    print(f"pixelog player: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the player's log
                if self._stop.wait(REOPEN_SECONDS[min(attempt, len(REOPEN_SECONDS) - 1)]):
                    return False
        else:
            return False
        self._panel, self._shown, self._scene, self._seen = panel, None, None, -1
        facts: list[Fact] = []
        if fallback is not None:
            facts.append(DisplayFallback(fallback[0], panel.driver, fallback[1]))
        self._fallback_from = wanted = None if fallback is None else fallback[0]
        facts.append(DisplayAttached(panel.driver, panel.width, panel.height, self._ports.address, wanted))
        self._reporter.now(facts)
        try:
            self._screen = ScreenWriter(self._ports.screen, panel.width, panel.height, driver=panel.driver)
        except OSError as error:
            # Shared memory is full: playing matters more than being watched.
            print(f"pixelog player: the screen cannot be published ({error})", file=sys.stderr, flush=True)  # noqa: T201
        return True

    def _lose(self, error: PanelLost) -> None:
        driver = self._panel.driver if self._panel else "none"
        self._close_panel()
        self._reporter.now([DisplayLost(driver, str(error))])
        self._stop.wait(REOPEN_SECONDS[0])

    def _close_panel(self) -> None:
        if self._screen is not None:
            self._screen.close()
            self._screen = None
        if self._panel is not None:
            self._panel.close()
            self._panel = None

    # -- one turn of the loop ------------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Bring the state up to date, show what is due, wait for what comes next."""
        source = self._ports.source
        self._refresh()
        scene = self._scene
        if scene is None:
            return
        now_us = max(source.now_us(), self._moment.logtime_us)
        due = self._shown
        if due is None or due.position != scene.state.position or _over(due, now_us):
            due = self._composer.frame(scene, now_us, self._shown)
            self._show(due)
        change_us = due.showing.next_change_us
        if change_us is None or change_us - source.now_us() > IDLE_LOOK_SECONDS * 1_000_000:
            source.wait(self._moment.position, IDLE_LOOK_SECONDS)
            return
        upcoming = self._composer.frame(scene, max(change_us, self._moment.logtime_us), due)
        if not self._wait_until(change_us) and not _over(upcoming, source.now_us()):
            self._show(upcoming)

    def _wait_until(self, instant_us: int) -> bool:
        """Wait until the instant. True when the head moved before, or the end was asked for."""
        while (left_us := instant_us - self._ports.source.now_us()) > 0:
            if self._ports.source.wait(self._moment.position, left_us / 1_000_000) or self._stop.is_set():
                return True
        return False

    def _refresh(self) -> None:
        """Read the scene again if an event that matters came, and note how far the log goes."""
        seen, turn = self._seen, None if self._shown is None else self._shown.showing.turn
        now_us = self._ports.source.now_us()

        def load(db: apsw.Connection) -> tuple[Moment, int, Scene | None]:
            moment = planning.moment(db)
            changed = folding.changed_at(db, *PLAN_AREAS, "display")
            if changed == seen and not self._messages_ran_out(now_us):
                return moment, changed, None
            return moment, changed, picture.scene(db, max(now_us, moment.logtime_us), turn if changed == seen else None)

        self._moment, self._seen, scene = self._ports.source.read(load)
        if scene is not None:
            panel = self._panel
            if panel is not None and (scene.panel.width, scene.panel.height) != (panel.width, panel.height):
                # The fact that this panel is attached could not be written: draw for the panel that is there.
                known = picture.Panel(panel.width, panel.height, self._ports.address)
                scene = msgspec.structs.replace(scene, panel=known)
            self._scene = scene
            self._shown = None if self._shown is None else msgspec.structs.replace(self._shown, position=-1)

    def _messages_ran_out(self, now_us: int) -> bool:
        """Whether only the first of many messages were loaded and one of them has expired since."""
        if self._scene is None:
            return True
        messages = self._scene.state.messages
        return len(messages) >= MESSAGES_MAX and any(m.expires_at_us is not None and m.expires_at_us <= now_us for m in messages)

    # -- what is shown, and what is said about it ----------------------------------------------------------------------------------

    def _show(self, frame: Frame) -> None:
        panel = self._panel
        if panel is None:
            return
        if frame.rects:
            panel.show(frame.ram, frame.rects)
        before, self._shown = self._shown, frame
        now_us = self._ports.source.now_us()
        self._recent.append(now_us)
        self._publish(frame, panel)
        self._account(before, frame, now_us)

    def _publish(self, frame: Frame, panel: Panel) -> None:
        if self._screen is None:
            return
        wall_us = self._moment.wall_us(frame.planned_us)
        self._screen.publish(panel.ram(), frame.planned_us, frame.position, wall_us)
        showing = frame.showing
        facts = {
            "playing": not showing.paused,
            "held": showing.held,
            "slug": showing.slug,
            "startedAt": None if showing.slug is None else rfc3339(self._moment.wall_us(showing.turn.started_us)),
            "frame": showing.frame,
            "fps": self._fps(),
            "loopIndex": showing.loop_index,
            "next": showing.next_slug,
            "endsAt": None if showing.turn_ends_us is None else rfc3339(self._moment.wall_us(showing.turn_ends_us)),
            "appliedPosition": self._moment.position,
            "shownPosition": frame.position,
            "hoursIgnored": showing.hours_ignored,
            "display": {
                "driver": panel.driver,
                "width": panel.width,
                "height": panel.height,
                "rotation": frame.picture.rotation,
                "brightness": frame.picture.brightness,
                "state": "attached",
                "fallbackFrom": self._fallback_from,
            },
        }
        self._screen.publish_facts(msgspec.json.encode(facts))

    def _fps(self) -> float:
        if len(self._recent) < 2 or self._recent[-1] == self._recent[0]:
            return 0.0
        return round((len(self._recent) - 1) * 1_000_000 / (self._recent[-1] - self._recent[0]), 1)

    def _account(self, before: Frame | None, frame: Frame, now_us: int) -> None:
        """Report what came onto the panel when the turn changed, and the play that ended with it."""
        showing = frame.showing
        turn = (showing.slug, showing.turn.started_us) if frame.picture.content == "item" else (None, 0)
        if self._play is not None and (self._play.slug, self._play.started_us) == turn:
            self._play.frames += bool(frame.rects)
            return
        if self._play is not None:
            ends_us = None if before is None else before.showing.turn_ends_us
            self._end_play(frame.planned_us, complete=ends_us is not None and frame.planned_us >= ends_us)
        if before is None or before.showing.slug != showing.slug or before.showing.turn != showing.turn:
            shown = PlayerShown(
                showing.slug, showing.turn.started_us, frame.planned_us, frame.position, showing.sha256, showing.loop_index
            )
            self._reporter.later(shown)
        if turn[0] is not None:
            self._play = _Play(turn[0], turn[1], frame, now_us)

    def _end_play(self, ended_us: int, complete: bool) -> None:
        play, self._play = self._play, None
        if play is None:
            return
        first = play.first
        self._reporter.later(
            PlayerPlayed(
                play.slug,
                first.picture.title,
                first.showing.sha256,
                first.planned_us,
                max(ended_us, first.planned_us),
                play.frames,
                0,
                complete,
                first.picture.pack,
            )
        )


def _over(frame: Frame, now_us: int) -> bool:
    """Whether what follows the frame is due already."""
    change_us = frame.showing.next_change_us
    return change_us is not None and change_us <= now_us


class _Play:
    """The play under way: what is needed for its proof."""

    __slots__ = ("first", "frames", "slug", "started_us")

    def __init__(self, slug: str, started_us: int, first: Frame, now_us: int) -> None:
        self.slug = slug
        self.started_us = started_us
        self.first = first
        self.frames = 1


class Reporter:
    """Sends facts from a thread of its own, in order, merging what waits. A log that cannot be written makes them wait, bounded."""

    def __init__(self, report: Callable[[Sequence[Fact]], None], unreported: tuple[type[Exception], ...]) -> None:
        self._report = report
        self._unreported = unreported
        self._waiting: queue.Queue[Fact | None] = queue.Queue(FACTS_WAITING_MAX)
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="pixelog-facts", daemon=True)
        self._thread.start()

    def now(self, facts: Sequence[Fact]) -> None:
        """Report at once, on the caller's thread: for facts that must stand in the log before the first picture."""
        try:
            self._report(facts)
        except self._unreported as error:
            self._complain(error, len(facts))

    def later(self, fact: Fact) -> None:
        """Report soon. Never blocks."""
        while True:
            try:
                self._waiting.put_nowait(fact)
                return
            except queue.Full:
                try:
                    self._waiting.get_nowait()
                    self.lost += 1
                except queue.Empty:
                    continue

    def close(self, last: Sequence[Fact]) -> None:
        """Report what waits and the last facts, then end the thread."""
        for fact in last:
            self.later(fact)
        self._waiting.put(None, timeout=2)
        self._thread.join(timeout=3)

    def _run(self) -> None:
        ended = False
        while not ended:
            facts, ended = self._gather()
            if facts:
                self.now(facts)

    def _gather(self) -> tuple[list[Fact], bool]:
        """The next facts, those that follow within moments, and whether the end was among them."""
        facts: list[Fact] = []
        item = self._waiting.get()
        until = time.monotonic() + FACTS_GATHERED_SECONDS
        while item is not None:
            facts.append(item)
            if len(facts) == FACTS_REPORTED_MAX:
                return facts, False
            try:
                item = self._waiting.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return facts, False
        return facts, True

    def _complain(self, error: Exception, count: int) -> None:
        self.lost += count
        print(f"pixelog player: {count} facts could not be written: {error}", file=sys.stderr, flush=True)  # noqa: T201
