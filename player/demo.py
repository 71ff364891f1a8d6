"""Media that pixelog draws itself, so that an empty installation has something to show.

What lives here: makers of real media files (GIF, animated WebP, APNG, PNG, JPEG), each a function of the size alone and
the same bytes at every call with the same Pillow. What must not: files on disk, the network, a clock, randomness; and
nothing that plays or stores them.

They are examples of what the player meets: a shared palette, unequal delays, transparency in time, a still.
"""

import io
from collections.abc import Callable
from math import cos, pi, sin

from PIL import Image

from player import font
from player.strokes import SUBPIXELS, Segment, cover, flood, rounded_box, stroke

Colour = tuple[int, int, int]

_INK: Colour = (240, 244, 248)
_NIGHT: Colour = (12, 20, 32)
_ACCENT: Colour = (92, 220, 200)
_AMBER: Colour = (255, 190, 70)


def _sub(value: float) -> int:
    return round(value * SUBPIXELS)


def _line(x0: float, y0: float, x1: float, y1: float, thickness: float) -> Segment:
    return _sub(x0), _sub(y0), _sub(x1), _sub(y1), max(24, _sub(thickness / 2))


def _dot(x: float, y: float, radius: float) -> Segment:
    return _line(x, y, x, y, radius * 2)


def _ink(image: Image.Image, segments: list[Segment], colour: Colour, level: int = 255) -> None:
    mask = Image.new("L", image.size, 0)
    stroke(mask, segments)
    if level < 255:
        mask = mask.point([value * level // 255 for value in range(256)])
    image.paste(colour, (0, 0), mask)


def _words(image: Image.Image, y: int, text: str, size: int, colour: Colour, bold: bool = False, level: int = 255) -> None:
    mask = Image.new("L", image.size, 0)
    font.draw(mask, ((image.width - font.measure(text, size, bold)) // 2, y), text, size, bold)
    image.paste(colour, (0, 0), mask if level == 255 else mask.point([v * level // 255 for v in range(256)]))


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def _along(stops: tuple[Colour, ...], share: float) -> Colour:
    """The colour at `share` 0..1 of the way through the stops."""
    place = min(max(share, 0.0), 0.9999) * (len(stops) - 1)
    index = int(place)
    return _mix(stops[index], stops[index + 1], place - index)


def _gradient(width: int, height: int, stops: tuple[Colour, ...]) -> Image.Image:
    """From top to bottom, with an ordered dither so that sixteen-bit colour shows no bands."""
    matrix = (0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5)
    image = Image.new("RGB", (width, height))
    for y in range(height):
        place = min(y / max(1, height - 1), 0.9999) * (len(stops) - 1)
        index = int(place)
        a, b, share = stops[index], stops[index + 1], place - index
        exact = [a[i] + (b[i] - a[i]) * share for i in range(3)]
        row = bytes(
            min(255, int(value + (matrix[(y & 3) * 4 + (x & 3)] - 7.5) / 2 + 0.5) if value > 4 else int(value))
            for x in range(4)
            for value in exact
        )
        line = (row * (width // 4 + 1))[: width * 3]
        image.paste(Image.frombytes("RGB", (width, 1), line), (0, y))
    return image


def _gif(frames: list[Image.Image], durations_ms: list[int], colours: int = 128) -> bytes:
    """One palette for all frames, taken from a few of them side by side, and no dither: what stands still stays equal."""
    sample = frames[:: max(1, len(frames) // 6)]
    width, height = frames[0].size
    sheet = Image.new("RGB", (width * len(sample), height))
    for index, frame in enumerate(sample):
        sheet.paste(frame, (index * width, 0))
    palette = sheet.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    file = io.BytesIO()
    flat[0].save(file, "GIF", save_all=True, append_images=flat[1:], duration=durations_ms, loop=0, optimize=False, disposal=1)
    return file.getvalue()


# ---- clock ----

CLOCK_FRAMES = 60


def clock(width: int = 240, height: int = 320) -> bytes:
    """A clock in a GIF: one turn of the second hand in 60 frames of 100 ms. It decorates; it does not tell the time."""
    dial = _dial(width, height)
    x, y, radius = width / 2, height / 2, min(width, height) * 0.44
    frames: list[Image.Image] = []
    for index in range(CLOCK_FRAMES):
        frame = dial.copy()
        turn = index / CLOCK_FRAMES
        for share, reach, thick, colour in (
            ((10 + (9 + turn) / 60) / 12, 0.50, 0.075, _INK),
            ((9 + turn) / 60, 0.74, 0.050, _INK),
        ):
            angle = share * 2 * pi
            dx, dy = sin(angle) * radius, -cos(angle) * radius
            _ink(frame, [_line(x, y, x + dx * reach, y + dy * reach, radius * thick)], colour)
        angle = turn * 2 * pi
        dx, dy = sin(angle) * radius, -cos(angle) * radius
        _ink(frame, [_line(x - dx * 0.16, y - dy * 0.16, x + dx * 0.82, y + dy * 0.82, radius * 0.022)], _AMBER)
        _ink(frame, [_dot(x, y, radius * 0.06)], _AMBER)
        _ink(frame, [_dot(x, y, radius * 0.024)], _NIGHT)
        frames.append(frame)
    return _gif(frames, [100] * CLOCK_FRAMES)


def _dial(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), _NIGHT)
    x, y, radius = width / 2, height / 2, min(width, height) * 0.44
    _ink(image, [_dot(x, y, radius * 1.06)], (34, 52, 74))
    _ink(image, [_dot(x, y, radius * 1.02)], (20, 32, 48))
    for mark in range(60):
        angle = mark * pi / 30
        dx, dy = sin(angle) * radius, -cos(angle) * radius
        if mark % 5:
            _ink(image, [_dot(x + dx * 0.92, y + dy * 0.92, radius * 0.012)], (84, 106, 132))
        else:
            long = 0.80 if mark % 15 == 0 else 0.85
            colour = _ACCENT if mark % 15 == 0 else (150, 170, 192)
            _ink(
                image,
                [_line(x + dx * long, y + dy * long, x + dx * 0.93, y + dy * 0.93, radius * 0.034)],
                colour,
            )
    size = max(8, round(radius * 0.15))
    mask = Image.new("L", image.size, 0)
    font.draw(mask, ((width - font.measure("pixelog", size)) // 2, round(y + radius * 0.34)), "pixelog", size)
    image.paste((120, 142, 166), (0, 0), mask)
    return image


# ---- plasma ----

PLASMA_FRAMES = 48

_PLASMA = (
    (10, 12, 44), (36, 26, 110), (116, 36, 150), (222, 60, 120), (255, 128, 88), (255, 208, 128),
    (255, 128, 88), (222, 60, 120), (116, 36, 150), (36, 26, 110), (10, 12, 44),
)  # fmt: skip


def plasma(width: int = 240, height: int = 320) -> bytes:
    """Slow waves of light in an animated WebP: 48 frames of 80 ms that end where they begin."""
    palette = b"".join(bytes(_along(_PLASMA, i / 255)) for i in range(256))
    small = (max(2, width // 3), max(2, height // 3))
    wave = [round(sin(i * 2 * pi / 1024) * 1000) for i in range(1024)]
    frames: list[Image.Image] = []
    for index in range(PLASMA_FRAMES):
        turn = index * 1024 // PLASMA_FRAMES
        field = Image.frombytes("L", small, _waves(small, turn, wave)).resize((width, height), Image.Resampling.BICUBIC)
        field.putpalette(palette)
        frames.append(field.convert("RGB"))
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=80, loop=0, quality=88, method=2)
    return file.getvalue()


def _waves(size: tuple[int, int], turn: int, wave: list[int]) -> bytes:
    """A field of 0..255: each wave moves by whole turns over the loop, so that its end meets its beginning."""
    width, height = size
    scale = 1024 / max(width, height)
    across = [wave[int(x * scale * 0.9 + turn) & 1023] for x in range(width)]
    pixels = bytearray()
    for y in range(height):
        down = wave[int(y * scale * 0.8 - turn) & 1023] + 4000
        slant = y * scale * 0.6 + turn
        swirl = wave[int(y * scale * 0.5 + 2 * turn) & 1023] // 4
        pixels += bytes(
            (across[x] + down + wave[int(x * scale * 0.7 + slant) & 1023] + wave[int(x * scale + swirl - slant) & 1023])
            * 255
            // 8001
            for x in range(width)
        )
    return bytes(pixels)


# ---- bounce ----

BOUNCE_FRAMES = 24


def bounce(width: int = 240, height: int = 320) -> bytes:
    """A ball in an APNG: 24 frames, slow at the top and quick at the floor by unequal delays (40, 50 and 80 ms)."""
    floor = height * 0.80
    radius = min(width, height) * 0.13
    scene = _gradient(width, height, ((24, 22, 64), (60, 44, 112), (140, 78, 140), (244, 150, 130)))
    ground = Image.new("L", (width, height), 0)
    ground.paste(255, (0, round(floor - radius * 0.1), width, height))
    scene.paste(_gradient(width, height, ((60, 30, 80), (46, 24, 70), (46, 24, 70), (26, 14, 48))), (0, 0), ground)
    ball = _ball(radius)
    frames: list[Image.Image] = []
    durations: list[int] = []
    for index in range(BOUNCE_FRAMES):
        share = index / BOUNCE_FRAMES
        rise = 1 - (2 * share - 1) ** 2
        squash = max(0.0, 1 - rise * 9) * 0.20
        y = floor - radius * (1 - squash) - rise * height * 0.52
        x = width / 2 + sin(share * 2 * pi) * width * 0.16
        frame = scene.copy()
        reach = radius * (1.05 - 0.4 * rise)
        _shade(frame, x, floor + radius * 0.12, reach, reach * 0.16, round(200 - 130 * rise))
        size = (round(2 * radius * (1 + squash)), round(2 * radius * (1 - squash)))
        place = (round(x - size[0] / 2), round(y - size[1] / 2))
        lit, outline = (part.resize(size, Image.Resampling.LANCZOS) for part in ball)
        frame.paste(lit, place, outline)
        frames.append(frame)
        durations.append(80 if rise > 0.85 else 50 if rise > 0.4 else 40)
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], duration=durations, loop=0, compress_level=4)
    return file.getvalue()


def _ball(radius: float) -> tuple[Image.Image, Image.Image]:
    """A lit ball and its outline, four times as large as it is shown: discs of rising light, each nearer to the lamp."""
    large = radius * 4
    side = round(large * 2) + 4
    stops = ((206, 52, 56), (238, 92, 52), (255, 150, 60), (255, 206, 104), (255, 246, 214))
    image = Image.new("RGB", (side, side), stops[0])
    for step in range(1, 40):
        share = step / 39
        x = side / 2 - large * 0.30 * share
        y = side / 2 - large * 0.36 * share
        _ink(image, [_dot(x, y, large * (1 - share * 0.88))], _along(stops, share**1.2))
    mask = Image.new("L", (side, side), 0)
    stroke(mask, [_dot(side / 2, side / 2, large)])
    return image, mask


def _shade(image: Image.Image, x: float, y: float, wide: float, low: float, level: int) -> None:
    """A soft ellipse of shadow."""
    rows = [row / 4 - 1 for row in range(9)]
    for step in range(4):
        share = 1 - step * 0.16
        lines = [
            _line(x - half, y + row * low * share, x + half, y + row * low * share, low * 0.5)
            for row in rows
            for half in [wide * share * (1 - row * row) ** 0.5]
        ]
        _ink(image, lines, (14, 6, 30), level // 3)


# ---- test card ----


def colour_card(width: int = 240, height: int = 320) -> bytes:
    """A still for checking a panel: its edges, its colours, its greys, its squareness, and its size in figures."""
    image = Image.new("RGB", (width, height), (24, 28, 34))
    cell = max(4, min(width, height) // 12)
    for x in range((width % cell) // 2, width, cell):
        image.paste((60, 68, 80), (x, 0, x + 1, height))
    for y in range((height % cell) // 2, height, cell):
        image.paste((60, 68, 80), (0, y, width, y + 1))
    inset = cell
    bars = ((255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0))
    top, middle = inset, height * 46 // 100
    across = width - 2 * inset
    for index, colour in enumerate(bars):
        left = inset + index * across // len(bars)
        image.paste(colour, (left, top, inset + (index + 1) * across // len(bars), middle))
    for index in range(16):
        left = inset + index * across // 16
        grey = index * 17
        image.paste((grey, grey, grey), (left, middle, inset + (index + 1) * across // 16, middle + 2 * cell))
    ramp = middle + 2 * cell
    for step, channel in enumerate(((1, 0, 0), (0, 1, 0), (0, 0, 1))):
        for x in range(across):
            light = x * 255 // max(1, across - 1)
            colour = (channel[0] * light, channel[1] * light, channel[2] * light)
            y = ramp + step * cell * 2 // 3
            image.paste(colour, (inset + x, y, inset + x + 1, y + cell * 2 // 3))
    _card_label(image, width, height, inset, ramp + 2 * cell)
    for box in ((0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height)):
        image.paste((255, 255, 255), box)
    arm = cell * 3 // 4
    for x, y, colour in (
        (0, 0, (255, 60, 60)),
        (width - arm, 0, (60, 255, 60)),
        (0, height - arm, (80, 120, 255)),
        (width - arm, height - arm, (255, 220, 60)),
    ):
        image.paste(colour, (x, y, x + arm, y + arm))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6)
    return file.getvalue()


def _card_label(image: Image.Image, width: int, height: int, inset: int, top: int) -> None:
    room = (height - inset) - top
    mask = Image.new("L", image.size, 0)
    rounded_box(mask, (inset, top, width - inset, height - inset), inset // 2)
    image.paste((10, 12, 16), (0, 0), mask)
    radius = room * 0.40
    x, y = inset + room / 2, top + room / 2
    ring = [
        _line(
            x + cos(a * pi / 24) * radius,
            y + sin(a * pi / 24) * radius,
            x + cos((a + 1) * pi / 24) * radius,
            y + sin((a + 1) * pi / 24) * radius,
            2,
        )
        for a in range(48)
    ]
    _ink(image, [*ring, _line(x - radius, y, x + radius, y, 1.4), _line(x, y - radius, x, y + radius, 1.4)], _ACCENT)
    left = round(inset + room)
    size = next(
        (s for s in range(min(44, room // 2), 7, -1) if font.measure(f"{width}×{height}", s, True) < width - inset - left),
        8,
    )
    small = max(8, size * 6 // 10)
    y0 = top + (room - font.line_height(size) - font.line_height(small)) // 2
    label = Image.new("L", image.size, 0)
    font.draw(label, (left, y0), f"{width}×{height}", size, True)
    image.paste(_INK, (0, 0), label)
    label = Image.new("L", image.size, 0)
    font.draw(label, (left, y0 + font.line_height(size)), "pixelog", small)
    image.paste((150, 170, 192), (0, 0), label)


# ---- sunrise ----


def sunrise(width: int = 240, height: int = 320) -> bytes:
    """A drawn landscape in a JPEG: a low sun behind hills in haze."""
    sky = ((28, 36, 84), (84, 62, 128), (190, 92, 128), (250, 146, 104), (255, 208, 140), (255, 232, 180))
    image = _gradient(width, height, sky)
    x, y, radius = width * 0.62, height * 0.50, min(width, height) * 0.16
    for step in range(24, 0, -1):
        _ink(image, [_dot(x, y, radius * (1 + step * step * 0.0028))], (255, 214, 150), 9 + (24 - step) // 4)
    _ink(image, [_dot(x, y, radius)], (255, 246, 214))
    clouds = ((0.16, 0.20, 0.22), (0.30, 0.225, 0.16), (0.72, 0.30, 0.2), (0.86, 0.285, 0.12), (0.40, 0.39, 0.14))
    for left, up, wide in clouds:
        line = _line(width * left, height * up, width * (left + wide), height * up, height * 0.014)
        _ink(image, [line], (255, 214, 190), 120)
    for bird, (bx, by) in enumerate(((0.24, 0.33), (0.31, 0.30), (0.36, 0.345))):
        wing = width * (0.026 - bird * 0.004)
        px, py = width * bx, height * by
        _ink(
            image,
            [_line(px - wing, py - wing * 0.5, px, py, 1.6), _line(px, py, px + wing, py - wing * 0.5, 1.6)],
            (70, 44, 92),
        )
    for layer, colour in enumerate(((226, 128, 128), (176, 92, 124), (118, 66, 116), (66, 44, 92), (30, 26, 60))):
        _hill(image, layer, colour, 0.52 + layer * 0.085)
    for index, (place, size) in enumerate(((0.08, 0.13), (0.17, 0.10), (0.88, 0.15), (0.80, 0.09), (0.95, 0.11))):
        _fir(image, width * place, height * (0.935 + 0.012 * (index % 3)), height * size, (16, 16, 42))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()


def _ridge(share: float, layer: int) -> float:
    phase = layer * 1.9 + 0.6
    return (
        sin(share * pi * (1.6 + layer * 0.35) + phase) * 0.032
        + sin(share * pi * (4.1 + layer * 0.6) + phase * 2.3) * 0.014
        + sin(share * pi * 9.7 + phase * 3.1) * 0.004
    )


def _hill(image: Image.Image, layer: int, colour: Colour, level: float) -> None:
    """A ridge and all below it, lighter at its foot where the haze lies; edges smoothed by the share of a pixel."""
    width, height = image.size
    mask = Image.new("L", image.size, 0)
    for x in range(width):
        top = height * (level - _ridge(x / width, layer))
        row = int(top)
        mask.paste(255, (x, row + 1, x + 1, height))
        if 0 <= row < height:
            mask.putpixel((x, row), round((1 - (top - row)) * 255))
    haze = _mix(colour, (255, 190, 160), 0.34 - layer * 0.07)
    first = max(0, min(height - 1, int(height * (level - 0.05))))
    depth = max(1, int(height * 0.16))
    paint = Image.new("RGB", image.size, haze)
    paint.paste(_gradient(width, depth, (colour, haze)), (0, first))
    image.paste(paint, (0, 0), mask)


def _fir(image: Image.Image, x: float, foot: float, tall: float, colour: Colour) -> None:
    mask = Image.new("L", image.size, 0)
    stroke(mask, [_line(x, foot, x, foot - tall * 0.9, max(1.6, tall * 0.05))])
    buffer = bytearray(mask.tobytes())
    for low, high, reach in ((0.08, 0.50, 0.27), (0.30, 0.72, 0.21), (0.52, 1.0, 0.14)):
        corners = ((x - reach * tall, foot - low * tall), (x + reach * tall, foot - low * tall), (x, foot - high * tall))
        sides = [_line(*corners[i], *corners[(i + 1) % 3], 1.0) for i in range(3)]
        cover(buffer, mask.width, mask.height, sides)
        flood(buffer, mask.width, mask.height, sides)
    mask.frombytes(bytes(buffer))
    image.paste(colour, (0, 0), mask)


# ---- hello ----


def hello(width: int = 240, height: int = 320) -> bytes:
    """A title in a GIF: the mark lights up, the name is typed, the line below fades in, and it stays for a while."""
    name, lines = "pixelog", ("a small display", "that remembers")
    size = next((s for s in range(64, 8, -1) if font.measure(name, s, True) <= width * 80 // 100 and s <= height // 4), 8)
    small = max(8, size * 40 // 100)
    mark = max(9, min(width, height) * 26 // 100)
    total = mark + size // 2 + font.line_height(size) + 2 * font.line_height(small)
    top = max(0, (height - total) // 2)
    frames: list[Image.Image] = []
    durations: list[int] = []
    below = top + mark + size // 2
    left = (width - font.measure(name, size, True)) // 2
    ground = _backdrop(width, height)
    for step in range(9 + len(name) + 8):
        frame = ground.copy()
        _trail(frame, (width - mark) // 2, top, mark, min(9, step + 1))
        typed = max(0, min(len(name), step - 8))
        label = Image.new("L", frame.size, 0)
        font.draw(label, (left, below), name[:typed], size, True)
        frame.paste(_INK, (0, 0), label)
        if 8 <= step < 9 + len(name):
            x = left + font.measure(name[:typed], size, True) + (size // 16 if typed else 0)
            caret = Image.new("L", frame.size, 0)
            base = below + font.ascent(size)
            rounded_box(caret, (x, base - font.cap_height(size), x + max(2, size // 12), base), size)
            frame.paste(_AMBER, (0, 0), caret)
        fade = max(0, step - 8 - len(name)) * 255 // 8
        for row, line in enumerate(lines if fade else ()):
            y = below + font.line_height(size) + row * font.line_height(small)
            _words(frame, y, line, small, (158, 178, 200), level=fade)
        frames.append(frame)
        durations.append(90 if step < 9 else 130 if step < 9 + len(name) else 70)
    durations[-1] = 2500
    return _gif(frames, durations, 96)


def _backdrop(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), _NIGHT)


def _trail(image: Image.Image, x: int, y: int, size: int, lit: int) -> None:
    """The mark, three by three; the first `lit` pixels are on, the newest is warm and those before it fade."""
    tones = (
        (255, 196, 84),
        (160, 240, 216),
        (92, 220, 200),
        (70, 178, 170),
        (52, 142, 146),
        (40, 114, 126),
        (32, 92, 108),
        (30, 72, 92),
        (28, 56, 76),
    )
    for index in range(9):
        row, column = divmod(index, 3)
        column = 2 - column if row == 1 else column
        colour = tones[lit - 1 - index] if index < lit else (20, 30, 44)
        left, right = x + column * size // 3, x + (column + 1) * size // 3
        above, under = y + row * size // 3, y + (row + 1) * size // 3
        gap = max(1, size // 18)
        mask = Image.new("L", image.size, 0)
        rounded_box(mask, (left, above, right - gap, under - gap), max(1, size // 14))
        image.paste(colour, (0, 0), mask)


Maker = Callable[..., bytes]
"""maker(width=240, height=320) -> the bytes of a media file."""

DEMO: tuple[tuple[str, Maker], ...] = (
    ("hello.gif", hello),
    ("clock.gif", clock),
    ("plasma.webp", plasma),
    ("sunrise.jpg", sunrise),
    ("bounce.png", bounce),
    ("test-card.png", colour_card),
)
"""The demonstration in playing order: file name and maker."""
