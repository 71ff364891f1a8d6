"""The screens: what they show, that they are pure, and that nothing makes them raise."""

import hashlib
import os
import subprocess
import sys
from typing import Literal

import pytest
from PIL import Image

from player import qr
from player.pixels import dimmed, pack_rgb565, unpack_rgb565
from player.render import SHOWN_OVERLAYS, Overlay, View, screen

ROTATIONS: tuple[Literal[0, 90, 180, 270], ...] = (0, 90, 180, 270)
SIZES = ((240, 320), (320, 240), (240, 240), (128, 128), (320, 480), (96, 64))
TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}

INFO = Overlay("Tea is ready", "info")
WARNING = Overlay("The garage door has been open for 20 minutes", "warning")
CRITICAL = Overlay("Water leak in the basement. Close the main valve now!", "critical")


def picture(width: int, height: int) -> bytes:
    image = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(0, width, 8):
            image.paste((x * 255 // width, y * 255 // height, (x ^ y) & 255), (x, y, x + 8, y + 1))
    return pack_rgb565(image)


ADDRESS = "http://192.168.178.123:8420"
LINK = f"{ADDRESS}/pair#K7QF-93XM-AB12"

VIEWS = {
    "address": View(240, 320, content="address", address="http://192.168.1.23:8420", note="Nothing to show yet"),
    "address_small": View(128, 128, 90, content="address", address="http://pixelog.local:8420/pair#K7QF-93XM"),
    "nothing": View(240, 240, content="address"),
    "preparing": View(320, 240, content="preparing", title="holiday in the mountains.mp4"),
    "cards": View(240, 320, 270, overlays=(WARNING, INFO, INFO, INFO, INFO)),
    "dim": View(240, 240, 180, 40, overlays=(INFO,)),
    "critical": View(240, 320, overlays=(CRITICAL, INFO)),
    "critical_tiny": View(96, 64, overlays=(CRITICAL,)),
    "pairing": View(240, 320, content="address", address=ADDRESS, qr=LINK),
    "pairing_square": View(240, 240, content="address", address=ADDRESS, note="Preparing cat.gif", qr=LINK),
    "pairing_small": View(128, 128, content="address", address=ADDRESS, qr=LINK),
    "pairing_tall": View(320, 480, content="address", address=ADDRESS, qr=LINK),
    "pairing_wide": View(320, 240, content="address", address=ADDRESS, qr=LINK),
    "pairing_tiny": View(96, 64, content="address", address=ADDRESS, qr=LINK),
}
GOLDEN = {
    "address": "b7175dee70fde60c",
    "address_small": "5cef82fca9182b37",
    "nothing": "c097a50c8c031308",
    "preparing": "ef77930b9b41c352",
    "cards": "794fa7ee08506474",
    "dim": "cbfeb3f061b15b35",
    "critical": "a5458530efabee15",
    "critical_tiny": "db44edee46b78e05",
    "pairing": "04e2d4019d5ebbdb",
    "pairing_square": "a447735bee6434a1",
    "pairing_small": "e1cc6bd43dea9ab6",
    "pairing_tall": "dfb3be97126af0f0",
    "pairing_wide": "e157476b91932cc1",
    "pairing_tiny": "2fd473ff52d541e9",
}


def drawn(view: View) -> bytes:
    return screen(view, picture(view.width, view.height))


def digest(frame: bytes) -> str:
    return hashlib.sha256(frame).hexdigest()[:16]


@pytest.mark.parametrize("name", VIEWS)
def test_fixed_views_are_the_same_to_the_pixel(name: str) -> None:
    """A change of drawing is a deliberate act: it changes what replay shows of the past."""
    assert digest(drawn(VIEWS[name])) == GOLDEN[name]


def test_another_process_draws_the_same_pixels() -> None:
    """Nothing depends on hash seeds, caches or what was drawn before."""
    code = (
        "from tests.player.test_render import VIEWS, digest, drawn\n"
        "print([digest(drawn(VIEWS[name])) for name in reversed(VIEWS)])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(["."])}
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, env=environment, timeout=60, check=True
    )
    assert done.stdout.strip() == str([GOLDEN[name] for name in reversed(VIEWS)])


def test_an_item_alone_is_handed_through() -> None:
    """Without message and dimming the very object comes back: playing costs no drawing."""
    frame = picture(240, 320)
    assert screen(View(240, 320), frame) is frame
    assert screen(View(240, 320, 90), frame) is frame


def test_an_item_needs_its_frame() -> None:
    """An item without a frame is a mistake of the caller and is named."""
    with pytest.raises(ValueError, match="frame"):
        screen(View(240, 320), None)


def test_brightness_is_applied_last() -> None:
    """A dimmed screen is the bright one, dimmed; 0 is black."""
    frame = picture(240, 240)
    for overlays in ((), (INFO,), (CRITICAL,)):
        bright = screen(View(240, 240, overlays=overlays), frame)
        assert screen(View(240, 240, brightness=30, overlays=overlays), frame) == dimmed(bright, 30)
        assert screen(View(240, 240, brightness=0, overlays=overlays), frame) == bytes(240 * 240 * 2)


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("name", VIEWS)
def test_a_turned_panel_shows_the_upright_picture_turned(name: str, rotation: int) -> None:
    """The screen at a rotation is the upright screen of the swapped size, turned clockwise."""
    view = VIEWS[name]
    width, height = view.width, view.height
    upright_size = (height, width) if rotation in (90, 270) else (width, height)
    upright_frame = picture(*upright_size)
    turned_frame = pack_rgb565(unpack_rgb565(upright_frame, *upright_size).transpose(TURNS[rotation]))

    def at(width: int, height: int, turn: int, frame: bytes) -> bytes:
        return screen(
            View(width, height, turn, 100, view.content, view.title, view.address, view.note, view.overlays, view.qr),  # pyright: ignore[reportArgumentType]
            frame,
        )

    upright = unpack_rgb565(at(*upright_size, 0, upright_frame), *upright_size)
    assert at(width, height, rotation, turned_frame) == pack_rgb565(upright.transpose(TURNS[rotation]))


def test_a_card_leaves_the_item_above_it_untouched() -> None:
    """A message changes rows at the bottom and none in the upper half."""
    frame = picture(240, 320)
    shown = screen(View(240, 320, overlays=(INFO,)), frame)
    half = 240 * 320
    assert shown[:half] == frame[:half]
    assert shown[half:] != frame[half:]
    assert len(shown) == len(frame)


def test_the_item_shimmers_through_a_card() -> None:
    """Two items under the same card give different pixels inside it: the card is translucent."""
    black, white = bytes(240 * 240 * 2), b"\xff" * (240 * 240 * 2)
    view = View(240, 240, overlays=(INFO,))
    inside = (200, 226)
    dark = unpack_rgb565(screen(view, black), 240, 240).getpixel(inside)
    light = unpack_rgb565(screen(view, white), 240, 240).getpixel(inside)
    assert isinstance(dark, tuple)
    assert isinstance(light, tuple)
    assert 0 < light[1] - dark[1] < 64


def test_the_most_urgent_card_is_lowest_and_stays() -> None:
    """Further messages are stacked above; the rows of the first do not change."""
    frame = picture(240, 320)
    one = screen(View(240, 320, overlays=(INFO,)), frame)
    three = screen(View(240, 320, overlays=(INFO, Overlay("Post", "info"), Overlay("Rain", "info"))), frame)
    card = 240 * 2 * 30
    assert three[-card:] == one[-card:]
    assert three != one


def test_messages_beyond_the_bound_are_counted() -> None:
    """The picture depends on how many more there are, and no longer on what they say."""
    shown = (INFO,) * SHOWN_OVERLAYS
    frame = picture(240, 320)

    def at(*more: Overlay) -> bytes:
        return screen(View(240, 320, overlays=(*shown, *more)), frame)

    assert at(INFO) == at(WARNING)
    assert at(INFO) != at(INFO, INFO)
    assert at() != at(INFO)
    assert len(at(*(INFO,) * 100_000)) == len(frame)


def test_a_critical_message_hides_the_item() -> None:
    """Whatever is played, prepared or offered, the panel shows the alarm alone."""
    alarm = screen(View(240, 320, overlays=(CRITICAL,)), picture(240, 320))
    assert alarm == screen(View(240, 320, overlays=(CRITICAL,)), bytes(240 * 320 * 2))
    assert alarm == screen(View(240, 320, content="preparing", title="x", overlays=(CRITICAL,)), None)
    assert alarm == screen(View(240, 320, content="address", overlays=(CRITICAL,)), None)


def test_cards_lie_over_the_quiet_screens_too() -> None:
    """A message is shown while there is nothing to play."""
    view = View(240, 320, content="address", address="http://10.0.0.5:8420")
    with_card = View(240, 320, content="address", address="http://10.0.0.5:8420", overlays=(INFO,))
    assert screen(view, None) != screen(with_card, None)


def test_quiet_screens_ignore_the_frame() -> None:
    """The address and the preparing screen do not depend on an item."""
    for content in ("address", "preparing"):
        view = View(240, 240, content=content, title="cat.gif", address="http://10.0.0.5:8420")
        assert screen(view, None) == screen(view, picture(240, 240))


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_cut_off_at_the_edges(size: tuple[int, int]) -> None:
    """The usual screens keep a margin: the outermost columns are plain background."""
    for view in (
        View(*size, content="address", address="http://192.168.1.23:8420", note="Nothing to show yet"),
        View(*size, content="preparing", title="cat.gif"),
        View(*size, content="address"),
        View(*size, content="address", address=ADDRESS, qr=LINK),
    ):
        image = unpack_rgb565(screen(view, None), *size)
        edge = image.crop((0, 0, 1, size[1])).tobytes() + image.crop((size[0] - 1, 0, size[0], size[1])).tobytes()
        assert len({edge[i : i + 3] for i in range(0, len(edge), 3)}) == 1


def symbol_in(image: Image.Image) -> tuple[int, qr.Matrix] | None:
    """Pixels of a module, and the modules of the symbol that a screen of ours shows; None when it shows none."""
    dark = [[int(sum(image.getpixel((x, y))) < 384) for x in range(image.width)] for y in range(image.height)]  # type: ignore[arg-type]
    wanted = qr.symbol(LINK)
    for module in range(8, 0, -1):
        first = [cell for cell in wanted[0] for _ in range(module)]
        for y, row in enumerate(dark):
            for x in range(image.width - len(first) + 1):
                if row[x] and row[x : x + len(first)] == first:
                    rows = [dark[y + place * module][x : x + len(first) : module] for place in range(len(wanted))]
                    return module, tuple(map(bytes, rows))
    return None


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("pairing", 5),
        ("pairing_square", 4),
        ("pairing_small", 3),
        ("pairing_tall", 7),
        ("pairing_wide", 4),
        ("pairing_tiny", None),
    ],
)
def test_the_link_is_drawn_as_a_symbol_where_it_fits(name: str, module: int | None) -> None:
    """Module for module, each of whole pixels; a panel without room for that shows the address and the code in letters."""
    view = VIEWS[name]
    found = symbol_in(unpack_rgb565(screen(view, None), view.width, view.height))
    assert found == (None if module is None else (module, qr.symbol(LINK)))


