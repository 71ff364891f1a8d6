"""The player's loop: on a clock that moves only when told to, over a real log, real frame packs and a real panel in memory; and once in real time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from PIL import Image

from api import past
from api.cli.ports import UNREPORTED, LogSource, PrepareDesk, reporter
from api.commands.deciding import Rejected
from api.commands.media import FinishPreparing
from api.service import StateService
from eventstore.clock import Reading
from player import run
from player.framepack import FramePack
from player.panels.panel import Panel, PanelLost, PanelUnavailable
from player.panels.simulated import SimulatedPanel
from player.prepare import Geometry, prepare
from player.run import Player, Ports, Reporter
from player.screen import ScreenReader, ScreenWriter
from projections import folding, media, picture, settings
from projections.display import DisplayAttached, DisplayLost, PlayerShown, PlayerStarted, PlayerStopped
from projections.media import Pack
from projections.plays import PlayerPlayed
from projections.replay.points import Instant

TIME_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
S = 1_000_000
WIDTH, HEIGHT = 60, 40


class Hand:
    """Clocks that stand still until they are moved."""

    def __init__(self) -> None:
        self.us = 5 * S

    def read(self) -> Reading:
        return Reading(TIME_US + self.us, self.us, "boot-1", True)


class Recorded(ScreenWriter):
    """A publisher that keeps what it published."""

    kept: list[tuple[int, int, bytes]]

    def publish(self, ram: bytes, planned_us: int, position: int, wall_us: int) -> None:
        super().publish(ram, planned_us, position, wall_us)
        self.kept.append((planned_us, position, ram))


class Glass(SimulatedPanel):
    """A panel in memory that counts what is sent to it, and can be unplugged."""

    def __init__(self, width: int = WIDTH, height: int = HEIGHT) -> None:
        super().__init__(width, height, "sim")
        self.sent: list[Sequence[Any]] = []
        self.unplugged = False

    def show(self, frame: bytes, rects: Sequence[Any]) -> None:
        if self.unplugged:
            raise PanelLost("nobody answers")
        super().show(frame, rects)
        self.sent.append(rects)


Act = Callable[[], object]


class Theatre:
    """A service, a player on a fake clock, and a script of what happens when."""

    def __init__(self, root: Path) -> None:
        self.clock = Hand()
        self.service = StateService(root / "data", clock=self.clock)
        self.folder = root / "media"
        self.folder.mkdir()
        self.glasses: list[Glass] = []
        self.facts: list[Any] = []
        self.published: list[tuple[int, int, bytes]] = []
        self.asked: list[tuple[str, str]] = []
        self.waits: list[float] = []
        self.script: list[tuple[int, Act]] = []
        self.report: Callable[[Sequence[Any]], None] = self._note
        self.player: Player | None = None

    # -- the player's source

    def read(self, load: Callable[[apsw.Connection], Any]) -> Any:
        while self.script and self.script[0][0] <= self.clock.us:
            self.script.pop(0)[1]()
        with self.service.store.snapshot() as db:
            return load(db)

    def now_us(self) -> int:
        return self.service.store.now_us()

    def wait(self, after: int, seconds: float) -> bool:
        """Time passes until the next act, at most so long."""
        self.waits.append(seconds)
        until = self.clock.us + max(1, round(seconds * S))
        if self.service.store.head().position > after:
            return True
        if self.script and self.script[0][0] <= until:
            at_us, act = self.script.pop(0)
            self.clock.us = max(self.clock.us, at_us)
            act()
        else:
            self.clock.us = until
        return self.service.store.head().position > after

    # -- the ports

    def _note(self, facts: Sequence[Any]) -> None:
        self.facts += facts

    def open_panel(self) -> tuple[Panel, tuple[str, str] | None]:
        self.glasses.append(Glass())
        return self.glasses[-1], None

    def play(self, *script: tuple[float, Act], until: float) -> None:
        """Run the player from now on; each act comes so many seconds after now, and the end, too."""
        began = self.clock.us
        self.player = Player(
            Ports(
                source=self,
                open_panel=self.open_panel,
                report=lambda facts: self.report(facts),
                unreported=UNREPORTED,
                missing=lambda slug, pack: self.asked.append((slug, pack)),
                packs=self.service.data.packs,
                screen=self.service.data.screen(),
                address="http://display:8420",
                started=PlayerStarted(7, "boot-1"),
            )
        )
        acts = [*script, (until, self.player.stop)]
        self.script = [(began + round(at * S), act) for at, act in sorted(acts, key=lambda one: one[0])]
        self.player.run()

    # -- media

    def add(
        self, name: str, colours: Sequence[tuple[int, int, int]], delay_ms: int = 100, ready: bool = True, **flags: Any
    ) -> str:
        """An item of plain frames; in the loop unless told otherwise."""
        images = [Image.new("RGB", (30, 20), colour) for colour in colours]
        file = self.folder / name
        more = {"save_all": True, "append_images": images[1:], "duration": delay_ms, "loop": 0} if len(images) > 1 else {}
        images[0].save(file, **more)
        item = self.service.add_media(file, **{"add_to_loop": True, **flags})
        if ready:
            self.prepare(item.slug)
        return item.slug

    def prepare(self, slug: str) -> str:
        """Do the worker's part for the present geometry. The answer is the pack's name."""
        with self.service.store.snapshot() as db:
            values, files = settings.get(db), media.files(db, slug)
        assert files is not None
        geometry = msgspec.convert(
            {"width": WIDTH, "height": HEIGHT, "rotation": values["rotation"], "fit": values["fit"]}, Geometry
        )
        made = prepare(
            self.service.blobs.path(files.sha256 or ""), self.service.data.packs, geometry, lambda percent, stage: None
        )
        pack = Pack(made.pack, WIDTH, HEIGHT, geometry.rotation, geometry.fit, made.pack_size_bytes)
        self.service.executor.execute(
            FinishPreparing(
                None, slug, files.sha256 or "", made.kind, made.type, made.width, made.height, made.frame_count, made.delays,
                pack, made.thumbnail, made.made_by,
            )
        )  # fmt: skip
        return made.pack

    def frame(self, slug: str, index: int = 0) -> bytes:
        """The packed frame of an item."""
        with self.service.store.reading() as db:
            files = media.files(db, slug)
        assert files is not None
        with FramePack.open(self.service.data.pack(files.packs[-1].name)) as pack:
            return pack.frame(index)

    def of(self, kind: type) -> list[Any]:
        """The facts of one kind, in order."""
        return [fact for fact in self.facts if isinstance(fact, kind)]


@pytest.fixture
def theatre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Theatre]:
    """A theatre; closed at the end."""
    one = Theatre(tmp_path)
    monkeypatch.setattr(run, "ScreenWriter", type("Kept", (Recorded,), {"kept": one.published}))
    monkeypatch.setattr(run, "FACTS_GATHERED_SECONDS", 0.0)
    monkeypatch.setattr(run, "REOPEN_SECONDS", (0.001,))
    yield one
    one.service.close()


RED, GREEN, BLUE, WHITE = (248, 0, 0), (0, 252, 0), (0, 0, 248), (248, 252, 248)


def test_items_follow_each_other_at_the_planned_instants(theatre: Theatre) -> None:
    """Each picture goes out once, exactly when it is due; nothing black lies between; a still is sent once and then left alone."""
    theatre.add("a.png", [RED])
    theatre.add("b.png", [GREEN])
    began = theatre.now_us()
    theatre.service.reorder_loop(["a", "b"])
    theatre.play(until=35)
    shown = theatre.of(PlayerShown)
    assert [(fact.slug, fact.planned_us - shown[0].turn_started_us) for fact in shown] == [
        ("a", shown[0].planned_us - shown[0].turn_started_us),
        ("b", 10 * S),
        ("a", 20 * S),
        ("b", 30 * S),
    ]
    assert shown[0].planned_us - began < 10
    assert {ram for _, _, ram in theatre.published} == {theatre.frame("a"), theatre.frame("b")}
    assert len(theatre.glasses[0].sent) == 4


def test_the_loop_rests_on_a_still(theatre: Theatre) -> None:
    """Five minutes of one picture: a look every five seconds, no more."""
    theatre.add("a.png", [RED])
    theatre.service.set_active("a")
    theatre.service.control("hold")
    theatre.waits.clear()
    theatre.play(until=300)
    assert len(theatre.published) == 1
    assert len(theatre.waits) <= 62


def test_an_animation_plays_each_frame_at_its_time(theatre: Theatre) -> None:
    """Frame by frame, on the plan's own instants; only what differs is sent."""
    theatre.add("a.gif", [RED, GREEN, BLUE], delay_ms=70)
    theatre.service.control("hold")
    theatre.play(until=1.0)
    first = theatre.published[0][0]
    assert [planned - first for planned, _, _ in theatre.published[1:]] == [
        planned - first for planned in range(theatre.published[1][0], theatre.published[-1][0] + 1, 70_000)
    ]
    frames = [theatre.frame("a", index) for index in range(3)]
    indexes = [frames.index(ram) for _, _, ram in theatre.published]
    assert indexes == [(indexes[0] + step) % 3 for step in range(len(indexes))]


