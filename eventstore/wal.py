"""Has a bit flipped in a write-ahead log at rest?

SQLite takes a frame whose checksum does not fit for the end of the log. That is right after a power cut and wrong after a flipped bit: then commits
that were acknowledged are passed over in silence, and the next checkpoint overwrites them. A torn write changes many bits, a flipped one changes one:
a checksum that one bit explains tells the second from the first. Nothing is changed here.

The layout is SQLite's (https://sqlite.org/fileformat2.html#the_write_ahead_log): a header of 32 bytes; frames of 24 bytes and a page; in each two
checksums over all before it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from operator import mul
from pathlib import Path
from typing import BinaryIO

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
MAGIC = 0x377F0682
"""With its lowest bit set, checksums are over big-endian words, else over little-endian ones."""

PAGE_BYTES = (512, 65_536)
LOOKS = 3
"""Who writes meanwhile may begin the file anew; after so many looks it is certainly in use and not at rest."""

_MASK = 0xFFFFFFFF

Sums = tuple[int, int]


def flipped(database: Path, certain: bool = False) -> int | None:
    """Where the header or the frame begins that has a flipped bit and so hides a commit, in bytes from the beginning of this database's write-ahead
    log; None when there is none, or no such file. Raises OSError.

    A write that was broken off over old content that differs in one bit looks the same. `certain`: only where a frame behind goes on from the one
    with the flipped bit, which after a broken write is not there.

    SQLite holds no lock on this file, so that closing it takes none away.
    """
    try:
        with open(f"{database}-wal", "rb") as file:
            for _ in range(LOOKS):
                header = file.read(HEADER_BYTES)
                found = _look(file, header, certain)
                file.seek(0)
                if file.read(HEADER_BYTES) == header:
                    return found
                file.seek(0)
    except FileNotFoundError:
        pass
    return None


def length(database: Path) -> int:
    """How many frames of one generation stand at the beginning of this database's write-ahead log, whatever their checksums: when SQLite knows of
    fewer, it passes some over, and `flipped` may tell why. Reads the head of each, some microseconds; 0 when there is no such file."""
    count = 0
    try:
        with open(f"{database}-wal", "rb") as file:
            header = file.read(HEADER_BYTES)
            if len(header) < HEADER_BYTES:
                return 0
            (page_bytes,) = struct.unpack(">I", header[8:12])
            if not PAGE_BYTES[0] <= page_bytes <= PAGE_BYTES[1]:
                return 1 if file.read(1) else 0
            salts = b""
            while len(head := file.read(FRAME_HEADER_BYTES)) == FRAME_HEADER_BYTES:
                salts = salts or head[8:16]
                if _differing(head[8:16], salts) > 1:
                    break
                count += 1
                file.seek(page_bytes, 1)
    except FileNotFoundError:
        pass
    return count


def sync(database: Path) -> None:
    """Bring the write-ahead log to the disk: a process that was killed between a write and its sync left it in the page cache, where a new start
    finds it and takes it for durable. Nothing when there is none. Raises OSError."""
    try:
        descriptor = os.open(f"{database}-wal", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _look(file: BinaryIO, header: bytes, certain: bool) -> int | None:
    if len(header) < HEADER_BYTES:
        return None
    magic, _, page_bytes, _, *_ = struct.unpack(">8I", header)
    if not _fits(header):
        # It was on the disk before the first frame was.
        before = list(_right_headers(header, certain))
        first = file.read(FRAME_HEADER_BYTES + PAGE_BYTES[1])
        return 0 if before and first and (not certain or any(_goes_on(first, one) for one in before)) else None
    if magic & ~1 != MAGIC or not PAGE_BYTES[0] <= page_bytes <= PAGE_BYTES[1]:
        return None
    order, salts = "<>"[magic & 1], header[16:24]
    sums: Sums = struct.unpack(">2I", header[24:])
    size = FRAME_HEADER_BYTES + page_bytes
    at = HEADER_BYTES
    while len(frame := file.read(size)) == size:
        stored: Sums = struct.unpack(">2I", frame[16:24])
        right = _sums(order, frame[:8] + frame[24:], sums)
        if frame[8:16] != salts or stored != right:
            if not _is_flipped(frame, salts, stored, right):
                return None
            if certain:
                behind = file.read(size)
                on = len(behind) == size and behind[8:16] == salts
                # From the checksums that stand there, or from the right ones, if it is they that have the flipped bit.
                if not on or not any(_follows(order, behind, sums) for sums in (stored, right)):
                    return None
            return at if _commits(file, at, size) else None
        sums = stored
        at += size
    return None


def _fits(header: bytes) -> bool:
    order = "<>"[struct.unpack(">I", header[:4])[0] & 1]
    return _sums(order, header[:24], (0, 0)) == struct.unpack(">2I", header[24:])


_ROUND_BITS = range(12 * 8, 16 * 8)
"""The number of the round, which grows by one when the log is begun anew."""


def _right_headers(header: bytes, certain: bool) -> Iterator[bytes]:
    """The headers that this one may have been before a bit flipped. `certain`: a bit that is not of the round; there half of a new header over an
    old one looks the same."""
    for place in range(HEADER_BYTES * 8):
        changed = bytearray(header)
        changed[place // 8] ^= 1 << place % 8
        if certain and place in _ROUND_BITS:
            continue
        if struct.unpack(">I", changed[:4])[0] & ~1 == MAGIC and _fits(bytes(changed)):
            yield bytes(changed)


def _goes_on(first: bytes, header: bytes) -> bool:
    """Whether the first frame, and what may come after it, follows this header."""
    magic, _, page_bytes, *_ = struct.unpack(">8I", header)
    if not PAGE_BYTES[0] <= page_bytes <= PAGE_BYTES[1]:
        return False
    frame = first[: FRAME_HEADER_BYTES + page_bytes]
    return (
        len(frame) == FRAME_HEADER_BYTES + page_bytes
        and frame[8:16] == header[16:24]
        and _follows("<>"[magic & 1], frame, struct.unpack(">2I", header[24:]))
    )


def _follows(order: str, frame: bytes, sums: Sums) -> bool:
    return struct.unpack(">2I", frame[16:24]) == _sums(order, frame[:8] + frame[24:], sums)


def _is_flipped(frame: bytes, salts: bytes, stored: Sums, right: Sums) -> bool:
    """Whether one bit explains why a frame does not fit: of its salts, of its checksums, or of what these are over."""
    if frame[8:16] != salts:
        return _differing(frame[8:16], salts) == 1 and stored == right
    if _differing(frame[16:24], struct.pack(">2I", *right)) == 1:
        return True
    error = ((stored[0] - right[0]) & _MASK, (stored[1] - right[1]) & _MASK)
    opposite = (-error[0] & _MASK, -error[1] & _MASK)
    for one, two in zip(*_weights((len(frame) - 16) // 4), strict=True):
        for bit in range(32):
            if ((one << bit) & _MASK, (two << bit) & _MASK) in (error, opposite):
                return True
    return False


def _differing(left: bytes, right: bytes) -> int:
    return (int.from_bytes(left) ^ int.from_bytes(right)).bit_count()


def _commits(file: BinaryIO, start: int, size: int) -> bool:
    """Whether there is a commit in the frames from `start` on: a frame that tells the size of the database after it."""
    file.seek(start)
    while len(head := file.read(FRAME_HEADER_BYTES)) == FRAME_HEADER_BYTES:
        if head[4:8] != b"\0\0\0\0":
            return True
        file.seek(size - FRAME_HEADER_BYTES, 1)
    return False


# -- checksums -----------------------------------------------------------------------------------------------------------------------


def _sums(order: str, body: bytes, before: Sums) -> Sums:
    """SQLite's checksums over `body`, going on from `before`: s0 += w0 + s1, s1 += w1 + s0 for each pair of words, as two sums of products."""
    count = len(body) // 4
    words: Sequence[int] = struct.unpack(f"{order}{count}I", body)
    first, second = _weights(count)
    (a, b), (c, d) = _power(count // 2)
    s0 = sum(map(mul, first, words)) + a * before[0] + b * before[1]
    s1 = sum(map(mul, second, words)) + c * before[0] + d * before[1]
    return s0 & _MASK, s1 & _MASK


@cache
def _weights(count: int) -> tuple[list[int], list[int]]:
    """What each of `count` words adds to the two checksums, modulo 2^32."""
    first, second = [0] * count, [0] * count
    even, odd = (1, 1), (0, 1)
    for pair in reversed(range(count // 2)):
        first[2 * pair], second[2 * pair] = even
        first[2 * pair + 1], second[2 * pair + 1] = odd
        even, odd = _step(even), _step(odd)
    return first, second


@cache
def _power(steps: int) -> tuple[Sums, Sums]:
    """What the two checksums before become after so many pairs of noughts: the rows of a matrix."""
    left, right = (1, 0), (0, 1)
    for _ in range(steps):
        left, right = _step(left), _step(right)
    return (left[0], right[0]), (left[1], right[1])


def _step(sums: Sums) -> Sums:
    s0 = (sums[0] + sums[1]) & _MASK
    return s0, (sums[1] + s0) & _MASK
