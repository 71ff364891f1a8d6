"""Coverage: how much of each pixel a stroke, a disc or a rounded box covers, in integer arithmetic alone.

What lives here: the rasteriser beneath the font and the screens. It exists so that a past screen replays to the very
pixel whatever the versions of FreeType, Pillow and the C library: no floating point, no library rasteriser.

What must not: letters, colours, layout, a clock, a file. Nothing here keeps state.

Lengths that end in no unit are whole pixels; `sub` lengths are 1/64 pixel (`SUBPIXELS`), measured from the top left
corner of the top left pixel, y downward. A pixel's coverage is read from the distance between its centre and the
outline, clamped to one pixel's width: 0 half a pixel outside, 255 half a pixel inside.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import isqrt

from PIL import Image, ImageChops

SUBPIXELS = 64
_HALF = SUBPIXELS // 2

Segment = tuple[int, int, int, int, int]
"""A line with round ends: x0, y0, x1, y1, radius, all in 1/64 pixel."""


def cover(buffer: bytearray, width: int, height: int, segments: Iterable[Segment]) -> None:
    """Raise each byte of `buffer` (width * height, row by row) to the coverage of the nearest segment.

    A segment is convex: each row is walked inward from both sides until it is full, and what lies between is filled,
    so the cost is that of the outline and not of the area.
    """
    for x0, y0, x1, y1, radius in segments:
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        reach = radius + _HALF
        top = max(0, (y0 - reach) // SUBPIXELS)
        bottom = min(height, (y1 + reach) // SUBPIXELS + 1)
        left_sub = min(x0, x1) - reach
        right_sub = max(x0, x1) + reach
        run, fall = x1 - x0, y1 - y0
        length_squared = run * run + fall * fall
        length = isqrt(length_squared * 256) or 1  # in 1/16 of the unit: half a grey level at any panel's size
        slant_sub = reach * length // (16 * fall) + 1 if fall else 0
        for row in range(top, bottom):
            dy = row * SUBPIXELS + _HALF - y0
            near, far = left_sub, right_sub
            if fall:
                middle = x0 + run * dy // fall
                near = max(near, middle - slant_sub)
                far = min(far, middle + slant_sub)
            first = max(0, near // SUBPIXELS)
            last = min(width - 1, far // SUBPIXELS)
            start = row * width
            edge = last
            for column in range(first, last + 1):
                if buffer[start + column] == 255:
                    continue
                value = _coverage(column * SUBPIXELS + _HALF - x0, dy, run, fall, length_squared, length, radius)
                if value == 255:
                    edge = column
                    break
                if value > buffer[start + column]:
                    buffer[start + column] = value
            else:
                continue
            for column in range(last, edge - 1, -1):
                if buffer[start + column] == 255 and column > edge:
                    continue
                value = _coverage(column * SUBPIXELS + _HALF - x0, dy, run, fall, length_squared, length, radius)
                if value == 255:
                    buffer[start + edge : start + column + 1] = b"\xff" * (column + 1 - edge)
                    break
                if value > buffer[start + column]:
                    buffer[start + column] = value


def flood(buffer: bytearray, width: int, height: int, outline: Iterable[Segment]) -> None:
    """Fill the pixels whose centres a closed outline encloses (even-odd). The outline's stroke smooths the edge."""
    edges = [(x0, y0, x1, y1) for x0, y0, x1, y1, _ in outline if y0 != y1]
    for row in range(height):
        y = row * SUBPIXELS + _HALF
        crossings = sorted(x0 + (x1 - x0) * (y - y0) // (y1 - y0) for x0, y0, x1, y1 in edges if (y0 <= y) != (y1 <= y))
        for left, right in zip(crossings[::2], crossings[1::2], strict=False):
            first = max(0, (left + _HALF) // SUBPIXELS)
            last = min(width, (right + _HALF) // SUBPIXELS)
            if last > first:
                buffer[row * width + first : row * width + last] = b"\xff" * (last - first)


def _coverage(dx: int, dy: int, run: int, fall: int, length_squared: int, length: int, radius: int) -> int:
    along = dx * run + dy * fall
    if along <= 0:
        distance = isqrt(dx * dx + dy * dy)
    elif along >= length_squared:
        dx -= run
        dy -= fall
        distance = isqrt(dx * dx + dy * dy)
    else:
        distance = abs(dx * fall - dy * run) * 16 // length
    value = (radius + _HALF - distance) * 4
    return 0 if value <= 0 else 255 if value >= 255 else value


def stroke(mask: Image.Image, segments: Iterable[Segment]) -> None:
    """Draw segments into an 'L' mask; where they meet what is there, the greater coverage stays."""
    buffer = bytearray(mask.tobytes())
    cover(buffer, mask.width, mask.height, segments)
    mask.frombytes(bytes(buffer))


def lighten(mask: Image.Image, ink: Image.Image, x: int, y: int) -> None:
    """Lay an 'L' image on an 'L' mask at (x, y), keeping the greater coverage; what falls outside is cut off."""
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + ink.width, mask.width), min(y + ink.height, mask.height)
    if right <= left or bottom <= top:
        return
    box = (left, top, right, bottom)
    if (right - left, bottom - top) != ink.size:
        ink = ink.crop((left - x, top - y, right - x, bottom - y))
    mask.paste(ImageChops.lighter(mask.crop(box), ink), box)


@lru_cache(maxsize=32)  # a screen uses three or four radii
def _corner(radius: int) -> Image.Image:
    """The top left quarter of a disc: radius x radius pixels."""
    buffer = bytearray(radius * radius)
    centre = radius * SUBPIXELS
    cover(buffer, radius, radius, [(centre, centre, centre, centre, centre)])
    return Image.frombytes("L", (radius, radius), bytes(buffer))


def rounded_box(mask: Image.Image, box: tuple[int, int, int, int], radius: int, level: int = 255) -> None:
    """Fill a box (left, top, right, bottom; right and bottom are outside) with rounded corners, at `level` 0..255.

    The radius is cut to half the shorter side. An empty box draws nothing. What was in the box is replaced.
    """
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0:
        return
    radius = max(0, min(radius, width // 2, height // 2))
    shape = Image.new("L", (width, height), 255)
    if radius:
        corner = _corner(radius)
        mirrored = corner.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        flip = Image.Transpose.FLIP_TOP_BOTTOM
        shape.paste(corner, (0, 0))
        shape.paste(mirrored, (width - radius, 0))
        shape.paste(corner.transpose(flip), (0, height - radius))
        shape.paste(mirrored.transpose(flip), (width - radius, height - radius))
    mask.paste(level, (left, top), shape)
