"""Frames: packing, cutting, comparing, dimming, each against a plain restatement of the rule."""

import io
import random

import numpy
import pytest
from PIL import Image

from player.pixels import (
    Rect,
    bus_bytes,
    changed_rects,
    cut,
    dimmed,
    pack_rgb565,
    paste,
    png,
    unpack_rgb565,
)


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def every_colour() -> Image.Image:
    """Each of the 256 values in each channel, next to unrelated values of the others."""
    data = bytes(value for step in range(256) for value in (step, (step * 7) % 256, (step * 13 + 5) % 256))
    return Image.frombytes("RGB", (16, 16), data)


def test_pack_keeps_the_top_bits_high_byte_first() -> None:
    """White, red, green, blue and one mixed pixel have the bytes the format says."""
    pixels = [(255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (0x0F, 0x87, 0x0F)]
    image = Image.frombytes("RGB", (5, 1), bytes(channel for pixel in pixels for channel in pixel))
    assert pack_rgb565(image).hex(" ", 2) == "ffff f800 07e0 001f 0c21"


@pytest.mark.parametrize("image", [every_colour(), Image.frombytes("RGB", (37, 23), noise(1, 37 * 23 * 3))])
def test_pack_is_what_the_panel_library_sends(image: Image.Image) -> None:
    """The bytes equal those of the driver package's own conversion."""
    from adafruit_rgb_display.rgb import image_to_data

    assert pack_rgb565(image) == bytes(image_to_data(image))


def test_pack_refuses_other_modes() -> None:
    """An image with alpha must be composited first, so it is refused."""
    with pytest.raises(ValueError, match="RGBA"):
        pack_rgb565(Image.new("RGBA", (1, 1)))


def test_unpack_widens_by_repeating_bits() -> None:
    """All 65,536 pixel values widen as (v << 3 | v >> 2) and (v << 2 | v >> 4), and pack back to themselves."""
    frame = numpy.arange(65536, dtype=">u2").tobytes()
    image = unpack_rgb565(frame, 256, 256)
    values = numpy.arange(65536)
    red, green, blue = values >> 11, values >> 5 & 63, values & 31
    expected = numpy.stack((red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2), axis=1)
    assert image.tobytes() == expected.astype("u1").tobytes()
    assert pack_rgb565(image) == frame


def test_unpack_refuses_a_wrong_length() -> None:
    """A frame that is one pixel short is refused, not padded."""
    with pytest.raises(ValueError, match="8 bytes, not 6"):
        unpack_rgb565(bytes(6), 2, 2)


def test_png_shows_the_frame() -> None:
    """The PNG decodes to the pixels of the frame."""
    frame = noise(2, 12 * 10 * 2)
    with Image.open(io.BytesIO(png(frame, 12, 10))) as image:
        assert image.format == "PNG"
        assert pack_rgb565(image.convert("RGB")) == frame


def test_cut_and_paste_move_one_rectangle() -> None:
    """What is cut from one frame and pasted into another changes exactly that rectangle."""
    source, target = noise(3, 20 * 15 * 2), bytes(20 * 15 * 2)
    for rect in (Rect(3, 4, 5, 6), Rect(0, 2, 20, 3), Rect(19, 14, 1, 1), Rect(0, 0, 20, 15)):
        pasted = bytearray(target)
        pixels = cut(source, 20, rect)
        assert len(pixels) == rect.width * rect.height * 2
        paste(pasted, 20, rect, pixels)
        for row in range(15):
            for column in range(20):
                inside = rect.x <= column < rect.x + rect.width and rect.y <= row < rect.y + rect.height
                at = (row * 20 + column) * 2
                assert pasted[at : at + 2] == (source if inside else target)[at : at + 2]


def test_paste_refuses_pixels_of_another_size() -> None:
    """Pixels that do not fill the rectangle are refused before anything is written."""
    frame = bytearray(8)
    with pytest.raises(ValueError, match="4 bytes, not 2"):
        paste(frame, 2, Rect(0, 0, 1, 2), b"\xff\xff")
    assert frame == bytes(8)


def changed(width: int, height: int, *rects: Rect) -> tuple[bytes, bytes]:
    before = bytes(width * height * 2)
    after = bytearray(before)
    for rect in rects:
        paste(after, width, rect, b"\x00\x01" * (rect.width * rect.height))
    return before, bytes(after)


def test_equal_frames_have_no_changes() -> None:
    """Nothing changed, nothing is sent."""
    frame = noise(4, 240 * 320 * 2)
    assert changed_rects(frame, bytes(frame), 240, 320) == ()


@pytest.mark.parametrize(
    "rects",
    [
        (Rect(0, 0, 1, 1),),
        (Rect(239, 319, 1, 1),),
        (Rect(0, 0, 1, 1), Rect(239, 319, 1, 1)),
        (Rect(10, 20, 60, 60),),
        (Rect(10, 15, 3, 2),),
        (Rect(0, 0, 5, 16), Rect(200, 16, 5, 16)),
    ],
)
def test_changes_are_boxed_tightly(rects: tuple[Rect, ...]) -> None:
    """One box stays one box across strips; boxes far apart stay apart."""
    before, after = changed(240, 320, *rects)
    assert changed_rects(before, after, 240, 320) == rects


def test_neighbours_are_joined_when_that_is_no_dearer() -> None:
    """Two single pixels on either side of a strip boundary cost 26 bytes: joined when 3 wide (23), not at 4 (27)."""
    near = changed(240, 320, Rect(0, 15, 1, 1), Rect(2, 16, 1, 1))
    far = changed(240, 320, Rect(0, 15, 1, 1), Rect(3, 16, 1, 1))
    assert changed_rects(*near, 240, 320) == (Rect(0, 15, 3, 2),)
    assert changed_rects(*far, 240, 320) == (Rect(0, 15, 1, 1), Rect(3, 16, 1, 1))


def test_nearly_all_is_the_whole_frame() -> None:
    """A box of more than 15/16 of the bytes becomes the frame; one just below stays a box."""
    assert changed_rects(*changed(64, 64, Rect(0, 0, 64, 61)), 64, 64) == (Rect(0, 0, 64, 64),)
    assert changed_rects(*changed(64, 64, Rect(0, 0, 64, 59)), 64, 64) == (Rect(0, 0, 64, 59),)


@pytest.mark.parametrize("seed", range(20))
def test_sending_the_changes_gives_the_new_frame(seed: int) -> None:
    """Whatever changed, pasting the rectangles into the old frame gives the new one, never dearer than whole."""
    numbers = random.Random(seed)
    width, height = numbers.randint(1, 70), numbers.randint(1, 70)
    before = numbers.randbytes(width * height * 2)
    after = bytearray(before)
    for _ in range(numbers.randint(1, 6)):
        after[numbers.randrange(len(after))] ^= numbers.randint(1, 255)
    rects = changed_rects(before, bytes(after), width, height)
    shown = bytearray(before)
    for rect in rects:
        paste(shown, width, rect, cut(bytes(after), width, rect))
    assert shown == after
    assert bus_bytes(rects) <= bus_bytes((Rect(0, 0, width, height),))


def test_dimming_scales_each_colour() -> None:
    """All pixel values at all percentages follow (value * percent + 50) // 100 in 5, 6 and 5 bits."""
    frame = numpy.arange(65536, dtype=">u2").tobytes()
    values = numpy.arange(65536)
    for percent in (1, 7, 50, 99):
        red, green, blue = ((c * percent + 50) // 100 for c in (values >> 11, values >> 5 & 63, values & 31))
        assert dimmed(frame, percent) == (red << 11 | green << 5 | blue).astype(">u2").tobytes()


def test_full_brightness_is_the_frame_and_none_is_black() -> None:
    """100 changes nothing, 0 leaves nothing, and anything outside is refused."""
    frame = noise(6, 100)
    assert dimmed(frame, 100) is frame
    assert dimmed(frame, 0) == bytes(100)
    for percent in (-1, 101):
        with pytest.raises(ValueError, match="0 to 100"):
            dimmed(frame, percent)
