"""Every panel shows what it is given, says when it is lost, and can be named."""

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from player.panels.bus import INIT_HZ_MAX, LOCK_WAIT_S, PacedSpi, Wires, Wiring, import_vendor, unavailable
from player.panels.emulator import EmulatedPanel
from player.panels.framebuffer import FramebufferPanel, FramebufferPlace
from player.panels.open import UnknownDisplay, check_display, default_size, display_names, open_panel
from player.panels.panel import Panel, PanelLost, PanelUnavailable
from player.panels.presets import PRESETS
from player.panels.simulated import SimulatedPanel
from player.panels.vendor import VendorPanel, open_emulated
from player.pixels import Rect, pack_rgb565, unpack_rgb565

EMULATED = [
    pytest.param(f"sim:{preset.name}", (glass.width, glass.height), id=f"{preset.name}-{glass.width}x{glass.height}")
    for preset in PRESETS.values()
    for glass in preset.glasses
]

# Full frame on the wire: 2 bytes per pixel and the window. Measured with the vendor's `image()`.
WIRE_BYTES = [
    ("ili9341", None, 153_611),
    ("st7789", None, 153_611),
    ("st7789", (240, 240), 115_211),
    ("st7735", None, 32_779),
    ("st7735r", None, 40_971),
    ("gc9a01a", None, 115_211),
    ("hx8357", None, 307_211),
    ("s6d02a1", None, 40_971),
    ("hx8353", None, 32_779),
    ("ssd1351", None, 32_775),
    ("ssd1331", None, 12_294),
]


def whole(panel: Panel) -> Rect:
    """The rectangle of the whole panel."""
    return Rect(0, 0, panel.width, panel.height)


def noise(panel: Panel, seed: int) -> bytes:
    """A frame of noise, the same for the same seed."""
    return random.Random(seed).randbytes(2 * panel.width * panel.height)


def random_rects(draw: random.Random, width: int, height: int) -> list[Rect]:
    """One to four rectangles anywhere on the panel; they may overlap."""
    rects: list[Rect] = []
    for _ in range(draw.randint(1, 4)):
        x, y = draw.randrange(width), draw.randrange(height)
        rects.append(Rect(x, y, draw.randint(1, width - x), draw.randint(1, height - y)))
    return rects


def play_noise(panel: Panel, rounds: int, seed: int) -> bytes:
    """Send a full frame, then random rectangles of random frames. Returns what the panel must hold then."""
    draw = random.Random(seed)
    first = draw.randbytes(2 * panel.width * panel.height)
    panel.show(first, [whole(panel)])
    assert panel.ram() == first
    expected = np.frombuffer(first, dtype=">u2").reshape(panel.height, panel.width).copy()
    for _ in range(rounds):
        frame = draw.randbytes(2 * panel.width * panel.height)
        pixels = np.frombuffer(frame, dtype=">u2").reshape(panel.height, panel.width)
        rects = random_rects(draw, panel.width, panel.height)
        for x, y, width, height in rects:
            expected[y : y + height, x : x + width] = pixels[y : y + height, x : x + width]
        panel.show(frame, rects)
        assert panel.ram() == expected.tobytes()
    return expected.tobytes()


def emulated(name: str, size: tuple[int, int] | None = None) -> tuple[VendorPanel, EmulatedPanel]:
    """A vendor driver over its emulator, and that emulator."""
    preset = PRESETS[name]
    glass = preset.glass(size)
    assert glass is not None
    panel = open_emulated(preset, glass)
    assert panel.emulator is not None
    return panel, panel.emulator


# The contract of every panel


@pytest.mark.parametrize(("display", "size"), [*EMULATED, ("sim", None), ("sim", (17, 9)), ("none", None)])
def test_random_frames_and_rectangles_arrive_exactly(display: str, size: tuple[int, int] | None) -> None:
    """A full frame and then random rectangles leave the panel's RAM as a reference array says."""
    panel = open_panel(display, size)
    play_noise(panel, rounds=5, seed=3)
    assert panel.driver == display
    if isinstance(panel, VendorPanel) and panel.emulator is not None:
        assert panel.emulator.dropped_bytes == 0
    panel.close()


