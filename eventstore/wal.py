"""Has a bit flipped in a write-ahead log at rest?

SQLite takes a frame whose checksum does not fit for the end of the log. That is right after a power cut and wrong after a flipped bit: then commits
that were acknowledged are passed over in silence, and the next checkpoint overwrites them. A torn write changes many bits, a flipped one changes one:
a checksum that one bit explains tells the second from the first. Only reads.

The layout is SQLite's (https://sqlite.org/fileformat2.html#the_write_ahead_log): a header of 32 bytes; frames of 24 bytes and a page; in each two
checksums over all before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cache
from operator import mul
from pathlib import Path
from typing import BinaryIO, NamedTuple

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
MAGIC = 0x377F0682
"""With its lowest bit set, checksums are over big-endian words, else over little-endian ones."""

PAGE_BYTES = (512, 65_536)
LOOKS = 3
"""Who writes meanwhile may begin the file anew; after so many looks it is certainly in use and not at rest."""

_MASK = 0xFFFFFFFF

Sums = tuple[int, int]


class Flip(NamedTuple):
    """A flipped bit: its byte in the write-ahead log, and which of that byte. Commits from there on are not seen."""

    byte: int
    bit: int


def flipped(database: Path) -> Flip | None:
    """The first flipped bit in the write-ahead log of this database that hides a commit; None when there is none, or no such file. Raises OSError.

    SQLite holds no lock on this file, so that closing it takes none away.
    """
    try:
        with open(f"{database}-wal", "rb") as file:
            for _ in range(LOOKS):
                header = file.read(HEADER_BYTES)
                found = _look(file, header)
                file.seek(0)
                if file.read(HEADER_BYTES) == header:
                    return found
                file.seek(0)
    except FileNotFoundError:
        pass
    return None


def _look(file: BinaryIO, header: bytes) -> Flip | None:
    if len(header) < HEADER_BYTES:
        return None
    flip = _in_header(header)
    if flip is not None:
        return flip if _commits(file, HEADER_BYTES, None) else None
    magic, _, page_bytes, _, *_ = struct.unpack(">8I", header)
    if magic & ~1 != MAGIC or not PAGE_BYTES[0] <= page_bytes <= PAGE_BYTES[1] or not _fits(header):
        return None
    order, salts = "<>"[magic & 1], header[16:24]
    sums: Sums = struct.unpack(">2I", header[24:])
    size = FRAME_HEADER_BYTES + page_bytes
    at = HEADER_BYTES
    while len(frame := file.read(size)) == size:
        body = frame[:8] + frame[24:]
        stored: Sums = struct.unpack(">2I", frame[16:24])
        right = _sums(order, body, sums)
        if frame[8:16] != salts or stored != right:
            flip = _in_frame(order, frame, body, salts, stored, right)
            return Flip(at + flip.byte, flip.bit) if flip is not None and _commits(file, at, size) else None
        sums = stored
        at += size
    return None


def _fits(header: bytes) -> bool:
    order = "<>"[struct.unpack(">I", header[:4])[0] & 1]
    return _sums(order, header[:24], (0, 0)) == struct.unpack(">2I", header[24:])


def _in_header(header: bytes) -> Flip | None:
    if _fits(header):
        return None
    for place in range(HEADER_BYTES * 8):
        changed = bytearray(header)
        changed[place // 8] ^= 1 << place % 8
        if struct.unpack(">I", changed[:4])[0] & ~1 == MAGIC and _fits(bytes(changed)):
            return Flip(place // 8, place % 8)
    return None


def _in_frame(order: str, frame: bytes, body: bytes, salts: bytes, stored: Sums, right: Sums) -> Flip | None:
    """The one bit of a frame that explains why it does not fit."""
    other_salts = list(_bits(frame[8:16], salts))
    if other_salts:
        byte, bit = other_salts[0]
        return Flip(8 + byte, bit) if len(other_salts) == 1 and stored == right else None
    other_sums = list(_bits(frame[16:24], struct.pack(">2I", *right)))
    if len(other_sums) == 1:
        byte, bit = other_sums[0]
        return Flip(16 + byte, bit)
    error = ((stored[0] - right[0]) & _MASK, (stored[1] - right[1]) & _MASK)
    first, second = _weights(len(body) // 4)
    for word, (one, two) in enumerate(zip(first, second, strict=True)):
        for bit in range(32):
            for sign in (1, -1):
                if ((sign * one << bit) & _MASK, (sign * two << bit) & _MASK) == error:
                    byte = word * 4 + (bit // 8 if order == "<" else 3 - bit // 8)
                    return Flip(byte if byte < 8 else byte + 16, bit % 8)
    return None


def _bits(left: bytes, right: bytes) -> Iterator[tuple[int, int]]:
    """Byte and bit of each difference."""
    for byte, (one, other) in enumerate(zip(left, right, strict=True)):
        yield from ((byte, bit) for bit in range(8) if (one ^ other) >> bit & 1)


def _commits(file: BinaryIO, start: int, size: int | None) -> bool:
    """Whether there is a commit in the frames from `start` on; where their size is not known, whether there is anything at all."""
    file.seek(start)
    if size is None:
        return bool(file.read(FRAME_HEADER_BYTES))
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
