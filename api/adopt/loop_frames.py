"""LOOP's frames: what its converters left of an item for the panel, as a stream of raw RGB565 frames and as a picture file made of them.

Every frame is 320 x 240 (240 x 320 in the first generation), RGB565 with the high byte first, 153,600 bytes. A frame of another length is never
shown: it is told and left out, and the item goes on without it.
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from api.adopt import apng, values
from api.adopt.documents import Within, is_regular, open_regular
from api.adopt.findings import Findings
from player.pixels import unpack_rgb565

FRAME_BYTES = 320 * 240 * 2
FPS = 25
"""Frames a second when LOOP does not say."""

ZIP_BYTES_MIN = 1_000
"""LOOP refuses smaller archives of frames as broken."""

METADATA_BYTES_MAX = 1024 * 1024
"""Metadata of frames is a few lines; a list of 10,000 names and durations fits."""

LEADS_OUT = "is a link that leads out of the folder media; it is not followed"

_BIN_HEADER = struct.Struct(">II")
_NUMBERED = re.compile(r"(?:.*[^0-9])?([0-9]{1,12})\.(rgb|rgb565)")


class Frames(NamedTuple):
    """Whole frames, in order. `parts`: (where, offset) of each, where `where` is a file, or the name of a member of `archive`."""

    parts: tuple[tuple[Path | str, int], ...]
    archive: Path | None
    size: tuple[int, int]
    delays_us: tuple[int, ...]

    def identity(self) -> str:
        """A hash of the pixels and of how long each frame stays."""
        digest = hashlib.sha256(msgspec.json.encode([self.size, self.delays_us]))
        for frame in self.raw():
            digest.update(frame)
        return f"frames:{digest.hexdigest()}"

    def raw(self) -> Iterator[bytes]:
        """The frames as LOOP kept them. Raises OSError when a file cannot be read, is damaged, or has changed meanwhile."""
        if self.archive is not None:
            yield from self._in_archive(self.archive)
            return
        opened: Path | None = None
        file = None
        try:
            for where, offset in self.parts:
                if file is None or where != opened:
                    if file is not None:
                        file.close()
                    opened, file = Path(where), open_regular(Path(where))  # closed below: many frames come from one file
                file.seek(offset)
                yield _whole(file.read(FRAME_BYTES), str(where))
        finally:
            if file is not None:
                file.close()

    def _in_archive(self, path: Path) -> Iterator[bytes]:
        """Each member is unpacked once, however many frames it has: their offsets only grow."""
        opened, member = "", None
        try:
            with open_regular(path) as whole, zipfile.ZipFile(whole) as archive:
                try:
                    for where, offset in self.parts:
                        if member is None or str(where) != opened:
                            if member is not None:
                                member.close()
                            opened, member = str(where), archive.open(str(where))
                        member.seek(offset)
                        yield _whole(member.read(FRAME_BYTES), opened)
                finally:
                    if member is not None:
                        member.close()
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise OSError(f"{path.name} is damaged: {error}") from error

    def picture(self) -> Iterator[bytes]:
        """The pieces of a PNG, animated when there are several frames. The same frames give the same bytes."""
        stills = (
            apng.Still(unpack_rgb565(frame, *self.size), delay_us)
            for frame, delay_us in zip(self.raw(), self.delays_us, strict=True)
        )
        return apng.written(stills, len(self.parts), self.size)


def _whole(frame: bytes, name: str) -> bytes:
    if len(frame) != FRAME_BYTES:
        raise OSError(f"{name} has changed while it was read")
    return frame


def find(
    folder: Path | None, archive: Path | None, item: Mapping[str, Any], key: str, findings: Findings, within: Within
) -> Frames | None:
    """The frames in the folder of an item, else in its archive; None when there is no whole one. What is cut short, or lies not `within`, is told."""
    if folder is not None:
        metadata = _metadata(folder / "metadata.json", key, findings, within)
        for place in (folder / "frames", folder):
            if not stays(place, within, key, findings):
                continue
            parts = _in_bin(place / "frames.bin", key, findings, within) or _in_files(place, key, findings, within)
            if parts:
                return _frames(parts, None, _said(metadata, item), key, findings)
    if archive is not None:
        return _in_archive(archive, item, key, findings)
    return None


def _said(metadata: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of the frames: by the item, else by their metadata. One of LOOP's writers wrote null where another left the key out."""
    return {**metadata, **{name: value for name, value in item.items() if value is not None}}


