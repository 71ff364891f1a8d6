"""The one loop that owns the panel: what the plan says, on absolute deadlines of the boot-time clock.

A frame is composed before it is due and sent when it is due; one whose successor is due already is dropped. A move of the log's head
interrupts the waiting, and the state is read again: the state, not the event, so missed wake-ups do no harm. Facts about what was shown leave by
a thread of their own, so that a slow card never delays a frame. What the loop needs of the outside is handed in.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import apsw
import msgspec

from player.compose import Composer, Frame
from player.drawing import Codes, no_codes
from player.panels.panel import Panel, PanelLost, PanelUnavailable
from player.screen import FACTS_SIZE_MAX_BYTES, ScreenWriter
from projections import picture, plan, planning
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
"""Facts in one report: bounds what one commit writes; the log takes no more than 200."""

REPORT_AGAIN_SECONDS = 5.0
"""Wait before facts that could not be written are tried again."""

MISSING_WAITING_MAX = 8
"""Packs that wait to be asked for; the composer asks again for those beyond."""

PLAY_MERGED_US = 600_000_000
"""Repeated turns of one item are one play of at most ten minutes: that much proof is lost when the power goes."""

FPS_WINDOW = 32
"""Frames over which the rate is measured."""

FACTS_GATHERED_SECONDS = 1.0
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
    `unreported`. `missing(slug, pack)` asks for a pack to be made again. `codes` knows what offers to pair are drawn as."""

    source: Source
    open_panel: Callable[[], tuple[Panel, tuple[str, str] | None]]
    report: Callable[[Sequence[Fact]], None]
    unreported: tuple[type[Exception], ...]
    missing: Callable[[str, str], None]
    packs: Path
    screen: Path
    address: str | None
    started: PlayerStarted
    codes: Codes = no_codes


