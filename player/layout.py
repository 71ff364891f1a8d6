"""A picture on a panel: where it lies, how it is turned, and how it becomes small and opaque.

Pure: images in, images out. A picture comes as it is stored, with its EXIF orientation as a number,
because turning is cheaper once it is small; sizes are in pixels, and "upright" is after that orientation.
"""

from math import ceil
from typing import Literal

import msgspec
from PIL import Image

from player.animation import eight_bit

THUMBNAIL_SIDE = 160
"""Sharp in a list on a dense screen, and some 30 kB as PNG."""
REDUCING_GAP = 2.0
"""Large pictures are first averaged down to at least twice the target, then resampled: a fifth of the time, and
no difference that 5 bits a colour could show."""
LANCZOS_REACH = 3
"""How far the Lanczos filter looks to each side, in source pixels, or in target pixels where those are larger."""
STRIP_PIXEL_COUNT = 1 << 20
"""Averaging works on strips of about this many pixels, so that no second copy of a large picture is made."""

Fit = Literal["contain", "cover", "stretch"]


class Geometry(msgspec.Struct, frozen=True):
    """A panel's RAM, `width` x `height` pixels, and how pictures lie on it.

    `rotation`: the upright picture is turned clockwise by so many degrees, as the viewer sees it, before
    it goes into the RAM; for 90 and 270 it is therefore laid out on height x width. `fit`: contain shows
    all of it with black bars, cover fills the panel and cuts evenly what sticks out, stretch fills it and
    bends the proportions.
    """

    width: int
    height: int
    rotation: Literal[0, 90, 180, 270] = 0
    fit: Fit = "contain"


