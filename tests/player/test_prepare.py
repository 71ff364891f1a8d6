"""Media files become frame packs: real files made here, read back as pixels and compared with what was drawn."""

import hashlib
import io
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import AvifImagePlugin, Image, ImageDraw, ImageOps, WebPImagePlugin

from player import prepare as preparing
from player.child import Cancelled, prepare_limited
from player.framepack import FramePack
from player.media_error import MEDIA_ERROR_CODES, MediaError
from player.pixels import pack_rgb565, unpack_rgb565
from player.prepare import Geometry, Prepared, prepare

SMALL = Geometry(width=16, height=12, fit="stretch")


def quiet(percent: int, stage: str) -> None:
    """Progress that nobody watches."""


class Room:
    """A folder to prepare into, and what was prepared there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.into = folder / "packs"
        self.into.mkdir()

    def file(self, data: bytes) -> Path:
        path = self.folder / "upload.bin"
        path.write_bytes(data)
        return path

    def prepare(self, data: bytes, geometry: Geometry = SMALL) -> Prepared:
        return prepare(self.file(data), self.into, geometry, quiet)

    def refusal(self, data: bytes) -> MediaError:
        with pytest.raises(MediaError) as refused:
            self.prepare(data)
        assert list(self.into.iterdir()) == []
        return refused.value

    def frames(self, prepared: Prepared) -> list[Image.Image]:
        with FramePack.open(self.into / f"{prepared.pack}.pack") as pack:
            assert pack.frame_count == prepared.frame_count
            return [unpack_rgb565(pack.frame(index), pack.width, pack.height) for index in range(pack.frame_count)]

    def thumbnail(self, prepared: Prepared) -> Image.Image:
        with Image.open(self.into / f"{prepared.thumbnail}.png") as image:
            image.load()
            return image


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def painted(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """A picture without any symmetry: a gradient, a bar and a dot."""
    width, height = size
    image = Image.merge(
        "RGB",
        (
            Image.linear_gradient("L").resize(size),
            Image.linear_gradient("L").rotate(90).resize(size),
            Image.new("L", size, 64),
        ),
    )
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 3, height // 5), (255, 0, 0))
    draw.rectangle((width // 2, height // 2, width // 2 + width // 8, height - 1), (0, 255, 0))
    return image.convert(mode)


def noise(size: tuple[int, int], seed: int = 1) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(size[0] * size[1] * 3))


def solid(*colours: tuple[int, ...], size: tuple[int, int] = (16, 12)) -> list[Image.Image]:
    return [Image.new("RGB" if len(colour) == 3 else "RGBA", size, colour) for colour in colours]


def packed_like(image: Image.Image) -> bytes:
    """What the picture looks like after the panel's loss of low bits."""
    return unpack_rgb565(pack_rgb565(image), *image.size).tobytes()


def differences(image: Image.Image, other: Image.Image) -> list[int]:
    """How far each channel of each pixel is from the other picture's."""
    assert image.size == other.size
    return [abs(one - two) for one, two in zip(image.tobytes(), other.tobytes(), strict=True)]


def furthest(image: Image.Image, other: Image.Image) -> int:
    """The largest difference of any channel of any pixel."""
    return max(differences(image, other))


# --- One picture -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_of_every_mode_keeps_its_colours(room: Room, mode: str) -> None:
    """At its own size a PNG comes out as drawn, whatever mode it was stored in."""
    image = painted((16, 12), mode)
    prepared = room.prepare(encoded(image, "PNG"))
    assert (prepared.kind, prepared.type, prepared.width, prepared.height) == ("image", "image/png", 16, 12)
    assert (prepared.frame_count, prepared.delays, prepared.duration_us) == (1, ((1, 0),), None)
    assert room.frames(prepared)[0].tobytes() == packed_like(image.convert("RGB"))


def test_16_bit_grey_keeps_its_high_byte(room: Room) -> None:
    """A 16 bit grey PNG shows as the same grey in 8 bits, not clipped to white."""
    greys = [value * 257 for value in range(192)]
    image = Image.frombytes("I;16", (16, 12), struct.pack("<192H", *greys))
    prepared = room.prepare(encoded(image, "PNG"))
    expected = Image.frombytes("L", (16, 12), bytes(range(192))).convert("RGB")
    assert room.frames(prepared)[0].tobytes() == packed_like(expected)


def test_transparency_is_laid_over_black(room: Room) -> None:
    """Half transparent white is grey, and what lies under full transparency is not seen."""
    image = Image.new("RGBA", (16, 12), (255, 255, 255, 0))
    image.paste((255, 255, 255, 128), (0, 0, 8, 12))
    frame = room.frames(room.prepare(encoded(image, "PNG")))[0]
    assert frame.getpixel((0, 0)) == (132, 130, 132)  # 128 after the loss of low bits
    assert frame.getpixel((15, 0)) == (0, 0, 0)


