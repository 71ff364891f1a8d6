"""The wires to a panel: a bus, a D/C line, and what may stand beside them; how the real ones are opened and
released.

Here: Blinka's `board`, `busio` and `digitalio`, imported when a panel is opened and never before, and the
pace at which a driver's bytes go out. Not here: what the bytes mean.
"""

import errno
import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from player.panels.panel import PanelUnavailable

# Controllers promise to take commands at about 10 MHz even where they take pixels several times faster.
INIT_HZ_MAX = 10_000_000
# A bus held by somebody else for longer than this is a fault. One full frame takes 0.3 s on the slowest
# useful bus.
LOCK_WAIT_S = 1.0
_LOCK_POLL_S = 0.001
# After a software reset and after leaving sleep the chips want 120 ms before more commands, at the worst; the
# vendor's drivers do not wait. Source: data sheets of ILI9341, ST7789V and ST7735R, commands 01h and 11h.
SETTLE_S = {0x01: 0.12, 0x11: 0.12}


class Pin(Protocol):
    """An output line, as much of `digitalio.DigitalInOut` as drivers use."""

    value: Any

    def switch_to_output(self, value: bool = ...) -> None:
        """Become an output at that level."""
        ...


class Spi(Protocol):
    """A bus, as much of `busio.SPI` as drivers use."""

    def try_lock(self) -> bool:
        """True when the bus is now ours."""
        ...

    def unlock(self) -> None:
        """Let the bus go."""
        ...

    def configure(self, *, baudrate: int, polarity: int, phase: int) -> None:
        """Set the clock in Hz and the mode for what follows."""
        ...

    def write(self, buf: bytes | bytearray) -> None:
        """Send bytes."""
        ...

    def readinto(self, buf: bytearray) -> None:
        """Fill `buf` from the bus."""
        ...


def _release_nothing() -> None:
    """Emulated wires have nothing to give back."""


class Wires(NamedTuple):
    """Everything a driver is built on. `release` gives the hardware back and may be called again.

    `settles`: whether the far end needs time after a reset; only then does opening wait.
    """

    spi: Spi
    dc: Pin
    cs: Pin | None = None
    reset: Pin | None = None
    backlight: Pin | None = None
    settles: bool = False
    release: Callable[[], None] = _release_nothing


class Wiring(Struct, frozen=True, kw_only=True):
    """Which pins a real panel hangs on, by their names in Blinka's `board`, and the clock in Hz (None: the
    preset's).

    The defaults follow the vendor's wiring guide. `cs` is None on purpose: the kernel's SPI driver already
    owns and drives the chip-select line of the bus it offers, and claiming the same line as a GPIO fails as
    busy. Name a pin only when the kernel was told to keep off it (device tree overlay spi0-0cs). On panels
    where D24 is a push button (the Mini PiTFTs) `reset` must be None, or a press ties a driven line to
    ground.
    """

    clock: str = "SCK"
    mosi: str = "MOSI"
    dc: str = "D25"
    cs: str | None = None
    reset: str | None = "D24"
    backlight: str | None = None
    hz: int | None = None
    devices: str = "/dev"


