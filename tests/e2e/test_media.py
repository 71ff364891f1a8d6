"""Files as people have them, uploaded as people do, on each panel: every frame compared with what plain Pillow makes of the file."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import samples
from harness import Pixelog, until
from PIL import Image, ImageChops, ImageStat
from samples import Sample, Size

PANELS = [("sim", (240, 320)), ("sim:ili9341", (240, 320)), ("sim:st7789", (240, 320)), ("sim:st7789", (240, 240))]

LATE_MS = 40
"""How far a frame may stand longer or shorter than it should, as seen from outside, on a busy machine."""


def curl(pixelog: Pixelog, file: Path) -> tuple[int, dict[str, object]]:
    """`curl -F file=@…`: the status and the answer. Another client where there is no curl."""
    if shutil.which("curl") is None:
        answer = httpx.post(f"{pixelog.page}/api/v1/media", files={"file": (file.name, file.read_bytes())}, timeout=20)
        return answer.status_code, answer.json()
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", "-F", f"file=@{file}", f"{pixelog.page}/api/v1/media"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    said, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(said)


@pytest.mark.parametrize(("display", "size"), PANELS)
def test_media_play_as_they_are(up: Callable[..., Pixelog], tmp_path: Path, display: str, size: Size) -> None:
    """A GIF, an EXIF-rotated JPEG, an animated WebP and an APNG show each frame for its time; a broken PNG fails with a sentence."""
    made = [samples.gif(size), samples.jpeg(size), samples.webp(size), samples.apng(size)]
    pixelog = up("--size", f"{size[0]}x{size[1]}", display=display)
    pixelog.send("PATCH", "/settings", {"defaultDuration": 60})
    slugs: list[str] = []
    broken = Sample("broken.png", samples.broken_png(size), [], [])
    for sample in (broken, *made):
        file = tmp_path / sample.filename
        file.write_bytes(sample.content)
        status, item = curl(pixelog, file)
        assert (status, item["filename"]) == (201, sample.filename)
        slugs.append(str(item["slug"]))
    for slug, sample in zip(slugs[1:], made, strict=True):
        item = pixelog.prepared(slug)
        assert (item["status"], item["frameCount"]) == ("ready", len(sample.frames))
        assert (item["width"], item["height"]) == size
        assert item["duration"] == (pytest.approx(sum(sample.delays_ms) / 1000) if sample.delays_ms else None)
        pixelog.send("PUT", "/active", {"slug": slug})
        plays(pixelog, slug, sample)
    failed = pixelog.prepared(slugs[0])
    assert failed["status"] == "failed"
    assert len(failed["error"].split()) >= 4
    assert failed["error"].endswith(".")
    assert pixelog.shows(slugs[-1])
    assert [pixelog.item(slug)["status"] for slug in slugs] == ["failed", "ready", "ready", "ready", "ready"]


def plays(pixelog: Pixelog, slug: str, sample: Sample) -> None:
    """Watch until every frame was seen on /screen.png and each stood for its time."""
    wanted = [samples.on_panel(frame).tobytes() for frame in sample.frames]
    assert len(set(wanted)) == len(wanted)
    until(lambda: pixelog.shows(slug), f"{slug} on the panel")
    seen: set[int] = set()
    planned: dict[int, list[int]] = {}
    stood: dict[int, list[float]] = {}
    before: tuple[int, int, float] | None = None
    sequence = None
    deadline = time.monotonic() + 20

    def kept(index: int, delay_ms: int) -> bool:
        exact = delay_ms * 1000 in planned.get(index, [])
        return exact and min(abs(one - delay_ms) for one in stood[index]) <= LATE_MS

    while len(seen) < len(wanted) or not all(kept(index, delay_ms) for index, delay_ms in enumerate(sample.delays_ms)):
        assert time.monotonic() < deadline, (
            f"{slug}: saw {seen} of {len(wanted)} frames; they stood for {planned} µs by plan, {stood} ms as seen"
        )
        if pixelog.screen_sequence() == sequence:
            time.sleep(0.001)
            continue
        sequence, now = pixelog.screen_sequence(), time.monotonic()
        screen = pixelog.screen()
        assert screen is not None
        pixels = Image.frombytes("RGB", (screen.width, screen.height), _rgb(screen.ram)).tobytes()
        assert pixels in wanted, f"{slug}: what is on the panel is no frame of it"
        index = wanted.index(pixels)
        if before is not None and (before[0] + 1) % len(wanted) == index and before[0] != index:
            planned.setdefault(before[0], []).append(screen.planned_us - before[1])
            stood.setdefault(before[0], []).append((now - before[2]) * 1000)
        if before is None or before[0] != index:
            before = (index, screen.planned_us, now)
        if index not in seen:
            image, _, _ = pixelog.screen_png()
            assert image.tobytes() in wanted
            seen.add(wanted.index(image.tobytes()))


def _rgb(ram: bytes) -> bytes:
    """RGB565, the high byte first, spread over eight bits."""
    out = bytearray(len(ram) // 2 * 3)
    values = memoryview(ram)
    high, low = values[0::2], values[1::2]
    red = bytes((h & 0xF8) | h >> 5 for h in range(256))
    out[0::3] = bytes(high).translate(red)
    blue = bytes((v & 0x1F) << 3 | (v & 0x1F) >> 2 for v in range(256))
    out[2::3] = bytes(low).translate(blue)
    out[1::3] = bytes((h & 7) << 5 | (v & 0xE0) >> 3 | (h & 7) >> 1 for h, v in zip(high, low, strict=True))
    return bytes(out)


def test_a_picture_of_another_size_is_scaled_as_pillow_does(up: Callable[..., Pixelog]) -> None:
    """Contained, in the middle of black, within two steps of RGB565 of Pillow's own Lanczos."""
    pixelog = up(display="sim:st7789")
    for sample in (samples.png((500, 333), 7), samples.jpeg((700, 1200), 8)):
        slug = pixelog.upload(sample.filename, sample.content, makeActive="true")["slug"]
        assert pixelog.prepared(slug)["status"] == "ready"
        until(lambda slug=slug: pixelog.shows(slug), f"{slug} on the panel")
        image, _, _ = pixelog.screen_png()
        wanted = samples.on_panel(samples.contained(sample.frames[0], (240, 320)))
        difference = ImageChops.difference(image, wanted)
        assert max(ImageStat.Stat(difference).mean) < 1.0, slug
        assert max(high for _, high in difference.getextrema()) <= 24, slug


def test_what_is_no_media_fails_and_harms_nothing(up: Callable[..., Pixelog]) -> None:
    """Empty, text, a decompression bomb, a cut GIF: each fails with a sentence, while the item on the panel stays there."""
    pixelog = up()
    still = samples.png((240, 320), 9)
    slug = pixelog.upload(still.filename, still.content, makeActive="true")["slug"]
    until(lambda: pixelog.shows(slug), "the still on the panel")
    files = {
        "empty.gif": b"",
        "words.png": b"this is no picture\n" * 50,
        "bomb.png": samples.bomb_png(),
        "cut.gif": samples.gif((240, 320)).content[:300],
    }
    bad = [pixelog.upload(name, content)["slug"] for name, content in files.items()]
    for one in bad:
        item = pixelog.prepared(one)
        assert (item["status"], item["error"].endswith(".")) == ("failed", True), item
    assert pixelog.shows(slug)
    assert pixelog.screen_png()[0].tobytes() == samples.on_panel(still.frames[0]).tobytes()
    activated = pixelog.send("PUT", "/active", {"slug": bad[0]}).json()
    assert activated["slug"] == bad[0]