def test_cmyk_jpeg_is_shown(room: Room) -> None:
    """A JPEG for printing has its colours back."""
    frame = room.frames(room.prepare(encoded(Image.new("CMYK", (16, 12), (0, 255, 255, 0)), "JPEG")))[0]
    assert furthest(frame, Image.new("RGB", (16, 12), (255, 0, 0))) <= 8


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "GIF", "WEBP", "AVIF"])
def test_other_stills_are_shown(room: Room, kind: str) -> None:
    """One-frame files of the other formats are images with the MIME type of their content."""
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    prepared = room.prepare(encoded(Image.new("RGB", (16, 12), (0, 0, 255)), kind, **options))
    assert (prepared.kind, prepared.type) == ("image", f"image/{kind.lower()}")
    assert (prepared.frame_count, prepared.delays, prepared.duration_us) == (1, ((1, 0),), None)
    assert furthest(room.frames(prepared)[0], Image.new("RGB", (16, 12), (0, 0, 255))) <= 8


def test_the_first_page_of_a_tiff_is_shown(room: Room) -> None:
    """A document of several pages is an image of its first."""
    red, green = solid((255, 0, 0), (0, 255, 0))
    prepared = room.prepare(encoded(red, "TIFF", save_all=True, append_images=[green]))
    assert prepared.frame_count == 1
    assert room.frames(prepared)[0].tobytes() == red.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(room: Room, kind: str, orientation: int) -> None:
    """All eight orientations come out upright, in the pack, in the size and in the thumbnail."""
    image = painted((64, 40))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(image, kind, exif=exif, **({} if kind == "PNG" else {"quality": 95}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(stored))).convert("RGB")
    geometry = Geometry(width=upright.width, height=upright.height)
    prepared = room.prepare(stored, geometry)
    assert (prepared.width, prepared.height) == upright.size
    assert room.frames(prepared)[0].tobytes() == packed_like(upright)
    assert room.thumbnail(prepared).tobytes() == upright.tobytes()


# --- Layout ------------------------------------------------------------------------------------------------


def reference(image: Image.Image, geometry: Geometry) -> Image.Image:
    """The same layout by Pillow's own helpers."""
    canvas = (geometry.width, geometry.height)
    if geometry.rotation in (90, 270):
        canvas = canvas[::-1]
    lanczos = Image.Resampling.LANCZOS
    if geometry.fit == "contain":
        drawn = ImageOps.pad(image, canvas, lanczos, color=(0, 0, 0))
    elif geometry.fit == "cover":
        drawn = ImageOps.fit(image, canvas, lanczos)
    else:
        drawn = image.resize(canvas, lanczos)
    return drawn.rotate(-geometry.rotation, expand=True)


@pytest.mark.parametrize("fit", ["contain", "cover", "stretch"])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("size", [(500, 300), (200, 380), (60, 60)])
def test_layout_is_what_pillow_does(room: Room, fit: Any, rotation: Any, size: tuple[int, int]) -> None:
    """For 240 x 320, each rotation and fit is the plain Pillow picture.

    A few pixels at corners may be a step off: Pillow filters rows or columns first as the size suggests.
    """
    geometry = Geometry(width=240, height=320, rotation=rotation, fit=fit)
    image = painted(size)
    frame = room.frames(room.prepare(encoded(image, "PNG"), geometry))[0]
    expected = reference(image, geometry)
    assert frame.size == (240, 320)
    off = differences(frame, Image.frombytes("RGB", (240, 320), packed_like(expected)))
    assert max(off) <= 17
    assert sum(map(bool, off)) < len(off) // 1000


def test_rotation_is_clockwise(room: Room) -> None:
    """At 90 degrees the upright picture's top left corner is at the top right of the RAM."""
    image = Image.new("RGB", (320, 240))
    image.paste((255, 0, 0), (0, 0, 20, 20))
    frame = room.frames(room.prepare(encoded(image, "PNG"), Geometry(width=240, height=320, rotation=90)))[0]
    assert frame.getbbox() == (220, 0, 240, 20)


def test_contain_leaves_black_bars(room: Room) -> None:
    """A square on a tall panel is centred between black bars."""
    white = encoded(Image.new("RGB", (50, 50), (255, 255, 255)), "PNG")
    frame = room.frames(room.prepare(white, Geometry(width=24, height=32)))[0]
    assert frame.getbbox() == (0, 4, 24, 28)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_large_pictures_are_averaged_down_without_a_visible_difference(room: Room, kind: str) -> None:
    """A picture 12 times too large, in strips or by the JPEG decoder, looks like one resampled in one go."""
    image = painted((2900, 3900))
    geometry = Geometry(width=240, height=320, fit="cover")
    frame = room.frames(room.prepare(encoded(image, kind), geometry))[0]
    expected = Image.frombytes("RGB", (240, 320), packed_like(reference(image, geometry)))
    off = differences(frame, expected)
    assert sum(off) / len(off) < 1.0
    assert sum(one > 16 for one in off) < len(off) // 100