def stays(path: Path, within: Within, key: str, findings: Findings) -> bool:
    """Whether a path does not lead out of the folder; else that is told."""
    if within.holds(path):
        return True
    findings.warn(key, "IR-0.2", f"{path.name} {LEADS_OUT}")
    return False


def _frames(
    parts: list[tuple[Path | str, int, int]], archive: Path | None, said: Mapping[str, Any], key: str, findings: Findings
) -> Frames:
    """`parts`: (where, offset, place in the numbering)."""
    if len(parts) > apng.FRAMES_MAX:
        findings.warn(key, "IR-1.9", f"it has {len(parts)} frames; the first {apng.FRAMES_MAX} are taken")
        parts = parts[: apng.FRAMES_MAX]
    portrait = (values.size(said.get("width")), values.size(said.get("height"))) == (240, 320)
    delays_us = _delays_us(said, [place for _, _, place in parts])
    size = (240, 320) if portrait else (320, 240)
    return Frames(tuple((where, offset) for where, offset, _ in parts), archive, size, delays_us)


def _delays_us(said: Mapping[str, Any], places: list[int]) -> tuple[int, ...]:
    """How long each frame stays: its own duration, that of all, or by the frame rate."""
    durations: Any = said.get("durations")
    fps = values.number(said.get("fps"))
    usual = (
        _delay_us(said.get("frame_duration")) or _delay_us(1 / fps if fps is not None and fps > 0 else None) or 1_000_000 // FPS
    )
    if not isinstance(durations, list):
        return (usual,) * len(places)
    return tuple((_delay_us(durations[place]) if place < len(durations) else None) or usual for place in places)  # type: ignore[reportUnknownArgumentType]


def _delay_us(seconds: Any) -> int | None:
    found = values.number(seconds)
    return round(found * 1_000_000) if found is not None and 0.001 <= found <= 65 else None


def _in_bin(path: Path, key: str, findings: Findings, within: Within) -> list[tuple[Path | str, int, int]]:
    if not stays(path, within, key, findings):
        return []
    try:
        with open_regular(path) as file:
            header = file.read(_BIN_HEADER.size)
            length = path.stat().st_size
    except FileNotFoundError:
        return []
    except OSError as error:
        findings.warn(key, "IR-1.9", f"frames.bin cannot be read: {error.strerror}")
        return []
    count, size = _BIN_HEADER.unpack(header) if len(header) == _BIN_HEADER.size else (0, 0)
    if size != FRAME_BYTES:
        findings.warn(key, "IR-1.9", f"frames.bin is damaged: it does not begin with a count and {FRAME_BYTES}")
        return []
    whole = _whole_count(count, length, "frames.bin", key, findings)
    return [(path, _BIN_HEADER.size + number * FRAME_BYTES, number) for number in range(whole)]


def _whole_count(said: int, length: int, name: str, key: str, findings: Findings) -> int:
    """How many frames of a `frames.bin` of this length count: those that its header says, as far as they are whole."""
    there = (length - _BIN_HEADER.size) // FRAME_BYTES
    if there < said:
        findings.warn(key, "IR-1.9", f"{name} is cut short: {there} of {said} frames are whole")
    elif there > said:
        findings.warn(key, "IR-1.9", f"{name} holds {there} frames, but begins with a count of {said}; no more are taken")
    return min(said, there)


def _in_files(folder: Path, key: str, findings: Findings, within: Within) -> list[tuple[Path | str, int, int]]:
    try:
        names = {path.name: path for path in folder.iterdir() if not path.is_dir()}
        links = {name for name in _numbered(names) if names[name].is_symlink()}
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        findings.warn(key, "IR-1.9", f"its frames cannot be read: {error.strerror}")
        return []
    numbered = _numbered(names)
    parts: list[tuple[Path | str, int, int]] = []
    for place, name in enumerate(numbered):
        if name in links and not stays(names[name], within, key, findings):
            continue
        if not is_regular(names[name]):
            findings.warn(key, "IR-1.9", f"{name} is no regular file; this frame is left out")
            continue
        length = names[name].stat().st_size
        if length == FRAME_BYTES:
            parts.append((names[name], 0, place))
        else:
            findings.warn(key, "IR-1.9", f"{name} has {length} bytes instead of {FRAME_BYTES}; this frame is left out")
    return parts