def test_a_symbol_has_its_quiet_zone() -> None:
    """Four light modules on each side of it, also on the smallest panel that shows one."""
    image = unpack_rgb565(screen(VIEWS["pairing_small"], None), 128, 128)
    light = [x for x in range(128) if sum(image.getpixel((x, 60))) >= 384]  # type: ignore[arg-type]
    dark = [x for x in range(light[0], light[-1]) if sum(image.getpixel((x, 60))) < 384]  # type: ignore[arg-type]
    assert dark[0] - light[0] >= 12
    assert light[-1] - dark[-1] >= 12


def test_another_code_is_another_picture() -> None:
    """The screen depends on the link, and without an address there is nothing to scan."""
    other = View(240, 320, content="address", address=ADDRESS, qr=f"{ADDRESS}/pair#0000-0000-0000")
    assert screen(other, None) != screen(VIEWS["pairing"], None)
    assert screen(View(240, 320, content="address", qr=LINK), None) == screen(View(240, 320, content="address"), None)


HOSTILE = [
    "",
    " ",
    "\n\n\n",
    "\x00\x07\x1b\x7f",
    "x" * 2_000,
    "word " * 400,
    "\n" * 2_000,
    "a" + "\u0301\u0323\u0334" * 660,
    "\u0301" * 50,
    "مرحبا بالعالم שלום \u202eabc\u202c",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\ufe0f" * 50,
    "".join(chr(c) for c in range(0x20, 0x10000, 97)),
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_makes_a_screen_raise(text: str) -> None:
    """Any text as message, name, address and note gives a whole frame."""
    for (width, height), rotation in zip(((240, 320), (128, 128), (40, 30)), ROTATIONS, strict=False):
        frame = bytes(width * height * 2)
        for view in (
            View(width, height, rotation, overlays=(Overlay(text, "info"), Overlay(text, "warning"))),
            View(width, height, rotation, overlays=(Overlay(text, "critical"), INFO)),
            View(width, height, rotation, content="preparing", title=text, note=text),
            View(width, height, rotation, content="address", address=text, note=text),
            View(width, height, rotation, content="address", note=text),
            View(width, height, rotation, content="address", address=text, qr=text),
        ):
            assert len(screen(view, frame)) == len(frame)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3), (7, 9), (16, 12), (33, 200), (200, 33)])
def test_no_size_makes_a_screen_raise(size: tuple[int, int]) -> None:
    """From a single pixel on, every screen is a whole frame."""
    width, height = size
    frame = bytes(width * height * 2)
    for rotation in ROTATIONS:
        for overlays in ((), (INFO,), (WARNING, INFO, INFO, INFO), (CRITICAL, INFO)):
            for view in (
                View(width, height, rotation, 50, overlays=overlays),
                View(width, height, rotation, content="address", address="http://10.0.0.5", note="n", overlays=overlays),
                View(width, height, rotation, content="address", overlays=overlays),
                View(width, height, rotation, content="address", address=ADDRESS, qr=LINK, overlays=overlays),
                View(width, height, rotation, content="preparing", title="cat.gif", overlays=overlays),
            ):
                assert len(screen(view, frame)) == len(frame)


def test_a_long_alarm_ends_in_an_ellipsis_and_fits() -> None:
    """The bottom stripes of the alarm are the same however long its text: nothing is drawn over them."""

    def bottom(text: str) -> bytes:
        return screen(View(240, 320, overlays=(Overlay(text, "critical"),)), None)[-240 * 2 * 12 :]

    assert bottom("Fire") == bottom("Leave the house. " * 117)
