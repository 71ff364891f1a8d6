"""The Linux framebuffer as a panel: rows of pixels copied into the mapped device.

Here: what sysfs tells about a framebuffer, and the two pixel formats that screens of this kind have. Not
here: the console that may share the screen; hiding its cursor is the business of the machine's set-up.

Source: the kernel's attributes of /sys/class/graphics/fb*: `virtual_size` "W,H" in pixels,
`bits_per_pixel`, `stride` in bytes, `pan` "X,Y" (the part of the virtual screen that is visible), `modes`
such as "U:240x320p-0". Pixels are little-endian: RGB565, or XRGB8888, whose bytes are blue, green, red,
unused.
"""

import mmap
import os
import re
from array import array
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from player.panels.panel import PanelUnavailable, check_show
from player.panels.simulated import SimulatedPanel
from player.pixels import Rect, cut, unpack_rgb565

# A screen beyond this is refused: a frame of 4096 x 2160 has 18 MB already, which no small device moves.
PIXELS_MAX = 4096 * 2160

_MEND_GROUP = "Let this user write to it: `sudo usermod -aG video $USER`, then log in again."
_MEND_NONE = "Connect a screen, or load the kernel driver of the panel (for SPI panels: dtoverlay=mipi-dbi-spi)."
_MEND_FORMAT = "Set the screen to 16 or 32 bits per pixel (framebuffer_depth=16 in config.txt, or fbset)."


class FramebufferPlace(Struct, frozen=True, kw_only=True):
    """Where the device is and where its facts are; both can be ordinary files."""

    device: str = "/dev/fb0"
    facts: str = "/sys/class/graphics/fb0"

    def present(self) -> bool:
        """Whether there is a framebuffer at all."""
        return Path(self.device).exists() and Path(self.facts, "virtual_size").exists()


class Geometry(Struct, frozen=True, kw_only=True):
    """The visible part of a framebuffer. `start_bytes` is where its top left pixel lies in the device."""

    width: int
    height: int
    bits_per_pixel: int
    stride_bytes: int
    start_bytes: int


def read_geometry(place: FramebufferPlace) -> Geometry:
    """What sysfs says. PanelUnavailable: no framebuffer, or one in a format that is not spoken here."""
    try:
        virtual_width, virtual_height = _pair(place, "virtual_size")
        bits_per_pixel = int(_fact(place, "bits_per_pixel"))
        stride_bytes = int(_fact(place, "stride"))
        pan_x, pan_y = _pair(place, "pan") if Path(place.facts, "pan").exists() else (0, 0)
    except FileNotFoundError as error:
        raise PanelUnavailable("This machine has no framebuffer.", _MEND_NONE) from error
    except (OSError, ValueError) as error:
        raise PanelUnavailable(f"The framebuffer does not describe itself ({error}).", _MEND_NONE) from error
    if bits_per_pixel not in (16, 32):
        raise PanelUnavailable(f"The framebuffer has {bits_per_pixel} bits per pixel.", _MEND_FORMAT)
    width, height = _mode(place) or (virtual_width, virtual_height)
    fits = width + pan_x <= virtual_width and height + pan_y <= virtual_height
    if not fits or stride_bytes < virtual_width * bits_per_pixel // 8 or not 0 < width * height <= PIXELS_MAX:
        raise PanelUnavailable("The framebuffer describes itself in a way that does not add up.", _MEND_NONE)
    return Geometry(
        width=width,
        height=height,
        bits_per_pixel=bits_per_pixel,
        stride_bytes=stride_bytes,
        start_bytes=pan_y * stride_bytes + pan_x * bits_per_pixel // 8,
    )