def test_a_line_stays_visible(room: Room) -> None:
    """A picture of 3000 x 1 is drawn one pixel high, not nothing."""
    prepared = room.prepare(encoded(Image.new("RGB", (3000, 1), (255, 255, 255)), "PNG"), Geometry(24, 32))
    assert room.frames(prepared)[0].getbbox() == (0, 15, 24, 16)
    assert room.thumbnail(prepared).size == (160, 1)


# --- Files written -----------------------------------------------------------------------------------------


def test_files_are_named_by_their_content(room: Room) -> None:
    """Pack and thumbnail carry their SHA-256 as name and the size that is reported; nothing else is left."""
    prepared = room.prepare(encoded(painted((400, 200)), "PNG"))
    pack = (room.into / f"{prepared.pack}.pack").read_bytes()
    thumbnail = (room.into / f"{prepared.thumbnail}.png").read_bytes()
    assert hashlib.sha256(pack).hexdigest() == prepared.pack
    assert hashlib.sha256(thumbnail).hexdigest() == prepared.thumbnail
    assert (len(pack), len(thumbnail)) == (prepared.pack_size_bytes, prepared.thumbnail_size_bytes)
    assert len(list(room.into.iterdir())) == 2
    assert room.thumbnail(prepared).size == (160, 80)


def test_preparing_again_gives_the_same(room: Room) -> None:
    """The same file and geometry give the same answer and the same two files."""
    data = encoded(painted((90, 70)), "GIF", save_all=True, append_images=[painted((90, 70)).rotate(90)])
    assert room.prepare(data) == room.prepare(data)
    assert len(list(room.into.iterdir())) == 2


def test_progress_rises_to_100(room: Room) -> None:
    """Progress begins at 0, rises at each call, names its stage and ends at 100."""
    frames = solid(*[(step, 0, 0) for step in range(0, 250, 10)])
    heard: list[tuple[int, str]] = []
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    prepare(room.file(data), room.into, SMALL, lambda percent, stage: heard.append((percent, stage)))
    percents = [percent for percent, _ in heard]
    assert percents == sorted(set(percents))
    assert (heard[0], heard[-1]) == ((0, "reading"), (100, "done"))
    assert {stage for _, stage in heard} == {"reading", "converting", "finishing", "done"}


def test_a_full_disk_is_no_fault_of_the_file(room: Room) -> None:
    """When the folder cannot be written, OSError surfaces instead of a refusal of the media."""
    with pytest.raises(FileNotFoundError):
        prepare(room.file(encoded(painted((16, 12)), "PNG")), room.folder / "nowhere", SMALL, quiet)


# --- Animations --------------------------------------------------------------------------------------------

PALETTE = bytes((0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255))  # 0 black, 1 red, 2 green, 3 blue
CLEAR, RED, GREEN, BLUE = 0, 1, 2, 3