@pytest.mark.parametrize("display", ["sim", "sim:st7789", "sim:ssd1331"])
def test_what_cannot_be_shown_is_refused_and_changes_nothing(display: str) -> None:
    """A frame of another size and rectangles that are empty or reach outside raise ValueError."""
    panel = open_panel(display)
    frame = noise(panel, 1)
    panel.show(frame, [whole(panel)])
    for bad in (
        Rect(0, 0, 0, 1),
        Rect(0, 0, 1, 0),
        Rect(-1, 0, 1, 1),
        Rect(0, -1, 1, 1),
        Rect(panel.width, 0, 1, 1),
        Rect(0, 1, 1, panel.height),
    ):
        with pytest.raises(ValueError, match="does not lie on a panel"):
            panel.show(noise(panel, 2), [Rect(0, 0, 1, 1), bad])
    with pytest.raises(ValueError, match="bytes, not 1"):
        panel.show(b"x", [whole(panel)])
    assert panel.ram() == frame


@pytest.mark.parametrize("display", ["sim", "none", "sim:ili9341"])
def test_a_closed_panel_may_be_closed_again_but_shows_nothing(display: str) -> None:
    """`close` is idempotent, and a later `show` is refused."""
    panel = open_panel(display)
    frame = noise(panel, 1)
    panel.show(frame, [whole(panel)])
    panel.close()
    panel.close()
    with pytest.raises(ValueError, match="closed"):
        panel.show(frame, [whole(panel)])


# Vendor drivers over the emulator


@pytest.mark.parametrize(("name", "size", "wire_bytes"), WIRE_BYTES)
def test_a_full_frame_costs_its_pixels_and_one_window_on_the_wire(
    name: str, size: tuple[int, int] | None, wire_bytes: int
) -> None:
    """One full frame puts exactly the expected number of bytes on the bus."""
    panel, emulator = emulated(name, size)
    before = emulator.wire_bytes
    panel.show(noise(panel, 1), [whole(panel)])
    assert emulator.wire_bytes - before == wire_bytes


@pytest.mark.parametrize(("display", "size"), EMULATED)
def test_prepacked_frames_equal_the_vendors_own_image(display: str, size: tuple[int, int]) -> None:
    """The bytes on the wire and the pixels are those of the driver's `image()`, for a random picture."""
    name = display.removeprefix("sim:")
    ours, our_far_end = emulated(name, size)
    theirs, their_far_end = emulated(name, size)
    picture = Image.frombytes("RGB", size, random.Random(5).randbytes(3 * size[0] * size[1]))
    vendor: Any = theirs._device  # the reference is the vendor's slow path, which the panel never uses
    vendor.image(picture)
    ours.show(pack_rgb565(picture), [whole(ours)])
    assert ours.ram() == theirs.ram() == pack_rgb565(picture)
    assert our_far_end.wire_bytes == their_far_end.wire_bytes
    assert our_far_end.spi_writes == their_far_end.spi_writes


def test_a_rectangle_costs_its_pixels_and_one_window() -> None:
    """A 30x40 rectangle is 2,411 bytes in six writes."""
    panel, emulator = emulated("ili9341")
    frame = noise(panel, 1)
    panel.show(frame, [whole(panel)])
    bytes_before, writes_before = emulator.wire_bytes, emulator.spi_writes
    panel.show(frame, [Rect(100, 200, 30, 40)])
    assert emulator.wire_bytes - bytes_before == 2_411
    assert emulator.spi_writes - writes_before == 6


def test_nothing_is_sent_for_no_rectangles() -> None:
    """An empty list touches neither the bus nor the picture."""
    panel, emulator = emulated("st7789")
    frame = noise(panel, 1)
    panel.show(frame, [whole(panel)])
    before = emulator.spi_writes
    panel.show(noise(panel, 2), [])
    assert emulator.spi_writes == before
    assert panel.ram() == frame


