"""Media file in, frame pack and thumbnail out, as a stream that holds a few frames at a time.

Here live the order of the work, the writing of the files, and the program that a limited child runs. Not
here: which files are media (media), how a GIF or PNG is composed (animation), where a picture lies on a
panel (layout), the bytes of pixels (pixels) and of packs (framepack), and what the parent of that child
does (child).

What is packed: pictures are turned upright by their EXIF orientation, laid over black where transparent,
fitted to the panel, and turned by the panel's rotation. Given the same file, geometry and `made_by`, pack
and thumbnail are the same bytes.

`python -m player.prepare SOURCE INTO --size 240x320 --rotation 0 --fit contain` prints one JSON object a
line: {"progress": percent, "stage": word} as it goes, then {"prepared": {...}} and exit code 0, or
{"error": {"code", "message"}} (a `MediaError`) or {"fault": {"errno", "message"}} (an OSError, such as a
full disk) and exit code 1.
"""

import argparse
import hashlib
import io
import os
import resource
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Literal, NamedTuple

import msgspec
import PIL
from PIL import Image

from player.framepack import PackWriter, runs
from player.layout import Geometry, laid_out, thumbnail
from player.media import Picture, decoding, only_bombs_warn, opened, out_of_memory, read
from player.media_error import MediaError
from player.pixels import pack_rgb565

__all__ = ["MADE_BY", "Geometry", "MediaError", "Prepared", "Progress", "main", "prepare", "temporary_prefix"]

MADE_BY = f"pixelog-prepare/1 pillow/{PIL.__version__}"
"""The number before the blank goes up whenever the same file would become other pixels."""

PACK_SIZE_MAX_BYTES = 256 << 20
"""1,700 whole frames of 240 x 320: more than a minute of noise at full rate, and a share of a small card."""

Progress = Callable[[int, str], None]


class Prepared(msgspec.Struct, frozen=True):
    """What became of a media file.

    `kind` is "image" for one frame and "animation" for more; `type` the MIME type of the content. `width` and
    `height` are the source's, upright. `delays` are runs of (frames, µs) that add up to `frame_count`; a
    still has ((1, 0),) and a `duration_us` of None. `pack` and `thumbnail` are SHA-256 of the files, in
    hex, and their names without ending. `made_by` names the versions that decided the pixels.
    """

    kind: Literal["image", "animation"]
    type: str
    width: int
    height: int
    frame_count: int
    delays: tuple[tuple[int, int], ...]
    duration_us: int | None
    pack: str
    pack_size_bytes: int
    thumbnail: str
    thumbnail_size_bytes: int
    made_by: str


def prepare(source: Path, into: Path, geometry: Geometry, progress: Progress) -> Prepared:
    """Write `<into>/<sha256>.pack` and `<into>/<sha256>.png`, and say what they are.

    `progress(percent, stage)` is called with rising percentages, at most once for each. Both files are
    synced before they get their names, and the folder after; files that are there already are replaced by
    equal ones. Raises MediaError when the file cannot be shown, and OSError when reading or writing
    itself fails; neither leaves anything unfinished behind. It changes the process's warning filters
    while it runs, so two must not run in one process at a time.
    """
    report = _Rising(progress)
    report(0, "reading")
    try:
        with ExitStack() as stack:
            file = stack.enter_context(opened(source))
            stack.enter_context(only_bombs_warn())
            picture = read(file, geometry)
            report(1, "converting")
            return _write(picture, into, geometry, report)
    except MemoryError as error:
        raise out_of_memory() from error


class _Rising:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._percent = -1

    def __call__(self, percent: int, stage: str) -> None:
        if percent > self._percent:
            self._percent = percent
            self._progress(percent, stage)


