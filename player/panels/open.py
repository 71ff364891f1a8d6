"""From a DISPLAY string to an open panel.

Here: the names, the sizes they allow, and the order in which `auto` tries. Not here: where configuration
comes from, and what is reported about a panel that could not be opened; both belong to the caller.

    auto             the configured driver, else the framebuffer, else `sim`
    sim              plain memory
    sim:NAME         the vendor's driver NAME over the emulated panel
    NAME             the vendor's driver over the real bus
    fb               the Linux framebuffer
    none             no panel; the picture is still kept
"""

from collections.abc import Callable

from player.panels.framebuffer import FramebufferPanel, FramebufferPlace
from player.panels.panel import Panel, PanelUnavailable
from player.panels.presets import PRESETS, Glass, Preset
from player.panels.simulated import SimulatedPanel
from player.panels.vendor import Wiring, open_emulated, open_wired

DEFAULT_SIZE = (240, 320)
# The largest panel that only exists in memory: like the largest framebuffer one would drive, and 4 MB per
# frame.
SIDE_MAX = 1920

_ANY_SIZE = ("sim", "none")


class UnknownDisplay(ValueError):
    """There is no such display, or not in that size. The message lists what there is."""


def display_names() -> tuple[str, ...]:
    """Every DISPLAY string, in the order in which they are explained."""
    return ("auto", "sim", *(f"sim:{name}" for name in PRESETS), *PRESETS, "fb", "none")


def check_display(display: str, size: tuple[int, int] | None = None) -> None:
    """Refuse, with UnknownDisplay, what `open_panel` would refuse by its name alone. Opens nothing."""
    if display not in display_names():
        raise UnknownDisplay(f"there is no display {display!r}; there are {', '.join(display_names())}")
    preset = _preset(display)
    if preset is not None:
        _glass(preset, size)
    elif size is not None and not all(1 <= side <= SIDE_MAX for side in size):
        raise UnknownDisplay(f"a display has 1 to {SIDE_MAX} pixels on each side, not {size[0]}x{size[1]}")


def default_size(display: str) -> tuple[int, int] | None:
    """The (width, height) that a display has when none is asked for. None: known only once it is open
    (auto, fb)."""
    check_display(display)
    preset = _preset(display)
    if preset is not None:
        return preset.glasses[0].width, preset.glasses[0].height
    return DEFAULT_SIZE if display in _ANY_SIZE else None


def open_panel(
    display: str,
    size: tuple[int, int] | None = None,
    *,
    configured: str | None = None,
    wiring: Wiring | None = None,
    framebuffer: FramebufferPlace | None = None,
    on_unavailable: Callable[[str, PanelUnavailable], None] | None = None,
) -> Panel:
    """Open the panel that `display` names. The caller owns it and closes it.

    size: (width, height) in pixels as the panel's own memory counts them; None is the display's default.
    configured: the driver that `auto` tries first. An SPI panel that is not plugged in cannot be noticed,
    so with a
        configured driver `auto` stops there whenever the bus itself opens.
    on_unavailable: told of each display that `auto` passed over, and why. UnknownDisplay: no such name, or
    not in that size (also for `configured`). PanelUnavailable: this machine does not give that panel; never
    raised for `auto`, `sim` and `none`.
    """
    check_display(display, None if display == "auto" else size)
    wiring, framebuffer = wiring or Wiring(), framebuffer or FramebufferPlace()
    if display != "auto":
        return _open(display, size, wiring, framebuffer)
    candidates = [name for name in (configured, "fb" if framebuffer.present() else None) if name not in (None, "auto")]
    for name in candidates:
        check_display(name, size)
        try:
            return _open(name, size, wiring, framebuffer)
        except PanelUnavailable as unavailable:
            if on_unavailable is not None:
                on_unavailable(name, unavailable)
    # A stand-in has the size of the panel it stands in for, so that what was prepared for that one still
    # fits.
    return _open("sim", size or (default_size(configured) if configured else None), wiring, framebuffer)


def _open(display: str, size: tuple[int, int] | None, wiring: Wiring, framebuffer: FramebufferPlace) -> Panel:
    if display == "fb":
        return FramebufferPanel(framebuffer, size)
    preset = _preset(display)
    if preset is None:
        width, height = size or DEFAULT_SIZE
        return SimulatedPanel(width, height, display)
    glass = _glass(preset, size)
    if display.startswith("sim:"):
        return open_emulated(preset, glass, hz=wiring.hz)
    return open_wired(preset, glass, wiring)


def _preset(display: str) -> Preset | None:
    return PRESETS.get(display.removeprefix("sim:"))


def _glass(preset: Preset, size: tuple[int, int] | None) -> Glass:
    glass = preset.glass(size)
    if glass is None and size is not None:
        sizes = ", ".join(f"{known.width}x{known.height}" for known in preset.glasses)
        raise UnknownDisplay(f"{preset.name} is not made in {size[0]}x{size[1]}; there are {sizes}")
    return glass or preset.glasses[0]
