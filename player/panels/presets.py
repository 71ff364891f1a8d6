"""The panels that can be bought, as a table: which driver class, which sizes, where the glass sits in the
chip's RAM.

Here: facts, each with its source. Not here: code that talks to a panel.

One offset per size is enough. The vendor's drivers never turn the picture in the controller (they always
send the same memory access control), and pixelog turns the pixels instead; so the glass stays where it is
in the RAM, whatever the rotation. Sources: "driver" is the default or the code of
adafruit-circuitpython-rgb-display 3.14.6, "example" the panel list in that package's own examples, "data
sheet" the controller's.

Left out: ST7735S, whose start-up sequence exchanges rows and columns while its default size does not.
"""

from typing import Literal

from msgspec import Struct

Family = Literal["mipi", "ssd1351", "ssd1331"]


class Glass(Struct, frozen=True, kw_only=True):
    """One size of a panel: pixels, where its top left pixel is in the chip's RAM, and driver options it
    needs."""

    width: int
    height: int
    x_offset: int = 0
    y_offset: int = 0
    options: tuple[str, ...] = ()
    source: str


class Preset(Struct, frozen=True, kw_only=True):
    """One controller. `glasses[0]` is the default size. RAM is counted before memory access control turns it.

    `hz` is the clock used unless told otherwise, `hz_max` one that the chip must not exceed.
    `takes_offsets`: whether the driver's constructor has such arguments.
    `after_init`: commands that the driver's start-up sequence forgets.
    """

    name: str
    module: str
    class_name: str
    family: Family
    ram_width: int
    ram_height: int
    glasses: tuple[Glass, ...]
    hz: int = 16_000_000
    hz_max: int | None = None
    takes_offsets: bool = True
    after_init: tuple[tuple[int, bytes | None], ...] = ()

    def glass(self, size: tuple[int, int] | None) -> Glass | None:
        """The glass of that (width, height), the default one for None; None when there is no such size."""
        if size is None:
            return self.glasses[0]
        return next((glass for glass in self.glasses if (glass.width, glass.height) == size), None)


_TABLE = (
    Preset(
        name="ili9341",
        module="ili9341",
        class_name="ILI9341",
        family="mipi",
        ram_width=240,
        ram_height=320,
        takes_offsets=False,
        glasses=(Glass(width=240, height=320, source="driver"),),
    ),
    Preset(
        name="st7789",
        module="st7789",
        class_name="ST7789",
        family="mipi",
        ram_width=240,
        ram_height=320,
        glasses=(
            Glass(width=240, height=320, source="driver"),
            # The driver mirrors both axes, so the glass at the first 240 rows is addressed from row 80 on.
            Glass(width=240, height=240, y_offset=80, source='example, 1.3" and 1.54"'),
            Glass(width=135, height=240, x_offset=53, y_offset=40, source='example, 1.14"'),
            Glass(width=172, height=320, x_offset=34, source='example, 1.47"'),
            Glass(width=170, height=320, x_offset=35, source='example, 1.9"'),
        ),
    ),
    Preset(
        name="st7735",
        module="st7735",
        class_name="ST7735",
        family="mipi",
        ram_width=132,
        ram_height=162,
        glasses=(Glass(width=128, height=128, source="driver"),),
    ),
    Preset(
        name="st7735r",
        module="st7735",
        class_name="ST7735R",
        family="mipi",
        ram_width=132,
        ram_height=162,
        glasses=(
            Glass(width=128, height=160, source="driver"),
            Glass(width=128, height=128, x_offset=2, y_offset=3, source='example, 1.44"'),
            Glass(
                width=80,
                height=160,
                x_offset=26,
                y_offset=1,
                options=("invert",),
                source='example, 0.96" revision B',
            ),
        ),
    ),
    Preset(
        name="gc9a01a",
        module="gc9a01a",
        class_name="GC9A01A",
        family="mipi",
        ram_width=240,
        ram_height=240,
        hz=24_000_000,
        glasses=(Glass(width=240, height=240, source="driver"),),
    ),
    Preset(
        name="hx8357",
        module="hx8357",
        class_name="HX8357",
        family="mipi",
        ram_width=320,
        ram_height=480,
        takes_offsets=False,
        glasses=(Glass(width=480, height=320, source="driver, which exchanges rows and columns"),),
    ),
    Preset(
        name="s6d02a1",
        module="s6d02a1",
        class_name="S6D02A1",
        family="mipi",
        ram_width=132,
        ram_height=162,
        hz=12_000_000,
        takes_offsets=False,
        glasses=(Glass(width=128, height=160, source="driver"),),
    ),
    Preset(
        name="hx8353",
        module="hx8353",
        class_name="HX8353",
        family="mipi",
        ram_width=132,
        ram_height=162,
        hz=12_000_000,
        takes_offsets=False,
        # The driver resets the chip and lights it, but leaves it asleep and at the 18 bits per pixel of its
        # reset.
        after_init=((0x11, None), (0x3A, b"\x05"), (0x29, None)),
        glasses=(Glass(width=128, height=128, source="driver"),),
    ),
    Preset(
        name="ssd1351",
        module="ssd1351",
        class_name="SSD1351",
        family="ssd1351",
        ram_width=128,
        ram_height=128,
        hz_max=16_000_000,  # driver: the chip's maximum
        glasses=(
            Glass(width=128, height=128, source="driver"),
            Glass(width=128, height=96, y_offset=32, source='example, 1.27"'),
        ),
    ),
    Preset(
        name="ssd1331",
        module="ssd1331",
        class_name="SSD1331",
        family="ssd1331",
        ram_width=96,
        ram_height=64,
        takes_offsets=False,
        glasses=(Glass(width=96, height=64, source="driver"),),
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _TABLE}
