"""QR Code symbols as ISO/IEC 18004:2015 defines them: byte mode, versions 1 to 10, error correction levels L and M. Pure.

What lives here: from a text to modules. What must not: pixels, colours and the quiet zone, which are the renderer's. The steps follow the standard's
clause 7: bits, codewords, blocks with Reed–Solomon codewords, placement, mask, format and version information.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Literal, NamedTuple

Level = Literal["L", "M"]
Modules = list[bytearray]
Matrix = tuple[bytes, ...]
"""Rows from the top, a byte for each module from the left: 1 dark, 0 light. Without the quiet zone."""

QUIET_ZONE = 4
"""Light modules that a symbol needs on each side (clause 6.3.8)."""


class _Blocks(NamedTuple):
    """How the codewords of a version and level are divided: error correction codewords of each block, and the data codewords of each."""

    correction: int
    data: tuple[int, ...]


_BLOCKS: dict[tuple[int, Level], _Blocks] = {
    (1, "L"): _Blocks(7, (19,)),
    (1, "M"): _Blocks(10, (16,)),
    (2, "L"): _Blocks(10, (34,)),
    (2, "M"): _Blocks(16, (28,)),
    (3, "L"): _Blocks(15, (55,)),
    (3, "M"): _Blocks(26, (44,)),
    (4, "L"): _Blocks(20, (80,)),
    (4, "M"): _Blocks(18, (32, 32)),
    (5, "L"): _Blocks(26, (108,)),
    (5, "M"): _Blocks(24, (43, 43)),
    (6, "L"): _Blocks(18, (68, 68)),
    (6, "M"): _Blocks(16, (27, 27, 27, 27)),
    (7, "L"): _Blocks(20, (78, 78)),
    (7, "M"): _Blocks(18, (31, 31, 31, 31)),
    (8, "L"): _Blocks(24, (97, 97)),
    (8, "M"): _Blocks(22, (38, 38, 39, 39)),
    (9, "L"): _Blocks(30, (116, 116)),
    (9, "M"): _Blocks(22, (36, 36, 36, 37, 37)),
    (10, "L"): _Blocks(18, (68, 68, 69, 69)),
    (10, "M"): _Blocks(26, (43, 43, 43, 43, 44)),
}
"""Table 9."""

_ALIGNMENT: tuple[tuple[int, ...], ...] = (
    (), (), (6, 18), (6, 22), (6, 26), (6, 30), (6, 34), (6, 22, 38), (6, 24, 42), (6, 26, 46), (6, 28, 50),
)  # fmt: skip
"""Rows and columns of the alignment patterns' centres, by version (Annex E)."""

_LEVEL_BITS: dict[Level, int] = {"L": 0b01, "M": 0b00}
"""Table 12."""

VERSION_MAX = 10
BYTES_MAX = 271
"""Bytes that the largest symbol here holds, at level L."""

_BYTE_MODE = 0b0100
_PADDING = (0b11101100, 0b00010001)
_FORMAT_GENERATOR, _FORMAT_MASK = 0b101_0011_0111, 0b101_0100_0001_0010
_VERSION_GENERATOR = 0b1_1111_0010_0101
_FIELD = 0b1_0001_1101  # x^8 + x^4 + x^3 + x^2 + 1, the field of Reed–Solomon codewords

_FINDER_LIKE = (b"\x01\x00\x01\x01\x01\x00\x01\x00\x00\x00\x00", b"\x00\x00\x00\x00\x01\x00\x01\x01\x01\x00\x01")


def symbol(text: str) -> Matrix:
    """The smallest symbol that holds the text in UTF-8, at level M where that costs no larger one, else at L. ValueError beyond BYTES_MAX."""
    content = text.encode()
    for version in range(1, VERSION_MAX + 1):
        for level in ("M", "L"):
            if len(content) <= capacity(version, level):
                return symbol_of(content, version, level)
    raise ValueError(f"a symbol holds at most {BYTES_MAX} bytes, not {len(content)}")


def capacity(version: int, level: Level) -> int:
    """Bytes that a symbol holds."""
    return (8 * sum(_BLOCKS[version, level].data) - 4 - _count_bits(version)) // 8


def _count_bits(version: int) -> int:
    """Bits of the character count indicator in byte mode (Table 3)."""
    return 8 if version < 10 else 16