def test_a_choice_interrupts_and_is_on_at_once(theatre: Theatre) -> None:
    """The next picture after the event is the item's, planned for now."""
    for name, colour in (("a.png", RED), ("b.png", GREEN), ("c.png", BLUE)):
        theatre.add(name, [colour])
    theatre.play((3, lambda: theatre.service.set_active("c")), until=5)
    event = next(event for event in theatre.service.store.read(types=["active.set"]))
    fact = theatre.of(PlayerShown)[-1]
    # The first instant after the event is a microsecond later.
    assert (fact.slug, fact.planned_us, fact.applied_position) == ("c", event.logtime_us + 1, event.position)
    assert theatre.published[-1] == (event.logtime_us + 1, event.position, theatre.frame("c"))


def test_a_deletion_takes_the_item_off_at_once(theatre: Theatre) -> None:
    """What follows is the next item; with nothing left, the address screen."""
    theatre.add("a.png", [RED])
    theatre.add("b.png", [GREEN])
    red, green = theatre.frame("a"), theatre.frame("b")
    theatre.play(
        (2, lambda: theatre.service.remove_media("a")),
        (4, lambda: theatre.service.remove_media("b")),
        until=6,
    )
    assert [ram for _, _, ram in theatre.published][:2] == [red, green]
    assert theatre.published[-1][2] not in (red, green, bytes(2 * WIDTH * HEIGHT))
    assert [fact.slug for fact in theatre.of(PlayerShown)] == ["a", "b", None]