def _numbered(names: Mapping[str, object]) -> list[str]:
    """The names of frames by their number; those of one converter only."""
    found = {name: match for name in names if (match := _NUMBERED.fullmatch(name))}
    ending = "rgb" if any(match[2] == "rgb" for match in found.values()) else "rgb565"
    return sorted((name for name in found if found[name][2] == ending), key=lambda name: (int(found[name][1]), name))


def _in_archive(path: Path, item: Mapping[str, Any], key: str, findings: Findings) -> Frames | None:
    """The frames in an uploaded archive, read where they are: nothing is extracted."""
    try:
        if path.stat().st_size < ZIP_BYTES_MIN:
            raise _Refused(f"it has less than {ZIP_BYTES_MIN} bytes")
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return _of_archive(archive, path, item, key, findings)
    except (_Refused, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        findings.warn(key, "IR-1.9", f"{path.name} is no archive of frames: {error}")
        return None


def slug_in_archive(path: Path) -> str | None:
    """The slug that an archive's metadata names; None when it names none, or cannot be read: that is told where its frames are."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            metadata = archive.getinfo("metadata.json")
            if metadata.file_size > METADATA_BYTES_MAX:
                return None
            found: Any = msgspec.json.decode(archive.read(metadata), type=dict[str, Any]).get("slug")
    except (
        KeyError,
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        msgspec.MsgspecError,
    ):
        return None
    return found if isinstance(found, str) else None


class _Refused(Exception):
    """An archive that LOOP would not have taken, either."""


def _of_archive(archive: zipfile.ZipFile, path: Path, item: Mapping[str, Any], key: str, findings: Findings) -> Frames:
    members = {member.filename: member for member in archive.infolist() if not member.is_dir()}
    for name, member in members.items():
        if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or stat.S_ISLNK(member.external_attr >> 16):
            raise _Refused(f"{name!r} leads out of it")
    metadata = members.get("metadata.json")
    if metadata is None or metadata.file_size > METADATA_BYTES_MAX:
        raise _Refused("it has no metadata.json")
    try:
        said = msgspec.json.decode(archive.read(metadata), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _Refused(f"its metadata.json cannot be read: {error}") from error
    count = values.size(said.get("frame_count"))
    if not count:
        raise _Refused("its metadata names no frames")
    parts: list[tuple[Path | str, int, int]] = []
    if (packed := members.get("frames.bin")) is not None:
        with archive.open(packed) as file:
            header = file.read(_BIN_HEADER.size)
        said_count, size = _BIN_HEADER.unpack(header) if len(header) == _BIN_HEADER.size else (0, 0)
        length = packed.file_size if size == FRAME_BYTES else 0
        whole = max(0, _whole_count(said_count, max(length, _BIN_HEADER.size), f"frames.bin in {path.name}", key, findings))
        parts = [("frames.bin", _BIN_HEADER.size + number * FRAME_BYTES, number) for number in range(whole)]
    else:
        for place, name in enumerate(_numbered(members)):
            if members[name].file_size == FRAME_BYTES:
                parts.append((name, 0, place))
            else:
                findings.warn(key, "IR-1.9", f"{name} in {path.name} has {members[name].file_size} bytes; this frame is left out")
    if not parts:
        raise _Refused("it has no whole frame")
    return _frames(parts, path, _said(said, item), key, findings)


def _metadata(path: Path, key: str, findings: Findings, within: Within) -> dict[str, Any]:
    """What the converter said of the frames. They play without it, at LOOP's usual rate; one that cannot be read is told."""
    if not stays(path, within, key, findings):
        return {}
    try:
        if path.stat().st_size > METADATA_BYTES_MAX:
            why = f"it has more than {METADATA_BYTES_MAX >> 20} MiB"
        else:
            with open_regular(path) as file:
                return msgspec.json.decode(file.read(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        why = str(error)
    findings.warn(key, "IR-0.2", f"metadata.json cannot be read ({why}); nothing is taken from it")
    return {}
