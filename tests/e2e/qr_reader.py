"""Reads a QR symbol out of a picture, by ISO/IEC 18004 and nothing of ours: finder patterns, format bits, mask, codewords, syndromes, bytes.

For symbols of versions 1 to 10 that stand upright in a clean picture, as a panel shows them. Each block is checked by its syndromes and not
corrected: in a clean picture one wrong module means that the symbol is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from PIL import Image

Grid = list[list[int]]

# Annex E: the centres of the alignment patterns beside 6.
CENTRES = {1: (), 2: (18,), 3: (22,), 4: (26,), 5: (30,), 6: (34,), 7: (22, 38), 8: (24, 42), 9: (26, 46), 10: (28, 50)}

# Table 9, levels L and M: codewords in all, correction codewords of a block, number of blocks.
TOTAL = {1: 26, 2: 44, 3: 70, 4: 100, 5: 134, 6: 172, 7: 196, 8: 242, 9: 292, 10: 346}
CORRECTION = {
    "L": {1: (7, 1), 2: (10, 1), 3: (15, 1), 4: (20, 1), 5: (26, 1), 6: (18, 2), 7: (20, 2), 8: (24, 2), 9: (30, 2), 10: (18, 4)},
    "M": {
        1: (10, 1),
        2: (16, 1),
        3: (26, 1),
        4: (18, 2),
        5: (24, 2),
        6: (16, 4),
        7: (18, 4),
        8: (22, 4),
        9: (22, 5),
        10: (26, 5),
    },
}


class Unread(Exception):
    """There is no symbol, or it is no right one."""


def read(image: Image.Image) -> str:
    """The text of the one symbol in the picture. Raises Unread."""
    return text_of(grid_of(image))


def grid_of(image: Image.Image) -> Grid:
    """The modules of the symbol, 1 for dark, found by its three finder patterns; the light zone around it is checked."""
    grey = image.convert("L")
    dark = [[int(grey.getpixel((x, y)) < 128) for x in range(grey.width)] for y in range(grey.height)]  # type: ignore[operator]
    corners = sorted({corner for y in range(grey.height) for corner in _finders(dark, y)})
    for left, top, module in corners:
        for right, other_top, other in corners:
            if (other_top, other) != (top, module) or right <= left or (left, top + right - left, module) not in corners:
                continue
            modules, rest = divmod(right - left + 7 * module, module)
            if rest or modules not in {17 + 4 * version for version in CENTRES}:
                continue
            _check_quiet_zone(dark, left, top, module, modules)
            return [
                [dark[top + row * module + module // 2][left + column * module + module // 2] for column in range(modules)]
                for row in range(modules)
            ]
    raise Unread("no three finder patterns")


def _finders(dark: Grid, y: int) -> Iterator[tuple[int, int, int]]:
    """Left, top and module size of finder patterns whose middle begins in this row: runs of 1, 1, 3, 1, 1 modules, and the same downwards."""
    row = dark[y]
    starts = [0, *(x for x in range(1, len(row)) if row[x] != row[x - 1]), len(row)]
    runs = list(pairwise(starts))
    for place in range(len(runs) - 4):
        lengths = [end - start for start, end in runs[place : place + 5]]
        module, left = lengths[0], runs[place][0]
        if row[left] and module >= 2 and lengths == [module, module, 3 * module, module, module]:
            top, middle = y - 2 * module, left + 3 * module + module // 2
            if top >= 0 and y + 5 * module <= len(dark):
                column = [dark[at][middle] for at in range(top, top + 7 * module)]
                if column == [bit for bit in (1, 0, 1, 1, 1, 0, 1) for _ in range(module)]:
                    yield left, top, module


def _check_quiet_zone(dark: Grid, left: int, top: int, module: int, modules: int) -> None:
    """Four light modules on each side. A card may have round corners: the outermost two by two modules are not looked at."""
    reach, width = 4 * module, modules * module
    for y in range(top - reach, top + width + reach):
        for x in range(left - reach, left + width + reach):
            inside = left <= x < left + width and top <= y < top + width
            outer = max(left - x, x - left - width + 1) > 2 * module and max(top - y, y - top - width + 1) > 2 * module
            if not inside and not outer and (not (0 <= y < len(dark) and 0 <= x < len(dark[y])) or dark[y][x]):
                raise Unread(f"the four modules around the symbol are not all light: {x}, {y}")


def text_of(grid: Grid) -> str:
    """The text that the modules hold."""
    size = len(grid)
    version = (size - 17) // 4
    level, mask = _format(grid)
    bits = [grid[row][column] ^ _masks(mask, row, column) for row, column in _path(size, version)]
    codewords = [int("".join(map(str, bits[at : at + 8])), 2) for at in range(0, 8 * TOTAL[version], 8)]
    stream = "".join(f"{one:08b}" for one in _data(codewords, *CORRECTION[level][version]))
    if stream[:4] != "0100":
        raise Unread(f"mode {stream[:4]} is not that of bytes")
    head = 4 + (8 if version < 10 else 16)
    length = int(stream[4:head], 2)
    return bytes(int(stream[at : at + 8], 2) for at in range(head, head + 8 * length, 8)).decode()


def _format(grid: Grid) -> tuple[str, int]:
    """Level and mask; both copies must be the same right code word."""
    size = len(grid)
    first = [grid[8][column] for column in (0, 1, 2, 3, 4, 5, 7, 8)] + [grid[row][8] for row in (7, 5, 4, 3, 2, 1, 0)]
    second = [grid[size - 1 - at][8] for at in range(7)] + [grid[8][size - 8 + at] for at in range(8)]
    if first != second or grid[size - 8][8] != 1:
        raise Unread("the two copies of the format differ, or the dark module is light")
    word = int("".join(map(str, first)), 2) ^ 0b101010000010010
    rest = word
    for bit in range(14, 9, -1):
        if rest >> bit & 1:
            rest ^= 0b10100110111 << bit - 10
    if rest or word >> 13 not in (0, 1):
        raise Unread("the format bits are no code word of level L or M")
    return ("M", "L")[word >> 13], word >> 10 & 7


def _masks(mask: int, row: int, column: int) -> int:
    """Table 10: whether the mask turns this module."""
    both = row * column
    conditions = (
        (row + column) % 2, row % 2, column % 3, (row + column) % 3, (row // 2 + column // 3) % 2, both % 2 + both % 3,
        (both % 2 + both % 3) % 2, ((row + column) % 2 + both % 3) % 2,
    )  # fmt: skip
    return int(conditions[mask] == 0)


def _path(size: int, version: int) -> Iterator[tuple[int, int]]:
    """The modules of the codewords in their order: pairs of columns from the right, upwards and downwards by turns, past all patterns."""
    centres = (6, *CENTRES[version]) if version > 1 else ()
    alignments = {
        (row, column) for row in centres for column in centres if (row, column) not in {(6, 6), (6, size - 7), (size - 7, 6)}
    }

    def is_pattern(row: int, column: int) -> bool:
        corner = (row < 9 and column < 9) or (row < 9 and column >= size - 8) or (row >= size - 8 and column < 9)
        versions = version >= 7 and ((row < 6 and column >= size - 11) or (column < 6 and row >= size - 11))
        near = any(abs(row - one) <= 2 and abs(column - other) <= 2 for one, other in alignments)
        return corner or versions or near or 6 in (row, column)

    upwards = True
    right = size - 1
    while right > 0:
        if right == 6:  # the column of the timing pattern belongs to no pair
            right -= 1
        for row in range(size - 1, -1, -1) if upwards else range(size):
            yield from ((row, column) for column in (right, right - 1) if not is_pattern(row, column))
        upwards = not upwards
        right -= 2


def _data(codewords: list[int], correction: int, count: int) -> list[int]:
    """The data codewords, from their blocks; each block must be a code word of Reed and Solomon's."""
    short, longer = divmod(len(codewords) - correction * count, count)
    lengths = [short] * (count - longer) + [short + 1] * longer
    blocks: list[list[int]] = [[] for _ in lengths]
    source = iter(codewords)
    for place in range(max(lengths)):
        for block, length in zip(blocks, lengths, strict=True):
            if place < length:
                block.append(next(source))
    data = [one for block in blocks for one in block]
    for _ in range(correction):
        for block in blocks:
            block.append(next(source))
    for block in blocks:
        for power in range(correction):
            syndrome = 0
            for one in block:
                syndrome = _times(syndrome, _power(power)) ^ one
            if syndrome:
                raise Unread("a block is damaged")
    return data


def _times(one: int, other: int) -> int:
    """A product in the field of 256 elements over x^8 + x^4 + x^3 + x^2 + 1."""
    product = 0
    while other:
        if other & 1:
            product ^= one
        one <<= 1
        if one & 0x100:
            one ^= 0x11D
        other >>= 1
    return product


def _power(exponent: int) -> int:
    value = 1
    for _ in range(exponent):
        value = _times(value, 2)
    return value