def test_events_that_change_no_picture_send_nothing(theatre: Theatre) -> None:
    """A busy log does not move the panel, but the player says how far it has read."""
    theatre.add("a.png", [RED])
    theatre.service.set_active("a")
    theatre.service.control("hold")
    reader = ScreenReader(theatre.service.data.screen())
    heard: list[tuple[int, int]] = []

    def listen() -> None:
        facts = msgspec.json.decode(reader.facts() or b"{}")
        heard.append((facts["appliedPosition"], facts["shownPosition"]))

    shown = theatre.service.store.head().position
    beats = [(1 + n / 10, lambda: theatre.service.heartbeat("camera")) for n in range(20)]
    theatre.play(*beats, (4, listen), until=5)
    reader.close()
    assert len(theatre.glasses[0].sent) == 1
    assert heard == [(shown + 20, shown)]


def test_the_facts_beside_the_screen(theatre: Theatre) -> None:
    """What GET /player answers with, while the player lives; after its end there is nothing to read."""
    theatre.add("a.gif", [RED, GREEN], delay_ms=500)
    theatre.add("b.png", [GREEN])
    theatre.service.reorder_loop([{"slug": "a", "repeat": 4}, "b"])
    reader = ScreenReader(theatre.service.data.screen())
    heard: list[dict[str, Any]] = []
    theatre.play((2.2, lambda: heard.append(msgspec.json.decode(reader.facts() or b""))), until=3)
    (facts,) = heard
    head = theatre.service.store.head().position
    assert {name: facts[name] for name in ("playing", "held", "slug", "frame", "fps", "loopIndex", "next")} == {
        "playing": True,
        "held": False,
        "slug": "a",
        "frame": 0,
        "fps": 2.0,
        "loopIndex": 0,
        "next": "b",
    }
    assert (facts["appliedPosition"], facts["shownPosition"]) == (head, head)
    assert facts["display"] == {
        "driver": "sim",
        "width": WIDTH,
        "height": HEIGHT,
        "rotation": 0,
        "brightness": 100,
        "state": "attached",
        "fallbackFrom": None,
    }
    assert reader.facts() is None
    assert theatre.glasses[0].ram() == bytes(2 * WIDTH * HEIGHT)
    reader.close()