UPRIGHT: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation (tag 0x0112) to the turn that makes the picture upright; 1 and unknown ones need none."""

_CLOCKWISE: dict[int, Image.Transpose] = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
"""Pillow counts counter-clockwise."""

Box = tuple[float, float, float, float]


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """A stored size made upright, or the other way round."""
    return (size[1], size[0]) if orientation in (5, 6, 7, 8) else size


def _canvas_size(geometry: Geometry) -> tuple[int, int]:
    size = (geometry.width, geometry.height)
    return size if geometry.rotation in (0, 180) else (size[1], size[0])


def _inside(size: tuple[int, int], bounds: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same proportions within bounds, each side rounded half up and at least 1."""
    (width, height), (bound_width, bound_height) = size, bounds
    if width * bound_height >= height * bound_width:
        return bound_width, max(1, (2 * height * bound_width + width) // (2 * width))
    return max(1, (2 * width * bound_height + height) // (2 * height)), bound_height


def _placed(size: tuple[int, int], canvas: tuple[int, int], fit: Fit) -> tuple[tuple[int, int], Box]:
    """The size at which an upright picture is drawn on the canvas, and the part of it that is (0..1 each way)."""
    (width, height), (canvas_width, canvas_height) = size, canvas
    if fit == "contain":
        return _inside(size, canvas), (0, 0, 1, 1)
    # What sticks out, as a share of the picture; for `stretch` nothing does.
    across = 1.0 if fit == "stretch" else min(1.0, height * canvas_width / (canvas_height * width))
    down = 1.0 if fit == "stretch" else min(1.0, width * canvas_height / (canvas_width * height))
    return canvas, ((1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2)


def laid_out(image: Image.Image, upright_size: tuple[int, int], orientation: int, geometry: Geometry) -> Image.Image:
    """The picture as the panel's RAM holds it: RGB, geometry.width x geometry.height.

    `image` may be smaller than the size it stands for (a decoder's reduction), but has its proportions.
    """
    canvas = _canvas_size(geometry)
    size, part = _placed(upright_size, canvas, geometry.fit)
    drawn = _drawn(image, orientation, size, part)
    if size != canvas:
        black = Image.new("RGB", canvas)
        black.paste(drawn, ((canvas[0] - size[0]) // 2, (canvas[1] - size[1]) // 2))
        drawn = black
    return _turned(drawn, _CLOCKWISE.get(geometry.rotation))


def thumbnail(image: Image.Image, upright_size: tuple[int, int], orientation: int) -> Image.Image:
    """The whole picture, upright, its longest side at most THUMBNAIL_SIDE and never enlarged."""
    return _drawn(image, orientation, _thumbnail_size(upright_size), (0, 0, 1, 1))


def enough(size: tuple[int, int], orientation: int, geometry: Geometry) -> tuple[int, int]:
    """The size, as stored, down to which a decoder may reduce a picture of that stored size on the way in."""
    upright = turned_size(size, orientation)
    (width, height), (left, top, right, bottom) = _placed(upright, _canvas_size(geometry), geometry.fit)
    small = _thumbnail_size(upright)
    across = ceil(max(width / (right - left), small[0]) * REDUCING_GAP)
    down = ceil(max(height / (bottom - top), small[1]) * REDUCING_GAP)
    return turned_size((across, down), orientation)


def _thumbnail_size(size: tuple[int, int]) -> tuple[int, int]:
    return _inside(size, (THUMBNAIL_SIDE, THUMBNAIL_SIDE)) if max(size) > THUMBNAIL_SIDE else size


def _drawn(image: Image.Image, orientation: int, size: tuple[int, int], part: Box) -> Image.Image:
    """That part of the picture, upright, opaque and RGB, at that size.

    Turning comes last, when the picture is small. The part is always centred, so it survives any turn but for
    the exchange of its axes.
    """
    across, down = image.size
    left, top, right, bottom = part if orientation < 5 else (part[1], part[0], part[3], part[2])
    box = (left * across, top * down, right * across, bottom * down)
    target = turned_size(size, orientation)
    flat, box = _averaged(image, box, target)
    if flat.size != target or box != (0, 0, *target):
        flat = flat.resize(target, Image.Resampling.LANCZOS, box=box)
    return _turned(flat, UPRIGHT.get(orientation))


def _averaged(image: Image.Image, box: Box, target: tuple[int, int]) -> tuple[Image.Image, Box]:
    """The box of the image as opaque RGB, averaged down while it stays REDUCING_GAP times larger than the target.

    Returns the small picture and where the box lies in it.
    """
    across = max(1, int((box[2] - box[0]) / target[0] / REDUCING_GAP))
    down = max(1, int((box[3] - box[1]) / target[1] / REDUCING_GAP))
    # The resampling filter looks this far beyond the box, where there is a beyond.
    beside = ceil(LANCZOS_REACH * max(1.0, (box[2] - box[0]) / target[0]))
    above = ceil(LANCZOS_REACH * max(1.0, (box[3] - box[1]) / target[1]))
    left, top = max(0, int(box[0]) - beside), max(0, int(box[1]) - above)
    right, bottom = min(image.width, ceil(box[2]) + beside), min(image.height, ceil(box[3]) + above)
    moved = (
        (box[0] - left) / across,
        (box[1] - top) / down,
        (box[2] - left) / across,
        (box[3] - top) / down,
    )
    if across == down == 1:
        return _flat(image.crop((left, top, right, bottom))), moved
    small = Image.new("RGB", (-(-(right - left) // across), -(-(bottom - top) // down)))
    rows = down * max(1, STRIP_PIXEL_COUNT // ((right - left) * down))
    for strip_top in range(top, bottom, rows):
        strip = _flat(image.crop((left, strip_top, right, min(strip_top + rows, bottom))))
        small.paste(strip.reduce((across, down)), (0, (strip_top - top) // down))
    return small, moved


def _flat(image: Image.Image) -> Image.Image:
    """The image in RGB, over black where it is transparent."""
    image = eight_bit(image)
    if "A" not in image.getbands() and "a" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    image = image.convert("RGBA")
    black = Image.new("RGB", image.size)
    black.paste(image, mask=image.getchannel("A"))
    return black
