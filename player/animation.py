"""Animated GIF and PNG, taken apart into still files and put together again frame by frame.

Pillow decodes the single pictures. Which part of the canvas each one covers, how it is laid over what was
there, how long it stays and what is cleaned up after it is decided here, because Pillow differs from
every browser in corners that do occur: it keeps a GIF frame's clean-up rule when the next frame asks for
none, fills a cleared area with the background colour instead of nothing, and clears animated PNGs with a
palette to colour 0.

Taking apart reads only the block structure, so the number of frames, all delays and a missing end are
known before the first pixel is decoded. It takes hostile bytes: whatever is wrong with them is a
MediaError.

Sources: GIF89a specification (CompuServe 1990), sections 17 to 27; PNG specification third edition (W3C
2025), sections 5 and 11.3.5. Delays of 10 ms or less become 100 ms, as in Chromium and Firefox: tools
write 0 or 1 hundredths for "as you like", and no panel could follow.
"""

import io
import mmap
import struct
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

from PIL import GifImagePlugin, Image, PngImagePlugin

from player.media_error import MediaError

Data = bytes | mmap.mmap

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PART_COUNT_MAX = 5000
"""Frames in an animation: at 10 a second more than eight minutes, and the index of that many is small."""

SHORTEST_DELAY_US = 10_000
USUAL_DELAY_US = 100_000


Afterwards = Literal["keep", "clear", "restore"]
"""What becomes of a frame's area when the next frame comes: stays, is emptied, or goes back to what was before."""


class Part(NamedTuple):
    """One picture of an animation: where it goes, for how long, and the spans of the file that hold its pixels."""

    x: int
    y: int
    width: int
    height: int
    delay_us: int
    blend: bool  # laid over what is there by its transparency, instead of replacing it
    afterwards: Afterwards
    head: bytes  # what a still file of it needs before the pixels
    spans: tuple[tuple[int, int], ...]


class Animation(NamedTuple):
    """What the block structure says: the canvas in pixels and at least one part, in order of showing."""

    kind: Literal["gif", "png"]
    width: int
    height: int
    parts: tuple[Part, ...]


def shown_delay_us(delay_us: int) -> int:
    """How long a frame really stays when its file asks for `delay_us`."""
    return delay_us if delay_us > SHORTEST_DELAY_US else USUAL_DELAY_US


def eight_bit(image: Image.Image) -> Image.Image:
    """The image with its 16 bit greys, if it has them, as 8 bit ones: the high byte, where Pillow would clip."""
    high = _HIGH_BYTE.get(image.mode)
    return image if high is None else Image.frombytes("L", image.size, image.tobytes()[high::2])


_HIGH_BYTE = {"I;16": 1, "I;16L": 1, "I;16B": 0}


def frames(data: Data, animation: Animation) -> Iterator[tuple[Image.Image, int]]:
    """Each frame as the whole canvas (RGBA) with its delay in µs. The image is only valid until the next one.

    Raises what Pillow raises when a part's pixels are damaged.
    """
    canvas = Image.new("RGBA", (animation.width, animation.height))
    for part in animation.parts:
        picture = _STILLS[animation.kind](data, part)
        area = (part.x, part.y, part.x + part.width, part.y + part.height)
        before = canvas.crop(area) if part.afterwards == "restore" else None
        if part.blend:
            canvas.alpha_composite(picture, (part.x, part.y))
        else:
            canvas.paste(picture, area)
        yield canvas, part.delay_us
        if before is not None:
            canvas.paste(before, area)
        elif part.afterwards == "clear":
            canvas.paste((0, 0, 0, 0), area)


def _cut_off(name: str, parts: list[Part]) -> MediaError:
    after = f"after frame {len(parts)}" if parts else "before its first picture is complete"
    return MediaError("truncated", f"This {name} is cut off {after}. Upload it again from the original.")


def _broken(name: str) -> MediaError:
    return MediaError("damaged", f"This {name} is damaged inside. Upload it again from the original.")


def _too_long(name: str) -> MediaError:
    return MediaError("too_long", f"This {name} has more than {PART_COUNT_MAX} frames. Cut it into shorter ones.")