@pytest.mark.parametrize("failing_write", [1, 2, 3, 4, 5, 6])
def test_a_bus_error_in_any_write_is_a_lost_panel(failing_write: int) -> None:
    """OSError from the bus surfaces as PanelLost, and the panel stays lost until it is opened again."""
    panel, emulator = emulated("ili9341")
    emulator.fail_writes(failing_write, 1)
    with pytest.raises(PanelLost, match="planned fault"):
        panel.show(noise(panel, 1), [whole(panel)])
    before = emulator.spi_writes
    with pytest.raises(PanelLost, match="open it again"):
        panel.show(noise(panel, 1), [whole(panel)])
    assert emulator.spi_writes == before
    panel.close()
    again, _ = emulated("ili9341")
    again.show(noise(again, 1), [whole(again)])
    assert again.ram() == noise(again, 1)


def test_closing_sends_the_panel_to_the_dark() -> None:
    """`close` switches the display off and to sleep, and does not mind a bus that is gone."""
    panel, emulator = emulated("st7789")
    assert (emulator.registers.lit, emulator.registers.awake) == (True, True)
    panel.close()
    assert (emulator.registers.lit, emulator.registers.awake) == (False, False)
    gone, far_end = emulated("st7789")
    far_end.fail_writes(1, 100)
    gone.close()
    assert far_end.registers.lit


def test_a_bus_that_fails_at_start_up_makes_the_panel_unavailable() -> None:
    """An OSError during the start-up sequence becomes one sentence with a mend, and the wires are
    released."""
    preset = PRESETS["ili9341"]
    emulator = EmulatedPanel(preset)
    emulator.fail_writes(10, 1)
    released: list[bool] = []
    wires = Wires(spi=emulator.spi, dc=emulator.dc, release=lambda: released.append(True))
    with pytest.raises(PanelUnavailable, match="planned fault") as caught:
        VendorPanel(preset, preset.glasses[0], wires, emulator=emulator)
    assert caught.value.mend == "Check the wiring, and what `dmesg` says about spi."
    assert released == [True]


def test_a_driver_that_does_not_load_makes_the_panel_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Blinka the vendor's modules raise NameError; it becomes PanelUnavailable with a mend."""

    def no_blinka(name: str) -> ModuleType:
        raise NameError("name 'busio' is not defined")

    monkeypatch.setattr("importlib.import_module", no_blinka)
    with pytest.raises(PanelUnavailable, match=r"does not load here \(NameError") as caught:
        open_panel("sim:ili9341")
    assert caught.value.mend.startswith("Install it")


# The pace on the bus


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_clock_is_slow_at_start_up_and_the_presets_afterwards(name: str) -> None:
    """Commands of the start-up sequence go at 10 MHz at most; no driver's own idea of a clock gets
    through."""
    panel, emulator = emulated(name)
    assert emulator.spi.baudrate_hz == INIT_HZ_MAX
    panel.show(noise(panel, 1), [whole(panel)])
    assert emulator.spi.baudrate_hz == PRESETS[name].hz


def test_a_clock_above_the_chips_maximum_is_lowered_to_it() -> None:
    """SSD1351 takes no more than 16 MHz; a chip without a known maximum gets what was asked for."""
    for name, hz in (("ssd1351", 16_000_000), ("ili9341", 64_000_000)):
        panel = open_emulated(PRESETS[name], PRESETS[name].glasses[0], hz=64_000_000)
        assert panel.hz == hz


def test_a_bus_held_by_somebody_else_is_given_up_after_a_bounded_wait() -> None:
    """Where the driver would spin for ever, the panel is lost after LOCK_WAIT_S by the clock."""
    emulator = EmulatedPanel(PRESETS["ili9341"])
    now_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    spi = PacedSpi(Wires(spi=emulator.spi, dc=emulator.dc), 1, monotonic=lambda: now_s, sleep=sleep)
    assert spi.try_lock()
    polls = iter(spi.try_lock, True)  # until the lock is ours, which it never is
    with pytest.raises(TimeoutError, match="somebody else"):
        list(polls)
    assert now_s == pytest.approx(LOCK_WAIT_S, abs=0.01)
    spi.unlock()
    assert spi.try_lock()


