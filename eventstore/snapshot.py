"""Kept states: what somebody computed from the log up to a position, so as not to compute it again. Derived; any doubt means discarding it.

A file `<position>.snapshot` is

    8 bytes  "pxlgsnp1"
    32 bytes SHA-256 of all that follows
    32 bytes the key: a hash of everything beside the log that the content depends on
    32 bytes the log's chain hash at that position, which names the log and all of it up to there
    the content

It is used only when the first three are right for the reader and the fourth is what the log has there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

MAGIC = b"pxlgsnp1"
SUFFIX = ".snapshot"
_HEAD = len(MAGIC) + 3 * 32


def _files(folder: Path) -> Iterator[tuple[int, Path]]:
    """Positions and files, the newest first."""
    try:
        named = [path for path in folder.iterdir() if path.suffix == SUFFIX and path.stem.isdecimal()]
    except FileNotFoundError:
        return
    yield from sorted(((int(path.stem), path) for path in named), reverse=True)


def positions(folder: Path) -> list[int]:
    """The positions for which there is a file, the newest first."""
    return [position for position, _ in _files(folder)]


def save(folder: Path, position: int, key: bytes, chain: bytes, content: bytes, keep: int) -> None:
    """Keep a content, and no more than the newest `keep` files. Not synced: what a power cut leaves of it is noticed. Raises OSError."""
    folder.mkdir(exist_ok=True)
    body = hashlib.sha256(key).digest() + chain + content
    target = folder / f"{position}{SUFFIX}"
    part = folder / f".{position}.{os.getpid()}.part"
    try:
        part.write_bytes(MAGIC + hashlib.sha256(body).digest() + body)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    for _, path in list(_files(folder))[keep:]:
        path.unlink(missing_ok=True)


def load(folder: Path, until: int, key: bytes, chain_at: Callable[[int], bytes | None]) -> tuple[int, bytes] | None:
    """The newest kept content at or before `until`, with its position. Files that are of no use (any more) are discarded on the way: damaged ones,
    those of another key, of another log or of a part of it that is gone."""
    for position, path in _files(folder):
        if position > until:
            continue
        content = _whole(path, hashlib.sha256(key).digest(), chain_at(position))
        if content is not None:
            return position, content
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue  # a folder that may only be read: then it stays, and is of no use again
    return None


def _whole(path: Path, key: bytes, chain: bytes | None) -> bytes | None:
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    head, body = raw[: len(MAGIC) + 32], raw[len(MAGIC) + 32 :]
    if len(raw) < _HEAD or head != MAGIC + hashlib.sha256(body).digest():
        return None
    if body[:32] != key or chain is None or body[32:64] != chain:
        return None
    return body[64:]
