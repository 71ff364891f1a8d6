"""Writes an animated PNG as a stream, one frame in memory at a time: exact pixels, read by every browser and by our own preparing.

Source: PNG specification, third edition (W3C 2025), sections 5, 7.3, 9 and 11.3.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image, ImageChops

FRAMES_MAX = 5_000
"""Frames of one animation: as many as our own preparing takes."""

LEVEL = 4
"""Of zlib: half the time of the usual 6 for a tenth more bytes."""

_FILTER_SUB = 1
_RGB, _DEPTH = 2, 8


class Still(NamedTuple):
    """One frame: an image of mode RGB, all of the same size, and how long it stays."""

    image: Image.Image
    delay_us: int


def written(frames: Iterator[Still], count: int, size: tuple[int, int]) -> Iterator[bytes]:
    """The pieces of the file. `count` says how many frames there are, for it stands before them; one makes a plain PNG."""
    yield b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", *size, _DEPTH, _RGB, 0, 0, 0))
    if count > 1:
        yield _chunk(b"acTL", struct.pack(">II", count, 0))
    before: Image.Image | None = None
    number = 0
    for frame in frames:
        box = (0, 0, *size) if before is None else ImageChops.difference(before, frame.image).getbbox() or (0, 0, 1, 1)
        if count > 1:
            yield _chunk(b"fcTL", _control(number, box, frame.delay_us))
            number += 1
        data = _pixels(frame.image.crop(box))
        if before is None:
            yield _chunk(b"IDAT", data)
        else:
            yield _chunk(b"fdAT", struct.pack(">I", number) + data)
            number += 1
        before = frame.image
    yield _chunk(b"IEND", b"")


def _control(number: int, box: tuple[int, int, int, int], delay_us: int) -> bytes:
    left, top, right, bottom = box
    milliseconds = min(65_535, max(1, round(delay_us / 1000)))
    return struct.pack(">IIIIIHHBB", number, right - left, bottom - top, left, top, milliseconds, 1000, 0, 0)


def _pixels(image: Image.Image) -> bytes:
    """The rows, each byte less the one a pixel to the left: flat areas become zeros. Differences of whole rows are made by Pillow, in C."""
    shifted = Image.new("RGB", image.size)
    shifted.paste(image, (1, 0))
    rows = ImageChops.subtract_modulo(image, shifted).tobytes()
    length = image.width * 3
    marked = b"".join(bytes((_FILTER_SUB,)) + rows[at : at + length] for at in range(0, len(rows), length))
    return zlib.compress(marked, LEVEL)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
