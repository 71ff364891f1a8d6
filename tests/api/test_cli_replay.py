"""Time travel from the shell: SQL, states and, above all, the pixels that the panel showed, against what the live path drew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from PIL import Image

import pixelog
from api import instants, past
from api.cli.main import main
from api.commands.display import Attached, RecordFacts, Started, Stopped
from api.commands.media import FinishPreparing
from api.service import StateService
from eventstore.clock import Reading
from player.compose import Composer
from player.pixels import unpack_rgb565
from player.prepare import Geometry, prepare
from projections import picture
from projections.media import Pack
from projections.replay import points
from projections.replay.points import BadPoint, Instant
from projections.times import rfc3339

TIME_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
WIDTH, HEIGHT = 40, 30


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.us, self.step_us, self.boot = 0, 0, "boot-1"

    def read(self) -> Reading:
        return Reading(TIME_US + self.us + self.step_us, self.us, self.boot, True)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.us += round(seconds * 1_000_000)


class Stage:
    """A data directory with a player on a small panel, and media prepared for it."""

    def __init__(self, root: Path) -> None:
        self.clock = HandClock()
        self.service = StateService(root / "data", clock=self.clock)
        self.media = root / "media"
        self.media.mkdir()

    def attach(self) -> None:
        """The player starts and finds its panel."""
        self._report(Started(pid=1, boot_id=self.clock.boot), Attached(driver="sim", width=WIDTH, height=HEIGHT))

    def detach(self) -> None:
        """The player ends."""
        self._report(Stopped())

    def _report(self, *facts: Any) -> None:
        self.service.executor.execute(RecordFacts(facts))

    def add(self, name: str, colours: list[tuple[int, int, int]], delay_ms: int = 100) -> str:
        """An item of these frames, ready. Returns its slug."""
        images = [Image.new("RGB", (20, 15), colour) for colour in colours]
        file = self.media / name
        if len(images) == 1:
            images[0].save(file)
        else:
            images[0].save(file, save_all=True, append_images=images[1:], duration=delay_ms, loop=0)
        item = self.service.add_media(file, add_to_loop=True)
        self.clock.advance(0.5)
        made = prepare(file, self.service.data.packs, Geometry(WIDTH, HEIGHT), lambda percent, stage: None)
        pack = Pack(made.pack, WIDTH, HEIGHT, 0, "contain", made.pack_size_bytes)
        self.service.executor.execute(
            FinishPreparing(
                None, item.slug, item.sha256 or "", made.kind, made.type, made.width, made.height, made.frame_count, made.delays,
                pack, made.thumbnail, made.made_by,
            )
        )  # fmt: skip
        return item.slug

    def live(self) -> tuple[bytes, str, int]:
        """What the live path draws now, with the time and position that a screenshot of it would carry."""
        now_us = self.service.store.now_us()
        composer = Composer(self.service.data.packs, lambda slug, pack: None)
        with self.service.store.snapshot() as db:
            scene = picture.scene(db, now_us)
            time_us = points.time_of(db, now_us, scene.state.position)
        frame = composer.frame(scene, now_us, None)
        composer.close()
        assert time_us is not None
        return frame.ram, rfc3339(time_us), scene.state.position

    def at(self, point: str, through: int | None = None) -> Instant:
        """An instant of the log."""
        with self.service.store.reading() as db:
            return instants.resolve(self.service.store, db, point, through)

    def screen(self, point: str, through: int | None = None, **options: Any) -> past.PastScreen:
        """The screen at a point."""
        screen = past.screen(self.service.data, self.service.store, self.at(point, through), **options)
        assert screen is not None
        return screen


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage; closed at the end."""
    one = Stage(tmp_path)
    yield one
    one.service.close()


RED, GREEN, BLUE = (248, 0, 0), (0, 252, 0), (0, 0, 248)