class PacedSpi:
    """A bus that decides its own clock and does not wait for ever.

    Drivers ask for a clock in each write, one of them (HX8353) for 0 Hz and one (S6D02A1) always for 12
    MHz; here the clock is ours. Until `full_speed` it is at most INIT_HZ_MAX, and resets are given time to
    settle. A bus that stays locked by another owner raises TimeoutError (an OSError) after LOCK_WAIT_S,
    where a driver would spin for ever.
    """

    def __init__(
        self,
        wires: Wires,
        hz: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._spi = wires.spi
        self._dc = wires.dc
        self._hz = hz
        self._clock_hz = min(hz, INIT_HZ_MAX)
        self._settle_s = SETTLE_S if wires.settles else {}
        self._monotonic = monotonic
        self._sleep = sleep
        self._wait_ends_s: float | None = None

    def full_speed(self) -> None:
        """The panel is initialised: from now on pixels go at the whole clock."""
        self._clock_hz = self._hz
        self._settle_s = {}

    def try_lock(self) -> bool:
        """See `Spi`. TimeoutError when the bus was not free for LOCK_WAIT_S."""
        if self._spi.try_lock():
            self._wait_ends_s = None
            return True
        now_s = self._monotonic()
        if self._wait_ends_s is None:
            self._wait_ends_s = now_s + LOCK_WAIT_S
        if now_s >= self._wait_ends_s:
            self._wait_ends_s = None
            raise TimeoutError(f"somebody else held the SPI bus for {LOCK_WAIT_S:g} s")
        self._sleep(_LOCK_POLL_S)
        return False

    def unlock(self) -> None:
        """See `Spi`."""
        self._spi.unlock()

    def configure(self, *, baudrate: int, polarity: int, phase: int) -> None:
        """See `Spi`; the driver's `baudrate` is ignored."""
        self._spi.configure(baudrate=self._clock_hz, polarity=polarity, phase=phase)

    def write(self, buf: bytes | bytearray) -> None:
        """See `Spi`."""
        self._spi.write(buf)
        if self._settle_s and len(buf) == 1 and not self._dc.value:
            self._sleep(self._settle_s.get(buf[0], 0.0))

    def readinto(self, buf: bytearray) -> None:
        """See `Spi`."""
        self._spi.readinto(buf)


_MEND_SPI = "Enable it: `sudo raspi-config nonint do_spi 0` (or dtparam=spi=on in config.txt), then restart."
_MEND_GROUP = "Let this user use it: `sudo usermod -aG spi,gpio $USER`, then log in again."
_MEND_BUSY = (
    "Leave the chip-select pin unset, or give it up in the kernel with dtoverlay=spi0-0cs; "
    "see who holds the line with `gpioinfo`."
)
_MEND_WIRES = "Check the wiring, and what `dmesg` says about spi."
_MEND_PINS = "Name pins that this board has; check the wiring in the configuration."
_MENDS = {
    errno.ENOENT: _MEND_SPI,
    errno.EACCES: _MEND_GROUP,
    errno.EPERM: _MEND_GROUP,
    errno.EBUSY: _MEND_BUSY,
}
MEND_LIBRARY = "Install it into this environment: `pip install adafruit-blinka adafruit-circuitpython-rgb-display`."


def import_vendor(name: str) -> Any:
    """Import one of the vendor's modules. PanelUnavailable, whatever stands in its way.

    Without Blinka the drivers fail with NameError rather than ImportError, and on an unknown board Blinka
    raises RuntimeError or NotImplementedError: hence every exception.
    """
    # On a terminal Blinka would ask whether it may install packages, and wait for the answer.
    os.environ.setdefault("BLINKA_SKIP_DEPENDENCY_CHECK", "1")
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise PanelUnavailable(
            f"The panel library {name} does not load here ({type(error).__name__}: {error}).", MEND_LIBRARY
        ) from error


def open_wires(wiring: Wiring) -> Wires:
    """The real bus and pins. PanelUnavailable with a mend when the machine does not give them."""
    if not any(Path(wiring.devices).glob("spidev*")):
        raise PanelUnavailable("This machine offers no SPI device.", _MEND_SPI)
    board, busio, digitalio = (import_vendor(name) for name in ("board", "busio", "digitalio"))
    opened: list[Any] = []

    def release() -> None:
        while opened:
            _release(opened.pop())

    def pin(name: str | None) -> Any:
        if name is None:
            return None
        opened.append(digitalio.DigitalInOut(getattr(board, name)))
        return opened[-1]

    try:
        opened.append(busio.SPI(getattr(board, wiring.clock), MOSI=getattr(board, wiring.mosi)))
        return Wires(
            spi=opened[0],
            dc=pin(wiring.dc),
            cs=pin(wiring.cs),
            reset=pin(wiring.reset),
            backlight=pin(wiring.backlight),
            settles=True,
            release=release,
        )
    except Exception as error:  # Blinka names its troubles by whatever exception is at hand
        release()
        raise unavailable(error) from error


def unavailable(error: Exception) -> PanelUnavailable:
    """What an exception while opening a real panel means, with its mend."""
    if isinstance(error, OSError):
        mend = _MENDS.get(error.errno or 0, _MEND_WIRES)
    else:
        mend = _MEND_PINS
    return PanelUnavailable(f"The panel's bus cannot be opened ({type(error).__name__}: {error}).", mend)


def _release(part: Any) -> None:
    # Blinka's bus keeps the file of the SPI device in an object that never closes it; each re-opening would
    # leak one.
    handle = getattr(getattr(getattr(part, "_spi", None), "_spi", None), "handle", None)
    try:
        part.deinit()
    finally:
        if isinstance(handle, int):
            os.close(handle)