def test_facts_come_in_order_and_tell_the_whole_story(theatre: Theatre) -> None:
    """Started, attached, then what came on and what was played, and the end."""
    theatre.add("a.png", [RED])
    theatre.add("b.gif", [GREEN, BLUE], delay_ms=500)
    theatre.service.reorder_loop(["a", {"slug": "b", "repeat": 2}])
    theatre.play(until=10.9)
    assert [type(fact).__name__ for fact in theatre.facts] == [
        "PlayerStarted",
        "DisplayAttached",
        "PlayerShown",
        "PlayerPlayed",
        "PlayerShown",
        "PlayerPlayed",
        "PlayerStopped",
    ]
    assert theatre.facts[1] == DisplayAttached("sim", WIDTH, HEIGHT, "http://display:8420")
    first, second = theatre.of(PlayerPlayed)
    assert (first.slug, first.filename, first.frames_shown, first.frames_dropped, first.complete) == ("a", "a.png", 1, 0, True)
    assert first.ended_us == second.started_us
    assert (second.slug, second.frames_shown, second.complete) == ("b", 2, False)


def test_dropped_frames_are_counted(theatre: Theatre) -> None:
    """A panel that takes longer than a frame lasts shows the newest one; the proof says how many never came on."""
    theatre.add("a.gif", [RED, GREEN, BLUE, WHITE], delay_ms=100)
    theatre.service.control("hold")
    slow = Glass.show

    def show(self: Glass, frame: bytes, rects: Sequence[Any]) -> None:
        theatre.clock.us += 250_000
        slow(self, frame, rects)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Glass, "show", show)
        theatre.play(until=10)
    (played,) = theatre.of(PlayerPlayed)
    lasted = (played.ended_us - played.started_us) // 100_000
    assert played.frames_shown + played.frames_dropped == pytest.approx(lasted, abs=4)
    assert played.frames_dropped > played.frames_shown


def test_a_lost_panel_is_opened_again_and_gets_a_whole_frame(theatre: Theatre) -> None:
    """The loss and the return are reported, in order; a play under way ends with the panel and begins again with it."""
    theatre.add("a.png", [RED])
    theatre.service.set_active("a")
    theatre.service.control("hold")

    def unplug() -> None:
        theatre.glasses[-1].unplugged = True
        theatre.service.change_settings({"brightness": 50})

    theatre.play((2, unplug), until=5)
    assert len(theatre.glasses) == 2
    assert theatre.glasses[1].sent[0] == ((0, 0, WIDTH, HEIGHT),)
    assert theatre.facts[2:] == [
        *theatre.of(PlayerShown)[:1],
        theatre.of(PlayerPlayed)[0],
        DisplayLost("sim", "nobody answers"),
        DisplayAttached("sim", WIDTH, HEIGHT, "http://display:8420"),
        *theatre.of(PlayerShown)[1:],
        theatre.of(PlayerPlayed)[1],
        PlayerStopped(),
    ]
    assert len(theatre.of(PlayerShown)) == 2


