"""A panel driven by the vendor's own driver, over real wires or over the emulator.

Here: the driver object, fed with prepacked bytes. Its `image()` is never called: it packs each pixel in
Python, which takes up to seconds per frame on a small board. Not here: start-up sequences and commands,
which are the driver's, and the wires, which come from `bus.py` or `emulator.py`.

The driver locks the bus for each write, not for a frame: two threads that draw at once lose pixels without an
exception. So a panel has one owner.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from player.panels.bus import PacedSpi, Wires, Wiring, import_vendor, open_wires, unavailable
from player.panels.emulator import EmulatedPanel
from player.panels.panel import PanelLost, PanelUnavailable, check_show
from player.panels.presets import Family, Glass, Preset
from player.panels.simulated import SimulatedPanel
from player.pixels import Rect, cut

# Display off, then sleep in, where the family has it.
_DARK: dict[Family, tuple[int, ...]] = {"mipi": (0x28, 0x10), "ssd1351": (0xAE,), "ssd1331": (0xAE,)}


class Driver(Protocol):
    """As much of the vendor's display classes as is used here. They come without types."""

    def write(self, command: int | None = None, data: bytes | None = None) -> None:
        """Send a command with D/C low, then data with D/C high."""
        ...

    def _block(self, x0: int, y0: int, x1: int, y1: int, data: bytes) -> None: ...


class VendorPanel:
    """Implements `Panel`. Owns `wires` from the first moment: a constructor that fails has released them.

    `hz`: the clock for pixels; None takes the preset's. `emulator`: the far end of the wires, when it is
    emulated. PanelUnavailable: the driver does not load or cannot talk to the bus. A panel that is not
    plugged in goes unnoticed, because nothing ever answers over SPI.
    """

    def __init__(
        self,
        preset: Preset,
        glass: Glass,
        wires: Wires,
        *,
        hz: int | None = None,
        emulator: EmulatedPanel | None = None,
    ) -> None:
        self.driver = preset.name if emulator is None else f"sim:{preset.name}"
        self.width = glass.width
        self.height = glass.height
        self.emulator = emulator
        self.hz = min(hz or preset.hz, preset.hz_max or hz or preset.hz)
        self._preset = preset
        self._glass = glass
        self._wires = wires
        self._sent = SimulatedPanel(glass.width, glass.height)
        self._lost = False
        self._closed = False
        self._backlit = False
        try:
            self._device = self._start(preset, glass, wires)
        except PanelUnavailable:
            wires.release()
            raise

    def show(self, frame: bytes, rects: Sequence[Rect]) -> None:
        """See `Panel.show`."""
        if self._closed:
            raise ValueError("this panel is closed")
        check_show(self.width, self.height, frame, rects)
        if self._lost:
            raise PanelLost("The panel was lost before; open it again.")
        if not rects:
            return
        try:
            for rect in rects:
                self._send(frame, rect)
            self._switch_backlight_on()
        except OSError as error:
            self._lost = True
            raise PanelLost(f"The bus to the panel failed: {error}.") from error
        if self.emulator is None:
            self._sent.show(frame, rects)

    def ram(self) -> bytes:
        """See `Panel.ram`."""
        if self.emulator is None:
            return self._sent.ram()
        return self.emulator.visible(self._glass.x_offset, self._glass.y_offset, self.width, self.height)

    def close(self) -> None:
        """See `Panel.close`."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._wires.backlight is not None:
                self._wires.backlight.value = False
            for command in _DARK[self._preset.family]:
                self._device.write(command)
        except OSError:
            pass  # a bus that is gone cannot be told to go dark, and closing must still let go of the rest
        finally:
            self._wires.release()

    def _start(self, preset: Preset, glass: Glass, wires: Wires) -> Driver:
        module = import_vendor(f"adafruit_rgb_display.{preset.module}")
        construct: Callable[..., Driver] = getattr(module, preset.class_name)
        spi = PacedSpi(wires, self.hz)
        try:
            if wires.backlight is not None:
                # Dark until the first frame is there: the RAM holds noise after power-up.
                wires.backlight.switch_to_output(value=False)
            # The constructor resets the panel (a real reset line costs 0.1 s) and sends the start-up
            # sequence.
            device = construct(spi, wires.dc, wires.cs, wires.reset, glass.width, glass.height, **_options(preset, glass))
            for command, data in preset.after_init:
                device.write(command, data)
        except Exception as error:  # what a driver raises over wires that fail is not written down anywhere
            raise unavailable(error) from error
        spi.full_speed()
        return device

    def _send(self, frame: bytes, rect: Rect) -> None:
        whole = rect.width == self.width and rect.height == self.height
        pixels = frame if whole else cut(frame, self.width, rect)
        # `_block` adds the offsets, sets the window (its ends included) and sends the pixels in one write.
        self._device._block(  # pyright: ignore[reportPrivateUsage]
            rect.x, rect.y, rect.x + rect.width - 1, rect.y + rect.height - 1, pixels
        )

    def _switch_backlight_on(self) -> None:
        if not self._backlit and self._wires.backlight is not None:
            self._wires.backlight.value = True
        self._backlit = True


def _options(preset: Preset, glass: Glass) -> dict[str, Any]:
    # `rotation` is never passed: HX8353 hands it on in the place of the bus clock.
    options: dict[str, Any] = dict.fromkeys(glass.options, True)
    if preset.takes_offsets:
        options |= {"x_offset": glass.x_offset, "y_offset": glass.y_offset}
    return options


def open_emulated(preset: Preset, glass: Glass, *, hz: int | None = None) -> VendorPanel:
    """The driver over an emulated panel of that size. PanelUnavailable when the driver does not load."""
    emulator = EmulatedPanel(preset)
    return VendorPanel(preset, glass, Wires(spi=emulator.spi, dc=emulator.dc), hz=hz, emulator=emulator)


def open_wired(preset: Preset, glass: Glass, wiring: Wiring) -> VendorPanel:
    """The driver over the real bus. PanelUnavailable, with its mend, when the bus or a pin cannot be had."""
    return VendorPanel(preset, glass, open_wires(wiring), hz=wiring.hz)