def test_a_past_screen_is_what_was_drawn_live(stage: Stage) -> None:
    """At every moment of a lively hour the picture drawn live is found again by its time and position, to the pixel, and said to be exact."""
    stage.attach()
    stage.add("walk.gif", [RED, GREEN, BLUE])
    stage.add("still.png", [(16, 32, 64)])
    acts: list[Callable[[], object]] = [
        lambda: None,
        lambda: stage.service.post_message("hello"),
        lambda: stage.service.set_active("still"),
        lambda: stage.service.control("pause"),
        lambda: stage.service.change_settings({"brightness": 40}),
        lambda: stage.service.control("play"),
        lambda: stage.service.change_settings({"rotation": 90}),
        lambda: stage.service.control("next"),
        lambda: stage.service.remove_media("still"),
        lambda: stage.service.set_active(None),
    ]
    shots: list[tuple[bytes, str, int]] = []
    for act in acts:
        act()
        for seconds in (0.0, 0.137, 3.3):
            stage.clock.advance(seconds)
            shots.append(stage.live())
    stage.service.remove_media("walk")
    stage.clock.advance(60)
    assert len({ram for ram, _, _ in shots}) > 5
    for ram, time, position in shots:
        screen = stage.screen(time, position)
        assert (screen.ram, screen.exact, screen.why) == (ram, True, None)
        assert rfc3339(screen.time_us) == time


def test_a_time_without_through_means_the_log_as_it_is_known_now(stage: Stage) -> None:
    """The state of that time, whatever came later."""
    stage.attach()
    stage.add("red.png", [RED])
    stage.clock.advance(5)
    _, time, position = stage.live()
    stage.clock.advance(5)
    stage.service.set_active(None)
    assert stage.screen(time).position == position
    assert stage.screen(time).slug == "red"


def test_before_the_first_event_there_is_no_picture(stage: Stage) -> None:
    """Nothing had happened, nothing can be shown."""
    stage.attach()
    assert past.screen(stage.service.data, stage.service.store, stage.at("0")) is None
    assert past.screen(stage.service.data, stage.service.store, stage.at("2020-01-01T00:00:00Z")) is None


def test_without_a_player_a_picture_is_not_exact(stage: Stage) -> None:
    """Before the player came, after it went, and after a start of the machine without one."""
    stage.service.post_message("hello")
    stage.clock.advance(1)
    assert (stage.screen("head").exact, stage.screen("head").why) == (False, "no_player")
    stage.attach()
    assert stage.screen("head").exact
    stage.detach()
    assert stage.screen("head").why == "no_player"
    stage.attach()
    stage.clock.boot, stage.clock.us = "boot-2", 1_000_000_000
    stage.service.post_message("a new day")
    assert stage.screen("head").why == "no_player"
    stage.attach()
    assert stage.screen("head").exact


def test_a_time_at_which_the_machine_was_off_is_not_exact(stage: Stage) -> None:
    """Between the last event before a power cut and the next start the clock showed nothing here: the last picture, with its reason."""
    stage.attach()
    stage.clock.boot = "boot-2"
    stage.clock.us, stage.clock.step_us = 1_000_000, 3600 * 1_000_000
    stage.service.post_message("hello again")
    screen = stage.screen("2026-01-01T00:30:00Z")
    assert (screen.exact, screen.position) == (False, 3)
    assert screen.why in ("facts_lost", "no_player")


def test_what_is_still_to_come_is_no_point(stage: Stage) -> None:
    """Beyond a clock that is a little ahead, which means the present; also while the log is empty."""
    with pytest.raises(BadPoint, match="2026-01-01T00:00:06Z is still to come: it is 2026-01-01T00:00:00Z here"):
        stage.at("2026-01-01T00:00:06Z")
    stage.attach()
    stage.clock.advance(60)
    now = stage.at("2026-01-01T00:01:00Z")
    assert (now.time_us, now.logtime_us) == (TIME_US + 60_000_000, stage.service.store.now_us())
    assert stage.at("2026-01-01T00:01:05Z") == now
    assert stage.screen("2026-01-01T00:01:05Z").exact
    with pytest.raises(BadPoint, match="still to come"):
        stage.at("2026-01-01T00:01:06Z", through=1)


def test_a_clock_that_was_set_back_does_not_hide_what_happened(stage: Stage) -> None:
    """A time that lies ahead of the clock, but not of the log, was shown."""
    stage.attach()
    stage.clock.advance(7200)
    stage.service.post_message("before")
    stage.clock.step_us = -3600 * 1_000_000
    stage.service.post_message("after")
    assert stage.at("2026-01-01T01:30:00Z").logtime_us == stage.at("3").logtime_us + 5400 * 1_000_000
    with pytest.raises(BadPoint, match="still to come"):
        stage.at("2026-01-01T02:30:00Z")


def test_a_clock_that_was_set_forward_leads_no_further_than_now(stage: Stage) -> None:
    """Before an event tells of the new time, the plan of a later moment is not taken for what was shown."""
    stage.attach()
    stage.clock.advance(5)
    stage.clock.step_us = 3600 * 1_000_000
    assert stage.at("2026-01-01T01:00:05Z").logtime_us == stage.service.store.now_us()


