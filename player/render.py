"""What the panel shows, as a pure function: a view and the item's frame give the frame to send.

What lives here: the screens (address, preparing), the messages over the media, their order on top of each other, and the
brightness. Live play and replay call the same `screen`, so a past picture is a computation and not a recording.

What must not: a clock, randomness, files, panels, the plan. Letters come from `player.font`, edges from `player.strokes`;
of Pillow only pasting, transposing and byte access are used, whose results are exact integers.

Caches are bounded and keyed by value; without them the results are the same. Orientation: with rotation 90 or 270 the
picture is laid out on height x width and turned clockwise by `rotation`, so that the frame is width x height again.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from msgspec import Struct
from PIL import Image

from player import font, qr
from player.pixels import dimmed, pack_rgb565, unpack_rgb565
from player.strokes import SUBPIXELS, rounded_box, stroke

Colour = tuple[int, int, int]

SHOWN_OVERLAYS = 3
"""Messages drawn at once; the others are counted. More would hide what the display is for."""

_TEXT_LIMIT = 2_000  # characters laid out of any one text: what a message may hold
_LINE_LIMIT = 240  # characters laid out of a file name, an address or a note

_INK: Colour = (240, 244, 248)
_QUIET: Colour = (150, 168, 188)
_FAINT: Colour = (104, 124, 148)
_NIGHT: Colour = (12, 20, 32)
_FIELD: Colour = (26, 40, 58)
_ACCENT: Colour = (92, 220, 200)
_CARD: Colour = (14, 18, 26)
_CARD_LEVEL = 222  # of 255: the item still shimmers through, the text stays readable over white
_INFO: Colour = (110, 180, 255)
_AMBER: Colour = (255, 184, 40)
_ALARM: Colour = (196, 20, 28)
_ALARM_DARK: Colour = (64, 4, 10)


class Overlay(Struct, frozen=True):
    """A message over the media: at most 2,000 characters, and how urgent it is."""

    text: str
    priority: Literal["info", "warning", "critical"]


class View(Struct, frozen=True):
    """What is to be seen. `width` and `height` are the panel's RAM, at least 1; `brightness` is 0..100 percent.

    `title` is the item's file name (for "preparing"), `address` where the page is (for "address"; None: it has none),
    `note` a second line below either. `overlays` come in drawing order, the most urgent first. `qr` is a link that signs
    a browser in, drawn beside the address as a symbol to scan; what follows its `#` is the code, for those who type.
    """

    width: int
    height: int
    rotation: Literal[0, 90, 180, 270] = 0
    brightness: int = 100
    content: Literal["item", "preparing", "address"] = "item"
    title: str = ""
    address: str | None = None
    note: str | None = None
    overlays: tuple[Overlay, ...] = ()
    qr: str | None = None


def screen(view: View, frame: bytes | None) -> bytes:
    """The frame for the panel: width * height * 2 bytes of big-endian RGB565.

    `frame` is the item's own, fitted and rotated; it is required while `view.content` is "item" (ValueError without it)
    and otherwise ignored. An item with no overlay at full brightness is returned as it is, the same object.
    """
    shown = view.overlays[:SHOWN_OVERLAYS]
    hidden = len(view.overlays) - len(shown)
    if shown and shown[0].priority == "critical":
        picture = _alarm(view.width, view.height, view.rotation, shown[0].text, len(view.overlays) - 1)
    else:
        if view.content == "item":
            if frame is None:
                raise ValueError("an item is drawn from its frame, and there is none")
            picture = frame
        elif view.content == "preparing":
            picture = _preparing(view.width, view.height, view.rotation, view.title, view.note)
        else:
            picture = _address(view.width, view.height, view.rotation, view.address, view.note, view.qr)
        if shown:
            picture = _under(_cards(view.width, view.height, view.rotation, shown, hidden), picture, view.width)
    return picture if view.brightness >= 100 else dimmed(picture, max(0, view.brightness))


# ---- from the viewer's orientation to the panel's ----

_TURNS = {
    90: Image.Transpose.ROTATE_270,  # Pillow counts anticlockwise
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


def _turned(image: Image.Image, rotation: int) -> Image.Image:
    turn = _TURNS.get(rotation)
    return image if turn is None else image.transpose(turn)


def _upright(width: int, height: int, rotation: int) -> tuple[int, int]:
    return (height, width) if rotation in (90, 270) else (width, height)


def _screen_of(width: int, height: int, rotation: int, colour: Colour, paint: Callable[[Image.Image], None]) -> bytes:
    image = Image.new("RGB", _upright(width, height, rotation), colour)
    paint(image)
    return pack_rgb565(_turned(image, rotation))


# ---- drawing on an image ----


def _text(image: Image.Image, x: int, y: int, text: str, size: int, colour: Colour, bold: bool = False) -> None:
    width = font.measure(text, size, bold) + size
    mask = Image.new("L", (width + size, font.line_height(size)), 0)
    font.draw(mask, (size // 2, 0), text, size, bold)
    image.paste(colour, (x - size // 2, y), mask)


def _centred(image: Image.Image, y: int, lines: Sequence[str], size: int, colour: Colour, bold: bool = False) -> None:
    for line in lines:
        x = (image.width - font.measure(line, size, bold)) // 2
        _text(image, x, y, line, size, colour, bold)
        y += font.line_height(size)


def _balanced(lines: list[str], text: str, width: int, size: int, bold: bool) -> list[str]:
    """The same number of lines, but of nearly one length: a lone word below a full line looks like an accident."""
    if not 1 < len(lines) <= 6 or lines[-1].endswith("…"):
        return lines
    low, high = width // 2, width
    while low < high:
        middle = (low + high) // 2
        if len(font.wrap(text, middle, size, bold, len(lines) + 1)) <= len(lines):
            high = middle
        else:
            low = middle + 1
    narrow = font.wrap(text, high, size, bold, len(lines) + 1)
    whole = all(word in " ".join(narrow).split(" ") for word in text.split())
    return narrow if whole else lines


def _box(image: Image.Image, box: tuple[int, int, int, int], radius: int, colour: Colour) -> None:
    mask = Image.new("L", (max(1, box[2] - box[0]), max(1, box[3] - box[1])), 0)
    rounded_box(mask, (0, 0, box[2] - box[0], box[3] - box[1]), radius)
    image.paste(colour, (box[0], box[1]), mask)


_TRAIL = (
    (28, 56, 76), (30, 72, 92), (32, 92, 108),
    (70, 178, 170), (52, 142, 146), (40, 114, 126),
    (92, 220, 200), (160, 240, 216), (255, 196, 84),
)  # fmt: skip
"""The mark's nine pixels: the newest is the warm one, the older ones fade away along the path."""


