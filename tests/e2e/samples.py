"""Media files as people have them, made by plain Pillow, each with what a panel must show of it. Nothing of pixelog is used here."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageSequence

Size = tuple[int, int]


class Sample(NamedTuple):
    """A file, the frames that a panel of `size` must show (RGB, whole panel), and how long each stands, in ms (empty: a still)."""

    filename: str
    content: bytes
    frames: list[Image.Image]
    delays_ms: list[int]


def drawn(size: Size, seed: int, mode: str = "RGB") -> Image.Image:
    """A picture that has an up, a left and many colours: a gradient with a few shapes."""
    source = random.Random(seed)
    width, height = size
    across = Image.linear_gradient("L").rotate(90).resize(size)
    down = Image.linear_gradient("L").resize(size)
    flat = Image.new("L", size, source.randrange(40, 220))
    image = Image.merge("RGB", source.sample([across, down, flat], 3))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = source.randrange(width), source.randrange(height)
        box = (x, y, x + source.randrange(8, 60), y + source.randrange(8, 60))
        draw.rectangle(box, fill=tuple(source.randrange(256) for _ in range(3)))
    draw.rectangle((0, 0, width // 4, height // 8), fill=(255, 255, 255))
    return image.convert(mode)


def on_panel(image: Image.Image) -> Image.Image:
    """As RGB565 shows it: five, six and five bits, spread again over eight by repeating the highest."""
    five = [(value >> 3) << 3 | value >> 5 for value in range(256)]
    six = [(value >> 2) << 2 | value >> 6 for value in range(256)]
    return image.convert("RGB").point(five + six + five)


def contained(image: Image.Image, size: Size) -> Image.Image:
    """Scaled by Lanczos as large as fits, in the middle of black."""
    width, height = image.size
    scale = min(size[0] / width, size[1] / height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    panel = Image.new("RGB", size)
    panel.paste(image.resize(inner, Image.Resampling.LANCZOS), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return panel


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def gif(size: Size, seed: int = 1) -> Sample:
    """Unequal delays, a transparent part in each later frame, and all of: keep, clear to background, restore what was before."""
    delays = [120, 240, 80, 360]
    disposals = [1, 3, 2, 1]
    palette = [(0, 0, 0), (250, 60, 40), (60, 220, 90), (50, 80, 240), (240, 230, 90), (255, 255, 255)]
    flat = [channel for colour in palette for channel in colour]
    images: list[Image.Image] = []
    for index in range(4):
        one = Image.new("P", size, 0 if index else 4)
        one.putpalette(flat + [0] * (768 - len(flat)))
        draw = ImageDraw.Draw(one)
        x = 10 + 40 * index + seed % 7
        draw.rectangle((x, x, x + 80, x + 50), fill=1 + index)
        draw.rectangle((size[0] - 40 - 12 * index, 5, size[0] - 20, 60 + 20 * index), fill=5 - index % 4)
        images.append(one)
    # Index 0 is transparent from the second frame on; in the first there is none of it.
    content = _saved(
        images[0],
        "GIF",
        save_all=True,
        append_images=images[1:],
        duration=delays,
        disposal=disposals,
        transparency=0,
        loop=0,
        optimize=False,
    )
    return Sample("party.gif", content, _decoded(content), delays)


def _decoded(content: bytes) -> list[Image.Image]:
    """The frames as Pillow reads them, what is clear shown black."""
    shown: list[Image.Image] = []
    with Image.open(io.BytesIO(content)) as file:
        for frame in ImageSequence.Iterator(file):
            whole = frame.convert("RGBA")
            panel = Image.new("RGB", whole.size)
            panel.paste(whole, (0, 0), whole.getchannel("A"))
            shown.append(panel)
    return shown


def jpeg(size: Size, seed: int = 2) -> Sample:
    """Lying on its side, with the EXIF tag that says how to hold it (6: turn it right by 90 degrees)."""
    upright = drawn(size, seed)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = _saved(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, subsampling=0, exif=exif)
    seen = Image.open(io.BytesIO(content)).convert("RGB").transpose(Image.Transpose.ROTATE_270)
    return Sample("holiday.jpg", content, [seen], [])


def webp(size: Size, seed: int = 3) -> Sample:
    """Animated, lossless, unequal delays."""
    delays = [150, 260, 100]
    frames = [drawn(size, seed + 10 * index) for index in range(3)]
    content = _saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=delays, lossless=True, loop=0)
    return Sample("waves.webp", content, frames, delays)


def apng(size: Size, seed: int = 4) -> Sample:
    """An animated PNG, unequal delays."""
    delays = [200, 100, 300]
    frames = [drawn(size, seed + 10 * index) for index in range(3)]
    content = _saved(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=delays, loop=0)
    return Sample("blinking.png", content, frames, delays)


def png(size: Size, seed: int = 5) -> Sample:
    """A still."""
    frame = drawn(size, seed)
    return Sample(f"still-{seed}.png", _saved(frame, "PNG"), [frame], [])


def broken_png(size: Size) -> bytes:
    """A PNG that ends in the middle of its pixels."""
    whole = png(size, 6).content
    return whole[: len(whole) // 2]


def bomb_png() -> bytes:
    """Some hundred kilobytes that are 400 million pixels once they are unpacked."""
    side = 20_000
    packed = zlib.compress(bytes((side // 8 + 1) * side), 1)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
