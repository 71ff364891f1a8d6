"""The emulated panel decodes exactly what the vendor's drivers send."""

import importlib
import random
from typing import Any

import pytest
from PIL import Image

from player.panels.bus import import_vendor
from player.panels.emulator import EmulatedPanel
from player.panels.presets import PRESETS, Glass, Preset
from player.pixels import pack_rgb565

SIZES = [
    pytest.param(preset, glass, id=f"{preset.name}-{glass.width}x{glass.height}")
    for preset in PRESETS.values()
    for glass in preset.glasses
]


def vendor_driver(preset: Preset, glass: Glass, panel: EmulatedPanel) -> Any:
    """The vendor's driver straight on the fakes, without any of our own code between them."""
    import_vendor("busio")
    module = importlib.import_module(f"adafruit_rgb_display.{preset.module}")
    options: dict[str, Any] = dict.fromkeys(glass.options, True)
    if preset.takes_offsets:
        options |= {"x_offset": glass.x_offset, "y_offset": glass.y_offset}
    driver = getattr(module, preset.class_name)(panel.spi, panel.dc, None, None, glass.width, glass.height, **options)
    for command, data in preset.after_init:
        driver.write(command, data)
    return driver


def picture(width: int, height: int, seed: int = 1) -> Image.Image:
    """A picture of noise, the same for the same seed."""
    return Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(3 * width * height))


def visible(panel: EmulatedPanel, glass: Glass) -> bytes:
    """What the glass shows."""
    return panel.visible(glass.x_offset, glass.y_offset, glass.width, glass.height)


def send(panel: EmulatedPanel, command: int, data: bytes | None = None) -> None:
    """One command with its arguments, as a MIPI driver would send it."""
    assert panel.spi.try_lock()
    panel.dc.value = 0
    panel.spi.write(bytes([command]))
    if data is not None:
        panel.dc.value = 1
        panel.spi.write(data)
    panel.spi.unlock()


@pytest.mark.parametrize(("preset", "glass"), SIZES)
def test_a_picture_drawn_by_the_vendors_own_image_method_is_what_the_glass_shows(preset: Preset, glass: Glass) -> None:
    """A random picture sent by the driver's `image` decodes to its packed pixels, with no byte left over."""
    panel = EmulatedPanel(preset)
    drawn = picture(glass.width, glass.height)
    vendor_driver(preset, glass, panel).image(drawn)
    assert visible(panel, glass) == pack_rgb565(drawn)
    assert panel.dropped_bytes == 0


@pytest.mark.parametrize(("preset", "glass"), SIZES)
def test_fill_which_sends_its_window_and_pixels_in_separate_writes_reaches_every_pixel(preset: Preset, glass: Glass) -> None:
    """`fill` opens the memory write with no bytes and sends pixels later without a command."""
    panel = EmulatedPanel(preset)
    vendor_driver(preset, glass, panel).fill(0xA55A)
    assert visible(panel, glass) == b"\xa5\x5a" * (glass.width * glass.height)
    assert panel.dropped_bytes == 0


@pytest.mark.parametrize("preset", [pytest.param(preset, id=preset.name) for preset in PRESETS.values()])
def test_after_the_start_up_sequence_the_panel_is_awake_lit_and_takes_16_bits(preset: Preset) -> None:
    """Every preset's start-up sequence leaves a chip that can show a frame."""
    panel = EmulatedPanel(preset)
    vendor_driver(preset, preset.glasses[0], panel)
    assert (panel.registers.awake, panel.registers.lit, panel.registers.pixels_16) == (True, True, True)


@pytest.mark.parametrize(("name", "spi_writes", "wire_bytes"), [("ili9341", 40, 86), ("st7789", 15, 21)])
def test_the_start_up_sequence_costs_what_was_measured(name: str, spi_writes: int, wire_bytes: int) -> None:
    """The counters agree with the measured start-up sequences of two drivers."""
    panel = EmulatedPanel(PRESETS[name])
    vendor_driver(PRESETS[name], PRESETS[name].glasses[0], panel)
    assert (panel.spi_writes, panel.wire_bytes) == (spi_writes, wire_bytes)


def test_pixels_continue_across_writes_of_any_length() -> None:
    """A frame cut into writes of random lengths, odd ones too, lands like one write."""
    preset, draw = PRESETS["st7789"], random.Random(7)
    glass = preset.glasses[1]
    panel = EmulatedPanel(preset)
    driver = vendor_driver(preset, glass, panel)
    frame = draw.randbytes(2 * glass.width * glass.height)
    driver._block(0, 0, glass.width - 1, glass.height - 1, b"")
    sent = 0
    while sent < len(frame):
        length = draw.randint(1, 9_001)
        driver.write(None, frame[sent : sent + length])
        sent += length
    assert visible(panel, glass) == frame


