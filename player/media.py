"""Media files: which bytes are which format, what opens them, and what is refused and why.

Everything that a stranger's bytes can do to a decoder ends here as a `MediaError`. Sizes are checked in
the headers before anything is decoded.
"""

import mmap
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from PIL import Image, ImageFile

from player import animation
from player.layout import UPRIGHT, Geometry, enough, turned_size
from player.media_error import MediaError

PIXEL_COUNT_MAX = 50_000_000
"""A picture of the largest common cameras; decoded it takes 200 MB, the most a 512 MB device can spare."""
SIDE_MAX = 16_384
"""The largest side of the common formats' encoders; a picture a million wide and one high helps nobody."""


class Picture(NamedTuple):
    """An opened media file: its size as stored, how it must be turned, and its frames with their delays in µs.

    A frame is only valid until the next one is taken.
    """

    name: str
    type: str
    width: int
    height: int
    orientation: int
    frame_count: int
    frames: Iterator[tuple[Image.Image, int]]

    @property
    def upright_size(self) -> tuple[int, int]:
        return turned_size((self.width, self.height), self.orientation)


_DECODER_ERRORS = (
    OSError,  # Pillow's usual complaint, libjpeg, libtiff, libwebp; includes UnidentifiedImageError
    SyntaxError,  # Pillow's word for "not this format after all"
    ValueError,  # impossible numbers in headers; includes bad text encodings
    TypeError,
    LookupError,  # tables and slices that a header promised
    AttributeError,  # parts of a picture that were never read
    EOFError,
    ArithmeticError,  # a size or a unit of zero
    RuntimeError,  # libavif; includes NotImplementedError for rare variants
    AssertionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow and its libraries raise for hostile bytes, seen by mutating files. They have no common base, and each
of them here means the same: this file cannot be decoded. MemoryError is not among them; it has its own
code."""


@contextmanager
def decoding(name: str) -> Generator[None, None, None]:
    """The one place where a decoder's complaint becomes a MediaError."""
    try:
        yield
    except _DECODER_ERRORS as error:
        raise _refusal(name, error) from error


def _refusal(name: str, error: Exception) -> MediaError:
    said = str(error).lower()
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return _too_large()
    if "out of memory" in said:
        return out_of_memory()
    # GIF and PNG have been walked to their end before, so theirs is there.
    if "truncated" in said and name not in ("GIF", "PNG"):
        return MediaError("truncated", f"This {name} is cut off: its end is missing. Upload it again from the original.")
    return MediaError("damaged", f"This {name} is damaged inside. Upload it again from the original.")


def _too_large() -> MediaError:
    return MediaError(
        "too_large",
        f"This picture has more than {PIXEL_COUNT_MAX // 1_000_000} million pixels or a side longer than "
        f"{SIDE_MAX} pixels. Make it smaller and upload that.",
    )


def out_of_memory() -> MediaError:
    """The refusal for a MemoryError, wherever it was met."""
    return MediaError("out_of_memory", "This picture needs more memory than the device can spare. Make it smaller first.")


def _cut_off(name: str, size: int, whole_size: int) -> MediaError:
    missing = max(1, (whole_size - size) * 100 // whole_size)
    return MediaError(
        "truncated",
        f"This {name} is cut off: the last {missing} % is missing. Upload it again from the original.",
    )


class Source(NamedTuple):
    """An open media file, twice: `data` for looking into, `file` for Pillow to read."""

    data: mmap.mmap
    file: IO[bytes]


@contextmanager
def opened(path: Path) -> Generator[Source, None, None]:
    """Open and map a media file; an empty one is refused. Closed when the context ends."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise MediaError("empty", "This file is empty. Upload it again from the original.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield Source(data, file)


@contextmanager
def only_bombs_warn() -> Generator[None, None, None]:
    """Pillow's warnings are about files it reads anyway, except the one about size, which is a refusal here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _require_size(width: int, height: int) -> None:
    if max(width, height) > SIDE_MAX or width * height > PIXEL_COUNT_MAX:
        raise _too_large()


def _require_frame_count(name: str, count: int) -> None:
    if count > animation.PART_COUNT_MAX:
        raise MediaError(
            "too_long",
            f"This {name} has more than {animation.PART_COUNT_MAX} frames. Cut it into shorter ones.",
        )


def _require_library(name: str, installed: bool) -> None:
    """Pillow reads some formats only where it was built with their library."""
    if not installed:
        raise MediaError("unsupported", f"This device cannot read {name} files. {_AS_PICTURE}")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(0x0112, 1)
    except _DECODER_ERRORS:
        return 1  # the notes beside a picture may be broken; the picture is not refused for them
    return value if isinstance(value, int) and value in UPRIGHT else 1


def _still(name: str, mime: str, image: ImageFile.ImageFile) -> Picture:
    """A picture of one frame (the first page, where there are several), decoded at once."""
    size = image.size
    _require_size(*size)
    if image.mode in ("F", "I"):
        raise MediaError("unsupported", f"This {name} holds measured values, not colours. Save it with 8 bits a colour.")
    image.load()
    frames: list[tuple[Image.Image, int]] = [(image, 0)]
    return Picture(name, mime, *size, _orientation(image), 1, iter(frames))


def _parts(name: str, mime: str, data: mmap.mmap, found: animation.Animation) -> Picture:
    """A picture composed by `animation`; with one part it is a still."""
    _require_size(found.width, found.height)
    for part in found.parts:
        _require_size(part.width, part.height)
    count = len(found.parts)
    frames = animation.frames(data, found)
    return Picture(name, mime, found.width, found.height, 1, count, frames if count > 1 else _without_delay(frames))


def _sequence(name: str, mime: str, image: ImageFile.ImageFile, count: int) -> Picture:
    """A picture whose library composes its frames itself; with one frame it is a still."""
    _require_size(*image.size)
    _require_frame_count(name, count)

    def frames() -> Iterator[tuple[Image.Image, int]]:
        for number in range(count):
            image.seek(number)
            image.load()  # only now is the delay known
            yield image, animation.shown_delay_us(round(image.info["duration"] * 1000))

    shown = frames() if count > 1 else _without_delay(frames())
    return Picture(name, mime, *image.size, _orientation(image), count, shown)


def _without_delay(frames: Iterator[tuple[Image.Image, int]]) -> Iterator[tuple[Image.Image, int]]:
    return ((image, 0) for image, _ in frames)


# Plugins are imported where they are used: a child decodes one file, and each costs start-up time.


def _png_picture(source: Source, geometry: Geometry) -> Picture:
    from PIL import PngImagePlugin

    if source.data[12:16] == b"IHDR" and len(source.data) >= 24:
        _require_size(*struct.unpack_from(">II", source.data, 16))
    found = animation.png(source.data)
    if found is not None:
        return _parts("PNG", "image/apng" if len(found.parts) > 1 else "image/png", source.data, found)
    return _still("PNG", "image/png", PngImagePlugin.PngImageFile(source.file))


def _gif_picture(source: Source, geometry: Geometry) -> Picture:
    return _parts("GIF", "image/gif", source.data, animation.gif(source.data))


def _jpeg_picture(source: Source, geometry: Geometry) -> Picture:
    from PIL import JpegImagePlugin

    image = JpegImagePlugin.JpegImageFile(source.file)
    size = image.size
    _require_size(*size)
    orientation = _orientation(image)
    # JPEG can be decoded at 1/2, 1/4 or 1/8 for a fraction of the work.
    image.draft(None, enough(size, orientation, geometry))
    picture = _still("JPEG", "image/jpeg", image)
    return picture._replace(width=size[0], height=size[1], orientation=orientation)


def _webp_picture(source: Source, geometry: Geometry) -> Picture:
    from PIL import WebPImagePlugin

    _require_library("WebP", WebPImagePlugin.SUPPORTED)
    data = source.data
    whole_size = struct.unpack_from("<I", data, 4)[0] + 8
    if whole_size > len(data):
        raise _cut_off("WebP", len(data), whole_size)
    if data[12:16] == b"VP8X" and len(data) >= 30:  # the other variants cannot be larger than SIDE_MAX
        _require_size(int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    image = WebPImagePlugin.WebPImageFile(source.file)
    return _sequence("WebP", "image/webp", image, image.n_frames)


def _avif_picture(source: Source, geometry: Geometry) -> Picture:
    from PIL import AvifImagePlugin

    _require_library("AVIF", AvifImagePlugin.SUPPORTED)
    _require_whole_boxes("AVIF", source.data)
    for size in re.finditer(rb"ispe\0{4}(.{8})", source.data[:AVIF_HEADER_BYTES], re.DOTALL):
        _require_size(*struct.unpack(">II", size[1]))
    image = AvifImagePlugin.AvifImageFile(source.file)
    return _sequence("AVIF", "image/avif", image, image.n_frames)


AVIF_HEADER_BYTES = 1 << 16
"""Where the sizes of an AVIF are looked for before decoding: its index comes first and is a few hundred bytes."""


def _require_whole_boxes(name: str, data: mmap.mmap) -> None:
    """Refuse a file of boxes (ISO/IEC 14496-12, 4.2) whose last one reaches past its end."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise _cut_off(name, len(data), at + 8)
        (size,) = struct.unpack_from(">I", data, at)
        if size == 1 and len(data) - at >= 16:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size == 0:  # the box goes on to the end of the file, wherever that is
            return
        if size < 8:
            raise MediaError("damaged", f"This {name} is damaged inside. Upload it again from the original.")
        at += size
    if at > len(data):
        raise _cut_off(name, len(data), at)


def _bmp_picture(source: Source, geometry: Geometry) -> Picture:
    from PIL import BmpImagePlugin

    return _still("BMP", "image/bmp", BmpImagePlugin.BmpImageFile(source.file))


def _tiff_picture(source: Source, geometry: Geometry) -> Picture:
    from PIL import TiffImagePlugin

    return _still("TIFF", "image/tiff", TiffImagePlugin.TiffImageFile(source.file))


_FORMATS: tuple[tuple[bytes, str, Callable[[Source, Geometry], Picture]], ...] = (
    (rb"\x89PNG\r\n\x1a\n", "PNG", _png_picture),
    (rb"GIF8[79]a", "GIF", _gif_picture),
    (rb"\xff\xd8\xff", "JPEG", _jpeg_picture),
    (rb"RIFF.{4}WEBP", "WebP", _webp_picture),
    (rb".{4}ftyp(.{4}){0,12}?avi[fs]", "AVIF", _avif_picture),
    # Two letters are no proof; the size of the second header is.
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}", "BMP", _bmp_picture),
    (rb"II\*\0|MM\0\*", "TIFF", _tiff_picture),
)
"""How files of each format begin, its name, and what opens it."""

_AS_PICTURE = "Convert it to JPEG or PNG and upload that."
_AS_ANIMATION = "Convert it to an animated WebP, PNG or GIF and upload that."
_AS_NOTHING = "Upload a picture or an animation."

_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", "a HEIC picture", _AS_PICTURE),
    (rb".{4}ftypcrx ", "a raw photo", _AS_PICTURE),
    (rb".{4}(ftyp|moov|mdat|wide)", "an MP4 or QuickTime video", _AS_ANIMATION),
    (rb"\x1aE\xdf\xa3", "a Matroska or WebM video", _AS_ANIMATION),
    (rb"RIFF.{4}AVI ", "an AVI video", _AS_ANIMATION),
    (rb"\0\0\x01[\xb3\xba]|G.{187}G", "an MPEG video", _AS_ANIMATION),
    (rb"FLV\x01", "a Flash video", _AS_ANIMATION),
    (rb"\s*<svg[\s>]|\s*<(\?xml|!).{0,900}<svg[\s>]", "an SVG drawing", _AS_PICTURE),
    (rb"\xff\x0a|\0{3}\x0cJXL ", "a JPEG XL picture", _AS_PICTURE),
    (rb"\0{3}\x0cjP  ", "a JPEG 2000 picture", _AS_PICTURE),
    (rb"8BPS", "a Photoshop file", _AS_PICTURE),
    (rb"\0\0\x01\0", "a Windows icon", _AS_PICTURE),
    (rb"qoif", "a QOI picture", _AS_PICTURE),
    (rb"P[1-7]\s", "a Netpbm picture", _AS_PICTURE),
    (rb"%PDF", "a PDF document", _AS_PICTURE),
    (rb"RIFF.{4}WAVE|ID3|fLaC|OggS|\xff[\xf2\xf3\xfb]", "a sound file", _AS_NOTHING),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf", "an archive", "Unpack it and upload what is in it."),
)
"""What people upload that cannot be shown: how it begins, what to call it, and what to do."""

_HEAD_BYTES = 1024


def read(source: Source, geometry: Geometry) -> Picture:
    """Find out what a file is and open it, reduced no further than the geometry allows. Raises MediaError.

    Taking frames from the picture may raise what decoders raise: do that inside `decoding`.
    """
    head = source.data[:_HEAD_BYTES]
    for begins, name, read in _FORMATS:
        if re.match(begins, head, re.DOTALL):
            with decoding(name):
                return read(source, geometry)
    for begins, name, advice in _FOREIGN:
        if re.match(begins, head, re.DOTALL):
            raise MediaError("unsupported", f"This is {name}, which pixelog does not show. {advice}")
    raise MediaError("not_media", f"This file is not a picture. {_AS_NOTHING}")
