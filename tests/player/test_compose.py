"""From a scene and an instant to a frame: packs opened, kept, lost and missed; and what is said to have changed is all that has."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from player.compose import ASK_AGAIN_US, OPEN_PACKS_MAX, Composer, Frame
from player.framepack import FramePack, PackWriter
from player.pixels import Rect, cut, paste
from projections import plan
from projections.media import Pack
from projections.picture import Panel, Scene
from projections.plan import Clock, Entry, Item, Message, Playback, State, Turn

S = 1_000_000
WIDTH, HEIGHT = 24, 16
SIZE = 2 * WIDTH * HEIGHT


def flat(value: int) -> bytes:
    """A frame of one colour."""
    return bytes((value, value)) * (WIDTH * HEIGHT)


class Shelf:
    """Packs on a disk, and scenes that show them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str]] = []
        self.composer = Composer(folder, lambda slug, pack: self.asked.append((slug, pack)))

    def pack(self, name: str, frames: list[bytes], delay_us: int = 100_000) -> None:
        """A pack of these frames."""
        with (self.folder / f"{name}.pack").open("wb") as file:
            writer = PackWriter(file, WIDTH, HEIGHT)
            for frame in frames:
                writer.add(frame, delay_us)
            writer.finish()

    def frame(self, state: Scene, instant_us: int, before: Frame | None = None) -> Frame:
        """The composer's answer."""
        return self.composer.frame(state, instant_us, before)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A shelf; its composer is closed at the end."""
    one = Shelf(tmp_path)
    yield one
    one.composer.close()


def scene(
    slugs: str = "a", frames: int = 1, rotation: Any = 0, packs: dict[str, tuple[Pack, ...]] | None = None, **fields: Any
) -> Scene:
    """A loop of these items, each with the pack of its name unless told otherwise."""
    delays = ((1, 0),) if frames == 1 else ((frames, 100_000),)
    brightness = fields.pop("brightness", 100)
    state = State(
        position=fields.pop("position", 1),
        turn=Turn(slugs[0], 0) if slugs else None,
        entries=tuple(Entry(slug) for slug in slugs),
        mode="all",
        shuffle_seed=None,
        active=None,
        items={slug: Item(slug, f"sha-{slug}", True, delays) for slug in slugs},
        playback=fields.pop("playback", Playback()),
        default_duration_us=10 * S,
        time_zone="UTC",
        clock=Clock(0, True),
        messages=fields.pop("messages", ()),
    )
    files = {slug: (f"{slug}.gif", (packs or {}).get(slug, (made(slug),))) for slug in slugs}
    return Scene(state, files, Panel(WIDTH, HEIGHT, "http://here"), rotation, "contain", brightness)


def made(name: str, rotation: int = 0) -> Pack:
    """A pack as the log names it."""
    return Pack(name, WIDTH, HEIGHT, rotation, "contain", 1)


def message(text: str, until_us: int | None = None) -> Message:
    """A message that is drawn from the beginning."""
    return Message(text, text, "info", 0, until_us, 1)


def test_the_packed_frame_is_sent_as_it_is(shelf: Shelf) -> None:
    """The first frame is sent whole, the same again not at all."""
    shelf.pack("a", [flat(3)])
    first = shelf.frame(scene(), 5)
    assert (first.ram, first.rects, first.planned_us, first.position) == (flat(3), (Rect(0, 0, WIDTH, HEIGHT),), 5, 1)
    again = shelf.frame(scene(position=2), 6, first)
    assert (again.ram, again.rects, again.position) == (flat(3), (), 2)


def test_a_frame_after_a_frame_says_what_the_pack_says(shelf: Shelf) -> None:
    """Only the changed rectangle; a wrap and a jump are compared."""
    dot = bytearray(flat(0))
    paste(dot, WIDTH, Rect(3, 4, 2, 2), b"\7" * 8)
    shelf.pack("a", [flat(0), bytes(dot), flat(9)])
    one = shelf.frame(scene(frames=3), 0)
    two = shelf.frame(scene(frames=3), 100_000, one)
    with FramePack.open(shelf.folder / "a.pack") as pack:
        assert two.rects == pack.changes(1)
    assert sum(rect.width * rect.height for rect in two.rects) < WIDTH * HEIGHT
    back = shelf.frame(scene(frames=3), 300_000, shelf.frame(scene(frames=3), 100_000))
    assert back.ram == flat(0)
    assert [cut(back.ram, WIDTH, rect) for rect in back.rects] == [cut(flat(0), WIDTH, rect) for rect in back.rects]


def test_changes_are_all_that_has_changed(shelf: Shelf) -> None:
    """Along any walk of frames, messages, brightness and items, what is sent turns the panel's memory into the new frame."""
    chance = random.Random(7)
    noise = [bytes(chance.choice((0, 1, 2)) for _ in range(SIZE)) for _ in range(4)]
    shelf.pack("a", [flat(0), *noise, flat(0)])
    shelf.pack("b", [*noise, flat(1), flat(1)])
    shelf.pack("c", [flat(5)] * 6)
    memory, before = bytearray(SIZE), None
    for step in range(300):
        where = scene(
            chance.choice(("abc", "bca", "cab")),
            6,
            brightness=chance.choice((100, 100, 40)),
            messages=chance.choice(((), (), (message("hello"),))),
            playback=chance.choice((Playback(), Playback(0))),
            position=step,
        )
        frame = shelf.frame(where, chance.choice((0, 100_000, 200_000, 300_000, 650_000, 20 * S)), before)
        for rect in frame.rects:
            paste(memory, WIDTH, rect, cut(frame.ram, WIDTH, rect))
        assert bytes(memory) == frame.ram, step
        before = frame


