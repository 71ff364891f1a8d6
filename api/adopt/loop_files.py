"""Which bytes belong to an item of LOOP: its upload, its frames, a clip made of it.

What plays here is the upload, when pixelog can show its kind. Else it is a picture made of the frames that LOOP played, pixel for pixel; the
upload (a video, say) is then kept beside it. Names are looked up in a listing and never joined to paths, so no slug leads anywhere else; and a link
that leads out of the folder is never followed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from api import media_types
from api.adopt import loop_frames
from api.adopt.documents import Unreadable, Within, is_regular, open_regular
from api.adopt.findings import Findings
from api.adopt.loop_frames import LEADS_OUT, Frames
from eventstore.blobs import CHUNK_BYTES
from projections.media import Kind

ORIGINAL = "pixelogOriginal"
"""Key in an item's `extra` that names the blob of its upload when a picture made of its frames plays in its place."""


class Original(NamedTuple):
    """A file of the source by its content."""

    path: Path
    sha256: str
    size_bytes: int


class Content(NamedTuple):
    """The bytes behind an item. `identity` changes with them; `size_bytes` is None until a picture is made of `frames`. `frame_count`: of frames on
    disk, when there are any. `original`: the upload that is kept beside."""

    identity: str
    type: str
    kind: Kind
    size_bytes: int | None
    frame_count: int | None
    file: Original | None
    frames: Frames | None
    original: Original | None

    def pieces(self) -> Iterator[bytes]:
        """The bytes that play. Raises OSError."""
        if self.frames is not None:
            return self.frames.picture()
        return read_pieces(self.file.path) if self.file is not None else iter(())


def read_pieces(path: Path) -> Iterator[bytes]:
    """A file in pieces."""
    with open_regular(path) as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece


class Files:
    """The folders `raw` and `processed` of an installation."""

    def __init__(self, media: Path, slugs: Collection[str], findings: Findings, keep_going: bool) -> None:
        """List them; `slugs`: those of the whole library. Raises Unreadable unless `keep_going`: then that folder is told and passed over."""
        self._within = Within(media)
        self._outside: set[str] = set()
        self._raw = self._listing(media / "raw", True, findings, keep_going)
        self._processed = self._listing(media / "processed", False, findings, keep_going)
        self._zips = _by_owner({name: path for name, path in self._raw.items() if name.endswith("_frames.zip")}, slugs)
        self._claimed: set[str] = set()

    def _listing(self, folder: Path, files: bool, findings: Findings, keep_going: bool) -> dict[str, Path]:
        """What is in a folder, by name. What leads out is remembered in `_outside`; what is no file in the place of one is told."""
        if not self._within.holds(folder):
            self._outside.add(folder.name)
            return {}
        try:
            found = {path.name: path for path in folder.iterdir()}
            paths = {name: path for name, path in found.items() if (path.is_file() if files else path.is_dir())}
            away = {name for name, path in paths.items() if path.is_symlink() and not self._within.holds(path)}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            refused = Unreadable(f"media/{folder.name}", f"it cannot be listed: {error.strerror}")
            if not keep_going:
                raise refused from error
            findings.skip(refused.file, "IR-0.2", refused.why)
            return {}
        if files:
            for name in sorted(found.keys() - paths.keys()):
                findings.warn(f"media/{folder.name}/{name}", "IR-0.8", "it is no regular file; it is not taken")
        self._outside |= {f"{folder.name}/{name}" for name in away}
        return {name: path for name, path in paths.items() if name not in away}

    def content(self, slug: str, item: Mapping[str, Any], findings: Findings) -> Content | None:
        """What plays for an item; None when there is nothing. Raises OSError when a file cannot be read."""
        key = f"media/{slug}"
        raw = self._raw_file(slug, item, key, findings)
        folder = self._processed.get(slug)
        self._refused(f"processed/{slug}", key, findings)
        if raw is None and folder is None and not self._zips:
            return None
        if folder is not None:
            self._claimed.add(f"processed/{slug}")
        frames = loop_frames.find(folder, self._archive(slug, folder, key, findings), item, key, findings, self._within)
        original = None if raw is None else _original(raw, key, findings)
        if original is not None:
            with open_regular(original.path) as file:
                head = file.read(media_types.HEAD_BYTES)
            if frames is None or media_types.guess("", head)[0].startswith("image/"):
                type, kind = media_types.guess(original.path.name, head)
                count = None if frames is None else len(frames.parts)
                return Content(original.sha256, type, kind, original.size_bytes, count, original, None, None)
        identity = None if frames is None else _identity(frames, key, findings)
        if frames is not None and identity is not None:
            count = len(frames.parts)
            if original is None:
                findings.warn(key, "IR-1.9", f"its upload is gone; a picture made of its {count} frames plays instead")
            else:
                findings.warn(
                    key, "IR-1.9", f"pixelog cannot show {original.path.name}; a picture made of its {count} frames plays instead"
                )
            kind = "animation" if count > 1 else "image"
            return Content(identity, "image/png", kind, None, count, None, frames, original)
        clip = folder / "video.mp4" if folder is not None else None
        if clip is not None and is_regular(clip) and loop_frames.stays(clip, self._within, key, findings):
            findings.warn(key, "IR-1.9", "its upload is gone; the clip that was made of it is taken")
            found = _original(clip, key, findings)
            if found is not None:
                return Content(found.sha256, "video/mp4", "video", found.size_bytes, None, found, None, None)
        return None

    def tell_strays(self, findings: Findings) -> None:
        """Files that no item names."""
        for folder, names in (("raw", self._raw), ("processed", self._processed)):
            for name in sorted(names):
                if f"{folder}/{name}" not in self._claimed:
                    findings.warn(f"media/{folder}/{name}", "IR-0.8", "no item names it; it is not taken")
        for name in sorted(self._outside - self._claimed):
            findings.warn(f"media/{name}", "IR-0.2", f"it {LEADS_OUT}")

    def _raw_file(self, slug: str, item: Mapping[str, Any], key: str, findings: Findings) -> Path | None:
        for name in _raw_names(slug, item) if self._raw or self._outside else ():
            if name in self._raw:
                self._claimed.add(f"raw/{name}")
                return self._raw[name]
            if self._refused(f"raw/{name}", key, findings):
                return None
        return None

    def _refused(self, name: str, key: str, findings: Findings) -> bool:
        """Whether this leads out of the folder; that is told of the item once."""
        if name not in self._outside:
            return False
        findings.warn(key, "IR-0.2", f"{name} {LEADS_OUT}")
        self._claimed.add(name)
        return True

    def _archive(self, slug: str, folder: Path | None, key: str, findings: Findings) -> Path | None:
        names = sorted(self._zips.get(slug, ()))
        if names:
            self._claimed.add(f"raw/{names[0]}")
            return self._raw[names[0]]
        found = sorted(folder.glob("*_frames.zip")) if folder is not None else []
        return next((path for path in found if loop_frames.stays(path, self._within, key, findings)), None)