def symbol_of(content: bytes, version: int, level: Level, mask: int | None = None) -> Matrix:
    """The symbol of this version and level, with this mask or the one of the lowest penalty. The content must fit."""
    modules, fixed = _patterns(version)
    _place(modules, fixed, _codewords(content, version, level))
    candidates = [_masked(modules, fixed, level, number) for number in (range(8) if mask is None else (mask,))]
    return min(candidates, key=penalty)


# ---- bits and codewords ----


def _codewords(content: bytes, version: int, level: Level) -> bytes:
    """All codewords in the order in which they are placed: data of the blocks interleaved, then their error correction (clause 7.6)."""
    blocks = _BLOCKS[version, level]
    data = _data(content, version, sum(blocks.data))
    parts: list[bytes] = []
    start = 0
    for length in blocks.data:
        parts.append(data[start : start + length])
        start += length
    corrections = [_correction(part, blocks.correction) for part in parts]
    return bytes([*_interleaved(parts), *_interleaved(corrections)])


def _data(content: bytes, version: int, length: int) -> bytes:
    """The data codewords: mode, count, content, terminator, padding (clauses 7.4.5, 7.4.9, 7.4.10)."""
    count_bits = _count_bits(version)
    bits = ((_BYTE_MODE << count_bits | len(content)) << 8 * len(content)) | int.from_bytes(content, "big")
    size = 4 + count_bits + 8 * len(content)
    room = 8 * length - size
    terminated = size + min(4, room)
    terminated += -terminated % 8
    data = (bits << terminated - size).to_bytes(terminated // 8, "big")
    return data + bytes(_PADDING[place % 2] for place in range(length - len(data)))


def _interleaved(parts: Sequence[bytes]) -> Iterator[int]:
    for place in range(max(len(part) for part in parts)):
        for part in parts:
            if place < len(part):
                yield part[place]


@cache
def _powers() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Powers of 2 in GF(256) up to 509, and logarithms to the base 2 (of 0: none, kept as 0)."""
    powers, logs = [1], [0] * 256
    for _ in range(509):
        value = powers[-1] << 1
        powers.append(value ^ _FIELD if value > 255 else value)
    for exponent in range(255):
        logs[powers[exponent]] = exponent
    return tuple(powers), tuple(logs)


def _times(a: int, b: int) -> int:
    powers, logs = _powers()
    return powers[logs[a] + logs[b]] if a and b else 0


@cache
def _generator(length: int) -> tuple[int, ...]:
    """Coefficients of the product of (x − 2^i) for i below `length`, the highest first (Annex A)."""
    powers, _ = _powers()
    found = [1]
    for exponent in range(length):
        shifted = [*found, 0]
        found = [one ^ _times(before, powers[exponent]) for one, before in zip(shifted, [0, *found], strict=True)]
    return tuple(found)


def _correction(data: bytes, length: int) -> bytes:
    """The error correction codewords: the remainder of the data, as a polynomial, divided by the generator (clause 7.5.2)."""
    generator = _generator(length)[1:]
    remainder = [0] * length
    for codeword in data:
        factor = codeword ^ remainder[0]
        remainder = [one ^ _times(factor, term) for one, term in zip([*remainder[1:], 0], generator, strict=True)]
    return bytes(remainder)


# ---- modules ----


@cache
def _pattern_rows(version: int) -> tuple[Matrix, Matrix]:
    """The function patterns of a version, and where they are (1: no room for data there)."""
    size = 17 + 4 * version
    modules, fixed = [bytearray(size) for _ in range(size)], [bytearray(size) for _ in range(size)]

    def put(row: int, column: int, dark: bool) -> None:
        if 0 <= row < size and 0 <= column < size:
            modules[row][column], fixed[row][column] = dark, 1

    for place in range(size):
        put(6, place, place % 2 == 0)
        put(place, 6, place % 2 == 0)
    for top, left in ((3, 3), (3, size - 4), (size - 4, 3)):
        for row in range(-4, 5):
            for column in range(-4, 5):
                put(top + row, left + column, max(abs(row), abs(column)) in (0, 1, 3))
    centres = _ALIGNMENT[version]
    for top in centres:
        for left in centres:
            if (top, left) not in ((6, 6), (6, size - 7), (size - 7, 6)):
                for row in range(-2, 3):
                    for column in range(-2, 3):
                        put(top + row, left + column, max(abs(row), abs(column)) != 1)
    for (row, column), _ in _format_places(size, 0):
        put(row, column, False)
    put(size - 8, 8, True)
    if version >= 7:
        for (row, column), dark in _version_places(size, version):
            put(row, column, dark)
    return tuple(map(bytes, modules)), tuple(map(bytes, fixed))


def _patterns(version: int) -> tuple[Modules, Matrix]:
    modules, fixed = _pattern_rows(version)
    return [bytearray(row) for row in modules], fixed


def _remainder(value: int, generator: int) -> int:
    """The remainder of value · x^degree divided by the generator, over GF(2)."""
    degree = generator.bit_length() - 1
    value <<= degree
    while value.bit_length() > degree:
        value ^= generator << value.bit_length() - degree - 1
    return value


def _format_places(size: int, bits: int) -> Iterator[tuple[tuple[int, int], bool]]:
    """The 15 format bits, lowest first, at both of their places (Figure 25)."""
    for bit in range(15):
        dark = bool(bits >> bit & 1)
        yield (bit if bit < 6 else bit + 1 if bit < 8 else size - 15 + bit, 8), dark
        yield (8, size - 1 - bit if bit < 8 else 7 if bit == 8 else 14 - bit), dark


def _version_places(size: int, version: int) -> Iterator[tuple[tuple[int, int], bool]]:
    """The 18 version bits, lowest first, at both of their places (Figure 28)."""
    bits = version << 12 | _remainder(version, _VERSION_GENERATOR)
    for bit in range(18):
        dark = bool(bits >> bit & 1)
        near, far = bit // 3, size - 11 + bit % 3
        yield (near, far), dark
        yield (far, near), dark


def _place(modules: Modules, fixed: Matrix, codewords: bytes) -> None:
    """The codewords' bits in columns of two, from the right, upward and downward in turn (clause 7.7.3)."""
    size = len(modules)
    bits = ((byte >> 7 - bit) & 1 for byte in codewords for bit in range(8))
    upward = True
    for right in (*range(size - 1, 6, -2), *range(5, 0, -2)):
        for row in range(size - 1, -1, -1) if upward else range(size):
            for column in (right, right - 1):
                if not fixed[row][column]:
                    modules[row][column] = next(bits, 0)
        upward = not upward


# ---- masks ----


def _flips(mask: int, row: int, column: int) -> bool:
    """Whether a mask inverts the module there (Table 10)."""
    product = row * column
    match mask:
        case 0:
            return (row + column) % 2 == 0
        case 1:
            return row % 2 == 0
        case 2:
            return column % 3 == 0
        case 3:
            return (row + column) % 3 == 0
        case 4:
            return (row // 2 + column // 3) % 2 == 0
        case 5:
            return product % 2 + product % 3 == 0
        case 6:
            return (product % 2 + product % 3) % 2 == 0
        case _:
            return ((row + column) % 2 + product % 3) % 2 == 0


def _masked(modules: Modules, fixed: Matrix, level: Level, mask: int) -> Matrix:
    """The symbol under a mask, with the format information that says so (clause 7.9)."""
    rows = [
        bytearray(
            module ^ (not taken and _flips(mask, place, column))
            for column, (module, taken) in enumerate(zip(row, taken_row, strict=True))
        )
        for place, (row, taken_row) in enumerate(zip(modules, fixed, strict=True))
    ]
    value = _LEVEL_BITS[level] << 3 | mask
    bits = (value << 10 | _remainder(value, _FORMAT_GENERATOR)) ^ _FORMAT_MASK
    for (row, column), dark in _format_places(len(rows), bits):
        rows[row][column] = dark
    return tuple(map(bytes, rows))


def penalty(matrix: Matrix) -> int:
    """How hard a symbol is to read, by the four features of clause 7.8.3."""
    lines = (*matrix, *(bytes(column) for column in zip(*matrix, strict=True)))
    points = sum(_penalty_of_line(line) for line in lines)
    for above, below in pairwise(matrix):
        columns = [a + b for a, b in zip(above, below, strict=True)]
        points += 3 * sum(a == b and a in (0, 2) for a, b in pairwise(columns))
    size = len(matrix)
    dark = sum(map(sum, matrix))
    return points + 10 * (abs(20 * dark - 10 * size * size) // (size * size))


def _penalty_of_line(line: bytes) -> int:
    """Runs of five or more, and what looks like a finder pattern beside four light modules."""
    points, run = 0, 1
    for before, module in pairwise(line):
        run = run + 1 if module == before else 1
        points += 3 if run == 5 else run > 5
    return points + 40 * sum(line.startswith(_FINDER_LIKE, place) for place in range(len(line) - 10))