def test_after_a_start_that_nothing_was_recorded_of_yet_the_last_picture_is_not_exact(stage: Stage) -> None:
    """The machine was off since: what was shown last, with its reason."""
    stage.attach()
    stage.clock.boot, stage.clock.step_us = "boot-2", 3600 * 1_000_000
    instant = stage.at("2026-01-01T00:30:00Z")
    assert (instant.skipped, instant.logtime_us) == (True, stage.at("head").logtime_us)
    assert (stage.screen("2026-01-01T00:30:00Z").exact, stage.screen("2026-01-01T00:30:00Z").why) == (False, "facts_lost")


def test_a_pack_that_is_gone_is_made_again(stage: Stage) -> None:
    """From the same file come the same frames, so the picture stays exact; nothing is left in the packs folder."""
    stage.attach()
    stage.add("walk.gif", [RED, GREEN, BLUE])
    stage.clock.advance(0.25)
    ram, time, position = stage.live()
    for file in stage.service.data.packs.iterdir():
        file.unlink()
    screen = stage.screen(time, position)
    assert (screen.ram, screen.exact) == (ram, True)
    assert list(stage.service.data.packs.iterdir()) == []


def test_a_damaged_pack_is_made_again_too(stage: Stage) -> None:
    """Its checks notice; the picture is right all the same."""
    stage.attach()
    stage.add("red.png", [RED])
    ram, time, position = stage.live()
    for file in stage.service.data.packs.glob("*.pack"):
        raw = bytearray(file.read_bytes())
        raw[200] ^= 0xFF
        file.write_bytes(raw)
    screen = stage.screen(time, position)
    assert (screen.ram, screen.exact) == (ram, True)


def test_a_pack_that_comes_out_differently_is_said_so(stage: Stage) -> None:
    """Another decoder made other frames: shown, but not exact. If it cannot be made at all, a screen of our own."""
    stage.attach()
    stage.add("red.png", [RED])
    for file in stage.service.data.packs.iterdir():
        file.unlink()

    def another(source: Path, folder: Path, pack: Pack) -> str:
        other = stage.media / "other.png"
        Image.new("RGB", (20, 15), BLUE).save(other)
        return prepare(other, folder, Geometry(WIDTH, HEIGHT), lambda percent, stage: None).pack

    screen = stage.screen("head", remake=another)
    assert (screen.exact, screen.why) == (False, "pack_remade")
    assert unpack_rgb565(screen.ram, WIDTH, HEIGHT).getpixel((20, 15)) == (0, 0, 255)
    screen = stage.screen("head", remake=lambda source, folder, pack: None)
    assert (screen.exact, screen.why) == (False, "pack_remade")


def test_a_file_that_is_gone_leaves_a_screen_of_our_own(stage: Stage) -> None:
    """Without pack and file the item's place is kept by the preparing screen, and that is said."""
    stage.attach()
    stage.add("red.png", [RED])
    ram = stage.screen("head").ram
    for folder in (stage.service.data.packs, *stage.service.data.blobs.iterdir()):
        for file in folder.iterdir():
            file.unlink()
    screen = stage.screen("head")
    assert (screen.exact, screen.why) == (False, "blob_gone")
    assert screen.ram != ram


def test_a_film_has_every_picture_for_its_time(stage: Stage) -> None:
    """Three frames of a tenth of a second, twice over: six pictures, each for 100 ms; a message in between cuts one."""
    stage.attach()
    stage.add("walk.gif", [RED, GREEN, BLUE])
    start = stage.at("head")
    stage.clock.advance(0.25)
    stage.service.post_message("hello")
    stage.clock.advance(0.35)
    end = stage.at(rfc3339(stage.clock.read().wall_us))
    shown = past.film(stage.service.data, stage.service.store, start, end)
    assert [lasts_us for _, lasts_us in shown] == [100_000, 100_000, 50_000, 50_000, 100_000, 100_000, 100_000]
    assert all(screen.exact for screen, _ in shown)
    for screen, _ in shown:
        one = Instant(screen.position, screen.planned_us, screen.time_us)
        assert past.screen(stage.service.data, stage.service.store, one) == screen