def _mark(image: Image.Image, x: int, y: int, size: int) -> None:
    """pixelog's mark: a small display of three by three pixels that remembers where the light was."""
    for index, colour in enumerate(_TRAIL):
        row, column = divmod(index, 3)
        left, right = x + column * size // 3, x + (column + 1) * size // 3
        top, bottom = y + row * size // 3, y + (row + 1) * size // 3
        gap = max(1, size // 18)
        _box(image, (left, top, right - gap, bottom - gap), max(1, size // 14), colour)


# ---- choosing sizes ----

_SIZES = (
    96, 88, 80, 72, 66, 60, 54, 50, 46, 42, 38, 35, 32, 29, 27, 25,
    23, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8,
)  # fmt: skip
_LEAST = _SIZES[-1]


class _Fitted(NamedTuple):
    lines: list[str]
    size: int
    height: int


def _fitted(
    text: str, room: tuple[int, int], largest: int, bold: bool, least: int = _LEAST, max_lines: int = font.MAX_LINES
) -> _Fitted:
    """The text at the largest size at which it fits into `room`, first without breaking a word, then with; if it does
    not fit at the least size either, its beginning and an ellipsis."""
    width, height = room
    sizes = [size for size in _SIZES if least <= size <= largest] or [max(_LEAST, least)]
    longest = max(text.split(), key=len, default="")

    def fits(size: int, whole: bool) -> bool:
        if whole and font.measure(longest, size, bold) > width:
            return False
        count = min(max_lines, height // font.line_height(size))
        return count > 0 and len(font.wrap(text, width, size, bold, count + 1)) <= count

    for whole in (True, False):
        low, high = 0, len(sizes)
        while low < high:
            middle = (low + high) // 2
            if fits(sizes[middle], whole):
                high = middle
            else:
                low = middle + 1
        if low < len(sizes) and (not whole or sizes[low] * 2 >= min(largest, 32)):
            return _laid(font.wrap(text, width, sizes[low], bold, max_lines), sizes[low])
    size = sizes[-1]
    count = max(1, min(max_lines, height // font.line_height(size)))
    return _laid(font.wrap(text, width, size, bold, count), size)


def _laid(lines: list[str], size: int) -> _Fitted:
    return _Fitted(lines, size, len(lines) * font.line_height(size))


# ---- a column of blocks, centred: what the quiet screens are made of ----


class _Block(NamedTuple):
    """Something of a height, the room above it, and how to draw it at a given top."""

    height: int
    above: int
    paint: Callable[[Image.Image, int], None]


def _column(image: Image.Image, plans: Sequence[Callable[[int], Sequence[_Block]]]) -> None:
    """Draw the first plan that fits at the largest scale (percent) at which it does; the last one fits by decree."""
    for plan in plans:
        for scale in _SCALES:
            blocks = plan(scale)
            if _total(blocks) <= image.height * 94 // 100 or (plan is plans[-1] and scale == _SCALES[-1]):
                _stack(image, blocks)
                return


_SCALES = (100, 90, 80, 70, 62)


def _total(blocks: Sequence[_Block]) -> int:
    return sum(block.height + block.above for block in blocks) - blocks[0].above


def _stack(image: Image.Image, blocks: Sequence[_Block]) -> None:
    """Draw the blocks below each other, in the middle."""
    y = max(0, (image.height - _total(blocks)) // 2) - blocks[0].above
    for block in blocks:
        block.paint(image, y + block.above)
        y += block.above + block.height


def _base(width: int, height: int) -> int:
    """The size of running text on a panel, in pixels."""
    return max(_LEAST, min(30, (width + height) // 28))


def _said(text: str, room: int, size: int, colour: Colour, above: int, bold: bool = False, max_lines: int = 3) -> _Block:
    text = text[:_LINE_LIMIT]
    lines = _balanced(font.wrap(text, room, size, bold, max_lines), text, room, size, bold)

    def paint(image: Image.Image, y: int) -> None:
        _centred(image, y, lines, size, colour, bold)

    return _Block(len(lines) * font.line_height(size), above, paint)


def _marked(size: int) -> _Block:
    def paint(image: Image.Image, y: int) -> None:
        _mark(image, (image.width - size) // 2, y, size)

    return _Block(size, 0, paint)


# ---- the address ----


@lru_cache(maxsize=4)  # one panel, its states before and after pairing, and a replay beside them
def _address(width: int, height: int, rotation: int, address: str | None, note: str | None, link: str | None) -> bytes:
    def paint(image: Image.Image) -> None:
        if address is None:
            _nothing(image, note)
        elif link is None:
            _invitation(image, address[:_LINE_LIMIT], note)
        else:
            _welcome(image, address[:_LINE_LIMIT], link, note)

    return _screen_of(width, height, rotation, _NIGHT, paint)


def _nothing(image: Image.Image, note: str | None) -> None:
    base = _base(*image.size)
    room = image.width * 88 // 100

    def plan(scale: int, mark: bool, hint: bool) -> list[_Block]:
        size = max(_LEAST, base * scale // 100)
        blocks = [_marked(size * 3)] if mark else []
        title = _fitted("Nothing to show", (room, image.height), size * 3 // 2, True, size, 1)
        blocks.append(_said("Nothing to show", room, title.size, _INK, size, True, 2))
        if hint:
            blocks.append(_said(note or "Add a picture or an animation.", room, size, _QUIET, size // 2))
        return blocks

    _column(
        image,
        [lambda s: plan(s, True, True), lambda s: plan(s, False, True), lambda s: plan(s, False, False)],
    )


def _invitation(image: Image.Image, address: str, note: str | None) -> None:
    base = _base(*image.size)
    edge = max(1, image.width // 24)
    room = image.width - 2 * edge

    def plan(scale: int, mark: bool, caption: bool, below: bool) -> list[_Block]:
        size = max(_LEAST, base * scale // 100)
        blocks = [_marked(size * 3)] if mark else []
        if caption:
            blocks.append(_said("Open on your phone or computer", room, size, _QUIET, size, max_lines=2))
        blocks.append(_address_field(address, room, image.height, scale, size * 3 // 4))
        if note and below:
            blocks.append(_said(note, room, size * 9 // 10, _FAINT, size * 3 // 4))
        return blocks

    _column(
        image,
        [
            lambda s: plan(s, True, True, True),
            lambda s: plan(s, False, True, True),
            lambda s: plan(s, False, True, False),
            lambda s: plan(s, False, False, False),
        ],
    )


def _address_field(address: str, room: int, height: int, scale: int, above: int) -> _Block:
    """The address in a rounded field, as a browser shows it: the scheme quiet, the rest bright."""
    inset = max(1, room // 24)
    largest = max(_LEAST, min(room, height) * scale // 500)
    lines, size = _address_lines(address, room - 2 * inset, largest)
    line = font.line_height(size)
    field = len(lines) * line + size * 2 // 3
    scheme = len(address.partition("://")[0]) + 3 if "://" in address else 0

    def paint(image: Image.Image, y: int) -> None:
        left = (image.width - room) // 2
        _box(image, (left, y, left + room, y + field), size // 2, _FIELD)
        at = y + (field - len(lines) * line) // 2 + max(0, size // 24)
        quiet = scheme
        for text in lines:
            x = (image.width - font.measure(text, size, True)) // 2
            head, tail = text[:quiet], text[quiet:]
            _text(image, x, at, head, size, _ACCENT, True)
            _text(image, x + font.measure(head, size, True), at, tail, size, _INK, True)
            quiet = max(0, quiet - len(text))
            at += line

    return _Block(field, above, paint)


_TWO_LINE_GAIN = 5  # quarters: an address is broken only for letters at least 5/4 as large
_READABLE = 11  # pixels; below it an address may be broken anywhere, if that makes it half as large again


def _address_lines(address: str, width: int, largest: int) -> tuple[list[str], int]:
    def size_of(lines: list[str]) -> int:
        return next((s for s in _SIZES if s <= largest and all(font.measure(t, s, True) <= width for t in lines)), 0)

    def best(places: Sequence[int]) -> tuple[int, list[str]]:
        options = [[address[:place], address[place:]] for place in places]
        return max(((size_of(lines), lines) for lines in options), key=lambda o: o[0], default=(0, [address]))

    whole = size_of([address])
    start = address.find("://") + 3 if "://" in address else 0
    path = address.find("/", start)
    good = [place for place in (start, path) if 0 < place < len(address) - 1]
    anywhere = [i for i in range(start + 1, len(address) - 1) if address[i] in "/:?#" or address[i - 1] in ".-&="]
    size, lines = best(good)
    if max(size, whole) < min(_READABLE, largest):
        elsewhere = best(anywhere)
        if elsewhere[0] * 2 >= size * 3:
            size, lines = elsewhere
    if whole and size * 4 < whole * _TWO_LINE_GAIN:
        return [address], whole
    if size:
        return lines, size
    return font.wrap(address, width, _LEAST, True, 4), _LEAST


# ---- the address with a symbol to scan ----

_MODULE_LEAST = 2  # pixels; a single one is lost between the camera's own

_SCAN, _OR = "Scan to sign in", "or open it and enter"


def _welcome(image: Image.Image, address: str, link: str, note: str | None) -> None:
    """The symbol and the address: side by side on a wide panel, else below each other; without the symbol where it has no room."""
    code = link.partition("#")[2][:_LINE_LIMIT]
    try:
        symbol = qr.symbol(link)
    except ValueError:  # longer than a symbol holds
        _invitation(image, address, code or note)
        return
    # What a person types; the browser adds the scheme.
    short = address.removeprefix("http://")
    if not (_beside(image, symbol, short, code) or _below(image, symbol, short, code)):
        _invitation(image, address, code or note)


def _beside(image: Image.Image, symbol: qr.Matrix, address: str, code: str) -> bool:
    """Symbol to the left, at most half of the width; the texts in what remains. False on a panel that is not wide enough for that."""
    edge = max(1, image.width // 32)
    module = min(image.width // 2, image.height - 2 * edge) // _symbol_modules(symbol)
    side = module * _symbol_modules(symbol)
    margin = max(edge, (image.height - side) // 3)
    left = margin + side
    room = image.width - left - 2 * edge
    lines_fit = max(font.measure(text, _LEAST, True) for text in (address, code)) <= room - max(1, room // 24) * 2
    if image.width * 100 < image.height * 115 or module < _MODULE_LEAST or not lines_fit:
        return False
    _paint_symbol(image, symbol, module, margin, (image.height - side) // 2)
    beside = Image.new("RGB", (image.width - left, image.height), _NIGHT)
    base = _base(*image.size)

    def plan(scale: int, mark: bool, caption: bool) -> list[_Block]:
        size = max(_LEAST, base * scale // 100)
        blocks = [_marked(size * 3)] if mark else []
        if caption:
            blocks.append(_said(_SCAN, room, size, _QUIET, size, max_lines=2))
        blocks.append(_address_field(address, room, room * 2, scale, size * 3 // 4))
        return [*blocks, *_typed(code, room, size, caption)]

    _column(beside, [lambda s: plan(s, True, True), lambda s: plan(s, False, True), lambda s: plan(s, False, False)])
    image.paste(beside, (left, 0))
    return True


class _Detail(NamedTuple):
    """What stands around a symbol, if its modules are then of `least` pixels or more. `address`: in its field, or as a bare line."""

    least: int
    caption: bool
    address: Literal["field", "line"]
    typed: bool


_DETAILS = (
    _Detail(4, True, "field", True),
    _Detail(4, False, "field", True),
    _Detail(3, True, "field", True),
    _Detail(3, False, "field", True),
    _Detail(3, False, "field", False),
    _Detail(3, False, "line", False),
    _Detail(2, False, "field", True),
    _Detail(2, False, "line", False),
)
"""From much to little: a symbol that is easy to scan matters more than the words around it."""


def _below(image: Image.Image, symbol: qr.Matrix, address: str, code: str) -> bool:
    """Symbol above, texts around it: as many as leave the modules large enough. False when nothing fits."""
    base = _base(*image.size)
    edge = max(1, image.width // 24)
    room = image.width - 2 * edge
    largest = room // _symbol_modules(symbol)

    def blocks_of(detail: _Detail, module: int, scale: int) -> list[_Block]:
        size = max(_LEAST, base * scale // 100)
        blocks = [_said(_SCAN, room, size, _QUIET, 0, max_lines=1)] if detail.caption else []
        blocks.append(_symbol_block(symbol, module, size // 2))
        if detail.address == "field":
            blocks.append(_address_field(address, room, image.height, scale, size // 2))
        else:
            blocks.append(_line(address, room, size, _INK, size // 4))
        return [*blocks, *_typed(code, room, size, detail.caption)] if detail.typed else blocks

    for detail in _DETAILS:
        free = image.height * (4 if detail.typed else 2) // 100
        for module in range(largest, detail.least - 1, -1):
            for scale in _SCALES:
                blocks = blocks_of(detail, module, scale)
                if _total(blocks) <= image.height - free:
                    _stack(image, blocks)
                    return True
    return False


def _line(text: str, room: int, size: int, colour: Colour, above: int) -> _Block:
    """A single bold line, as large as it fits."""
    fitted = _fitted(text, (room, font.line_height(size)), size, True, _LEAST, 1)
    return _said(text, room, fitted.size, colour, above, True, 1)


def _typed(code: str, room: int, size: int, caption: bool) -> list[_Block]:
    """The code for those who cannot scan."""
    if not caption:
        return [_line(code, room, size, _ACCENT, size // 3)]
    return [_said(_OR, room, size * 4 // 5, _FAINT, size // 2, max_lines=2), _line(code, room, size, _ACCENT, 0)]


def _symbol_modules(symbol: qr.Matrix) -> int:
    """Modules along a side, with the quiet zone."""
    return len(symbol) + 2 * qr.QUIET_ZONE


def _symbol_block(symbol: qr.Matrix, module: int, above: int) -> _Block:
    side = module * _symbol_modules(symbol)

    def paint(image: Image.Image, y: int) -> None:
        _paint_symbol(image, symbol, module, (image.width - side) // 2, y)

    return _Block(side, above, paint)


def _paint_symbol(image: Image.Image, symbol: qr.Matrix, module: int, left: int, top: int) -> None:
    """A light card that is the quiet zone, rounded as far as that costs nothing, and the dark modules on it, `module` pixels each."""
    side = module * _symbol_modules(symbol)
    _box(image, (left, top, left + side, top + side), module * 2, _INK)
    rows = (b"".join(bytes((255 * dark,)) * module for dark in row) * module for row in symbol)
    size = module * len(symbol)
    dark = Image.frombytes("L", (size, size), b"".join(rows))
    image.paste(_NIGHT, (left + module * qr.QUIET_ZONE, top + module * qr.QUIET_ZONE), dark)


# ---- an item that is not ready ----


@lru_cache(maxsize=4)
def _preparing(width: int, height: int, rotation: int, title: str, note: str | None) -> bytes:
    def paint(image: Image.Image) -> None:
        base = _base(*image.size)
        room = image.width * 88 // 100

        def plan(scale: int, dots: bool, below: bool) -> list[_Block]:
            size = max(_LEAST, base * scale // 100)
            blocks = [_dots(size)] if dots else []
            name = _fitted(title[:_LINE_LIMIT], (room, image.height), size * 3 // 2, True, size, 3)
            blocks.append(_said(title, room, name.size, _INK, size, True))
            blocks.append(_said("is being prepared", room, size, _QUIET, size // 4))
            if note and below:
                blocks.append(_said(note, room, size * 9 // 10, _FAINT, size * 3 // 4))
            return blocks

        _column(
            image,
            [lambda s: plan(s, True, True), lambda s: plan(s, True, False), lambda s: plan(s, False, False)],
        )

    return _screen_of(width, height, rotation, _NIGHT, paint)


def _dots(size: int) -> _Block:
    """Three pixels of the mark in a row, from faint to bright."""
    pixel = max(2, size * 3 // 4)

    def paint(image: Image.Image, y: int) -> None:
        x = (image.width - pixel * 4) // 2
        for step, colour in enumerate((_TRAIL[1], _TRAIL[4], _TRAIL[8])):
            left = x + step * pixel * 3 // 2
            _box(image, (left, y, left + pixel, y + pixel), max(1, pixel // 4), colour)

    return _Block(pixel, 0, paint)


# ---- messages over the media ----


class _Layer(NamedTuple):
    """What lies over rows top..bottom of a frame: colours, and how much of them."""

    top: int
    bottom: int
    colours: Image.Image
    mask: Image.Image


def _under(layer: _Layer, frame: bytes, width: int) -> bytes:
    """The frame with a layer over it; only the rows that the layer touches are taken apart."""
    if layer.bottom <= layer.top:
        return frame
    start, end = layer.top * width * 2, layer.bottom * width * 2
    rows = unpack_rgb565(frame[start:end], width, layer.bottom - layer.top)
    rows.paste(layer.colours, (0, 0), layer.mask)
    return b"".join((frame[:start], pack_rgb565(rows), frame[end:]))


class _Card(NamedTuple):
    overlay: Overlay
    text: _Fitted
    height: int


@lru_cache(maxsize=4)  # at most 600 kB each on the largest panel: the messages now, those before, and a replay's
def _cards(width: int, height: int, rotation: int, overlays: tuple[Overlay, ...], hidden: int) -> _Layer:
    """Cards from the bottom upward, the most urgent lowest, where it never moves when others come and go."""
    size = _upright(width, height, rotation)
    colours = Image.new("RGB", size, _CARD)
    mask = Image.new("L", size, 0)
    margin = max(1, min(size) // 32)
    cards = _stacked(overlays, size, margin)
    y = size[1] - margin
    for card in cards:
        y -= card.height
        _paint_card(colours, mask, card, (margin, y, size[0] - margin, y + card.height))
        y -= margin
    hidden += len(overlays) - len(cards)
    if hidden:
        _paint_count(colours, mask, f"+{hidden} more", y, margin)
    colours, mask = _turned(colours, rotation), _turned(mask, rotation)
    box = mask.getbbox()
    if box is None:
        return _Layer(0, 0, colours, mask)
    rows = (0, box[1], width, box[3])
    return _Layer(box[1], box[3], colours.crop(rows), mask.crop(rows))


def _stacked(overlays: Sequence[Overlay], size: tuple[int, int], margin: int) -> list[_Card]:
    """As many cards as leave a third of the picture free, at least one: all in one size, the largest that fits. If
    none does, each is cut to its share, and the most urgent has what the others leave."""
    width, base = size[0] - 2 * margin, _card_base(size)
    sizes = sorted({base, max(_LEAST, base * 5 // 6), max(_LEAST, base * 2 // 3)}, reverse=True)
    for count in range(len(overlays), 0, -1):
        room = size[1] * (50 if count == 1 else 66) // 100 - margin * count
        for text_size in sizes:
            cards = [_card(overlay, width, room, base, text_size) for overlay in overlays[:count]]
            cut = any(card.text.lines[-1:] and card.text.lines[-1].endswith("…") for card in cards)
            if not cut and sum(card.height for card in cards) <= room:
                return cards
        share, least = room // count, sizes[-1]
        if count == 1 or share >= font.line_height(least) + base * 2 // 3:
            rest = [_card(overlay, width, share, base, least) for overlay in overlays[1:count]]
            return [_card(overlays[0], width, room - sum(c.height for c in rest), base, least), *rest]
    return []


def _card_base(size: tuple[int, int]) -> int:
    return max(_LEAST, min(30, (size[0] + size[1]) // 27))


def _card(overlay: Overlay, width: int, height: int, base: int, size: int) -> _Card:
    room = width - _indent(overlay, base) - base * 3 // 4
    count = max(1, (height - base * 2 // 3) // font.line_height(size))
    text = _laid(font.wrap(overlay.text[:_TEXT_LIMIT], room, size, False, count), size)
    return _Card(overlay, text, max(text.height, font.line_height(size)) + base * 2 // 3)


def _indent(overlay: Overlay, size: int) -> int:
    return size * 9 // 4 if overlay.priority == "warning" else size * 5 // 4


def _paint_card(colours: Image.Image, mask: Image.Image, card: _Card, box: tuple[int, int, int, int]) -> None:
    left, top, _, bottom = box
    base = _card_base(mask.size)
    rounded_box(mask, box, base * 3 // 4, _CARD_LEVEL)
    ink = Image.new("L", mask.size, 0)
    line = font.line_height(card.text.size)
    y = top + (bottom - top - card.text.height) // 2
    for text in card.text.lines:
        font.draw(ink, (left + _indent(card.overlay, base), y), text, card.text.size)
        y += line
    _solid(colours, mask, ink, _INK)
    sign = Image.new("L", mask.size, 0)
    if card.overlay.priority == "warning":
        middle = top + (bottom - top - font.line_height(base * 5 // 4)) // 2
        font.draw(sign, (left + base // 2, middle), "⚠", base * 5 // 4)
        _solid(colours, mask, sign, _AMBER)
    else:
        bar = max(1, base // 6)
        inset = base // 2
        rounded_box(sign, (left + inset, top + inset, left + inset + bar, bottom - inset), bar)
        _solid(colours, mask, sign, _INFO)


def _paint_count(colours: Image.Image, mask: Image.Image, text: str, bottom: int, margin: int) -> None:
    size = max(_LEAST, min(22, (mask.width + mask.height) // 34))
    width, height = font.measure(text, size, True) + size * 5 // 4, font.line_height(size) + size // 4
    left = mask.width - margin - width
    rounded_box(mask, (left, bottom - height, left + width, bottom), height // 2, _CARD_LEVEL)
    ink = Image.new("L", mask.size, 0)
    font.draw(ink, (left + size * 5 // 8, bottom - height + size // 8), text, size, True)
    _solid(colours, mask, ink, _QUIET)


def _solid(colours: Image.Image, mask: Image.Image, ink: Image.Image, colour: Colour) -> None:
    """Put opaque ink on a layer: its colour, and the layer's full strength where it lies."""
    colours.paste(colour, (0, 0), ink)
    mask.paste(255, (0, 0), ink)


# ---- a critical message: nothing else is to be seen ----


@lru_cache(maxsize=4)
def _alarm(width: int, height: int, rotation: int, text: str, others: int) -> bytes:
    def paint(image: Image.Image) -> None:
        _paint_alarm(image, text[:_TEXT_LIMIT], others)

    return _screen_of(width, height, rotation, _ALARM, paint)


def _paint_alarm(image: Image.Image, text: str, others: int) -> None:
    width, height = image.size
    band = max(2, min(width, height) // 16)
    _stripes(image, 0, band)
    _stripes(image, height - band, height)
    edge = max(2, width // 20)
    top, bottom = band + band // 2, height - band - band // 2
    sign = max(_LEAST, min(96, min(width, height) // 4))
    if bottom - top > sign * 3:
        x = (width - font.measure("⚠", sign)) // 2
        _text(image, x, top - sign // 10, "⚠", sign, (255, 255, 255))
        top += font.line_height(sign) * 9 // 10
    if others:
        size = max(_LEAST, min(26, (width + height) // 32))
        line = font.line_height(size)
        if bottom - top > line * 3:
            bottom -= line
            _centred(image, bottom, [f"+{others} more"], size, (255, 200, 200))
    room = (width - 2 * edge, bottom - top)
    largest = min(96, max(_LEAST, height // 4))
    least = max(_LEAST, min(14, _base(width, height) * 2 // 3))
    bold = True
    fitted = _fitted(text, room, largest, bold, min(18, largest))
    if fitted.size < 18 or fitted.height > room[1] or (fitted.lines[-1:] and fitted.lines[-1].endswith("…")):
        bold = False  # in small type the counters of bold letters close
        fitted = _fitted(text, room, min(largest, 20), bold, least)
    lines = _balanced(fitted.lines, text, room[0], fitted.size, bold)
    y = top + max(0, (room[1] - fitted.height) // 2)
    _centred(image, y, lines, fitted.size, (255, 255, 255), bold)


def _stripes(image: Image.Image, top: int, bottom: int) -> None:
    """Slanted hazard stripes between two rows."""
    height = bottom - top
    mask = Image.new("L", (image.width, height), 0)
    pitch = height * 2
    lines = [
        ((x + height) * SUBPIXELS, -height * SUBPIXELS, (x - height) * SUBPIXELS, 2 * height * SUBPIXELS, height * 22)
        for x in range(-pitch, image.width + 2 * pitch, pitch)
    ]
    stroke(mask, lines)
    image.paste(_ALARM_DARK, (0, top), mask)