def _write(picture: Picture, into: Path, geometry: Geometry, report: _Rising) -> Prepared:
    delays: list[int] = []
    width, height = picture.upright_size
    with _new_file(into) as (file, keep_pack):
        writer = PackWriter(file, geometry.width, geometry.height)
        small = b""
        for number, rendered in enumerate(_rendered(picture, geometry), 1):
            small = rendered.thumbnail or small
            writer.add(rendered.frame, rendered.delay_us)
            delays.append(rendered.delay_us)
            if writer.size_bytes > PACK_SIZE_MAX_BYTES:
                limit = f"{PACK_SIZE_MAX_BYTES >> 20} MiB"
                raise MediaError(
                    "too_long",
                    f"Prepared for this panel, the animation takes more than {limit}. Cut it into shorter ones.",
                )
            report(1 + number * 97 // picture.frame_count, "converting")
        writer.finish()
        report(99, "finishing")
        with _new_file(into) as (thumbnail_file, keep_thumbnail):
            thumbnail_file.write(small)
            thumbnail_sha256 = hashlib.sha256(small).hexdigest()
            keep_thumbnail(f"{thumbnail_sha256}.png")
        keep_pack(f"{writer.sha256}.pack")
    _sync_folder(into)
    animated = len(delays) > 1
    report(100, "done")
    return Prepared(
        kind="animation" if animated else "image",
        type=picture.type,
        width=width,
        height=height,
        frame_count=len(delays),
        delays=runs(delays),
        duration_us=sum(delays) if animated else None,
        pack=writer.sha256,
        pack_size_bytes=writer.size_bytes,
        thumbnail=thumbnail_sha256,
        thumbnail_size_bytes=len(small),
        made_by=MADE_BY,
    )


def temporary_prefix(process_id: int) -> str:
    """How the names of the unfinished files begin that this process leaves behind when it is killed."""
    return f".prepare-{process_id}-"


@contextmanager
def _new_file(into: Path) -> Generator[tuple[IO[bytes], Callable[[str], None]], None, None]:
    """A temporary file, and the function that syncs it and gives it its name; unless that is called it is removed."""
    descriptor, name = tempfile.mkstemp(prefix=temporary_prefix(os.getpid()), suffix=".part", dir=into)
    temporary = Path(name)

    def keep(final: str) -> None:
        file.flush()
        os.fsync(file.fileno())
        os.chmod(file.fileno(), 0o644)
        temporary.replace(into / final)

    try:
        with open(descriptor, "wb") as file:
            yield file, keep
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Rendered(NamedTuple):
    frame: bytes
    delay_us: int
    thumbnail: bytes | None  # with the first frame only


def _rendered(picture: Picture, geometry: Geometry) -> Iterator[_Rendered]:
    """The frames as the panel gets them. Whatever the media file does to the decoder comes out as MediaError;
    what the caller's own files do does not pass through here."""
    shape = (picture.upright_size, picture.orientation)
    for number in range(picture.frame_count):
        with decoding(picture.name):
            image, delay_us = next(picture.frames)
            frame = pack_rgb565(laid_out(image, *shape, geometry))
            small = None if number else _png(thumbnail(image, *shape))
        yield _Rendered(frame, delay_us, small)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


# --- As a program ------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Run one preparation and print it as JSON lines; see the top of this file. Returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.limited:
        _limit(options.memory_bytes, options.cpu_seconds)
        threading.Thread(target=_end_with_parent, daemon=True).start()
    width, _, height = options.size.partition("x")
    geometry = msgspec.convert(
        {"width": int(width), "height": int(height), "rotation": options.rotation, "fit": options.fit}, Geometry
    )
    try:
        prepared = prepare(options.source, options.into, geometry, lambda percent, stage: _say(progress=percent, stage=stage))
    except MediaError as error:
        _say(error={"code": error.code, "message": error.message})
        return 1
    except OSError as error:
        _say(fault={"errno": error.errno, "message": str(error)})
        return 1
    _say(prepared=msgspec.to_builtins(prepared))
    return 0


def _say(**line: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m player.prepare", description="Media file to frame pack.")
    parser.add_argument("source", type=Path)
    parser.add_argument("into", type=Path)
    parser.add_argument("--size", required=True, metavar="WxH", help="the panel's RAM, in pixels")
    parser.add_argument("--rotation", type=int, choices=(0, 90, 180, 270), default=0)
    parser.add_argument("--fit", choices=("contain", "cover", "stretch"), default="contain")
    parser.add_argument("--limited", action="store_true", help="take the limits and end when stdin does")
    parser.add_argument("--memory-bytes", type=int, default=512 << 20)
    parser.add_argument("--cpu-seconds", type=int, default=600)
    return parser


def _limit(memory_bytes: int, cpu_seconds: int) -> None:
    """Stay within memory and time, and behind everything else on the device."""
    # Private writable memory is what a picture can fill; address space would also count libraries and files.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(10)
    # If the whole device runs out of memory, this process is the one to lose: it can be started again. Where the
    # system does not let us say so, the kernel chooses for itself.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with_parent() -> None:
    """The parent holds the other end of stdin for as long as it lives, however it dies. (The kernel's own death
    signal comes when the thread that started this process ends, which may be long before.)"""
    while os.read(0, 4096):
        pass
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