def test_a_film_that_is_too_long_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before memory runs out."""
    monkeypatch.setattr("api.past.FILM_FRAMES_MAX", 5)
    stage.attach()
    stage.add("walk.gif", [RED, GREEN, BLUE])
    start = stage.at("head")
    stage.clock.advance(10)
    with pytest.raises(past.TooLong, match="more than 5 frames"):
        past.film(stage.service.data, stage.service.store, start, stage.at(rfc3339(stage.clock.read().wall_us)))


# -- from the shell ------------------------------------------------------------------------------------------------------------------


def shell(capsys: pytest.CaptureFixture[str], data: Path, *arguments: str, code: int = 0) -> Any:
    """Runs a command with --json; gives its document."""
    capsys.readouterr()
    assert main([*arguments, "--json", "--data", str(data)]) == code
    return json.loads(capsys.readouterr().out)


def test_screen_writes_a_png_of_the_pixels(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--at with --through names one picture; the file has its pixels, the document says what it is."""
    stage.attach()
    stage.add("red.png", [RED])
    stage.clock.advance(2)
    ram, time, position = stage.live()
    stage.clock.advance(10)
    stage.service.set_active(None)
    file = tmp_path / "then.png"
    said = shell(capsys, stage.service.data.root, "replay", "screen", "--at", time, "--through", str(position), "-o", str(file))
    assert (said["width"], said["height"], said["time"], said["position"]) == (WIDTH, HEIGHT, time, position)
    assert (said["exact"], said["why"], said["slug"]) == (True, None, "red")
    assert Image.open(file).tobytes() == unpack_rgb565(ram, WIDTH, HEIGHT).tobytes()
    assert shell(capsys, stage.service.data.root, "replay", "screen", "--at", "0", "-o", str(tmp_path / "no.png"), code=1) == {
        "file": None
    }
    assert not (tmp_path / "no.png").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay", "screen", "--at", "2099-01-01T00:00:00Z", "-o", "then.png"],
        ["replay", "screen", "--from", "1", "--to", "2099-01-01T00:00:00Z", "-o", "then.png"],
        ["replay", "state", "--at", "2099-01-01T00:00:00Z"],
        ["replay", "diff", "1", "2099-01-01T00:00:00Z"],
        ["sql", "SELECT 1", "--at", "2099-01-01T00:00:00Z"],
    ],
)
def test_the_shell_shows_nothing_of_what_is_still_to_come(
    arguments: list[str], story: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line and exit code 2; no file is written."""
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--data", str(story)]) == 2
    assert capsys.readouterr().err.startswith("pixelog: 2099-01-01T00:00:00Z is still to come: it is 20")
    assert not (tmp_path / "then.png").exists()


@pytest.mark.parametrize("extra", [["--from", "1"], ["--to", "2"], ["--from", "1", "--to", "2"]])
def test_a_picture_and_a_film_at_once_are_refused(
    extra: list[str], story: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing that was asked for is passed over in silence."""
    file = tmp_path / "then.png"
    assert main(["replay", "screen", "--at", "2", *extra, "-o", str(file), "--data", str(story)]) == 2
    assert capsys.readouterr().err == "pixelog: either --at POINT, or --from POINT --to POINT\n"
    assert not file.exists()


@pytest.mark.parametrize(("suffix", "exact"), [("png", True), ("webp", True), ("gif", False)])
def test_a_film_is_an_animation(
    suffix: str, exact: bool, stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """APNG and WebP hold the very pixels; GIF is quantised and says so."""
    stage.attach()
    stage.add("walk.gif", [RED, GREEN, BLUE])
    stage.clock.advance(0.6)
    stage.service.set_active(None)
    file = tmp_path / f"film.{suffix}"
    said = shell(capsys, stage.service.data.root, "replay", "screen", "--from", "5", "--to", "head", "-o", str(file))
    assert (said["exact"], said["quantised"], said["why"]) == (exact, not exact, None)
    with Image.open(file) as film:
        assert getattr(film, "n_frames", 1) == said["frames"]
        if exact:
            first = film.convert("RGB").tobytes()
            assert first == unpack_rgb565(stage.screen("5").ram, WIDTH, HEIGHT).tobytes()


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A log in which an item was chosen, tagged and removed."""
    with pixelog.open(tmp_path / "data") as state:
        state.add_media(b"cat", filename="cat.png", add_to_loop=True)
        state.set_active("cat")
        state.update_media("cat", tags=["pet"])
        state.remove_media("cat")
    return tmp_path / "data"


def test_state_is_the_resources_as_they_were(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Position, time, and areas by natural key; what was removed is absent, --area narrows."""
    then = shell(capsys, story, "replay", "state", "--at", "6")
    assert (then["position"], then["areas"]["media"]["cat"]["tags"]) == (6, ["pet"])
    assert then["areas"]["active"] == {"active": {"slug": "cat"}}
    assert then["areas"]["settings"]["brightness"] == 100
    assert [item["slug"] for item in then["areas"]["loop"]["loop"]["items"]] == ["cat"]
    now = shell(capsys, story, "replay", "state", "--at", "head", "--area", "media", "--area", "active")
    assert now["areas"] == {"media": {}, "active": {"active": {"slug": None}}}
    with pixelog.open(story) as state:
        assert now["time"] == rfc3339(list(state.store.read())[-1].time_us)
    assert shell(capsys, story, "replay", "state", "--at", "0")["time"] is None


def test_a_time_ago_is_a_point(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-1h is not taken for an option, in any spelling and place."""
    for arguments in (["--at", "-1h"], ["--at=-1h"], ["--at", "1h-ago"]):
        assert shell(capsys, story, "replay", "state", *arguments)["position"] == 0
    assert shell(capsys, story, "replay", "diff", "-1h", "head")["from"] == 0
    assert shell(capsys, story, "sql", "SELECT slug FROM media", "--at", "-1h") == []


def test_diff_names_what_changed_and_by_which_event(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fields of rows that stay, whole rows that come or go."""
    found = shell(capsys, story, "replay", "diff", "5", "6")
    assert found == {
        "from": 5,
        "to": 6,
        "changes": [
            {
                "area": "media",
                "key": "cat",
                "before": [],
                "after": ["pet"],
                "position": 6,
                "type": "media.updated",
                "field": "tags",
            },
            {"area": "media", "key": "cat", "before": 1, "after": 2, "position": 6, "type": "media.updated", "field": "version"},
        ],
    }
    gone = shell(capsys, story, "replay", "diff", "6", "head", "--area", "media")["changes"]
    assert [(one["after"], one.get("field"), one["type"]) for one in gone] == [(None, None, "media.removed")]


def test_sql_reads_the_areas_now_and_then(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows as objects by column name."""
    assert shell(capsys, story, "sql", "SELECT slug FROM active") == [{"slug": None}]
    assert shell(capsys, story, "sql", "SELECT slug FROM active", "--at", "5") == [{"slug": "cat"}]
    assert shell(capsys, story, "sql", "SELECT ordinal, slug FROM loop", "--at", "6") == [{"ordinal": 0, "slug": "cat"}]


@pytest.mark.parametrize("at", [[], ["--at", "5"]])
@pytest.mark.parametrize(
    "sql", ["SELECT count(*) FROM endless", "SELECT x FROM endless WHERE x < 0", "SELECT x FROM endless ORDER BY -x LIMIT 1"]
)
def test_sql_that_does_not_end_is_ended(
    sql: str, at: list[str], story: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its bound, with a sentence and exit code 2."""
    monkeypatch.setattr("api.cli.replay.SQL_SECONDS_MAX", 0.3)
    endless = f"WITH RECURSIVE endless(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM endless) {sql}"
    began = monotonic()
    assert main(["sql", endless, *at, "--data", str(story)]) == 2
    assert 0.3 <= monotonic() - began < 3
    assert capsys.readouterr().err == "pixelog: this query takes too long; narrow it down\n"


def test_explain_history_and_bisect(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One event with its changes, one row with its life, and the first event that made something true."""
    explained = shell(capsys, story, "replay", "explain", "5")
    assert (explained["type"], explained["actor"]) == ("active.set", "python")
    assert [(one["area"], one["field"], one["after"]) for one in explained["changes"]] == [("active", "slug", "cat")]
    history = shell(capsys, story, "replay", "history", "media/cat")
    assert [entry["type"] for entry in history["entries"]] == ["media.added", "media.updated", "media.removed"]
    for extra in ([], ["--monotone"]):
        found = shell(capsys, story, "replay", "bisect", "--where", "SELECT slug = 'cat' FROM active", "--to", "6", *extra)
        assert (found["position"], found["event"]["type"]) == (5, "active.set")
        assert found["method"] == ("monotone" if extra else "scan")
    assert shell(capsys, story, "replay", "bisect", "--where", "1 = 0", code=1)["position"] is None
