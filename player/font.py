"""The font: text to coverage, at any size, from the shapes in `player.glyphs`.

What lives here: setting text (which shapes, how far apart, where lines break) and its ink in a mask. It is our own font
because a past screen must replay to the very pixel: outlines, hinting and anti-aliasing are integer arithmetic, and text
is taken apart by one fixed edition of Unicode, so neither FreeType nor Pillow nor Python can move a pixel by its version.

What must not: colours, panels, files, state other than bounded caches keyed by value.

Sizes are pixels to the em, cut to `MIN_SIZE_PX`..`MAX_SIZE_PX`; a line is `line_height(size_px)` high and its baseline
lies `ascent(size_px)` below its top. Text runs from left to right in the order given; scripts without shapes here are
shown as boxes with their code point. No function raises for any text.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from unicodedata import ucd_3_2_0

from PIL import Image

from player.glyphs import (
    ABOVE,
    ACROSS,
    BEARINGS,
    BELOW,
    GLYPHS,
    INVISIBLE_RANGES,
    KERNING,
    MARK_RANGES,
    SAME,
    SCALED,
    SPACES,
)
from player.strokes import SUBPIXELS, Segment, cover, flood, lighten

MIN_SIZE_PX = 6  # below it no letter can be told from another
MAX_SIZE_PX = 128  # above the largest panel's largest message; bounds the cost of one glyph
MAX_LINES = 256  # 2,000 characters at a usable width; the tallest panel at the least size shows 60
_MAX_MARKS = 4  # per letter: more would only climb out of the line
_PHASES = 4  # positions within a pixel that a glyph is drawn at: a quarter pixel keeps the rhythm of small text

_EM = 400  # tenths of a unit
_STROKE = {False: 33, True: 52}
_BOLD_SPREAD = 12  # tenths of a unit by which bold letters stand wider than regular ones
_LEVELS = ((-90, -90), (0, 0), (200, 200), (280, 280))

_Move = tuple[str, tuple[int, ...]]


def _clamped(size_px: int) -> int:
    return max(MIN_SIZE_PX, min(size_px, MAX_SIZE_PX))


def ascent(size_px: int) -> int:
    """Pixels from the top of a line to its baseline: room for a capital with a mark."""
    return (_clamped(size_px) * 38 + 39) // 40


def line_height(size_px: int) -> int:
    """Pixels from one line's top to the next one's."""
    return ascent(size_px) + (_clamped(size_px) * 12 + 39) // 40


def cap_height(size_px: int) -> int:
    """Pixels from the baseline to the top of a capital; the top lies on a whole pixel."""
    return (_clamped(size_px) * 7 + 5) // 10


# ---- shapes: from the tables to strokes on the grid, in tenths of a unit ----


_TOKEN = re.compile(r"([MLHVCODWF])([-0-9. ]*)")


def _moves(path: str) -> tuple[_Move, ...]:
    return tuple((command, tuple(_tenths(figure) for figure in figures.split())) for command, figures in _TOKEN.findall(path))


def _tenths(figure: str) -> int:
    whole, _, part = figure.partition(".")
    tenth = int(part or "0")
    return int(whole or "0") * 10 + (-tenth if figure.startswith("-") else tenth)


def _scaled(moves: tuple[_Move, ...], width: int, height: int, lift: int, across: int = 0) -> tuple[_Move, ...]:
    """The same strokes at width % and height %, moved up by `lift` and right by `across` tenths."""

    def one(index: int, value: int) -> int:
        return value * height // 100 + lift if index % 2 else value * width // 100 + across

    return tuple((command, tuple(one(i, v) for i, v in enumerate(values))) for command, values in moves)


@lru_cache(maxsize=1024)  # more than all the shapes there are, boxes aside
def _shape(char: str) -> tuple[int, int, int, int, tuple[_Move, ...]] | None:
    """(left white, width, right white, top, strokes) of a character that has a shape, else None."""
    char = SAME.get(char, char)
    if char in SPACES:
        return 0, SPACES[char], 0, 200, ()
    if char == "i":
        return _dotted("ı", 0)
    if char == "j":
        return _dotted("ȷ", 45)
    if char in SCALED:
        whose, width_percent, height_percent, lift = SCALED[char]
        shape = _shape(whose)
        if shape is None:
            return None
        left, width, right, top, moves = shape
        small = _scaled(moves, width_percent, height_percent, lift)
        return left, width * width_percent // 100, right, top * height_percent // 100 + lift, small
    entry = GLYPHS.get(char)
    if entry is None:
        return None
    moves = _moves(entry[2:])
    pairs = [(v[i], v[i + 1]) for c, v in moves if c != "W" for i in range(0, len(v), 2)]
    width = next((v[0] for c, v in moves if c == "W"), max((x for x, _ in pairs), default=0))
    top = max((y for _, y in pairs), default=200)
    ink = tuple(move for move in moves if move[0] != "W")
    return BEARINGS[entry[0]], width, BEARINGS[entry[1]], top, ink


def _dotted(stem: str, x: int) -> tuple[int, int, int, int, tuple[_Move, ...]] | None:
    shape = _shape(stem)
    return shape and (*shape[:4], (*shape[4], ("D", (x, 270))))


_HEX = "0123456789ABCDEF"


@lru_cache(maxsize=512)  # a message in one foreign script
def _box(char: str) -> tuple[int, int, int, int, tuple[_Move, ...]]:
    """The stand-in for a character without a shape: a rounded box with its code point in two rows of tiny digits."""
    code = f"{ord(char):04X}" if ord(char) < 0x10000 else f"{ord(char):06X}"
    half = len(code) // 2
    width = 30 + half * 80
    moves: list[_Move] = [
        ("M", (30, 280)), ("L", (width - 30, 280)), ("H", (width, 250)), ("L", (width, 30)), ("V", (width - 30, 0)),
        ("L", (30, 0)), ("H", (0, 30)), ("L", (0, 250)), ("V", (30, 280)),
    ]  # fmt: skip
    for index, digit in enumerate(code):
        shape = _shape(digit)
        if shape is not None:
            row, column = divmod(index, half)
            moves += _scaled(shape[4], 33, 30, 160 if row == 0 else 38, 30 + column * 80)
    return 22, width, 22, 280, tuple(moves)


def _within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code <= last for first, last in ranges)


def _is_mark(char: str) -> bool:
    return char >= "\u0300" and _within(ord(char), MARK_RANGES)


@lru_cache(maxsize=4096)  # the characters of many messages; an entry is one short string
def _parts(char: str) -> str:
    """What is set for a character: "" for nothing, itself, or its base and marks (fixed edition of Unicode)."""
    code = ord(char)
    if char in SPACES or char == " ":
        return char
    if _within(code, INVISIBLE_RANGES):
        return ""
    if _is_mark(char) or _shape(char) is not None:
        return char
    for form in ("NFD", "NFKD"):
        parts = ucd_3_2_0.normalize(form, char)
        if parts != char and all(_is_mark(part) or _shape(part) is not None for part in parts):
            return parts
    return char


_DOTLESS = {"i": "ı", "j": "ȷ", "і": "ı", "ј": "ȷ"}
_COMMA_BELOW = frozenset("KLNRGklnr")  # the cedilla of Latvian is a comma, and over g it is turned above
_APOSTROPHE = frozenset("dtlL")  # Czech and Slovak write the caron of tall letters as an apostrophe


@lru_cache(maxsize=1024)  # clusters in use on a few screens; an entry is some hundred bytes
def _cluster(cluster: str) -> tuple[int, int, int, tuple[_Move, ...]]:
    """(left white, width, right white, strokes) of a base with its marks."""
    base, marks = cluster[0], cluster[1:]
    if any(mark in ABOVE for mark in marks):
        base = _DOTLESS.get(base, base)
    left, width, right, top, moves = _shape(base) or _box(base)
    drawn = list(moves)
    raised, lowered = max(0, top - 200), 0
    for mark in marks:
        if mark == "\u030c" and base in _APOSTROPHE:
            edge = 80 if base == "L" else width
            drawn += [("M", (edge + 50, 285)), ("L", (edge + 35, 225))]
            width = max(width, edge + 30)
        elif mark == "\u0327" and base == "g":
            drawn += _scaled(_moves(ABOVE["\u0312"]), 100, 100, raised, width // 2)
        elif mark == "\u0327" and base in _COMMA_BELOW:
            drawn += _scaled(_moves(BELOW["\u0326"]), 100, 100, 0, width // 2)
        elif mark in BELOW:
            at = max(width - 15, width // 2) if mark == "\u0328" else width // 2
            drawn += _scaled(_moves(BELOW[mark]), 100, 100, lowered, at)
            lowered -= 65
        elif mark in ACROSS:
            drawn += _scaled(_moves(ACROSS[mark]), 100, 100, max(0, (top - 200) // 2), width // 2)
        else:
            drawn += _scaled(_moves(ABOVE.get(mark, ABOVE["\u0307"])), 100, 100, raised, width // 2)
            raised += 65
    return left, width, right, tuple(drawn)


def _clusters(text: str) -> Iterator[str]:
    """Bases, each with its marks. A mark without a base sits on a no-break space."""
    cluster = ""
    for char in text:
        for part in _parts(char):
            if _is_mark(part):
                if not cluster:
                    cluster = "\u00a0"
                if len(cluster) <= _MAX_MARKS:
                    cluster += part
            else:
                if cluster:
                    yield cluster
                cluster = part
    if cluster:
        yield cluster


@lru_cache(maxsize=8192)  # numbers only; all the distinct letters of several of the longest messages
def _advance(cluster: str, bold: bool) -> int:
    if cluster in SPACES:
        return SPACES[cluster]
    left, width, right, _ = _cluster(cluster)
    return left + width + right + _STROKE[False] + (_BOLD_SPREAD if bold and cluster != " " else 0)


def _pens(text: str, bold: bool) -> Iterator[tuple[str, int, int]]:
    """(cluster, where it starts, where it ends) in tenths of a unit."""
    pen, before = 0, ""
    for cluster in _clusters(text):
        kern = KERNING.get(before)
        if kern is not None and cluster[0] in kern[0]:
            pen += kern[1]
        end = pen + _advance(cluster, bold)
        yield cluster, pen, end
        pen, before = end, cluster


@lru_cache(maxsize=512)  # the words of a text while sizes are tried; keys of at most some thousand characters
def _extent(text: str, bold: bool) -> int:
    return max((end for _, _, end in _pens(text, bold)), default=0)


def measure(text: str, size_px: int, bold: bool = False) -> int:
    """Width in pixels of the widest line of `text`, rounded up."""
    size = _clamped(size_px)
    return max((-(-_extent(line, bold) * size // _EM) for line in text.split("\n")), default=0)


# ---- lines ----


def wrap(text: str, width_px: int, size_px: int, bold: bool = False, max_lines: int = MAX_LINES) -> list[str]:
    """Break text into lines no wider than `width_px`: at newlines and spaces, and inside a word only where it must.

    At most `max_lines` (itself at most `MAX_LINES`); if text is left over, the last line ends in an ellipsis. A line
    holds at least one letter however narrow the room. Runs of spaces at a break are dropped.
    """
    limit = max(1, min(max_lines, MAX_LINES))
    room = max(0, width_px) * _EM // _clamped(size_px)
    lines: list[str] = []
    for paragraph in text.replace("\r\n", "\n").split("\n"):
        for line in _broken(paragraph, room, bold):
            if len(lines) == limit:
                lines[-1] = _shortened(lines[-1], room, bold)
                return lines
            lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def ellipsised(text: str, width_px: int, size_px: int, bold: bool = False) -> str:
    """The text if it fits on one line of `width_px`, else as much of its beginning as fits with an ellipsis."""
    room = max(0, width_px) * _EM // _clamped(size_px)
    return text if _extent(text, bold) <= room else _shortened(text, room, bold)


def _broken(paragraph: str, room: int, bold: bool) -> Iterator[str]:
    line, used = "", 0
    space = _advance(" ", bold)
    for word in paragraph.split(" "):
        extent = _extent(word, bold)
        if line and used + space + extent <= room:
            line, used = f"{line} {word}", used + space + extent
            continue
        if line:
            yield line
        line, used = word, extent
        if used <= room:
            continue
        while len(head := _head(line, room, bold)) < len(line):
            yield head
            line = line[len(head) :]
        used = _extent(line, bold)
    yield line


def _head(word: str, room: int, bold: bool) -> str:
    """The longest beginning of a word that fits, at least one base with its marks."""
    pen, count, before = 0, 0, ""
    for char in word:
        parts = _parts(char)
        step = 0
        for part in parts:
            if not _is_mark(part):
                kern = KERNING.get(before)
                step += _advance(part, bold) + (kern[1] if kern is not None and part in kern[0] else 0)
                before = part
        if step and pen and pen + step > room:
            break
        pen += step
        count += 1
    return word[:count]


def _shortened(line: str, room: int, bold: bool) -> str:
    dots = _advance("…", bold)
    if _extent(line, bold) + dots <= room:
        return line.rstrip() + "…"
    head = _head(line, room - dots, bold).rstrip()
    return head + "…" if _extent(head, bold) + dots <= room else "…"


# ---- ink ----


def _levels(moves: tuple[_Move, ...], size: int, radius: int) -> list[tuple[int, int]]:
    """Where heights on the grid fall, in 1/64 pixel above the baseline: hinting, upright only.

    The four levels, and each level stroke's lower edge, lie on whole pixels, so bars stay sharp at small sizes; what is
    between is in proportion. Stems are left where they fall, which keeps the spacing even.
    """
    unit = size * SUBPIXELS
    snapped: dict[int, int] = {}
    for height, _ in _LEVELS:
        edge = (height * size + _EM // 2) // _EM * SUBPIXELS
        snapped[height] = edge + radius if height <= 0 else edge - radius
    last = (0, 0)
    for command, values in moves:
        if not values:
            continue
        if command == "L" and values[1] == last[1] and values[0] != last[0]:
            height = values[1]
            if 20 < height < 260 and abs(height - 200) > 20:
                low = snapped[0] + (snapped[280] - snapped[0]) * height // 280 - radius
                snapped.setdefault(height, (low + SUBPIXELS // 2) // SUBPIXELS * SUBPIXELS + radius)
        if command != "D":
            last = (values[-2], values[-1])
    levels = sorted(snapped.items())
    (low, at_low), (high, at_high) = levels[0], levels[-1]
    return [(low - 400, at_low - unit), *levels, (high + 400, at_high + unit)]


def _placed(height: int, levels: list[tuple[int, int]]) -> int:
    for (low, at_low), (high, at_high) in pairwise(levels):
        if height <= high:
            return at_low + (at_high - at_low) * (height - low) // (high - low)
    return levels[-1][1]


_BEND = 36  # of 64: how far a quarter's handles reach to its corner; a circle would be 35.3, ours is a little squarer


def _segments(moves: tuple[_Move, ...], size: int, radius: int) -> tuple[list[Segment], list[list[Segment]]]:
    """Strokes as short lines, in 1/64 pixel; y upward from the baseline, x from the leftmost stroke's middle.

    Beside them, the outlines to be filled.
    """
    levels = _levels(moves, size, radius)
    steps = 3 + size // 13

    def put(x: int, y: int) -> tuple[int, int]:
        return x * size * SUBPIXELS // _EM, _placed(y, levels)

    lines: list[Segment] = []
    filled: list[list[Segment]] = []
    first = 0

    def line(a: tuple[int, int], b: tuple[int, int]) -> None:
        lines.append((*a, *b, radius))

    def curve(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int], d: tuple[int, int]) -> None:
        last = a
        whole = steps**3
        for i in range(1, steps + 1):
            j = steps - i
            p, q, r, s = j**3, 3 * j * j * i, 3 * j * i * i, i**3
            point = (
                (a[0] * p + b[0] * q + c[0] * r + d[0] * s) // whole,
                (a[1] * p + b[1] * q + c[1] * r + d[1] * s) // whole,
            )
            line(last, point)
            last = point

    def quarter(a: tuple[int, int], d: tuple[int, int], corner: tuple[int, int]) -> None:
        b = (a[0] + (corner[0] - a[0]) * _BEND // 64, a[1] + (corner[1] - a[1]) * _BEND // 64)
        c = (d[0] + (corner[0] - d[0]) * _BEND // 64, d[1] + (corner[1] - d[1]) * _BEND // 64)
        curve(a, b, c, d)

    pen = (0, 0)
    for command, v in moves:
        if command == "F":
            filled.append(lines[first:])
            continue
        end = put(v[-2], v[-1])
        if command == "M":
            first = len(lines)
        elif command == "L":
            line(pen, end)
        elif command == "H":
            quarter(pen, end, (end[0], pen[1]))
        elif command == "V":
            quarter(pen, end, (pen[0], end[1]))
        elif command == "C":
            curve(pen, put(v[0], v[1]), put(v[2], v[3]), end)
        elif command == "D":
            lines.append((*end, *end, radius * 5 // 4))
        elif command == "O":
            left, low = put(v[0], v[1])
            right, high = end
            x, y = (left + right) // 2, (low + high) // 2
            quarter((right, y), (x, high), (right, high))
            quarter((x, high), (left, y), (left, high))
            quarter((left, y), (x, low), (left, low))
            quarter((x, low), (right, y), (right, low))
        pen = end
    return lines, filled


def _radius(size: int, bold: bool) -> int:
    least = 45 if bold else 32  # a stroke thinner than a pixel would only turn grey
    return max(least, _STROKE[bold] * size * SUBPIXELS // (2 * _EM))


_Ink = tuple[Image.Image, int, int]


@lru_cache(maxsize=1024)  # ten screens' worth of letters; at most 16 kB each at the largest size, under 1 kB at 20 px
def _ink(cluster: str, size: int, bold: bool, phase: int) -> _Ink | None:
    """A cluster's coverage and where its top left corner lies from the pen: (image, x, y), y from the baseline down."""
    left, _, _, moves = _cluster(cluster)
    if not moves:
        return None
    radius = _radius(size, bold)
    if _shape(cluster[0]) is None:
        radius = max(22, radius * 5 // 9)  # the box of an unknown character: finer, or its digits would run together
    segments, filled = _segments(moves, size, radius)
    shift = (left * 2 + _STROKE[False] + (_BOLD_SPREAD if bold else 0)) * size * SUBPIXELS // (2 * _EM)
    shift += phase * SUBPIXELS // _PHASES
    x0 = (min(min(s[0], s[2]) - s[4] for s in segments) + shift - SUBPIXELS) // SUBPIXELS
    x1 = (max(max(s[0], s[2]) + s[4] for s in segments) + shift + SUBPIXELS) // SUBPIXELS + 1
    y0 = -((max(max(s[1], s[3]) + s[4] for s in segments) + SUBPIXELS) // SUBPIXELS) - 1
    y1 = -((min(min(s[1], s[3]) - s[4] for s in segments) - SUBPIXELS) // SUBPIXELS)
    width, height = x1 - x0, y1 - y0
    across, down = shift - x0 * SUBPIXELS, -y0 * SUBPIXELS

    def moved(lines: list[Segment]) -> list[Segment]:
        return [(xa + across, down - ya, xb + across, down - yb, r) for xa, ya, xb, yb, r in lines]

    buffer = bytearray(width * height)
    cover(buffer, width, height, moved(segments))
    for outline in filled:
        flood(buffer, width, height, moved(outline))
    return Image.frombytes("L", (width, height), bytes(buffer)), x0, y0


def draw(mask: Image.Image, xy: tuple[int, int], text: str, size_px: int, bold: bool = False) -> None:
    """Set text into an 'L' mask; `xy` is the top left corner of its first line. A newline starts the next line.

    Where ink meets ink the greater coverage stays. What falls outside the mask is cut off.
    """
    size = _clamped(size_px)
    baseline = xy[1] + ascent(size)
    for line in text.split("\n"):
        for cluster, start, _ in _pens(line, bold):
            at = start * size * _PHASES // _EM
            x = xy[0] + at // _PHASES
            if x > mask.width:
                break
            ink = _ink(cluster, size, bold, at % _PHASES)
            if ink is not None:
                lighten(mask, ink[0], x + ink[1], baseline + ink[2])
        baseline += line_height(size)
