"""What a panel is, and the two ways in which one can fail.

Here: the protocol, its errors, and the check of what a caller hands to `show`. Not here: any kind of panel.

A panel's memory is `width * height` pixels of 16 bits, red 5, green 6, blue 5, the high byte first, row by
row from the top left: 2 * width * height bytes. The chips take exactly this over SPI, so a frame is never
converted on its way out.
"""

from collections.abc import Sequence
from typing import Protocol

from player.pixels import Rect

BYTES_PER_PIXEL = 2


class PanelLost(Exception):
    """The panel stopped answering. What it shows now is unknown: close it, open it again, send one full
    frame."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class PanelUnavailable(Exception):
    """The panel cannot be opened on this machine. `message` is one sentence; `mend` says what would help."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(f"{message} {mend}")
        self.message = message
        self.mend = mend


class Panel(Protocol):
    """One panel with one owner: no method may be called while another one runs, from whatever thread."""

    @property
    def driver(self) -> str:
        """The name under which this panel is opened, such as `sim:st7789`."""
        ...

    @property
    def width(self) -> int:
        """Pixels in a row of the panel's memory."""
        ...

    @property
    def height(self) -> int:
        """Rows of the panel's memory."""
        ...

    def show(self, frame: bytes, rects: Sequence[Rect]) -> None:
        """Send those rectangles of `frame` (a whole frame), in that order; no rectangles, nothing is sent.

        The first call after opening must cover the whole panel, because its memory holds noise after
        power-up. ValueError: a frame of another size, a rectangle that is empty or reaches outside, a
        closed panel. PanelLost: the bus failed; so does every later call on this object.
        """
        ...

    def ram(self) -> bytes:
        """What the panel holds now, 2 * width * height bytes.

        An emulated panel answers from the decoded SPI stream. A panel that cannot be read answers with what
        was sent by the calls of `show` that completed. Only between two calls of `show` is this a whole
        picture.
        """
        ...

    def close(self) -> None:
        """Leave the panel dark where it can be, and let go of the hardware. May be called again. Never raises
        for a bus that is gone: there is nobody left to make dark."""
        ...


def frame_size_bytes(width: int, height: int) -> int:
    """The size of one frame in bytes."""
    return BYTES_PER_PIXEL * width * height


def check_show(width: int, height: int, frame: bytes, rects: Sequence[Rect]) -> None:
    """Refuse, with ValueError, what no panel of this size can show (see `Panel.show`)."""
    if len(frame) != frame_size_bytes(width, height):
        raise ValueError(f"a frame for {width}x{height} has {frame_size_bytes(width, height)} bytes, not {len(frame)}")
    for rect in rects:
        inside = rect.x >= 0 and rect.y >= 0 and rect.x + rect.width <= width and rect.y + rect.height <= height
        if rect.width < 1 or rect.height < 1 or not inside:
            raise ValueError(f"{rect} does not lie on a panel of {width}x{height}")