# --- GIF ---------------------------------------------------------------------------------------------------

_AFTER_GIF: dict[int, Afterwards] = {2: "clear", 3: "restore", 4: "restore"}
"""Clean-up codes; 4 is what some old tools wrote for 3, and browsers follow them. Any other keeps the picture."""

_PLAIN: tuple[int, int | None, Afterwards] = (USUAL_DELAY_US, None, "keep")
"""Delay, transparent colour and clean-up of a GIF frame that has no control block of its own."""


def gif(data: Data) -> Animation:
    """Take a GIF apart. Raises MediaError "truncated" when its end is missing, "damaged", or "too_long"."""
    parts: list[Part] = []
    try:
        return _gif(data, parts)
    except (IndexError, struct.error) as error:
        raise _cut_off("GIF", parts) from error


def _gif(data: Data, parts: list[Part]) -> Animation:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, global_table = _colour_table(data, 13, flags)
    delay_us, transparent, afterwards = _PLAIN
    while (mark := data[at]) != 0x3B:
        if mark == 0x21 and data[at + 1] == 0xF9 and data[at + 2] >= 4:
            packed, hundredths, index = struct.unpack_from("<BHB", data, at + 3)
            delay_us = shown_delay_us(hundredths * 10_000)
            transparent = index if packed & 1 else None
            afterwards = _AFTER_GIF.get(packed >> 2 & 7, "keep")
            at = _after_blocks(data, at + 2)
        elif mark == 0x21:
            at = _after_blocks(data, at + 2)
        elif mark == 0x2C:
            x, y, part_width, part_height, packed = struct.unpack_from("<HHHHB", data, at + 1)
            table_end, _ = _colour_table(data, at + 10, packed)
            end = _after_blocks(data, table_end + 1)
            if not (part_width and part_height):
                raise _broken("GIF")
            if not parts:  # browsers widen a canvas that is too small for its first frame
                width, height = max(width, x + part_width), max(height, y + part_height)
            head = _gif_head(part_width, part_height, flags, global_table, transparent, packed)
            spans = ((at + 10, end),)
            parts.append(Part(x, y, part_width, part_height, delay_us, True, afterwards, head, spans))
            if len(parts) > PART_COUNT_MAX:
                raise _too_long("GIF")
            delay_us, transparent, afterwards = _PLAIN
            at = end
        elif mark == 0:  # an extra end-of-blocks, harmless and not rare
            at += 1
        else:
            raise _broken("GIF")
    if not parts:
        raise MediaError("not_media", "This GIF holds no picture. Upload another file.")
    return Animation("gif", width, height, tuple(parts))


def _colour_table(data: Data, at: int, flags: int) -> tuple[int, bytes]:
    """Where the colour table that `flags` announce ends, and the table; none is empty."""
    end = at + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    if end > len(data):
        raise IndexError(end)
    return end, data[at:end]


def _after_blocks(data: Data, at: int) -> int:
    """The position after a chain of data blocks: each has its length first, the last one is empty."""
    while length := data[at]:
        at += 1 + length
    return at + 1


def _gif_head(width: int, height: int, flags: int, table: bytes, transparent: int | None, packed: int) -> bytes:
    control = b"" if transparent is None else struct.pack("<4BHBB", 0x21, 0xF9, 4, 1, 0, transparent, 0)
    screen = struct.pack("<6sHHBBB", b"GIF89a", width, height, flags & 0x87, 0, 0)
    return screen + table + control + struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, packed)


def _gif_still(data: Data, part: Part) -> Image.Image:
    pixels = b"".join(data[start:end] for start, end in part.spans)
    with GifImagePlugin.GifImageFile(io.BytesIO(part.head + pixels + b";")) as still:
        return still.convert("RGBA")


# --- PNG ---------------------------------------------------------------------------------------------------


