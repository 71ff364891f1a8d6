"""The frame pack: a prepared picture or animation in one file, ready to be mapped and shown.

The layout, version 1. It is for ever: a later layout has another version number. All numbers are
big-endian and unsigned, as the pixels are.

    header, 24 bytes
        0   8  magic        50 58 50 41 43 4B 0D 0A   ("PXPACK", CR, LF: a copy in text mode shows)
        8   2  version      1
       10   2  width        1..65535 pixels
       12   2  height       1..65535 pixels
       14   6  zero
       20   4  CRC-32 of bytes 0..19

    frame records, one after the other in frame order, each
        0   2  n            number of rectangles that differ from the frame before
        2  8n  rectangles   x, y, width, height, 2 bytes each
       ..  ..  pixels       RGB565 as in player/pixels.py:
                              key    the whole frame
                              delta  the pixels of each rectangle in turn
        A frame equal to the one before it (kind `same`) has no record: its size is 0.
        Frame 0 is a key with one rectangle, the whole frame: before it there is nothing.
        A key after frame 0 carries rectangles too, so that playing on need not send it whole.

    index, 32 bytes for each frame
        0   8  offset of the record from the start of the file
        8   8  delay_us     how long the frame stays, in microseconds
       16   4  size         bytes of the record
       20   4  CRC-32 of the record
       24   1  kind         0 key, 1 delta, 2 same
       25   7  zero

    trailer, the last 24 bytes of the file
        0   8  offset of the index; it ends where the trailer begins
        8   4  frame_count
       12   4  CRC-32 of the index
       16   4  CRC-32 of trailer bytes 0..15
       20   4  magic        50 58 4E 44   ("PXND")

CRC-32 is that of zlib and PNG. Between two keys lie at most 31 deltas, and a delta is at most 60 % of a
frame, so any frame is one key and 31 small pastes away. The same frames and delays always give the same
bytes.

Here live writing and reading of that layout. A reader maps the file and never writes; neither side knows
media files."""

import hashlib
import mmap
import struct
import zlib
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self

from player.pixels import Rect, changed_rects, cut, paste

VERSION = 1
DELTAS_BETWEEN_KEYS_MAX = 31
DELTA_PERCENT_MAX = 60
"""A larger delta saves too little to be worth decoding from its key."""

_MAGIC = b"PXPACK\r\n"
_END_MAGIC = b"PXND"
_HEADER = struct.Struct(">8sHHH6xI")
_RECT_COUNT = struct.Struct(">H")
_RECT = struct.Struct(">HHHH")
_ENTRY = struct.Struct(">QQIIB7x")
_TRAILER = struct.Struct(">QIII4s")
_KEY, _DELTA, _SAME = 0, 1, 2

DamageCode = Literal["not_a_pack", "newer_version", "truncated", "damaged"]


class PackDamaged(Exception):
    """A file that cannot be used as a frame pack. `code` is one of `DamageCode`; `message` is a sentence."""

    def __init__(self, code: DamageCode, message: str) -> None:
        super().__init__(message)
        self.code: DamageCode = code
        self.message = message


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


class _Entry(NamedTuple):
    offset: int
    delay_us: int
    size: int
    crc: int
    kind: int