def test_a_panel_that_cannot_be_opened_is_tried_again(theatre: Theatre, capsys: pytest.CaptureFixture[str]) -> None:
    """With waits; said once; a stand-in's reason is reported before the panel."""
    tries = 0

    def open_panel() -> tuple[Panel, tuple[str, str] | None]:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise PanelUnavailable("There is no SPI bus.", "Switch it on.")
        theatre.glasses.append(Glass())
        return theatre.glasses[-1], ("st7789", "no SPI")

    theatre.open_panel = open_panel  # type: ignore[method-assign]
    theatre.play(until=1)
    assert tries == 4
    assert capsys.readouterr().err.count("There is no SPI bus.") == 1
    kinds = [type(fact).__name__ for fact in theatre.facts]
    assert kinds[:3] == ["PlayerStarted", "DisplayFallback", "DisplayAttached"]
    assert theatre.facts[2].fallback_from == "st7789"


def test_a_missing_pack_shows_preparing_and_is_asked_for_now_and_then(theatre: Theatre) -> None:
    """Not with every frame; when it is there again, the next event brings it on."""
    theatre.add("a.gif", [RED, GREEN], delay_ms=100)
    name = theatre.prepare("a")
    theatre.service.control("hold")
    theatre.service.data.pack(name).unlink()
    frames: list[bytes] = []
    theatre.play(
        (30, lambda: frames.append(theatre.glasses[0].ram())),
        (70, lambda: frames.append(theatre.prepare("a").encode())),
        until=71,
    )
    assert theatre.asked == [("a", name)] * 2
    assert frames[1] == name.encode()
    assert frames[0] not in (theatre.frame("a", 0), theatre.frame("a", 1), bytes(2 * WIDTH * HEIGHT))
    assert theatre.published[-1][2] in (theatre.frame("a", 0), theatre.frame("a", 1))
    assert len(theatre.of(PlayerShown)) == 1


def test_a_turned_panel_shows_the_old_pack_until_the_new_one_is_there(theatre: Theatre) -> None:
    """Never black, never "preparing"."""
    theatre.add("a.png", [RED])
    old = theatre.frame("a")
    seen: list[bytes] = []
    theatre.play(
        (1, lambda: theatre.service.change_settings({"rotation": 90})),
        (2, lambda: seen.append(theatre.glasses[0].ram())),
        (3, lambda: theatre.prepare("a")),
        (4, lambda: seen.append(theatre.glasses[0].ram())),
        until=5,
    )
    assert seen == [old, theatre.frame("a")]
    assert seen[0] != seen[1]


def test_more_messages_than_are_loaded(theatre: Theatre) -> None:
    """When one of them expires the next one comes up; each picture is what a fresh look at the log would draw."""
    theatre.report = reporter(theatre.service)
    theatre.add("a.png", [RED])
    for number in range(30):
        theatre.service.post_message(f"{number}", priority="warning", ttl_seconds=1 + number / 4)
    theatre.play(until=12)
    check_past(theatre)


def test_a_rebuild_in_the_middle_of_play_is_harmless(theatre: Theatre) -> None:
    """The tables are made anew under the player: no picture more or less, no other facts."""
    theatre.add("a.gif", [RED, GREEN, BLUE], delay_ms=100)
    theatre.add("b.png", [GREEN])
    store, write = theatre.service.store, reporter(theatre.service)

    def rebuild() -> None:
        folding.rebuild(store)

    def report(facts: Sequence[Any]) -> None:
        theatre.facts += facts
        write(facts)

    theatre.report = report

    theatre.play((0.55, rebuild), (5.5, rebuild), until=12)
    assert [fact.slug for fact in theatre.of(PlayerShown)] == ["a", "b", "a", "b"]
    check_past(theatre)


def check_past(theatre: Theatre) -> None:
    """Every picture that was published is drawn again from the log by its instant and position, and equals it in every pixel."""
    service = theatre.service
    for planned_us, position, ram in dict.fromkeys(theatre.published):
        screen = past.screen(service.data, service.store, Instant(position, planned_us, TIME_US))
        assert screen is not None
        assert screen.position == position
        assert screen.ram == ram, f"at {planned_us} through {position}"