def test_a_real_panel_is_given_time_after_reset_and_wake_up_only_at_start() -> None:
    """Commands 01 and 11 are followed by 120 ms each until the panel runs at full speed."""
    emulator = EmulatedPanel(PRESETS["st7789"])
    waits: list[float] = []
    spi = PacedSpi(Wires(spi=emulator.spi, dc=emulator.dc, settles=True), 1, sleep=waits.append)
    assert spi.try_lock()
    for level, byte in ((0, 0x01), (0, 0x11), (0, 0x29), (1, 0x11)):
        emulator.dc.value = level
        spi.write(bytes([byte]))
    assert [wait for wait in waits if wait] == [0.12, 0.12]
    waits.clear()
    spi.full_speed()
    emulator.dc.value = 0
    spi.write(b"\x11")
    assert waits == []


# The real bus, with Blinka's modules replaced


class FakeBlinka:
    """`board`, `busio` and `digitalio` whose bus and D/C pin lead to an emulated panel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, preset_name: str) -> None:
        self.far_end = EmulatedPanel(PRESETS[preset_name])
        self.claimed: list[str] = []
        self.released: list[str] = []
        self.pins: dict[str, Any] = {}
        names = ("SCK", "MOSI", "MISO", "D25", "D24", "D22", "CE0")
        import_vendor("adafruit_rgb_display.rgb")  # the driver itself is the real one
        replaced = {
            "board": SimpleNamespace(**{name: name for name in names}),
            "busio": SimpleNamespace(SPI=self._spi),
            "digitalio": SimpleNamespace(DigitalInOut=self._pin),
        }
        for name, module in replaced.items():
            monkeypatch.setitem(sys.modules, name, module)

    def _spi(self, clock: str, MOSI: str) -> Any:
        self.claimed += [clock, MOSI]
        spi: Any = self.far_end.spi
        spi.deinit = lambda: self.released.append("SPI")
        return spi

    def _pin(self, name: str) -> Any:
        self.claimed.append(name)
        pin: Any = self.far_end.dc if name == "D25" else type(self.far_end.dc)()
        pin.deinit = lambda: self.released.append(name)
        self.pins[name] = pin
        return pin


def spi_folder(tmp_path: Path) -> str:
    """A /dev with an SPI device in it."""
    (tmp_path / "spidev0.0").touch()
    return str(tmp_path)


def test_a_machine_without_spi_says_how_to_enable_it(tmp_path: Path) -> None:
    """No SPI device means PanelUnavailable with the command that enables SPI."""
    with pytest.raises(PanelUnavailable, match="offers no SPI device") as caught:
        open_panel("ili9341", wiring=Wiring(devices=str(tmp_path)))
    assert "raspi-config nonint do_spi 0" in caught.value.mend


def test_the_real_bus_leaves_chip_select_to_the_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By default no chip-select pin is claimed; the frame arrives, and closing gives everything back once."""
    blinka = FakeBlinka(monkeypatch, "ili9341")
    wiring = Wiring(devices=spi_folder(tmp_path), reset=None, hz=32_000_000)
    monkeypatch.setattr("player.panels.bus.SETTLE_S", {0x11: 0.0})
    panel = open_panel("ili9341", wiring=wiring)
    expected = play_noise(panel, rounds=2, seed=4)
    assert blinka.claimed == ["SCK", "MOSI", "D25"]
    assert blinka.far_end.visible(0, 0, 240, 320) == expected
    assert blinka.far_end.spi.baudrate_hz == 32_000_000
    panel.close()
    panel.close()
    assert blinka.released == ["D25", "SPI"]
    assert not blinka.far_end.registers.lit