def test_a_full_window_starts_again_at_its_first_pixel() -> None:
    """One pixel more than the window holds overwrites the first one."""
    preset = PRESETS["ili9341"]
    panel = EmulatedPanel(preset)
    driver = vendor_driver(preset, preset.glasses[0], panel)
    driver._block(10, 20, 11, 20, b"\x11\x11\x22\x22\x33\x33")
    assert panel.visible(10, 20, 2, 1) == b"\x33\x33\x22\x22"


def test_arguments_may_arrive_byte_by_byte() -> None:
    """A window whose bounds come in four writes is the same window."""
    panel = EmulatedPanel(PRESETS["ili9341"])
    send(panel, 0x3A, b"\x55")
    send(panel, 0x2A, b"\x00")
    assert panel.spi.try_lock()
    for byte in (b"\x02", b"\x00", b"\x02"):
        panel.spi.write(byte)
    panel.spi.unlock()
    send(panel, 0x2C, b"\xab\xcd\x12\x34")
    assert panel.visible(2, 0, 1, 2) == b"\xab\xcd\x12\x34"


def test_pixels_outside_the_ram_are_counted_and_dropped() -> None:
    """A window that reaches past the last column and row keeps what fits, in its right place."""
    panel = EmulatedPanel(PRESETS["ili9341"])
    send(panel, 0x3A, b"\x55")
    send(panel, 0x2A, b"\x00\xef\x00\xf0")
    send(panel, 0x2B, b"\x01\x3f\x01\x40")
    send(panel, 0x2C, b"\x11\x11\x22\x22\x33\x33\x44\x44")
    assert panel.visible(239, 319, 1, 1) == b"\x11\x11"
    assert panel.dropped_bytes == 6


def test_pixels_before_a_16_bit_format_was_chosen_are_dropped() -> None:
    """After a reset the chip counts 18 bits per pixel, so nothing sensible can arrive."""
    panel = EmulatedPanel(PRESETS["ili9341"])
    send(panel, 0x2C, b"\x11\x11")
    assert panel.dropped_bytes == 2
    assert panel.visible(0, 0, 1, 1) == b"\x00\x00"


def test_a_window_that_ends_before_it_begins_takes_nothing() -> None:
    """A backward window drops its pixels."""
    panel = EmulatedPanel(PRESETS["ili9341"])
    send(panel, 0x3A, b"\x55")
    send(panel, 0x2A, b"\x00\x05\x00\x04")
    send(panel, 0x2C, b"\x11\x11")
    assert panel.dropped_bytes == 2


def test_switches_of_the_display_are_noted() -> None:
    """Sleep, display on, inversion and memory access control end up in the registers; a reset clears them."""
    panel = EmulatedPanel(PRESETS["st7789"])
    for command, data in ((0x11, None), (0x29, None), (0x21, None), (0x36, b"\xc0"), (0x3A, b"\x55")):
        send(panel, command, data)
    registers = panel.registers
    assert (registers.awake, registers.lit, registers.inverted, registers.access) == (True, True, True, 0xC0)
    for command in (0x10, 0x28, 0x20):
        send(panel, command)
    assert (registers.awake, registers.lit, registers.inverted) == (False, False, False)
    send(panel, 0x01)
    assert (panel.registers.access, panel.registers.pixels_16) == (0, False)


def test_a_software_reset_keeps_the_pixels() -> None:
    """The RAM survives command 01."""
    panel = EmulatedPanel(PRESETS["st7789"])
    send(panel, 0x3A, b"\x55")
    send(panel, 0x2C, b"\x77\x77")
    send(panel, 0x01)
    assert panel.visible(0, 0, 1, 1) == b"\x77\x77"


def test_planned_faults_hit_exactly_the_writes_they_name() -> None:
    """`fail_writes(2, 2)` lets one write pass, fails two, and lets the next pass; failed writes are not
    counted."""
    panel = EmulatedPanel(PRESETS["ili9341"])
    panel.fail_writes(2, 2)
    assert panel.spi.try_lock()
    outcomes: list[bool] = []
    for _ in range(4):
        try:
            panel.spi.write(b"\x00")
            outcomes.append(True)
        except OSError:
            outcomes.append(False)
    assert outcomes == [True, False, False, True]
    assert panel.spi_writes == 2
    with pytest.raises(ValueError, match="counted from 1"):
        panel.fail_writes(0, 1)


def test_a_bus_that_is_not_held_refuses_to_work() -> None:
    """Writing without the lock is a mistake of the driver, and one holder shuts the other out."""
    panel = EmulatedPanel(PRESETS["ili9341"])
    with pytest.raises(RuntimeError, match="does not hold it"):
        panel.spi.write(b"\x00")
    assert panel.spi.try_lock()
    assert not panel.spi.try_lock()
    buffer = bytearray(b"\xff\xff")
    panel.spi.readinto(buffer)
    assert buffer == b"\x00\x00"
