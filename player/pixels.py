"""Frames as a panel's RAM holds them, and what may be done to them.

A *frame* is `width * height * 2` bytes: rows from the top, pixels from the left, each pixel RGB565 with
the high byte first (RRRRRGGG GGGBBBBB). That is what MIPI-style controllers take after a memory write, so
a frame goes to the bus as it is. Colours lose their low bits (r >> 3, g >> 2, b >> 3), byte for byte as
the panel library itself packs them.

Here live conversion, cutting, pasting, comparing and dimming. Everything is pure: no files, no clocks, no
panel.

Pillow's planes do the work in C: a frame seen as a two-channel image has the high bytes in one plane and
the low bytes in the other. numpy would pack a 240 x 320 frame in 0.1 instead of 0.3 ms, but its import
costs the time of 250 frames and 15 MB; one path is also one truth, so there is no second one.
"""

import io
from functools import lru_cache
from typing import NamedTuple

from PIL import Image, ImageChops

WINDOW_BYTES = 11
"""What it costs to aim at a rectangle: column command + 4, row command + 4, write command."""

BAND_ROWS = 16
"""Height of the strips in which changes are boxed: small enough that two far corners stay two small
boxes, large enough that a full frame of 320 rows is 20 comparisons."""


class Rect(NamedTuple):
    """A rectangle of pixels: left column, top row, and a size that is never zero."""

    x: int
    y: int
    width: int
    height: int


def _table(rule: list[int]) -> list[int]:
    return [value & 0xFF for value in rule]


_BYTES = range(256)
_HIGH_OF_RED = _table([v & 0xF8 for v in _BYTES])
_HIGH_OF_GREEN = _table([v >> 5 for v in _BYTES])
_LOW_OF_GREEN = _table([(v << 3) & 0xE0 for v in _BYTES])
_LOW_OF_BLUE = _table([v >> 3 for v in _BYTES])
# Widening repeats the top bits below, so that full stays full: 31 -> 255, 63 -> 255, 0 -> 0.
_RED_OF_HIGH = _table([(v & 0xF8) | v >> 5 for v in _BYTES])
_GREEN_OF_HIGH = _table([(v << 5) | (v & 7) >> 1 for v in _BYTES])
_GREEN_OF_LOW = _table([v >> 5 << 2 for v in _BYTES])
_BLUE_OF_LOW = _table([v << 3 | (v & 31) >> 2 for v in _BYTES])
# Green as a number 0..63 in a plane of its own.
_GREEN_COUNT_OF_HIGH = _table([(v & 7) << 3 for v in _BYTES])
_GREEN_COUNT_OF_LOW = _table([v >> 5 for v in _BYTES])


def _planes(frame: bytes | bytearray | memoryview, width: int, height: int) -> tuple[Image.Image, Image.Image]:
    _require_size(frame, width, height)
    high, low = Image.frombytes("LA", (width, height), frame).split()
    return high, low


def _require_size(frame: bytes | bytearray | memoryview, width: int, height: int) -> None:
    if len(frame) != width * height * 2:
        raise ValueError(f"a {width} x {height} frame has {width * height * 2} bytes, not {len(frame)}")


# The tables below share no bits, so adding planes is the same as OR and never carries.


def pack_rgb565(image: Image.Image) -> bytes:
    """The frame of an image in mode RGB, at the image's own size. Any other mode raises ValueError."""
    if image.mode != "RGB":
        raise ValueError(f"only RGB images are packed, not {image.mode}")
    red, green, blue = image.split()
    high = ImageChops.add_modulo(red.point(_HIGH_OF_RED), green.point(_HIGH_OF_GREEN))
    low = ImageChops.add_modulo(green.point(_LOW_OF_GREEN), blue.point(_LOW_OF_BLUE))
    return Image.merge("LA", (high, low)).tobytes()


def unpack_rgb565(frame: bytes | bytearray | memoryview, width: int, height: int) -> Image.Image:
    """The RGB image of a frame; packing it again gives the same frame. A wrong length raises ValueError."""
    high, low = _planes(frame, width, height)
    green = ImageChops.add_modulo(high.point(_GREEN_OF_HIGH), low.point(_GREEN_OF_LOW))
    return Image.merge("RGB", (high.point(_RED_OF_HIGH), green, low.point(_BLUE_OF_LOW)))


def png(frame: bytes | bytearray | memoryview, width: int, height: int) -> bytes:
    """The frame as a PNG file. Compressed lightly: it is drawn for someone who waits, and sent once."""
    file = io.BytesIO()
    unpack_rgb565(frame, width, height).save(file, "PNG", compress_level=1)
    return file.getvalue()