def _by_owner(archives: Mapping[str, Path], slugs: Collection[str]) -> dict[str, list[str]]:
    """Names of archives by the slug that they belong to: what their metadata names, else the longest that their name begins with."""
    owned: dict[str, list[str]] = {}
    for name, path in archives.items():
        begins = [name[:place] for place, letter in enumerate(name) if letter == "_" and name[:place] in slugs]
        if not begins:
            continue
        named = loop_frames.slug_in_archive(path)
        owner = begins[-1] if named not in slugs else named if named in begins else None
        if owner is not None:
            owned.setdefault(owner, []).append(name)
    return owned


def _raw_names(slug: str, item: Mapping[str, Any]) -> Iterator[str]:
    """Names that the upload of an item had in one generation or another."""
    url = item.get("url")
    if isinstance(url, str):
        yield url.rsplit("/", 1)[-1]
        yield unquote(url.rsplit("/", 1)[-1])
    for field in ("filename", "original_filename"):
        name = item.get(field)
        if isinstance(name, str) and name:
            yield f"{slug}_{name}"
            yield slug + Path(name).suffix


def _identity(frames: Frames, key: str, findings: Findings) -> str | None:
    """What the frames are known by; None when they cannot be read to the end."""
    try:
        return frames.identity()
    except OSError as error:
        findings.warn(key, "IR-1.9", f"its frames cannot be read: {error.strerror or error}")
        return None


def _original(path: Path, key: str, findings: Findings) -> Original | None:
    """The file by its content; None when it is empty, or cannot be read."""
    try:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256")
            size_bytes = file.tell()
    except OSError as error:
        findings.warn(key, "IR-1.9", f"{path.name} cannot be read: {error.strerror}")
        return None
    if size_bytes == 0:
        findings.warn(key, "IR-1.9", f"{path.name} is empty")
        return None
    return Original(path, digest.hexdigest(), size_bytes)