def test_another_panel_gets_a_whole_frame(shelf: Shelf) -> None:
    """What was on a panel of another size says nothing of this one."""
    shelf.pack("a", [flat(3)])
    before = shelf.frame(scene(), 0)
    other = msgspec.structs.replace(scene(), panel=Panel(8, 8, None))
    frame = shelf.frame(other, 0, before)
    assert (frame.rects, len(frame.ram), frame.picture.content) == ((Rect(0, 0, 8, 8),), 128, "preparing")


def test_a_missing_pack_is_asked_for_now_and_then(shelf: Shelf) -> None:
    """Until it is there the screen says that the item is being prepared."""
    for instant_us in range(0, 3 * ASK_AGAIN_US, ASK_AGAIN_US // 10):
        frame = shelf.frame(scene(), instant_us)
        assert (frame.picture.content, frame.picture.title, frame.picture.pack) == ("preparing", "a.gif", None)
    assert shelf.asked == [("a", "a")] * 3
    shelf.pack("a", [flat(1)])
    assert shelf.frame(scene(), 0).ram == flat(1)
    (shelf.folder / "a.pack").unlink()
    assert shelf.frame(scene(), 0).ram == flat(1)  # still open


def test_a_damaged_pack_is_as_good_as_none(shelf: Shelf) -> None:
    """Cut off, changed in the middle, or of fewer frames than the log says: asked for once, and opened anew when it was made again."""
    shelf.pack("a", [flat(1), flat(2)])
    whole = (shelf.folder / "a.pack").read_bytes()
    for damaged in (b"", whole[:-3], whole[:60] + b"\xff" + whole[61:]):
        (shelf.folder / "a.pack").write_bytes(damaged)
        assert shelf.frame(scene(frames=2), 0).picture.content == "preparing"
    (shelf.folder / "a.pack").unlink()
    (shelf.folder / "a.pack").write_bytes(whole)
    assert shelf.frame(scene(frames=2), 100_000).ram == flat(2)
    assert shelf.frame(scene(frames=3), 200_000).picture.content == "preparing"
    assert shelf.frame(scene(frames=2), 0).ram == flat(1)
    assert shelf.asked == [("a", "a")]


def test_a_turned_panel_keeps_the_old_pack_until_the_new_one_is_there(shelf: Shelf) -> None:
    """The newest pack that fills the panel stands in for the exact one."""
    shelf.pack("old", [flat(1)])
    shelf.pack("new", [flat(2)])
    turned = scene(rotation=90, packs={"a": (made("old"),)})
    assert shelf.frame(turned, 0).ram == flat(1)
    ready = scene(rotation=90, packs={"a": (made("old"), made("new", 90))})
    assert shelf.frame(ready, 0).ram == flat(2)
    assert shelf.frame(scene(packs={"a": (made("old"), made("new", 90))}), 0).ram == flat(1)


def test_open_packs_are_bounded(shelf: Shelf) -> None:
    """The one used longest ago is closed first."""
    names = "abcdefghijkl"
    for place, name in enumerate(names):
        shelf.pack(name, [flat(place)])
    for place, _ in enumerate(names):
        assert shelf.frame(scene(names), place * 10 * S).ram == flat(place)
    mapped = sum(".pack" in line for line in Path("/proc/self/maps").read_text().splitlines())
    assert mapped == OPEN_PACKS_MAX
    assert shelf.frame(scene(names), 0).ram == flat(0)


def test_nothing_to_play_is_the_address_screen(shelf: Shelf) -> None:
    """It is drawn from the scene alone, and changes by no passing of time."""
    frame = shelf.frame(scene(""), 5)
    assert (frame.picture.content, frame.picture.address, frame.next_change_us) == ("address", "http://here", None)
    assert frame.showing == plan.at(scene("").state, 5)


def test_a_message_comes_and_goes_with_its_rectangles(shelf: Shelf) -> None:
    """Over a still: drawn, and taken away when it expires."""
    shelf.pack("a", [flat(200)])
    with_message = scene(messages=(message("hello", 5 * S),))
    bare = shelf.frame(scene(), 0)
    on = shelf.frame(with_message, 1, bare)
    assert on.rects
    assert on.ram != bare.ram
    assert on.next_change_us == 5 * S
    off = shelf.frame(with_message, 5 * S, on)
    assert off.ram == bare.ram
    assert off.rects


def test_composing_does_not_depend_on_what_was_composed_before(shelf: Shelf) -> None:
    """The same scene and instant give the same picture, in whatever order they are asked for."""
    chance = random.Random(3)
    shelf.pack("a", [flat(value) for value in range(5)])
    asked = [chance.randrange(0, 2 * S) for _ in range(60)]
    fresh = [Composer(shelf.folder, lambda slug, pack: None) for _ in asked]
    for instant_us, other in zip(asked, fresh, strict=True):
        assert shelf.frame(scene(frames=5), instant_us).ram == other.frame(scene(frames=5), instant_us, None).ram
        other.close()
