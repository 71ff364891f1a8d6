"""The far end of the wire: an SPI bus and a D/C line that decode what a driver sends into the RAM of a panel.

Here: the fakes that the vendor's drivers accept in place of a bus and a pin, and the decoder. Not here: the
drivers themselves (`vendor.py`), and the optics of a panel: colour order, inversion and mirroring are
noted, not drawn, so `visible` is the picture as the host addressed it.

Three families of chips are understood. All take 16 bits per pixel, the high byte first, into a window that
is filled row by row and starts again at its first pixel when it is full.

    mipi     MIPI DCS: columns 2A, rows 2B (two bytes per bound), memory write 2C;
             arguments with D/C high
    ssd1351  columns 15, rows 75 (one byte per bound), memory write 5C; arguments with D/C high
    ssd1331  columns 15, rows 75; arguments with D/C *low*, no memory write: what comes with D/C high is pixels

Sources: MIPI Display Command Set; the data sheets of ILI9341, ST7789V, SSD1351 and SSD1331.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from player.panels.panel import BYTES_PER_PIXEL
from player.panels.presets import Family, Preset

# The longest argument list in use is a colour table of 63 bytes (SSD1351); beyond that a stream is not a
# command.
_ARGUMENTS_MAX = 64

_MIPI_EXCHANGE_AXES = 0x20  # bit MV of memory access control


class Registers(Struct):
    """What the commands left behind. `pixels_16` is false until a 16-bit pixel format was chosen."""

    awake: bool = False
    lit: bool = False
    inverted: bool = False
    pixels_16: bool = False
    access: int = 0


class _CommandSet(Struct, frozen=True, kw_only=True):
    columns: int
    rows: int
    memory_write: int | None
    bound_bytes: int
    reset: int | None
    access: int
    pixel_format: int
    is_16_bit: Callable[[int], bool]
    switches: Mapping[int, tuple[str, bool]]
    # For chips whose arguments come with D/C low: how many bytes follow each command.
    argument_counts: Mapping[int, int] | None = None


_SSD_SWITCHES = {0xAF: ("lit", True), 0xAE: ("lit", False), 0xA7: ("inverted", True)}


def _ssd_is_16_bit(remap: int) -> bool:
    return remap >> 6 == 1


_COMMANDS: dict[Family, _CommandSet] = {
    "mipi": _CommandSet(
        columns=0x2A,
        rows=0x2B,
        memory_write=0x2C,
        bound_bytes=2,
        reset=0x01,
        access=0x36,
        pixel_format=0x3A,
        is_16_bit=lambda depth: depth & 7 == 5,
        switches={
            0x11: ("awake", True),
            0x10: ("awake", False),
            0x29: ("lit", True),
            0x28: ("lit", False),
            0x21: ("inverted", True),
            0x20: ("inverted", False),
        },
    ),
    "ssd1351": _CommandSet(
        columns=0x15,
        rows=0x75,
        memory_write=0x5C,
        bound_bytes=1,
        reset=None,
        access=0xA0,
        pixel_format=0xA0,
        is_16_bit=_ssd_is_16_bit,
        switches=_SSD_SWITCHES | {0xA6: ("inverted", False)},
    ),
    "ssd1331": _CommandSet(
        columns=0x15,
        rows=0x75,
        memory_write=None,
        bound_bytes=1,
        reset=None,
        access=0xA0,
        pixel_format=0xA0,
        is_16_bit=_ssd_is_16_bit,
        switches=_SSD_SWITCHES | {0xA4: ("inverted", False)},
        argument_counts={
            **dict.fromkeys((0x15, 0x75), 2),
            **dict.fromkeys((0x81, 0x82, 0x83, 0x87, 0x8A, 0x8B, 0x8C, 0xA0, 0xA1, 0xA2, 0xA8, 0xAD), 1),
            **dict.fromkeys((0xB0, 0xB1, 0xB3, 0xBB, 0xBE, 0xFD, 0x26), 1),
            0x21: 7,
            0x22: 10,
            0x23: 6,
            0x24: 6,
            0x25: 4,
            0x27: 5,
            0xB8: 32,
        },
    ),
}


class EmulatedPin:
    """An output line. Stands in for a `digitalio.DigitalInOut`. Truthy, since drivers take a falsy pin as
    absent."""

    def __init__(self) -> None:
        self.value: bool | int = False

    def switch_to_output(self, value: bool | int = False) -> None:
        """Become an output at that level."""
        self.value = value


class EmulatedSpi:
    """A bus whose bytes go to one `EmulatedPanel`. Stands in for a `busio.SPI`."""

    def __init__(self, panel: "EmulatedPanel") -> None:
        self._panel = panel
        self._locked = False
        self.baudrate_hz = 0

    def try_lock(self) -> bool:
        """True when the bus was free; it is held until `unlock`."""
        if self._locked:
            return False
        self._locked = True
        return True

    def unlock(self) -> None:
        """Let the bus go."""
        self._locked = False

    def configure(self, *, baudrate: int, polarity: int = 0, phase: int = 0) -> None:
        """Note the clock. RuntimeError when the bus is not held, like the real one."""
        self._check_held()
        self.baudrate_hz = baudrate

    def write(self, buf: bytes | bytearray) -> None:
        """Send bytes at the present level of D/C. OSError when a fault is planned for this write."""
        self._check_held()
        self._panel.receive(bytes(buf))

    def readinto(self, buf: bytearray) -> None:
        """Read zeros: nothing drives the line back."""
        self._check_held()
        buf[:] = bytes(len(buf))

    def _check_held(self) -> None:
        if not self._locked:
            raise RuntimeError("the bus is used by somebody who does not hold it")


class EmulatedPanel:
    """A controller with its RAM (black at first), the bus and the D/C line into it, and counters of what
    went over it.

    `spi`, `dc`: hand these to a driver. `wire_bytes`, `spi_writes`: since the beginning, writes that failed
    excluded. `dropped_bytes`: pixel bytes that had no place, because they lay outside the RAM, outside any
    window, or came before a 16-bit pixel format was chosen. A healthy driver leaves it at 0.
    """

    def __init__(self, preset: Preset) -> None:
        self._commands = _COMMANDS[preset.family]
        self._native_size = (preset.ram_width, preset.ram_height)
        self.dc = EmulatedPin()
        self.spi = EmulatedSpi(self)
        self.wire_bytes = 0
        self.spi_writes = 0
        self.dropped_bytes = 0
        self._writes_until_fault = 0
        self._faults_left = 0
        self._command = 0
        self._arguments = bytearray()
        self._arguments_due = 0
        self._writing_pixels = False
        self._cursor = 0
        self.registers = Registers()
        self._power_up()

    def fail_writes(self, first: int, count: int) -> None:
        """From the `first`-th write from now on (1 is the next) let `count` writes raise OSError. Replaces
        a plan."""
        if first < 1 or count < 0:
            raise ValueError("the first failing write is counted from 1, and their number is not negative")
        self._writes_until_fault = first - 1
        self._faults_left = count

    def receive(self, sent: bytes) -> None:
        """Take what one SPI write brought, at the present level of D/C."""
        self._fail_if_planned()
        self.spi_writes += 1
        self.wire_bytes += len(sent)
        if not self.dc.value:
            for byte in sent:
                self._receive_command_byte(byte)
        elif self._writing_pixels or self._commands.argument_counts is not None:
            self._receive_pixels(sent)
        elif len(self._arguments) < _ARGUMENTS_MAX:
            self._arguments += sent
            self._apply()

    def visible(self, x_offset: int, y_offset: int, width: int, height: int) -> bytes:
        """The pixels of that part of the RAM, row by row, in the format of a frame."""
        stride = BYTES_PER_PIXEL * self._ram_width
        start = y_offset * stride + BYTES_PER_PIXEL * x_offset
        if width == self._ram_width:
            return bytes(self._ram[start : start + height * stride])
        return b"".join(self._ram[row : row + BYTES_PER_PIXEL * width] for row in range(start, start + height * stride, stride))

    def _power_up(self) -> None:
        self.registers = Registers(awake=self._commands.reset is None)
        self._turn(exchanged=False)

    def _turn(self, *, exchanged: bool) -> None:
        """Lay the RAM out as it is addressed from now on, black: no driver turns a picture that it has
        sent."""
        width, height = self._native_size
        self._ram_width, self._ram_height = (height, width) if exchanged else (width, height)
        self._ram = bytearray(BYTES_PER_PIXEL * width * height)
        self._columns = (0, self._ram_width - 1)
        self._rows = (0, self._ram_height - 1)
        self._cursor = 0

    def _fail_if_planned(self) -> None:
        if self._faults_left == 0:
            return
        if self._writes_until_fault > 0:
            self._writes_until_fault -= 1
            return
        self._faults_left -= 1
        raise OSError(5, "planned fault on the emulated bus")

    def _receive_command_byte(self, byte: int) -> None:
        if self._arguments_due > 0:
            self._arguments_due -= 1
            self._arguments.append(byte)
            self._apply()
            return
        self._command = byte
        self._arguments.clear()
        self._arguments_due = (self._commands.argument_counts or {}).get(byte, 0)
        self._writing_pixels = byte == self._commands.memory_write
        if self._writing_pixels:
            self._cursor = 0
        if byte == self._commands.reset:
            self._reset()
        if byte in self._commands.switches:
            name, level = self._commands.switches[byte]
            setattr(self.registers, name, level)

    def _reset(self) -> None:
        """A software reset sets the registers back; the RAM keeps its pixels."""
        exchanged = self.registers.access & _MIPI_EXCHANGE_AXES
        self.registers = Registers()
        if exchanged:
            self._turn(exchanged=False)

    def _apply(self) -> None:
        """Act on the arguments of the present command, which may arrive in several writes."""
        commands, arguments = self._commands, self._arguments
        if self._command in (commands.columns, commands.rows):
            if len(arguments) == 2 * commands.bound_bytes:
                bounds = (
                    int.from_bytes(arguments[: commands.bound_bytes], "big"),
                    int.from_bytes(arguments[commands.bound_bytes :], "big"),
                )
                if self._command == commands.columns:
                    self._columns = bounds
                else:
                    self._rows = bounds
                self._cursor = 0
            return
        if self._command == commands.pixel_format and arguments:
            self.registers.pixels_16 = commands.is_16_bit(arguments[0])
        if self._command == commands.access and arguments:
            self._set_access(arguments[0])

    def _set_access(self, access: int) -> None:
        turned = (access ^ self.registers.access) & _MIPI_EXCHANGE_AXES
        self.registers.access = access
        if turned and self._commands.reset is not None:
            self._turn(exchanged=bool(access & _MIPI_EXCHANGE_AXES))

    def _receive_pixels(self, sent: bytes) -> None:
        first_column, last_column = self._columns
        first_row, last_row = self._rows
        row_bytes = BYTES_PER_PIXEL * (last_column - first_column + 1)
        rows = last_row - first_row + 1
        if row_bytes <= 0 or rows <= 0 or not self.registers.pixels_16:
            self.dropped_bytes += len(sent)
            return
        stride = BYTES_PER_PIXEL * self._ram_width
        row_end = max(0, min(row_bytes, stride - BYTES_PER_PIXEL * first_column))  # what of a row lies in the RAM
        taken = 0
        while taken < len(sent):
            row, at = divmod(self._cursor, row_bytes)
            size = min(row_bytes - at, len(sent) - taken)
            kept = max(0, min(size, row_end - at)) if first_row + row < self._ram_height else 0
            start = (first_row + row) * stride + BYTES_PER_PIXEL * first_column + at
            self._ram[start : start + kept] = sent[taken : taken + kept]
            self.dropped_bytes += size - kept
            taken += size
            self._cursor = (self._cursor + size) % (row_bytes * rows)