def cut(frame: bytes | bytearray | memoryview, frame_width: int, rect: Rect) -> bytes:
    """The pixels of one rectangle of a frame, row after row. The rectangle must lie inside the frame."""
    stride = frame_width * 2
    first = rect.y * stride + rect.x * 2
    if rect.width == frame_width:
        return bytes(frame[first : first + rect.height * stride])
    length = rect.width * 2
    return b"".join(frame[at : at + length] for at in range(first, first + rect.height * stride, stride))


def paste(frame: bytearray, frame_width: int, rect: Rect, pixels: bytes | memoryview) -> None:
    """Put the pixels of `cut` (of the same rectangle) back, in place."""
    stride = frame_width * 2
    length = rect.width * 2
    if len(pixels) != length * rect.height:
        raise ValueError(f"{rect} has {length * rect.height} bytes, not {len(pixels)}")
    first = rect.y * stride + rect.x * 2
    if rect.width == frame_width:
        frame[first : first + len(pixels)] = pixels
        return
    for row in range(rect.height):
        at = first + row * stride
        frame[at : at + length] = pixels[row * length : (row + 1) * length]


def changed_rects(
    before: bytes | bytearray | memoryview, after: bytes | bytearray | memoryview, width: int, height: int
) -> tuple[Rect, ...]:
    """The rectangles which, sent from `after`, turn a panel that shows `before` into one that shows `after`.

    Equal frames give (). Otherwise each strip of 16 rows has the box of its own changes, and neighbours
    are joined where the joined box costs no more bus bytes (2 per pixel, 11 per rectangle). They run from
    the top and never overlap. When they would cost more than 15/16 of a whole frame, the answer is the
    whole frame as one rectangle: the bytes saved would not pay for the extra writes.
    """
    _require_size(before, width, height)
    _require_size(after, width, height)
    if before == after:
        return ()
    size = (width * 2, height)
    difference = ImageChops.difference(Image.frombytes("L", size, before), Image.frombytes("L", size, after))
    rects: list[Rect] = []
    for top in range(0, height, BAND_ROWS):
        box = difference.crop((0, top, width * 2, min(top + BAND_ROWS, height))).getbbox()
        if box is None:
            continue
        left, right = box[0] // 2, (box[2] + 1) // 2
        rect = Rect(left, top + box[1], right - left, box[3] - box[1])
        if rects and bus_bytes((joined := _around(rects[-1], rect),)) <= bus_bytes((rects[-1], rect)):
            rects[-1] = joined
        else:
            rects.append(rect)
    whole = Rect(0, 0, width, height)
    return (whole,) if bus_bytes(rects) * 16 > bus_bytes((whole,)) * 15 else tuple(rects)


def bus_bytes(rects: tuple[Rect, ...] | list[Rect]) -> int:
    """How many bytes sending these rectangles puts on the bus."""
    return sum(rect.width * rect.height * 2 + WINDOW_BYTES for rect in rects)


def _around(one: Rect, other: Rect) -> Rect:
    left, top = min(one.x, other.x), min(one.y, other.y)
    right = max(one.x + one.width, other.x + other.width)
    bottom = max(one.y + one.height, other.y + other.height)
    return Rect(left, top, right - left, bottom - top)


def dimmed(frame: bytes, percent: int) -> bytes:
    """The frame with each colour scaled to `percent` of its 5 or 6 bit value, rounded half up in integers.

    100 returns the frame itself, 0 is black; outside 0..100 raises ValueError.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"brightness is 0 to 100 percent, not {percent}")
    if percent == 100:
        return frame
    if percent == 0:
        return bytes(len(frame))
    tables = _dimming(percent)
    high, low = _planes(frame, len(frame) // 2, 1)
    green = ImageChops.add_modulo(high.point(_GREEN_COUNT_OF_HIGH), low.point(_GREEN_COUNT_OF_LOW))
    new_high = ImageChops.add_modulo(high.point(tables.red), green.point(tables.green_high))
    new_low = ImageChops.add_modulo(green.point(tables.green_low), low.point(tables.blue))
    return Image.merge("LA", (new_high, new_low)).tobytes()


class _Dimming(NamedTuple):
    red: list[int]
    green_high: list[int]
    green_low: list[int]
    blue: list[int]


@lru_cache(maxsize=8)  # a few brightness levels are in use at a time; one set of tables takes 8 kB
def _dimming(percent: int) -> _Dimming:
    scaled = [(value * percent + 50) // 100 for value in range(64)]
    return _Dimming(
        red=_table([scaled[v >> 3] << 3 for v in _BYTES]),
        green_high=_table([scaled[v & 63] >> 3 for v in _BYTES]),
        green_low=_table([scaled[v & 63] << 5 for v in _BYTES]),
        blue=_table([scaled[v & 31] for v in _BYTES]),
    )