def test_the_backlight_waits_for_the_first_frame(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The noise of a panel after power-up stays in the dark, and closing darkens again."""
    blinka = FakeBlinka(monkeypatch, "st7789")
    monkeypatch.setattr("player.panels.bus.SETTLE_S", {})
    panel = open_panel("st7789", wiring=Wiring(devices=spi_folder(tmp_path), reset=None, backlight="D22"))
    light = blinka.pins["D22"]
    assert light.value is False
    panel.show(noise(panel, 1), [whole(panel)])
    assert light.value is True
    panel.close()
    assert light.value is False


def test_a_real_panel_remembers_only_what_was_sent_completely(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When the bus fails between two rectangles, `ram` still answers with the last complete call."""
    blinka = FakeBlinka(monkeypatch, "st7789")
    monkeypatch.setattr("player.panels.bus.SETTLE_S", {})
    panel = open_panel("st7789", (240, 240), wiring=Wiring(devices=spi_folder(tmp_path), reset=None))
    frame = noise(panel, 1)
    panel.show(frame, [whole(panel)])
    blinka.far_end.fail_writes(8, 1)
    with pytest.raises(PanelLost):
        panel.show(noise(panel, 2), [Rect(0, 0, 5, 5), Rect(9, 9, 5, 5)])
    assert panel.ram() == frame


def test_a_pin_that_the_board_lacks_is_named_and_what_was_claimed_is_given_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A wrong pin name is PanelUnavailable, not a half-open bus."""
    blinka = FakeBlinka(monkeypatch, "st7789")
    with pytest.raises(PanelUnavailable, match="D99") as caught:
        open_panel("st7789", wiring=Wiring(devices=spi_folder(tmp_path), reset="D99"))
    assert caught.value.mend.startswith("Name pins that this board has")
    assert blinka.released == ["D25", "SPI"]


def test_releasing_the_bus_closes_the_file_that_blinka_leaves_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Blinka keeps the SPI device's file open for ever; opening and closing a panel must not leak it."""
    blinka = FakeBlinka(monkeypatch, "st7789")
    monkeypatch.setattr("player.panels.bus.SETTLE_S", {})
    handle = os.open(tmp_path, os.O_RDONLY)
    spi: Any = blinka.far_end.spi
    spi._spi = SimpleNamespace(_spi=SimpleNamespace(handle=handle))
    open_panel("st7789", wiring=Wiring(devices=spi_folder(tmp_path), reset=None)).close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (FileNotFoundError(2, "no device"), "raspi-config"),
        (PermissionError(13, "denied"), "usermod -aG spi,gpio"),
        (OSError(16, "GPIO busy"), "dtoverlay=spi0-0cs"),
        (OSError(5, "I/O error"), "dmesg"),
        (AttributeError("module 'board' has no attribute 'D99'"), "Name pins"),
    ],
)
def test_each_trouble_of_the_bus_has_its_mend(error: Exception, mend: str) -> None:
    """What an exception means to somebody who holds a screwdriver is said with it."""
    assert mend in unavailable(error).mend


# The framebuffer


def fake_framebuffer(
    folder: Path,
    *,
    size: tuple[int, int] = (50, 40),
    bits: int = 16,
    stride: int | None = None,
    facts: dict[str, str] | None = None,
) -> FramebufferPlace:
    """A framebuffer of ordinary files, its device filled with 0xEE."""
    stride = stride or size[0] * bits // 8
    device, sysfs = folder / "fb0", folder / "sysfs"
    sysfs.mkdir()
    described = {
        "virtual_size": f"{size[0]},{size[1]}",
        "bits_per_pixel": str(bits),
        "stride": str(stride),
    } | (facts or {})
    for name, value in described.items():
        (sysfs / name).write_text(value + "\n")
    device.write_bytes(b"\xee" * (stride * size[1]))
    return FramebufferPlace(device=str(device), facts=str(sysfs))


def device_rows(place: FramebufferPlace, stride: int) -> list[bytes]:
    """The rows of the device, padding included."""
    content = Path(place.device).read_bytes()
    return [content[at : at + stride] for at in range(0, len(content), stride)]


@pytest.mark.parametrize("stride", [100, 128])
def test_a_16_bit_framebuffer_holds_the_pixels_in_its_own_byte_order(tmp_path: Path, stride: int) -> None:
    """Each row starts at the device's line length, low byte first; the padding is left alone."""
    place = fake_framebuffer(tmp_path, stride=stride)
    panel = FramebufferPanel(place)
    expected = play_noise(panel, rounds=5, seed=6)
    swapped = np.frombuffer(expected, dtype=">u2").astype("<u2").tobytes()
    rows = device_rows(place, stride)
    assert b"".join(row[:100] for row in rows) == swapped
    assert {row[100:] for row in rows} == {b"\xee" * (stride - 100)}
    panel.close()