class _Control(NamedTuple):
    """A frame control chunk."""

    sequence: int
    width: int
    height: int
    x: int
    y: int
    delay_numerator: int
    delay_denominator: int
    dispose: int
    blend: int

    @property
    def delay_us(self) -> int:
        # A denominator of 0 means hundredths. Rounded half up, in integers, so that every machine agrees.
        unit = self.delay_denominator or 100
        return shown_delay_us((self.delay_numerator * 2_000_000 + unit) // (2 * unit))


_CONTROL = struct.Struct(">5I2H2B")
_AFTER_PNG: tuple[Afterwards, ...] = ("keep", "clear", "restore")


def png(data: Data) -> Animation | None:
    """Check the chunks of a PNG and take an animated one apart; None for a still one.

    Checks the sum of each chunk that matters. Raises MediaError "truncated", "damaged" or "too_long".
    """
    parts: list[Part] = []
    try:
        return _png(data, parts)
    except (IndexError, struct.error) as error:
        raise _cut_off("PNG", parts) from error


def _chunks(data: Data) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each chunk's body, up to and without the end chunk."""
    at = len(PNG_SIGNATURE)
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        start, end = at + 8, at + 8 + length
        (crc,) = struct.unpack_from(">I", data, end)
        # Chunks in lower case are extras that a reader may skip, broken or not, except those of the
        # animation.
        matters = kind[:1].isupper() or kind in (b"acTL", b"fcTL", b"fdAT", b"tRNS")
        if matters and zlib.crc32(data[at + 4 : end]) != crc:
            raise _broken("PNG")
        if kind == b"IEND":
            return
        yield kind, start, end
        at = end + 4


def _png(data: Data, parts: list[Part]) -> Animation | None:
    header = b""
    colours = b""
    announced = 0
    control: _Control | None = None
    spans: list[tuple[int, int]] = []
    sequence = 0

    def close_part() -> None:
        if control is not None:
            parts.append(_png_part(control, header, colours, spans, first=not parts))
            spans.clear()
        if len(parts) > PART_COUNT_MAX:
            raise _too_long("PNG")

    for kind, start, end in _chunks(data):
        if kind == b"IHDR":
            header = data[start:end]
        elif kind in (b"PLTE", b"tRNS"):
            colours += _chunk(kind, data[start:end])
        elif kind == b"acTL":
            (announced,) = struct.unpack_from(">I", data, start)
        elif kind == b"IDAT" and control is not None:
            spans.append((start, end))
        elif kind == b"fcTL" and announced:
            close_part()
            control = _Control(*_CONTROL.unpack(data[start:end]))
        elif kind == b"fdAT" and announced:
            spans.append((start + 4, end))
        if kind in (b"fcTL", b"fdAT") and announced:
            if struct.unpack_from(">I", data, start) != (sequence,):
                raise _broken("PNG")
            sequence += 1
    if len(header) != 13:
        raise _broken("PNG")
    if not announced:
        return None
    close_part()
    if len(parts) != announced:
        raise _broken("PNG")
    width, height = struct.unpack_from(">II", header)
    if any(part.x + part.width > width or part.y + part.height > height for part in parts):
        raise _broken("PNG")
    return Animation("png", width, height, tuple(parts))


def _png_part(control: _Control, header: bytes, colours: bytes, spans: list[tuple[int, int]], *, first: bool) -> Part:
    if not (spans and control.width and control.height and control.dispose <= 2 and control.blend <= 1):
        raise _broken("PNG")
    dispose = 1 if first and control.dispose == 2 else control.dispose  # before the first there is nothing
    return Part(
        control.x,
        control.y,
        control.width,
        control.height,
        control.delay_us,
        control.blend == 1,
        _AFTER_PNG[dispose],
        _chunk(b"IHDR", struct.pack(">II", control.width, control.height) + header[8:]) + colours,
        tuple(spans),
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_still(data: Data, part: Part) -> Image.Image:
    pixels = b"".join(data[start:end] for start, end in part.spans)
    file = PNG_SIGNATURE + part.head + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    with PngImagePlugin.PngImageFile(io.BytesIO(file)) as still:
        return eight_bit(still).convert("RGBA")


_STILLS = {"gif": _gif_still, "png": _png_still}