@pytest.mark.parametrize("seed", range(4))
def test_the_past_equals_what_was_shown_in_every_pixel(theatre: Theatre, seed: int) -> None:
    """A random evening: uploads, choices, buttons, order, settings, messages, removals, late packs, a rebuild; facts written as they come."""
    chance = random.Random(seed)
    theatre.report = reporter(theatre.service)
    service = theatre.service
    colours = [tuple(chance.randrange(0, 256, 8) for _ in range(3)) for _ in range(40)]
    slugs: list[str] = []

    def upload() -> None:
        count = chance.choice((1, 1, 2, 5))
        name = f"m{len(slugs)}." + ("png" if count == 1 else "gif")
        frames: Any = chance.sample(colours, count)
        flags = {"add_to_loop": chance.random() < 0.8, "make_active": chance.random() < 0.2}
        slugs.append(theatre.add(name, frames, chance.choice((40, 90, 250)), chance.random() < 0.7, **flags))

    def prepare_all() -> None:
        with service.store.snapshot() as db:
            values, panel = settings.get(db), picture.panel(db)
            lacking = media.lacking_pack(db, panel.width, panel.height, int(values["rotation"]), str(values["fit"]), 100)
        for slug in [slug for slug, _ in lacking] + [item.slug for item in service.list_media(status="pending")]:
            theatre.prepare(slug)

    def messages() -> None:
        for _ in range(chance.choice((1, 1, 3, 25))):
            ttl = chance.choice((None, 0.3, 1.0, 2.5, 7.0))
            service.post_message(
                f"{chance.random():.3f}", priority=chance.choice(("info", "warning", "critical")), ttl_seconds=ttl
            )

    def dismiss() -> None:
        for message in service.get_dashboard_data().messages:
            service.dismiss_message(message.id)

    acts: list[Act] = [
        upload,
        upload,
        prepare_all,
        prepare_all,
        messages,
        dismiss,
        lambda: service.set_active(chance.choice([None, *slugs])),
        lambda: service.jump(chance.choice(slugs)),
        lambda: service.control(chance.choice(("play", "pause", "toggle", "next", "previous", "hold", "release"))),
        lambda: service.control("play"),
        lambda: service.control("release"),
        lambda: service.reorder_loop(chance.sample(service.list_loop(), len(service.list_loop()))),
        lambda: service.reorder_loop(
            service.list_loop(), mode=chance.choice(("all", "all", "one")), shuffle=chance.random() < 0.4
        ),
        lambda: service.change_settings({"brightness": chance.choice((30, 100))}),
        lambda: service.change_settings({"rotation": chance.choice((0, 90)), "fit": chance.choice(("contain", "cover"))}),
        lambda: service.change_settings({"defaultDuration": chance.choice((0.5, 1.5))}),
        lambda: service.remove_media(chance.choice(slugs)),
        lambda: service.restore_media(chance.choice(slugs)),
        lambda: service.heartbeat("camera"),
        lambda: folding.rebuild(service.store) if chance.random() < 0.3 else None,
    ]

    def tolerant(act: Act) -> Act:
        def run() -> None:
            try:
                act()
            except Rejected:
                return  # a random wish may be impossible

        return run

    for _ in range(3):
        upload()
    moments = sorted(chance.uniform(0, 20) for _ in range(90))
    theatre.play(*[(moment, tolerant(chance.choice(acts))) for moment in moments], until=21)
    assert len(theatre.published) > 30
    check_past(theatre)
    assert theatre.player is not None


def test_the_end_comes_soon_in_real_time_and_leaves_the_panel_dark(theatre: Theatre) -> None:
    """On the machine's clock, over the real source: a choice reaches the panel, a removal takes it off, a stop ends within a second."""
    theatre.add("a.png", [RED])
    theatre.add("b.png", [GREEN], add_to_loop=False)
    red, green = theatre.frame("a"), theatre.frame("b")
    root = theatre.service.data.root
    theatre.service.close()
    with StateService(root) as service:
        glass = Glass()
        player = Player(
            Ports(
                source=LogSource(service),
                open_panel=lambda: (glass, None),
                report=reporter(service),
                unreported=UNREPORTED,
                missing=PrepareDesk(service).missing,
                packs=service.data.packs,
                screen=service.data.screen(),
                address=None,
                started=PlayerStarted(1, None),
            )
        )
        thread = threading.Thread(target=player.run)
        thread.start()

        def becomes(ram: bytes) -> float:
            began = time.monotonic()
            while glass.ram() != ram:
                assert time.monotonic() - began < 5
                time.sleep(0.001)
            return time.monotonic() - began

        becomes(red)
        service.set_active("b")
        assert becomes(green) < 1
        service.remove_media("b")
        assert becomes(red) < 1
        began = time.monotonic()
        player.stop()
        service.store.watch.release()
        thread.join(5)
        assert time.monotonic() - began < 1
        assert glass.ram() == bytes(2 * WIDTH * HEIGHT)
        types = [event.type for event in service.store.read() if event.type.startswith(("player.", "display."))]
        assert types[:2] == ["player.started", "display.attached"]
        assert types[-2:] == ["player.played", "player.stopped"]