def test_a_32_bit_framebuffer_holds_blue_green_red(tmp_path: Path) -> None:
    """RGB565 is widened to XRGB8888 as the preview widens it."""
    place = fake_framebuffer(tmp_path, bits=32, stride=224)
    panel = FramebufferPanel(place)
    expected = play_noise(panel, rounds=5, seed=6)
    rgb = unpack_rgb565(expected, 50, 40).tobytes()
    pixels = b"".join(row[:200] for row in device_rows(place, 224))
    assert (pixels[2::4], pixels[1::4], pixels[0::4]) == (rgb[0::3], rgb[1::3], rgb[2::3])
    panel.close()


def test_a_smaller_picture_sits_in_the_middle_of_a_black_screen(tmp_path: Path) -> None:
    """With a size given, the rest of the framebuffer is black, and closing blackens it all."""
    place = fake_framebuffer(tmp_path)
    panel = FramebufferPanel(place, (10, 4))
    panel.show(b"\xff\xff" * 40, [whole(panel)])
    screen = np.frombuffer(Path(place.device).read_bytes(), dtype="<u2").reshape(40, 50)
    assert screen[18:22, 20:30].min() == 0xFFFF
    assert np.count_nonzero(screen) == 40
    panel.close()
    assert not any(Path(place.device).read_bytes())
    with pytest.raises(ValueError, match="closed"):
        panel.show(b"\xff\xff" * 40, [whole(panel)])


def test_the_visible_part_of_a_larger_virtual_screen_is_used(tmp_path: Path) -> None:
    """The listed mode gives the size and the pan gives the place."""
    place = fake_framebuffer(tmp_path, size=(50, 80), facts={"modes": "U:40x30p-60", "pan": "10,40"})
    panel = FramebufferPanel(place)
    assert (panel.width, panel.height) == (40, 30)
    panel.show(b"\x12\x34" * 1_200, [whole(panel)])
    screen = np.frombuffer(Path(place.device).read_bytes(), dtype="<u2").reshape(80, 50)
    assert np.count_nonzero(screen == 0x1234) == 1_200
    assert screen[40:70, 10:].min() == screen[40:70, 10:].max() == 0x1234


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"bits_per_pixel": "24"}, "24 bits per pixel"),
        ({"stride": "99"}, "does not add up"),
        ({"modes": "U:51x40p-60"}, "does not add up"),
        ({"virtual_size": "garbage"}, "does not describe itself"),
        ({"virtual_size": "0,0"}, "does not add up"),
        ({"virtual_size": "50,400"}, "cannot be mapped"),
    ],
)
def test_a_framebuffer_that_cannot_be_used_says_why(tmp_path: Path, facts: dict[str, str], message: str) -> None:
    """A format that is not spoken or a description that contradicts itself is PanelUnavailable."""
    place = fake_framebuffer(tmp_path)
    for name, value in facts.items():
        Path(place.facts, name).write_text(value)
    with pytest.raises(PanelUnavailable, match=message):
        FramebufferPanel(place)


def test_no_framebuffer_and_one_that_is_too_small_are_unavailable(tmp_path: Path) -> None:
    """A missing device, and a size that the screen does not have, are refused with a mend."""
    missing = FramebufferPlace(device=str(tmp_path / "none"), facts=str(tmp_path / "none"))
    with pytest.raises(PanelUnavailable, match="no framebuffer"):
        open_panel("fb", framebuffer=missing)
    with pytest.raises(PanelUnavailable, match="50x40, smaller than 51x40"):
        open_panel("fb", (51, 40), framebuffer=fake_framebuffer(tmp_path))


# Names


def test_the_names_are_the_documented_ones() -> None:
    """Every preset can be had on the real bus and over the emulator."""
    names = display_names()
    assert names[:4] == ("auto", "sim", "sim:ili9341", "sim:st7789")
    assert names[-2:] == ("fb", "none")
    assert set(names) == {"auto", "sim", "fb", "none", *PRESETS, *(f"sim:{name}" for name in PRESETS)}