def gif_frame(
    box: tuple[int, int, int, int], index: int, *, disposal: int, hundredths: int, transparent: int | None = CLEAR
) -> bytes:
    """One frame of one colour, written by hand: uncompressed LZW, a clear code before each pixel."""
    left, top, width, height = box
    flags = disposal << 2 | (transparent is not None)
    control = struct.pack("<4BHBB", 0x21, 0xF9, 4, flags, hundredths, transparent or 0, 0)
    codes = [code for _ in range(width * height) for code in (4, index)] + [5]
    bits = sum(code << 3 * position for position, code in enumerate(codes))
    data = bits.to_bytes(-(-3 * len(codes) // 8), "little")
    blocks = b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
    return control + struct.pack("<BHHHHB", 0x2C, left, top, width, height, 0) + b"\x02" + blocks + b"\0"


def gif_file(size: tuple[int, int], *frames: bytes, background: int = BLUE) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", *size, 0x81, background, 0) + PALETTE + b"".join(frames) + b";"


def boxes(*filled: tuple[tuple[int, int, int, int], tuple[int, int, int]]) -> bytes:
    """The expected 16 x 12 picture: black with these boxes."""
    image = Image.new("RGB", (16, 12))
    for (left, top, width, height), colour in filled:
        image.paste(colour, (left, top, left + width, top + height))
    return image.tobytes()


def test_gif_frames_are_composed_as_browsers_do(room: Room) -> None:
    """Keep, clear and restore, partial frames, a frame without a rule after one with, and a coloured background."""
    left, middle, right = (0, 0, 4, 12), (4, 2, 4, 4), (10, 0, 6, 6)
    data = gif_file(
        (16, 12),
        gif_frame(left, RED, disposal=1, hundredths=5),  # stays
        gif_frame(middle, GREEN, disposal=2, hundredths=20),  # is emptied
        gif_frame(right, BLUE, disposal=3, hundredths=7),  # goes back to what was there: nothing
        gif_frame(middle, BLUE, disposal=0, hundredths=0),  # stays, although the one before did not
        gif_frame((0, 0, 16, 12), CLEAR, disposal=2, hundredths=1),  # wholly transparent; empties everything
        gif_frame(right, GREEN, disposal=1, hundredths=65535, transparent=None),
    )
    prepared = room.prepare(data)
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert [frame.tobytes() for frame in room.frames(prepared)] == [
        boxes((left, red)),
        boxes((left, red), (middle, green)),
        boxes((left, red), (right, blue)),
        boxes((left, red), (middle, blue)),
        boxes((left, red), (middle, blue)),
        boxes((right, green)),
    ]
    assert prepared.kind == "animation"
    assert prepared.delays == (
        *((1, 50_000), (1, 200_000), (1, 70_000)),
        *((2, 100_000), (1, 655_350_000)),  # 0 and 10 ms are too short to be meant
    )
    assert prepared.duration_us == 655_870_000


def test_gif_restore_brings_back_what_was_drawn(room: Room) -> None:
    """A frame over a kept one is taken away again, leaving the kept one whole."""
    whole, middle, corner = (0, 0, 16, 12), (4, 2, 4, 4), (0, 0, 1, 1)
    data = gif_file(
        (16, 12),
        gif_frame(whole, RED, disposal=1, hundredths=5),
        gif_frame(middle, BLUE, disposal=3, hundredths=5),
        gif_frame(corner, GREEN, disposal=1, hundredths=5),
    )
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert [frame.tobytes() for frame in room.frames(room.prepare(data))] == [
        boxes((whole, red)),
        boxes((whole, red), (middle, blue)),
        boxes((whole, red), (corner, green)),
    ]


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_gif_written_by_pillow_reads_as_drawn(room: Room, disposal: int) -> None:
    """Frames with transparency and unequal delays come back, whichever clean-up the encoder was told to use."""
    frames = [Image.new("RGBA", (16, 12)) for _ in range(4)]
    for step, frame in enumerate(frames):
        frame.paste((255, 0, 0, 255), (step * 3, 2, step * 3 + 3, 9))
        if disposal in (0, 1, 3) and step:
            frames[step] = frame if disposal == 3 else Image.alpha_composite(frames[step - 1], frame)
    data = encoded(
        frames[0],
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[20, 100, 250, 30],
        disposal=disposal,
        optimize=False,
    )
    prepared = room.prepare(data)
    assert prepared.delays == ((1, 20_000), (1, 100_000), (1, 250_000), (1, 30_000))
    got = room.frames(prepared)
    for frame, drawn in zip(got, frames, strict=True):
        black = Image.new("RGB", (16, 12))
        black.paste(drawn, mask=drawn.getchannel("A"))
        assert frame.tobytes() == black.tobytes()


def test_gif_canvas_grows_for_its_first_frame(room: Room) -> None:
    """A GIF that declares a canvas smaller than its first frame shows that frame whole."""
    prepared = room.prepare(gif_file((1, 1), gif_frame((0, 0, 16, 12), RED, disposal=1, hundredths=5)))
    assert (prepared.width, prepared.height) == (16, 12)
    assert room.frames(prepared)[0].tobytes() == boxes(((0, 0, 16, 12), (255, 0, 0)))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def apng_file(*frames: bytes, count: int, palette: bytes = PALETTE, alpha: bytes = b"\0", default: int | None) -> bytes:
    """A 16 x 12 palette PNG; `frames` are chunks; `default` is the colour of a picture outside the animation."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 12, 8, 3, 0, 0, 0))
    image = b"" if default is None else chunk(b"IDAT", zlib.compress((b"\0" + bytes([default]) * 16) * 12))
    head = header + chunk(b"PLTE", palette) + chunk(b"tRNS", alpha) + chunk(b"acTL", struct.pack(">II", count, 0))
    return b"\x89PNG\r\n\x1a\n" + head + image + b"".join(frames) + chunk(b"IEND", b"")


def apng_frame(
    sequence: int,
    box: tuple[int, int, int, int],
    index: int,
    *,
    delay: tuple[int, int],
    dispose: int = 0,
    blend: int = 1,
    first: bool = False,
) -> bytes:
    left, top, width, height = box
    control = struct.pack(">5I2H2B", sequence, width, height, left, top, *delay, dispose, blend)
    pixels = zlib.compress((b"\0" + bytes([index]) * width) * height)
    body = chunk(b"IDAT", pixels) if first else chunk(b"fdAT", struct.pack(">I", sequence + 1) + pixels)
    return chunk(b"fcTL", control) + body


def test_apng_frames_are_composed_as_specified(room: Room) -> None:
    """Dispose none, background and previous with blend source and over, in a palette whose colour 0 is not black."""
    whole, left, middle = (0, 0, 16, 12), (0, 0, 4, 12), (4, 2, 4, 4)
    palette = bytes((255, 255, 255)) + PALETTE[3:]  # colour 0 is white, and transparent
    data = apng_file(
        apng_frame(0, whole, RED, delay=(1, 30), first=True),
        apng_frame(1, left, CLEAR, delay=(1, 4), blend=0),  # cuts a hole
        apng_frame(3, middle, GREEN, delay=(3, 0), dispose=1),  # leaves a hole
        apng_frame(5, middle, BLUE, delay=(0, 100), dispose=2),  # fills it, and takes the filling away
        apng_frame(7, (15, 11, 1, 1), GREEN, delay=(65535, 1)),
        count=5,
        palette=palette,
        default=None,
    )
    red, green, blue, black = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
    prepared = room.prepare(data)
    assert [frame.tobytes() for frame in room.frames(prepared)] == [
        boxes((whole, red)),
        boxes((whole, red), (left, black)),
        boxes((whole, red), (left, black), (middle, green)),
        boxes((whole, red), (left, black), (middle, blue)),
        boxes((whole, red), (left, black), (middle, black), ((15, 11, 1, 1), green)),
    ]
    assert prepared.type == "image/apng"
    assert prepared.delays == ((1, 33_333), (1, 250_000), (1, 30_000), (1, 100_000), (1, 65_535_000_000))


def test_apng_default_image_is_not_part_of_the_animation(room: Room) -> None:
    """A picture for readers without animation is left out, also when Pillow wrote the file."""
    default, red, green = solid((0, 0, 255), (255, 0, 0), (0, 255, 0))
    options: dict[str, Any] = {"save_all": True, "default_image": True, "duration": [60, 500]}
    prepared = room.prepare(encoded(default, "PNG", append_images=[red, green], **options))
    assert [frame.getpixel((0, 0)) for frame in room.frames(prepared)] == [(255, 0, 0), (0, 255, 0)]
    assert prepared.delays == ((1, 60_000), (1, 500_000))
    assert room.thumbnail(prepared).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        gif_file((16, 12), gif_frame((0, 0, 16, 12), RED, disposal=2, hundredths=50)),
        apng_file(apng_frame(0, (0, 0, 16, 12), RED, delay=(1, 2)), count=1, default=BLUE),
    ],
)
def test_an_animation_of_one_frame_is_an_image(room: Room, data: bytes) -> None:
    """One frame has no delay and no duration, whatever the file says."""
    prepared = room.prepare(data)
    assert (prepared.kind, prepared.delays, prepared.duration_us) == ("image", ((1, 0),), None)
    assert prepared.type in ("image/gif", "image/png")
    assert room.frames(prepared)[0].tobytes() == boxes(((0, 0, 16, 12), (255, 0, 0)))


@pytest.mark.parametrize(("kind", "options"), [("WEBP", {"lossless": True}), ("AVIF", {"quality": 100})])
def test_animated_webp_and_avif_keep_their_delays(room: Room, kind: str, options: dict[str, Any]) -> None:
    """Unequal delays belong to the frames they were written for, and each frame is the one drawn."""
    frames = solid((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=[40, 500, 5, 130], **options)
    prepared = room.prepare(data)
    assert (prepared.kind, prepared.type) == ("animation", f"image/{kind.lower()}")
    assert prepared.delays == ((1, 40_000), (1, 500_000), (1, 100_000), (1, 130_000))
    for frame, drawn in zip(room.frames(prepared), frames, strict=True):
        assert furthest(frame, drawn) <= 8


def test_transparent_webp_animation_is_laid_over_black(room: Room) -> None:
    """The holes of an animated WebP are black."""
    frames = solid((255, 0, 0, 255), (0, 255, 0, 0))
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=50, lossless=True)
    assert [frame.getpixel((3, 3)) for frame in room.frames(room.prepare(data))] == [(255, 0, 0), (0, 0, 0)]


# --- Refusals ----------------------------------------------------------------------------------------------

BIG_PNG = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)) + chunk(b"IEND", b"")
BIG_GIF = gif_file((60000, 60000), gif_frame((0, 0, 1, 1), RED, disposal=0, hundredths=9))
BIG_WEBP = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + b"\x5f\xea\0\x5f\xea\0"
LONG_GIF = gif_file((1, 1), gif_frame((0, 0, 1, 1), RED, disposal=0, hundredths=9) * 5001)
LONG_APNG = apng_file(*(apng_frame(step * 2, (0, 0, 1, 1), RED, delay=(1, 9)) for step in range(5001)), count=5001, default=BLUE)


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "empty", "empty"),
        (b"Dear diary,\n", "not_media", "not a picture"),
        (b"\0" * 4000, "not_media", "not a picture"),
        (b"BM is how this letter begins", "not_media", "not a picture"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "unsupported", "MP4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "unsupported", "QuickTime"),
        (b"\x1aE\xdf\xa3\x01\0\0\0\0\0\0#B\x86\x81\x01", "unsupported", "WebM"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported", "HEIC"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg width='9'/>", "unsupported", "SVG"),
        (b"%PDF-1.7\n", "unsupported", "PDF"),
        (b"PK\x03\x04", "unsupported", "archive"),
        (encoded(Image.new("F", (4, 4), 0.5), "TIFF"), "unsupported", "measured values"),
        (BIG_PNG, "too_large", "50 million pixels"),
        (BIG_GIF, "too_large", "50 million pixels"),
        (BIG_WEBP, "too_large", "50 million pixels"),
        (encoded(Image.new("1", (16385, 1)), "PNG"), "too_large", "16384"),
        (LONG_GIF, "too_long", "5000 frames"),
        (LONG_APNG, "too_long", "5000 frames"),
        (encoded(noise((60, 60)), "PNG")[:-3000], "truncated", "cut off"),
        (encoded(noise((60, 60)), "PNG")[:20], "truncated", "cut off"),
        (encoded(noise((60, 60)), "JPEG")[:-2], "truncated", "cut off"),
        (encoded(noise((60, 60)), "JPEG", progressive=True)[:-900], "truncated", "cut off"),
        (encoded(noise((60, 60)), "BMP")[:-900], "truncated", "cut off"),
        (encoded(noise((60, 60)), "TIFF")[:-900], "truncated", "cut off"),
        (b";".join(gif_file((16, 12), *[gif_frame((0, 0, 8, 8), 1, disposal=0, hundredths=9)] * 4).split(b";")[:-1]),
         "truncated", "after frame 4"),
        (gif_file((16, 12), *[gif_frame((0, 0, 8, 8), 1, disposal=0, hundredths=9)] * 4)[:-10],
         "truncated", "after frame 3"),
        (gif_file((16, 12)), "not_media", "no picture"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused(room: Room, data: bytes, code: str, says: str) -> None:
    """Each refusal has its code, a sentence that says why, and leaves no file behind."""
    refusal = room.refusal(data)
    assert (refusal.code, says in refusal.message) == (code, True), refusal.message
    assert refusal.message.endswith(".")


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_a_cut_off_file_says_how_much_is_missing(room: Room, kind: str) -> None:
    """Where the header knows the whole size, the sentence tells the missing share."""
    frames = [noise((64, 64), seed) for seed in range(3)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    refusal = room.refusal(data[: len(data) * 6 // 10])
    assert (refusal.code, "the last 40 % is missing" in refusal.message) == ("truncated", True), refusal.message


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_a_format_without_its_library_is_unsupported(room: Room, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Where Pillow was built without a format, that is what the refusal says."""
    monkeypatch.setattr({"WEBP": WebPImagePlugin, "AVIF": AvifImagePlugin}[kind], "SUPPORTED", False)
    assert room.refusal(encoded(painted((16, 12)), kind)).code == "unsupported"


@pytest.mark.parametrize("at", [40, 2000, -14, -8])
def test_a_flipped_bit_in_a_png_is_damage(room: Room, at: int) -> None:
    """The sums of the chunks show a changed bit in a body or in a sum itself."""
    data = bytearray(encoded(noise((60, 60)), "PNG"))
    data[at] ^= 1
    assert room.refusal(bytes(data)).code == "damaged"


def test_a_pack_that_grows_too_big_is_refused(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing stops at the limit and removes what it wrote."""
    monkeypatch.setattr(preparing, "PACK_SIZE_MAX_BYTES", 5 * 16 * 12 * 2)
    frames = [noise((16, 12), seed) for seed in range(20)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=50, lossless=True)
    assert room.refusal(data).code == "too_long"


def seeds() -> dict[str, bytes]:
    """One small file of each kind, with as much inside as the kind has."""
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [noise((20, 14), seed) for seed in range(3)]
    animated: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": [30, 60, 90]}
    return {
        "png": encoded(noise((20, 14)), "PNG", exif=exif),
        "palette png": encoded(painted((20, 14), "P"), "PNG", transparency=0),
        "jpeg": encoded(noise((20, 14)), "JPEG", exif=exif),
        "progressive jpeg": encoded(painted((20, 14), "CMYK"), "JPEG", progressive=True),
        "gif": encoded(frames[0], "GIF", disposal=2, **animated),
        "hand gif": gif_file((16, 12), *[gif_frame((1, 1, 8, 8), 1, disposal=3, hundredths=9)] * 3),
        "apng": encoded(frames[0], "PNG", **animated),
        "hand apng": apng_file(apng_frame(0, (0, 0, 9, 9), RED, delay=(1, 2)), count=1, default=BLUE),
        "webp": encoded(frames[0], "WEBP", **animated),
        "still webp": encoded(noise((20, 14)), "WEBP", exif=exif),
        "avif": encoded(frames[0], "AVIF", speed=10, **animated),
        "bmp": encoded(noise((20, 14)), "BMP"),
        "tiff": encoded(noise((20, 14)), "TIFF", compression="tiff_lzw"),
    }


def mutated(data: bytes, numbers: random.Random) -> bytes:
    """The file with a few bytes changed, a piece removed, doubled or zeroed, or its end missing."""
    changed = bytearray(data)
    for _ in range(numbers.randint(1, 3)):
        at, length = numbers.randrange(len(changed)), numbers.randint(1, 40)
        match numbers.randrange(6):
            case 0 | 1:
                changed[at] ^= 1 << numbers.randrange(8)
            case 2:
                changed[at : at + 4] = numbers.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = changed[at : at + length]
            case _:
                changed[at:] = b"" if numbers.random() < 0.5 else changed[at:]
        changed = changed or bytearray(b"\0")
    return bytes(changed)


def mended(data: bytes) -> bytes:
    """A PNG with right sums again, so that its damage reaches the decoder."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    fixed, at = bytearray(data), 8
    while at + 12 <= len(fixed):
        end = at + 8 + struct.unpack_from(">I", fixed, at)[0]
        if end + 4 > len(fixed):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(fixed[at + 4 : end]))
        at = end + 4
    return bytes(fixed)


def outcome(room: Room, data: bytes) -> str:
    """ "prepared", after reading every frame of the pack, or the code of the refusal."""
    try:
        prepared = room.prepare(data)
    except MediaError as error:
        return error.code
    return "prepared" if len(room.frames(prepared)) == prepared.frame_count else "short"


@pytest.mark.parametrize("kind", list(seeds()))
def test_hostile_bytes_are_prepared_or_refused(room: Room, kind: str) -> None:
    """Twenty-four mutations of each kind of file: a pack that reads back, or a MediaError, and nothing else."""
    original = seeds()[kind]
    for seed in range(24):
        data = mutated(original, random.Random(f"{kind} {seed}"))
        for variant in {data, mended(data)}:
            assert outcome(room, variant) in {"prepared", *MEDIA_ERROR_CODES}
    assert not [path for path in room.into.iterdir() if path.name.startswith(".")]


# --- In a child --------------------------------------------------------------------------------------------


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "player.prepare", *arguments]


def test_the_program_speaks_json_lines(room: Room) -> None:
    """Progress lines, then the same answer as the function's, and exit code 0."""
    data = encoded(painted((40, 30)), "PNG")
    source = room.file(data)
    done = subprocess.run(
        program(str(source), str(room.into), "--size", "16x12", "--rotation", "90", "--fit", "cover"),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert [line["progress"] for line in lines[:-1]] == [0, 1, 98, 99, 100]
    expected = room.prepare(data, Geometry(16, 12, 90, "cover"))
    assert msgspec.convert(lines[-1]["prepared"], Prepared) == expected


def test_the_program_reports_a_refusal(room: Room) -> None:
    """A refused file is an error line and exit code 1."""
    done = subprocess.run(
        program(str(room.file(b"Dear diary")), str(room.into), "--size", "16x12"), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert msgspec.json.decode(done.stdout.splitlines()[-1]) == {
        "error": {"code": "not_media", "message": "This file is not a picture. Upload a picture or an animation."}
    }


def test_a_limited_child_gives_the_same_answer(room: Room) -> None:
    """In a child with the usual limits everything is as in this process, progress included."""
    data = encoded(painted((300, 200)), "JPEG")
    heard: list[int] = []
    prepared = prepare_limited(room.file(data), room.into, SMALL, lambda percent, _: heard.append(percent))
    assert prepared == room.prepare(data)
    assert heard == [0, 1, 98, 99, 100]


def test_a_limited_child_passes_a_refusal_on(room: Room) -> None:
    """The child's MediaError is raised here, with its sentence."""
    with pytest.raises(MediaError, match="cut off") as refused:
        prepare_limited(room.file(encoded(noise((60, 60)), "PNG")[:-900]), room.into, SMALL, quiet)
    assert refused.value.code == "truncated"


def test_a_limited_child_passes_a_failed_write_on(room: Room) -> None:
    """An OSError in the child is an OSError here, with its number."""
    with pytest.raises(FileNotFoundError):
        prepare_limited(room.file(encoded(noise((60, 60)), "PNG")), room.folder / "nowhere", SMALL, quiet)


def test_too_much_memory_is_refused(room: Room) -> None:
    """A picture that needs 150 MB decoded is refused in a child that may have 64 MiB, and nothing is left."""
    source = room.file(encoded(Image.new("RGB", (7000, 5500)), "PNG", compress_level=1))
    with pytest.raises(MediaError) as refused:
        prepare_limited(source, room.into, SMALL, quiet, memory_bytes=64 << 20)
    assert refused.value.code == "out_of_memory"
    assert list(room.into.iterdir()) == []


def slow_file(room: Room) -> Path:
    """An animation that takes many seconds: 2,000 frames of 1,500 x 1,500."""
    frames = gif_frame((0, 0, 1, 1), RED, disposal=2, hundredths=9) * 2000
    return room.file(gif_file((1500, 1500), frames))


def test_too_much_time_is_refused(room: Room) -> None:
    """The wall clock ends a child that is still at work; its unfinished files go with it."""
    with pytest.raises(MediaError) as refused:
        prepare_limited(slow_file(room), room.into, SMALL, quiet, wall_seconds=1.0)
    assert refused.value.code == "timeout"
    assert list(room.into.iterdir()) == []


def test_too_much_processor_time_is_refused(room: Room) -> None:
    """The processor limit ends it too, by the kernel's hand."""
    with pytest.raises(MediaError) as refused:
        prepare_limited(slow_file(room), room.into, SMALL, quiet, cpu_seconds=1)
    assert refused.value.code == "timeout"
    assert list(room.into.iterdir()) == []


def test_a_cancelled_preparation_ends_at_once(room: Room) -> None:
    """Once frames are being converted, cancelling kills the child within a second and leaves nothing."""
    heard: list[str] = []
    asked_at: list[float] = []

    def cancelled() -> bool:
        if "converting" in heard:
            asked_at.append(time.monotonic())
        return bool(asked_at)

    with pytest.raises(Cancelled):
        prepare_limited(slow_file(room), room.into, SMALL, lambda _, stage: heard.append(stage), cancelled=cancelled)
    assert time.monotonic() - asked_at[0] < 1.0
    assert list(room.into.iterdir()) == []


def test_the_child_ends_with_its_parent(room: Room) -> None:
    """When the parent is killed, the pipe closes and the child ends by itself."""
    source = slow_file(room)
    code = (
        "import sys; from pathlib import Path; from player.child import prepare_limited\n"
        "from player.prepare import Geometry\n"
        f"prepare_limited(Path({str(source)!r}), Path({str(room.into)!r}), Geometry(16, 12), "
        "lambda percent, stage: print(percent, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"0\n"
        assert parent.stdout.readline() == b"1\n"
        (child,) = children(parent.pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        until(lambda: not alive(child))


def children(process_id: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]


def alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
        status = Path(f"/proc/{process_id}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"  # nobody may be left to collect it


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_crashing_decoder_is_damage(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that dies of a fault in a library refuses the file and says how it ended in a note."""
    monkeypatch.setattr(sys, "executable", str(script(room, "kill -SEGV $$")))
    with pytest.raises(MediaError) as refused:
        prepare_limited(room.file(b"x"), room.into, SMALL, quiet)
    assert refused.value.code == "damaged"
    assert "ended with -11" in refused.value.__notes__[0]


def test_a_child_killed_by_the_kernel_ran_out_of_memory(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGKILL that this process did not send is the out-of-memory killer's."""
    monkeypatch.setattr(sys, "executable", str(script(room, "kill -KILL $$")))
    with pytest.raises(MediaError) as refused:
        prepare_limited(room.file(b"x"), room.into, SMALL, quiet)
    assert refused.value.code == "out_of_memory"


@pytest.mark.parametrize("says", ["echo hello", 'yes \'{"progress":1,"stage":""}\'', "true"])
def test_a_child_that_talks_nonsense_is_damage(room: Room, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """No JSON, JSON without end, and no answer at all are all refused."""
    monkeypatch.setattr(sys, "executable", str(script(room, says)))
    with pytest.raises(MediaError) as refused:
        prepare_limited(room.file(b"x"), room.into, SMALL, quiet)
    assert refused.value.code == "damaged"


def script(room: Room, line: str) -> Path:
    path = room.folder / "child.sh"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def test_starting_imports_only_what_is_needed() -> None:
    """The program loads the two plugins that it always needs, and neither numpy nor the rest of Pillow."""
    code = "import sys, player.prepare; print(*sorted(name for name in sys.modules if 'Plugin' in name or name == 'numpy'))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["PIL.GifImagePlugin", "PIL.PngImagePlugin"]