# -- the reporter --------------------------------------------------------------------------------------------------------------------


class Refusal(Exception):
    """The log cannot be written."""


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll, with a deadline."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_facts_wait_while_the_log_cannot_be_written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """They are tried again, in their order, each once; it is complained of once; beyond the bound the oldest go, and are counted."""
    monkeypatch.setattr(run, "REPORT_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(run, "FACTS_GATHERED_SECONDS", 0.0)
    monkeypatch.setattr(run, "FACTS_WAITING_MAX", 250)
    facts = [PlayerStopped(str(number)) for number in range(400)]
    written: list[Any] = []
    sizes: list[int] = []
    tries = 0
    open_log = threading.Event()

    def report(some: Sequence[Any]) -> None:
        nonlocal tries
        tries += 1
        if not open_log.is_set():
            raise Refusal
        sizes.append(len(some))
        written.extend(some)

    one = Reporter(report, (Refusal,))
    for fact in facts:
        one.later(fact)
    wait_until(lambda: tries > 3)
    open_log.set()
    wait_until(lambda: len(written) == 250)
    one.close([PlayerStopped("end")])
    assert written == [*facts[150:], PlayerStopped("end")]
    assert (one.lost, max(sizes)) == (150, run.FACTS_REPORTED_MAX)
    assert capsys.readouterr().err.count("could not be written") == 1


def test_a_fact_that_must_stand_first_waits_for_those_before_it() -> None:
    """What is reported at once does not overtake what waits."""
    written: list[Any] = []
    one = Reporter(written.extend, ())
    one.later(PlayerStopped("1"))
    one.now([PlayerStopped("2")])
    one.close([PlayerStopped("3")])
    assert [fact.why for fact in written] == ["1", "2", "3"]


def test_an_unforeseen_failure_to_report_surfaces() -> None:
    """The thread that owns the panel hears of it with its next fact."""

    def report(facts: Sequence[Any]) -> None:
        raise LookupError("a bug")

    one = Reporter(report, (Refusal,))
    one.later(PlayerStopped())

    def fails() -> bool:
        try:
            one.later(PlayerStopped())
        except RuntimeError as error:
            return isinstance(error.__cause__, LookupError)
        return False

    wait_until(fails)
    one.close([])


def test_an_end_does_not_wait_for_a_log_that_cannot_be_written() -> None:
    """What could not be said is counted as lost."""

    def report(facts: Sequence[Any]) -> None:
        raise Refusal

    one = Reporter(report, (Refusal,))
    one.later(PlayerStopped())
    began = time.monotonic()
    one.close([PlayerStopped()])
    assert time.monotonic() - began < 2
    assert one.lost == 2


def test_asking_for_packs_is_bounded_and_off_the_loop() -> None:
    """Each pack once at a time; a refusal is no end."""
    asked: list[tuple[str, str]] = []
    gate = threading.Event()

    def missing(slug: str, pack: str) -> None:
        asked.append((slug, pack))
        gate.wait(5)
        raise Refusal

    one = Reporter(lambda facts: None, (Refusal,), missing)
    for _ in range(3):
        one.ask("a", "pa")
    wait_until(lambda: len(asked) == 1)
    for number in range(100):
        one.ask("b", f"p{number}")
    gate.set()
    wait_until(lambda: len(asked) == 1 + run.MISSING_WAITING_MAX)
    one.close([])
    assert len(asked) == 1 + run.MISSING_WAITING_MAX