class Player:
    """Runs the panel until told to stop. One thread calls `run`; `stop` may come from any thread or signal handler."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._stop = threading.Event()
        self._reporter = Reporter(ports.report, ports.unreported, ports.missing)
        self._composer = Composer(ports.packs, self._reporter.ask, ports.codes)
        self._panel: Panel | None = None
        self._screen: ScreenWriter | None = None
        self._shown: Frame | None = None
        self._upcoming: tuple[Frame, Frame] | None = None  # the frame shown when it was composed, and the one after it
        self._told = -1
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
            self._reporter.close([*self._ended_play(self._ports.source.now_us(), complete=False), PlayerStopped()])
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
        self._reporter.now([*self._ended_play(self._ports.source.now_us(), complete=False), DisplayLost(driver, str(error))])
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
        now_us = self._refresh()
        scene = self._scene
        if scene is None:
            return
        due = self._shown
        if due is None or due.position != scene.state.position or _over(due, now_us):
            due = self._composer.frame(scene, now_us, self._shown)
            self._show(due)
        elif self._told != self._moment.position:
            self._publish_facts(due)
        change_us = due.next_change_us
        if change_us is None or change_us - source.now_us() > IDLE_LOOK_SECONDS * 1_000_000:
            source.wait(self._moment.position, IDLE_LOOK_SECONDS)
            return
        if self._messages_ran_out(change_us):
            self._wait_until(change_us)  # which message comes up from behind is not known before
            return
        upcoming = self._composed(scene, max(change_us, self._moment.logtime_us), due)
        if not self._wait_until(change_us) and not _over(upcoming, source.now_us()):
            self._show(upcoming)

    def _composed(self, scene: Scene, instant_us: int, due: Frame) -> Frame:
        """The frame that follows `due`, composed once however often the log moves meanwhile."""
        if self._upcoming is None or self._upcoming[0] is not due or self._upcoming[1].planned_us < instant_us:
            self._upcoming = due, self._composer.frame(scene, instant_us, due)
        return self._upcoming[1]

    def _wait_until(self, instant_us: int) -> bool:
        """Wait until the instant. True when the head moved before, or the end was asked for."""
        while (left_us := instant_us - self._ports.source.now_us()) > 0:
            if self._ports.source.wait(self._moment.position, left_us / 1_000_000) or self._stop.is_set():
                return True
        return False

    def _refresh(self) -> int:
        """Read the scene again if an event that matters came, and note how far the log goes. Returns the instant that the scene is good for."""
        seen, turn = self._seen, None if self._shown is None else self._shown.showing.turn
        now_us = self._ports.source.now_us()

        def load(db: apsw.Connection) -> tuple[Moment, int, Scene | None]:
            moment = planning.moment(db)
            changed = picture.changed_at(db)
            instant_us = max(now_us, moment.logtime_us)
            if changed == seen and not self._messages_ran_out(instant_us):
                return moment, changed, None
            return moment, changed, picture.scene(db, instant_us, turn if changed == seen else None)

        self._moment, self._seen, scene = self._ports.source.read(load)
        if scene is not None:
            panel = self._panel
            if panel is not None and (scene.panel.width, scene.panel.height) != (panel.width, panel.height):
                # The fact that this panel is attached could not be written: draw for the panel that is there.
                known = picture.Panel(panel.width, panel.height, self._ports.address)
                scene = msgspec.structs.replace(scene, panel=known)
            self._scene = scene
            self._shown = None if self._shown is None else msgspec.structs.replace(self._shown, position=-1)
        return max(now_us, self._moment.logtime_us)

    def _messages_ran_out(self, instant_us: int) -> bool:
        """Whether only the first of many messages were loaded, and one of them will have expired at the instant."""
        if self._scene is None:
            return True
        messages = self._scene.state.messages
        return len(messages) >= MESSAGES_MAX and any(
            m.expires_at_us is not None and m.expires_at_us <= instant_us for m in messages
        )

    # -- what is shown, and what is said about it ----------------------------------------------------------------------------------

    def _show(self, frame: Frame) -> None:
        panel = self._panel
        if panel is None:
            return
        if frame.rects:
            panel.show(frame.ram, frame.rects)
        before, self._shown = self._shown, frame
        self._account(before, frame)
        self._recent.append(self._ports.source.now_us())
        if self._screen is not None:
            self._screen.publish(panel.ram(), frame.planned_us, frame.position, self._moment.wall_us(frame.planned_us))
        self._publish_facts(frame)

    def _publish_facts(self, frame: Frame) -> None:
        panel, self._told = self._panel, self._moment.position
        if self._screen is None or panel is None:
            return
        showing = frame.showing
        facts: dict[str, object] = {
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
        encoded = msgspec.json.encode(facts)
        if len(encoded) > FACTS_SIZE_MAX_BYTES:
            # Two names of a thousand bytes, all to be escaped: then only the slug is left out of what is told, the picture is there.
            encoded = msgspec.json.encode(facts | {"slug": None, "next": None})
        self._screen.publish_facts(encoded)

    def _fps(self) -> float:
        if len(self._recent) < 2 or self._recent[-1] == self._recent[0]:
            return 0.0
        return round((len(self._recent) - 1) * 1_000_000 / (self._recent[-1] - self._recent[0]), 1)

    def _account(self, before: Frame | None, frame: Frame) -> None:
        """Report what came onto the panel when the turn changed, and the play that ended with it."""
        showing = frame.showing
        turn = (showing.slug, showing.turn.started_us) if frame.picture.content == "item" else (None, 0)
        if self._play is not None and (self._play.slug, self._play.started_us) == turn:
            self._play.frames += bool(frame.rects)
            self._play.dropped += 0 if before is None else self._frames_between(before.showing, showing)
            return
        ends_us = None if before is None else before.showing.turn_ends_us
        if self._goes_on(turn, ends_us, frame.planned_us):
            return
        self._recent.clear()
        for played in self._ended_play(frame.planned_us, complete=ends_us is not None and frame.planned_us >= ends_us):
            self._reporter.later(played)
        if before is None or before.showing.slug != showing.slug or before.showing.turn != showing.turn:
            shown = PlayerShown(
                showing.slug, showing.turn.started_us, frame.planned_us, frame.position, showing.sha256, showing.loop_index
            )
            self._reporter.later(shown)
        if turn[0] is not None:
            self._play = _Play(turn[0], turn[1], frame)

    def _goes_on(self, turn: tuple[str | None, int], ends_us: int | None, planned_us: int) -> bool:
        """Whether this turn only repeats the one before (an item alone in its loop): then nothing new came onto the panel, and one play covers
        both. Half a second of animation would else write two facts in each."""
        play = self._play
        if play is None or (play.slug, ends_us) != turn or planned_us - play.first.planned_us >= PLAY_MERGED_US:
            return False
        play.started_us = turn[1]
        play.frames += 1
        return True

    def _frames_between(self, before: plan.Showing, showing: plan.Showing) -> int:
        """How many frames the plan has between two of one turn: those that were dropped."""
        item = None if self._scene is None or showing.slug is None else self._scene.state.items.get(showing.slug)
        if item is None or not item.natural_us or before.paused or showing.paused:
            return 0
        count = sum(frames for frames, _ in item.delays)
        passes = [(one.at_us - one.turn.started_us) // item.natural_us for one in (before, showing)]
        return max(0, (passes[1] - passes[0]) * count + showing.frame - before.frame - 1)

    def _ended_play(self, ended_us: int, complete: bool) -> list[Fact]:
        """The proof of the play under way, which ends; nothing when there is none."""
        play, self._play = self._play, None
        if play is None:
            return []
        first = play.first
        return [
            PlayerPlayed(
                play.slug,
                first.picture.title,
                first.showing.sha256,
                first.planned_us,
                max(ended_us, first.planned_us),
                play.frames,
                play.dropped,
                complete,
                first.picture.pack,
            )
        ]


def _over(frame: Frame, now_us: int) -> bool:
    """Whether what follows the frame is due already."""
    change_us = frame.next_change_us
    return change_us is not None and change_us <= now_us


class _Play:
    """The play under way: what is needed for its proof."""

    __slots__ = ("dropped", "first", "frames", "slug", "started_us")

    def __init__(self, slug: str, started_us: int, first: Frame) -> None:
        self.slug = slug
        self.started_us = started_us
        self.first = first
        self.frames = 1
        self.dropped = 0


class Reporter:
    """Sends facts from a thread of its own, in order, those of one moment together. A log that cannot be written makes them wait, bounded.
    Asks for missing packs on that thread, too, since asking is a command that may have to wait."""

    def __init__(
        self,
        report: Callable[[Sequence[Fact]], None],
        unreported: tuple[type[Exception], ...],
        missing: Callable[[str, str], None] = lambda slug, pack: None,
    ) -> None:
        self._report = report
        self._unreported = unreported
        self._missing = missing
        self._waiting: deque[Fact] = deque()
        self._asked: dict[str, str] = {}  # pack -> slug
        self._changed = threading.Condition()
        self._in_order = threading.Lock()  # held by whoever reports, so that what happened first stands first
        self._closed = False
        self._silenced = False
        self._failure: BaseException | None = None
        self.lost = 0
        """Facts that were dropped."""
        self._thread = threading.Thread(target=self._run, name="pixelog-facts", daemon=True)
        self._thread.start()

    def now(self, facts: Sequence[Fact]) -> None:
        """Report at once, after what waits, on the caller's thread: for facts that must stand in the log before the first picture."""
        self._add(facts)
        self._send()

    def later(self, fact: Fact) -> None:
        """Report soon. Never blocks. Raises RuntimeError once a report has failed in an unforeseen way."""
        if self._failure is not None:
            raise RuntimeError("the facts of the player cannot be reported any more") from self._failure
        self._add([fact])

    def ask(self, slug: str, pack: str) -> None:
        """Ask for a missing pack soon. Never blocks."""
        with self._changed:
            if len(self._asked) < MISSING_WAITING_MAX:
                self._asked[pack] = slug
                self._changed.notify_all()

    def close(self, last: Sequence[Fact]) -> None:
        """Report what waits and the last facts, try nothing twice, then end the thread."""
        self._add(last)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=3)

    def _add(self, facts: Iterable[Fact]) -> None:
        with self._changed:
            self._waiting.extend(facts)
            while len(self._waiting) > FACTS_WAITING_MAX:
                self._waiting.popleft()
                self.lost += 1
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while not self._closed:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._asked or self._closed)
                    self._changed.wait_for(lambda: self._closed or self._asked, FACTS_GATHERED_SECONDS)
                if not self._send() and not self._closed:
                    with self._changed:
                        self._changed.wait_for(lambda: self._closed, REPORT_AGAIN_SECONDS)
                self._ask()
            self._send()
            self.lost += len(self._waiting)
        except BaseException as error:  # noqa: BLE001 - kept, and raised on the thread that owns the panel
            self._failure = error

    def _send(self) -> bool:
        """Report what waits, in order. False when the log cannot be written now; then it still waits."""
        with self._in_order:
            while True:
                with self._changed:
                    facts = [self._waiting.popleft() for _ in range(min(len(self._waiting), FACTS_REPORTED_MAX))]
                if not facts:
                    self._silenced = False
                    return True
                try:
                    self._report(facts)
                except self._unreported as error:
                    with self._changed:
                        self._waiting.extendleft(reversed(facts))
                    self._complain(f"{len(facts)} facts could not be written yet: {error}")
                    return False

    def _ask(self) -> None:
        while True:
            with self._changed:
                if not self._asked:
                    return
                pack, slug = self._asked.popitem()
            try:
                self._missing(slug, pack)
            except self._unreported as error:
                self._complain(f"the pack of {slug} could not be asked for: {error}")

    def _complain(self, what: str) -> None:
        if not self._silenced:
            self._silenced = True  # once for each time that the log cannot be written
            print(f"pixelog player: {what}", file=sys.stderr, flush=True)  # noqa: T201 - the player's log