@pytest.mark.parametrize("display", ["", "ili9342", "sim:", "sim:fb", "sim:sim:ili9341", "SIM"])
def test_an_unknown_name_is_refused_with_the_list(display: str) -> None:
    """UnknownDisplay is a ValueError that lists what there is."""
    with pytest.raises(UnknownDisplay, match="there are auto, sim, sim:ili9341") as caught:
        open_panel(display)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("display", "size", "message"),
    [
        ("sim:ili9341", (320, 240), "not made in 320x240; there are 240x320"),
        ("st7789", (240, 241), "there are 240x320, 240x240, 135x240, 172x320, 170x320"),
        ("sim", (0, 10), "1 to 1920 pixels"),
        ("none", (10, 1921), "1 to 1920 pixels"),
        ("fb", (10, -1), "1 to 1920 pixels"),
    ],
)
def test_a_size_that_a_display_does_not_have_is_refused(display: str, size: tuple[int, int], message: str) -> None:
    """UnknownDisplay lists the sizes, before anything is opened."""
    for refuse in (check_display, open_panel):
        with pytest.raises(UnknownDisplay, match=message):
            refuse(display, size)


def test_default_sizes() -> None:
    """Where no size is asked for, the display's own is known by name, except for those that must be
    opened."""
    names = ("sim", "none", "st7789", "sim:hx8357", "fb", "auto")
    assert [default_size(name) for name in names] == [(240, 320), (240, 320), (240, 320), (480, 320), None, None]


def test_a_square_st7789_is_addressed_80_rows_down() -> None:
    """With 240x240 the picture lies where the glass is: rows 80 to 319 of the chip's RAM."""
    panel, emulator = emulated("st7789", (240, 240))
    frame = noise(panel, 1)
    panel.show(frame, [whole(panel)])
    assert emulator.visible(0, 80, 240, 240) == frame
    assert not any(emulator.visible(0, 0, 240, 80))


def passed_over() -> tuple[list[tuple[str, str]], Any]:
    """A list, and a callback that collects there what `auto` passed over."""
    seen: list[tuple[str, str]] = []
    return seen, lambda display, why: seen.append((display, why.message))


def test_auto_takes_the_configured_driver_first(tmp_path: Path) -> None:
    """A configured driver that opens wins over the framebuffer."""
    panel = open_panel("auto", configured="sim:gc9a01a", framebuffer=fake_framebuffer(tmp_path))
    assert (panel.driver, panel.width, panel.height) == ("sim:gc9a01a", 240, 240)


def test_auto_takes_the_framebuffer_next(tmp_path: Path) -> None:
    """A configured driver that this machine cannot open is passed over, and the caller is told why."""
    seen, tell = passed_over()
    panel = open_panel(
        "auto",
        configured="ili9341",
        wiring=Wiring(devices=str(tmp_path)),
        framebuffer=fake_framebuffer(tmp_path),
        on_unavailable=tell,
    )
    assert panel.driver == "fb"
    assert seen == [("ili9341", "This machine offers no SPI device.")]


@pytest.mark.parametrize(
    ("configured", "size", "expected"),
    [(None, None, (240, 320)), ("hx8357", None, (480, 320)), ("st7789", (240, 240), (240, 240))],
)
def test_auto_ends_with_plain_memory_of_the_configured_size(
    tmp_path: Path, configured: str | None, size: tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    """Without bus and framebuffer the stand-in has the size of the panel it stands in for."""
    nothing = FramebufferPlace(device=str(tmp_path / "none"), facts=str(tmp_path / "none"))
    panel = open_panel("auto", size, configured=configured, wiring=Wiring(devices=str(tmp_path)), framebuffer=nothing)
    assert (panel.driver, (panel.width, panel.height)) == ("sim", expected)


def test_every_kind_of_panel_fits_the_protocol(tmp_path: Path) -> None:
    """All kinds answer the protocol's attributes in the same types."""
    panels: Sequence[Panel] = (
        SimulatedPanel(3, 2),
        emulated("ili9341")[0],
        FramebufferPanel(fake_framebuffer(tmp_path)),
    )
    for panel in panels:
        assert isinstance(panel.driver, str)
        assert len(panel.ram()) == 2 * panel.width * panel.height
        panel.close()
