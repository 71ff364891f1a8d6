"""A panel that is only memory: `sim`, for a machine without a panel, and `none`, for a device that has none.

Both behave alike, so that the live picture and the replay work everywhere; only the name differs, because
the name is a fact that is reported. Panels that cannot be read use one of these to remember what was sent.
"""

from collections.abc import Sequence

from player.panels.panel import check_show, frame_size_bytes
from player.pixels import Rect, cut, paste


class SimulatedPanel:
    """A panel of `width` x `height` pixels in plain memory, black at first. Implements `Panel`; never
    lost."""

    def __init__(self, width: int, height: int, driver: str = "sim") -> None:
        self.driver = driver
        self.width = width
        self.height = height
        self._ram = bytes(frame_size_bytes(width, height))
        self._closed = False

    def show(self, frame: bytes, rects: Sequence[Rect]) -> None:
        """See `Panel.show`."""
        if self._closed:
            raise ValueError("this panel is closed")
        check_show(self.width, self.height, frame, rects)
        if not rects:
            return
        if any(rect.width == self.width and rect.height == self.height for rect in rects):
            self._ram = bytes(frame)
            return
        ram = bytearray(self._ram)
        for rect in rects:
            paste(ram, self.width, rect, cut(frame, self.width, rect))
        self._ram = bytes(ram)

    def ram(self) -> bytes:
        """See `Panel.ram`."""
        return self._ram

    def close(self) -> None:
        """Black, like a panel without power. See `Panel.close`."""
        self._closed = True
        self._ram = bytes(frame_size_bytes(self.width, self.height))
