"""From the plan's answer to what has to be drawn: the scene is read once, the picture is a function of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw
import msgspec
import pytest

from projections import catalogue, folding, picture, plan
from projections.active import ActiveSet
from projections.area import At
from projections.display import DisplayAttached, DisplayLost, PlayerShown, PlayerStarted
from projections.heartbeats import HeartbeatRecorded
from projections.loop import Entry, LoopReordered
from projections.media import MediaAdded, MediaProcessed, Pack
from projections.messages import MessagePosted
from projections.picture import Panel, Picture, choose_pack
from projections.plan import Turn
from projections.rows import SqlRows
from projections.settings import SettingChanged

S = 1_000_000


class Log:
    """Tables in memory, with events folded into them a second apart."""

    def __init__(self) -> None:
        self.db = apsw.Connection(":memory:")
        folding.create_tables(self.db)
        self.position = 0

    def fold(self, *events: Any) -> int:
        """Fold these; the answer is the last one's position."""
        for event in events:
            self.position += 1
            area = catalogue.AREA_OF_TYPE[catalogue.TYPE_OF_STRUCT[type(event)]]
            at = At(self.position, 1, self.position * S, self.position * S)
            SqlRows(self.db).apply(area.fold(event, at))
            self.db.execute("UPDATE projections SET changed = ? WHERE area = ?", (self.position, area.name))
            self.db.execute("UPDATE projections SET position = ?", (self.position,))
        return self.position

    def picture(self, instant_us: int | None = None) -> Picture:
        """What is drawn at an instant, now unless given."""
        now_us = self.position * S if instant_us is None else instant_us
        scene = picture.scene(self.db, now_us)
        return picture.picture(scene, plan.at(scene.state, now_us))


@pytest.fixture
def log() -> Iterator[Log]:
    """An empty log."""
    one = Log()
    yield one
    one.db.close()


def pack(name: str, width: int = 60, height: int = 40, rotation: int = 0, fit: str = "contain") -> Pack:
    """A pack for the small panel."""
    return Pack(name, width, height, rotation, fit, 1)


def ready(slug: str, *packs: Pack, delays: Any = ((1, 0),)) -> tuple[Any, ...]:
    """The events of a prepared item."""
    frames = sum(count for count, _ in delays)
    return (
        MediaAdded(slug, f"{slug}.png", "image", "image/png", 1, slug * 64),
        MediaProcessed(
            slug=slug, sha256=slug * 64, kind="image", type="image/png", width=1, height=1, frame_count=frames, delays=delays,
            packs=packs, thumbnail=None, made_by="x",
        ),
    )  # fmt: skip


def test_an_empty_log_shows_the_address_on_the_assumed_panel(log: Log) -> None:
    """Without an address, for no player has said one."""
    assert log.picture() == Picture(240, 320, 0, 100, "address")


def test_the_panel_is_the_one_attached_last(log: Log) -> None:
    """Also while it is lost."""
    log.fold(DisplayAttached("sim", 60, 40, "http://a"))
    log.fold(DisplayAttached("sim", 30, 20, "http://b"), DisplayLost("sim", "gone"))
    assert picture.panel(log.db) == Panel(30, 20, "http://b")
    assert log.picture() == Picture(30, 20, 0, 100, "address", address="http://b")


def test_an_item_is_its_pack_and_frame(log: Log) -> None:
    """With the settings that drawing needs."""
    log.fold(DisplayAttached("sim", 60, 40))
    log.fold(*ready("a", pack("p"), delays=((4, S),)), LoopReordered((Entry("a", 1),), Turn("a", 0)))
    log.fold(SettingChanged("brightness", 30), SettingChanged("rotation", 180))
    assert log.picture(6 * S) == Picture(60, 40, 180, 30, "item", "a.png", pack="p", frame=2)


def test_an_item_without_a_fitting_pack_is_being_prepared(log: Log) -> None:
    """A pack for another panel does not fit this one."""
    log.fold(DisplayAttached("sim", 60, 40), *ready("a", pack("p", 40, 60)), LoopReordered((Entry("a", 1),), Turn("a", 0)))
    assert log.picture() == Picture(60, 40, 0, 100, "preparing", "a.png")


def test_a_choice_that_is_waited_for_is_named_beside_the_address(log: Log) -> None:
    """By its file's name."""
    log.fold(MediaAdded("a", "A cat.png", "image", "image/png", 1, "a" * 64), ActiveSet("a", Turn("a", 1)))
    assert log.picture().note == "Preparing A cat.png"


def test_messages_lie_over_everything_in_drawing_order(log: Log) -> None:
    """Until they expire; no more than are loaded."""
    for number in range(25):
        log.fold(MessagePosted(f"i{number}", f"i{number}", "info", None))
    end = log.fold(MessagePosted("w", "w", "warning", 10 * S)) + 10
    log.fold(MessagePosted("c", "c", "critical", None))
    overlays = log.picture().overlays
    assert overlays[:3] == (("c", "critical"), ("w", "warning"), ("i0", "info"))
    assert len(overlays) == 20
    assert log.picture(end * S).overlays[:2] == (("c", "critical"), ("i0", "info"))
    assert len(log.picture(end * S).overlays) == 20


@pytest.mark.parametrize(
    ("packs", "rotation", "fit", "chosen"),
    [
        ([], 0, "contain", None),
        ([pack("a")], 0, "contain", "a"),
        ([pack("a"), pack("b", rotation=90)], 0, "contain", "a"),
        ([pack("a"), pack("b", rotation=90)], 90, "contain", "b"),
        ([pack("a"), pack("b", rotation=90)], 180, "contain", "b"),
        ([pack("a"), pack("b", rotation=90)], 0, "cover", "b"),
        ([pack("a"), pack("b", fit="cover"), pack("c", fit="cover")], 0, "cover", "c"),
        ([pack("a", 40, 60), pack("b", 240, 320)], 0, "contain", None),
        ([pack("a"), pack("b", 40, 60)], 90, "contain", "a"),
    ],
)
def test_the_best_pack_is_chosen(packs: list[Pack], rotation: int, fit: str, chosen: str | None) -> None:
    """Exactly this geometry, else the newest that fills the panel, else none."""
    found = choose_pack(packs, (60, 40), rotation, fit)
    assert (None if found is None else found.name) == chosen


def test_only_events_that_matter_move_the_mark(log: Log) -> None:
    """What plays and which panel there is; not what the player said of its playing, nor a heartbeat."""
    assert picture.changed_at(log.db) == 0
    mark = log.fold(DisplayAttached("sim", 60, 40))
    assert picture.changed_at(log.db) == mark
    log.fold(PlayerStarted(1), PlayerShown("a", 1, 2, 3), HeartbeatRecorded("camera", "ok"))
    assert picture.changed_at(log.db) == mark
    for event in (
        SettingChanged("brightness", 1),
        MessagePosted("m", "m", "info"),
        DisplayLost("sim", "x"),
        *ready("a", pack("p")),
    ):
        mark = log.fold(event)
        assert picture.changed_at(log.db) == mark


def test_a_scene_keeps_what_it_read(log: Log) -> None:
    """Later events do not reach into it."""
    log.fold(DisplayAttached("sim", 60, 40), *ready("a", pack("p")), LoopReordered((Entry("a", 1),), Turn("a", 0)))
    scene = picture.scene(log.db, 9 * S)
    before = msgspec.structs.asdict(scene)
    log.fold(SettingChanged("brightness", 1), *ready("a", pack("q")))
    assert msgspec.structs.asdict(scene) == before
    assert (scene.state.position, scene.files["a"]) == (4, ("a.png", (pack("p"),)))