def runs(delays: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Delays as run lengths: (how many frames in a row, delay_us of each). Most animations are one run."""
    return tuple((len(list(group)), delay_us) for delay_us, group in groupby(delays))


class PackWriter:
    """Writes a pack to `file`, an empty binary stream that is only ever written to.

    Holds one frame and the index (32 bytes a frame). The caller opens, syncs and closes the file; a pack
    is whole once `finish` has returned.
    """

    def __init__(self, file: _Writable, width: int, height: int) -> None:
        if not (0 < width < 65536 and 0 < height < 65536):
            raise ValueError(f"a frame has 1 to 65535 columns and rows, not {width} x {height}")
        self.width = width
        self.height = height
        self.size_bytes = 0
        self._file = file
        self._sha256 = hashlib.sha256()
        self._entries: list[_Entry] = []
        self._before: bytes | None = None
        self._deltas_since_key = 0
        header = _HEADER.pack(_MAGIC, VERSION, width, height, 0)
        self._write(header[:-4] + _crc(header[:-4]))

    @property
    def frame_count(self) -> int:
        return len(self._entries)

    @property
    def sha256(self) -> str:
        """SHA-256 of what has been written so far, in hex; after `finish`, of the pack."""
        return self._sha256.hexdigest()

    def add(self, frame: bytes, delay_us: int) -> None:
        """Append a frame of width * height * 2 bytes that stays for `delay_us` (0 or more) microseconds."""
        if len(frame) != self.width * self.height * 2:
            raise ValueError(f"a frame of this pack has {self.width * self.height * 2} bytes, not {len(frame)}")
        if not 0 <= delay_us < 1 << 64:
            raise ValueError(f"a delay is 0 or more microseconds in 64 bits, not {delay_us}")
        kind, record = self._record(frame)
        self._entries.append(_Entry(self.size_bytes, delay_us, len(record), zlib.crc32(record), kind))
        self._write(record)
        self._before = frame

    def finish(self) -> None:
        """Write the index and the trailer. A pack without frames is refused with ValueError."""
        if not self._entries:
            raise ValueError("a pack has at least one frame")
        index = b"".join(_ENTRY.pack(*entry) for entry in self._entries)
        trailer = struct.pack(">QII", self.size_bytes, len(self._entries), zlib.crc32(index))
        self._write(index)
        self._write(trailer + _crc(trailer) + _END_MAGIC)
        self._before = None

    def _record(self, frame: bytes) -> tuple[int, bytes]:
        if self._before is None:
            return _KEY, _rect_table((Rect(0, 0, self.width, self.height),)) + frame
        rects = changed_rects(self._before, frame, self.width, self.height)
        if not rects:
            return _SAME, b""
        pixel_bytes = sum(rect.width * rect.height * 2 for rect in rects)
        if self._deltas_since_key == DELTAS_BETWEEN_KEYS_MAX or pixel_bytes * 100 > len(frame) * DELTA_PERCENT_MAX:
            self._deltas_since_key = 0
            return _KEY, _rect_table(rects) + frame
        self._deltas_since_key += 1
        return _DELTA, _rect_table(rects) + b"".join(cut(frame, self.width, rect) for rect in rects)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.size_bytes += len(data)


def _rect_table(rects: tuple[Rect, ...]) -> bytes:
    return _RECT_COUNT.pack(len(rects)) + b"".join(_RECT.pack(*rect) for rect in rects)


def _crc(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


class FramePack:
    """A pack opened for reading. Made by `open`, closed by whoever opened it; one thread at a time.

    Header, index and trailer are checked on opening, each record when it is first read. The file must not
    change while it is open: packs are written once, under a name that is their hash.
    """

    def __init__(self, mapped: mmap.mmap) -> None:
        """For `open` alone; takes ownership of the mapping."""
        self._map = mapped
        self.width, self.height = _read_header(mapped)
        self._entries = _read_index(mapped)
        self._unchecked = bytearray(b"\1" * len(self._entries))
        self._current: bytes | bytearray = b""
        self._current_index = -1

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map and check a pack. Raises PackDamaged, or OSError when the file cannot be opened at all."""
        with path.open("rb") as file:
            if file.seek(0, 2) < _HEADER.size + _TRAILER.size:
                raise PackDamaged("truncated", f"{path.name} is too short to be a frame pack.")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            return cls(mapped)
        except BaseException:
            mapped.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the file. Closing twice is allowed, reading afterwards is not."""
        self._map.close()

    @property
    def frame_count(self) -> int:
        return len(self._entries)

    @property
    def delays_us(self) -> tuple[int, ...]:
        """How long each frame stays, in microseconds."""
        return tuple(entry.delay_us for entry in self._entries)

    def frame(self, index: int) -> bytes:
        """The whole frame `index` (0 .. frame_count - 1). Reading in order costs one delta a frame.

        Raises IndexError outside the pack and PackDamaged when a record it needs fails its check.
        """
        self._require(index)
        key = self._key_of(index)
        if not key <= self._current_index <= index:
            _, at = self._rects(key)
            self._current = self._map[at : self._end(key)]
            self._current_index = key
        for step in range(self._current_index + 1, index + 1):
            if self._entries[step].kind == _DELTA:
                self._apply(step)
            self._current_index = step
        return bytes(self._current)

    def changes(self, index: int) -> tuple[Rect, ...]:
        """Where frame `index` differs from frame `index - 1`: () for an equal one, everything for frame 0."""
        self._require(index)
        return () if self._entries[index].kind == _SAME else self._rects(index)[0]

    def _require(self, index: int) -> None:
        if not 0 <= index < len(self._entries):
            raise IndexError(f"frame {index} of {len(self._entries)}")

    def _key_of(self, index: int) -> int:
        while self._entries[index].kind != _KEY:
            index -= 1
        return index

    def _end(self, index: int) -> int:
        entry = self._entries[index]
        return entry.offset + entry.size

    def _apply(self, index: int) -> None:
        rects, at = self._rects(index)
        if not isinstance(self._current, bytearray):
            self._current = bytearray(self._current)
        for rect in rects:
            end = at + rect.width * rect.height * 2
            paste(self._current, self.width, rect, self._map[at:end])
            at = end

    def _rects(self, index: int) -> tuple[tuple[Rect, ...], int]:
        """The rectangles of a key or delta, and where its pixels begin; checks the record once."""
        entry = self._entries[index]
        if self._unchecked[index]:
            self._check(index, entry)
            self._unchecked[index] = 0
        (count,) = _RECT_COUNT.unpack_from(self._map, entry.offset)
        at = entry.offset + _RECT_COUNT.size
        end = at + count * _RECT.size
        return tuple(map(Rect._make, _RECT.iter_unpack(self._map[at:end]))), end

    def _check(self, index: int, entry: _Entry) -> None:
        record = self._map[entry.offset : entry.offset + entry.size]
        if zlib.crc32(record) != entry.crc or len(record) < _RECT_COUNT.size:
            raise PackDamaged("damaged", f"Frame {index} of this frame pack has changed since it was written.")
        (count,) = _RECT_COUNT.unpack_from(record)
        table_end = _RECT_COUNT.size + count * _RECT.size
        rects = tuple(map(Rect._make, _RECT.iter_unpack(record[_RECT_COUNT.size : table_end])))
        pixel_bytes = sum(rect.width * rect.height * 2 for rect in rects)
        expected = self.width * self.height * 2 if entry.kind == _KEY else pixel_bytes
        inside = all(
            rect.width > 0 and rect.height > 0 and rect.x + rect.width <= self.width and rect.y + rect.height <= self.height
            for rect in rects
        )
        if len(rects) != count or not inside or table_end + expected != entry.size:
            raise PackDamaged("damaged", f"Frame {index} of this frame pack does not fit the panel it is for.")


def _read_header(mapped: mmap.mmap) -> tuple[int, int]:
    magic, version, width, height, crc = _HEADER.unpack_from(mapped, 0)
    if magic != _MAGIC:
        raise PackDamaged("not_a_pack", "This file is not a frame pack.")
    if version > VERSION:
        raise PackDamaged("newer_version", f"This frame pack has version {version}; pixelog reads up to {VERSION}.")
    if zlib.crc32(mapped[: _HEADER.size - 4]) != crc or not (width and height) or version == 0:
        raise PackDamaged("damaged", "The header of this frame pack is damaged.")
    return width, height


def _read_index(mapped: mmap.mmap) -> tuple[_Entry, ...]:
    trailer_at = len(mapped) - _TRAILER.size
    index_at, count, index_crc, crc, magic = _TRAILER.unpack_from(mapped, trailer_at)
    if magic != _END_MAGIC:
        raise PackDamaged("truncated", "This frame pack is cut off: its end is missing.")
    if zlib.crc32(mapped[trailer_at : trailer_at + 16]) != crc:
        raise PackDamaged("damaged", "The end of this frame pack is damaged.")
    if count == 0 or index_at < _HEADER.size or index_at + count * _ENTRY.size != trailer_at:
        raise PackDamaged("damaged", "The index of this frame pack is not where it should be.")
    index = mapped[index_at:trailer_at]
    if zlib.crc32(index) != index_crc:
        raise PackDamaged("damaged", "The index of this frame pack is damaged.")
    entries = tuple(map(_Entry._make, _ENTRY.iter_unpack(index)))
    # The checksums say that the index is as written; this says that it was written by the rules above.
    expected_at = _HEADER.size
    for entry in entries:
        if entry.kind > _SAME or entry.offset != expected_at or (entry.kind == _SAME) != (entry.size == 0):
            raise PackDamaged("damaged", "The index of this frame pack contradicts itself.")
        expected_at += entry.size
    if entries[0].kind != _KEY or expected_at != index_at:
        raise PackDamaged("damaged", "The index of this frame pack contradicts itself.")
    return entries
