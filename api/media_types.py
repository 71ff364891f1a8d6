"""A first guess at what an upload is, from its first bytes, else from its name. The worker, which decodes it, has the last word. Pure."""

from __future__ import annotations

import mimetypes

from projections.media import Kind

HEAD_BYTES = 64
"""Bytes that the guess looks at."""

UNKNOWN = "application/octet-stream"

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypavis", "image/avif"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
)
"""(offset, bytes, type), the first match wins; from the formats' own specifications."""


def guess(filename: str, head: bytes) -> tuple[str, Kind]:
    """MIME type and kind of a file with this name and these first bytes."""
    type = next((type for offset, magic, type in _MAGIC if head.startswith(magic, offset)), None)
    if type is None:
        type = mimetypes.guess_type(filename, strict=False)[0] or UNKNOWN
        if not type.startswith(("image/", "video/", "audio/")) or "xml" in type:
            type = UNKNOWN  # served as it came, it must not be anything that a browser would run
    if type.startswith("video/"):
        return type, "video"
    return type, "animation" if type == "image/gif" else "image"