class FramebufferPanel:
    """Implements `Panel` over a mapped framebuffer, never lost while it is open.

    `size` (width, height): the part that is used, in the middle of the screen; None takes all of it. The
    rest is made black. PanelUnavailable: there is no such device, it may not be written, or it is smaller
    than `size`.
    """

    driver = "fb"

    def __init__(self, place: FramebufferPlace, size: tuple[int, int] | None = None) -> None:
        geometry = read_geometry(place)
        self.width, self.height = size or (geometry.width, geometry.height)
        if self.width > geometry.width or self.height > geometry.height:
            raise PanelUnavailable(
                f"The framebuffer is {geometry.width}x{geometry.height}, smaller than {self.width}x{self.height}.",
                "Ask for a smaller size, or for none.",
            )
        self._geometry = geometry
        self._pixel_bytes = geometry.bits_per_pixel // 8
        left, top = (geometry.width - self.width) // 2, (geometry.height - self.height) // 2
        self._start = geometry.start_bytes + top * geometry.stride_bytes + left * self._pixel_bytes
        self._sent = SimulatedPanel(self.width, self.height)
        self._map = _map(place, geometry)
        self._darken()

    def show(self, frame: bytes, rects: Sequence[Rect]) -> None:
        """See `Panel.show`."""
        if self._map is None:
            raise ValueError("this panel is closed")
        check_show(self.width, self.height, frame, rects)
        for rect in rects:
            self._copy(self._map, rect, self._encode(cut(frame, self.width, rect), rect))
        self._sent.show(frame, rects)

    def ram(self) -> bytes:
        """See `Panel.ram`."""
        return self._sent.ram()

    def close(self) -> None:
        """Make the screen black and unmap it. See `Panel.close`."""
        if self._map is None:
            return
        self._darken()
        self._map.close()
        self._map = None
        self._sent.close()

    def _encode(self, pixels: bytes, rect: Rect) -> bytes:
        if self._pixel_bytes == 4:
            return unpack_rgb565(pixels, rect.width, rect.height).tobytes("raw", "BGRX")
        words = array("H", pixels)
        words.byteswap()  # a swap, whatever this machine's own order
        return words.tobytes()

    def _copy(self, target: mmap.mmap, rect: Rect, encoded: bytes) -> None:
        row_bytes = rect.width * self._pixel_bytes
        stride = self._geometry.stride_bytes
        start = self._start + rect.y * stride + rect.x * self._pixel_bytes
        if row_bytes == stride:
            target[start : start + len(encoded)] = encoded
            return
        for row in range(rect.height):
            at = start + row * stride
            target[at : at + row_bytes] = encoded[row * row_bytes : (row + 1) * row_bytes]

    def _darken(self) -> None:
        geometry = self._geometry
        black = bytes(geometry.width * self._pixel_bytes)
        for row in range(geometry.height if self._map is not None else 0):
            at = geometry.start_bytes + row * geometry.stride_bytes
            self._map[at : at + len(black)] = black  # pyright: ignore[reportOptionalSubscript]


def _map(place: FramebufferPlace, geometry: Geometry) -> mmap.mmap | None:
    length = geometry.start_bytes + geometry.stride_bytes * geometry.height
    try:
        descriptor = os.open(place.device, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise PanelUnavailable("This machine has no framebuffer.", _MEND_NONE) from error
    except OSError as error:
        raise PanelUnavailable(f"The framebuffer cannot be opened ({error}).", _MEND_GROUP) from error
    try:
        return mmap.mmap(descriptor, length)
    except (OSError, ValueError) as error:
        raise PanelUnavailable(f"The framebuffer cannot be mapped ({error}).", _MEND_GROUP) from error
    finally:
        os.close(descriptor)


def _fact(place: FramebufferPlace, name: str) -> str:
    return Path(place.facts, name).read_text("ascii").strip()


def _pair(place: FramebufferPlace, name: str) -> tuple[int, int]:
    first, second = _fact(place, name).split(",")
    return int(first), int(second)


def _mode(place: FramebufferPlace) -> tuple[int, int] | None:
    """The visible size, where the driver lists a mode; many list none."""
    try:
        found = re.match(r"[A-Z]:(\d+)x(\d+)", _fact(place, "modes"))
    except OSError:
        return None
    return (int(found[1]), int(found[2])) if found else None
