"""The demonstration media: real files that a decoder reads, the same at every call."""

import io
import os
import time

import pytest
from PIL import Image, ImageSequence

from player.demo import DEMO

FACTS: dict[str, tuple[str, list[int] | None]] = {
    "hello.gif": ("GIF", [90] * 9 + [130] * 7 + [70] * 7 + [2500]),
    "clock.gif": ("GIF", [100] * 60),
    "plasma.webp": ("WEBP", [80] * 48),
    "sunrise.jpg": ("JPEG", None),
    "bounce.png": ("PNG", []),
    "test-card.png": ("PNG", None),
}


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """All six files, and a check that making them is quick."""
    began = time.process_time()
    files = {name: maker() for name, maker in DEMO}
    assert time.process_time() - began < 6
    return files


def test_there_are_six_files_with_distinct_stems() -> None:
    """The stems become the slugs."""
    assert {os.path.splitext(name)[0] for name, _ in DEMO} == {
        "hello", "clock", "plasma", "sunrise", "bounce", "test-card",
    }  # fmt: skip
    assert len(DEMO) == 6


@pytest.mark.parametrize("name", FACTS)
def test_a_decoder_reads_what_was_drawn(made: dict[str, bytes], name: str) -> None:
    """Format, size, number of frames and delays are those intended."""
    kind, delays = FACTS[name]
    with Image.open(io.BytesIO(made[name])) as image:
        assert (image.format, image.size) == (kind, (240, 320))
        if delays is None:
            assert getattr(image, "n_frames", 1) == 1
            return
        seen: list[int] = []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            seen.append(round(frame.info["duration"]))
        assert image.info.get("loop") == 0
    if name == "bounce.png":
        assert len(seen) == 24
        assert set(seen) == {40, 50, 80}
    else:
        assert seen == delays


def test_the_same_bytes_every_time(made: dict[str, bytes]) -> None:
    """Made again, each file is the same: its hash, and so its identity, is stable."""
    for name, maker in DEMO:
        assert maker() == made[name], name


def test_animations_move_and_their_pictures_are_rich(made: dict[str, bytes]) -> None:
    """Consecutive frames differ somewhere and no frame is a blank."""
    for name in ("hello.gif", "clock.gif", "plasma.webp", "bounce.png"):
        with Image.open(io.BytesIO(made[name])) as image:
            frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
        assert len({frame.tobytes() for frame in frames}) >= len(frames) - 2, name
        assert all(len(frame.getcolors(1 << 17) or []) > 3 for frame in frames), name


@pytest.mark.parametrize("size", [(128, 128), (320, 240), (96, 64)])
def test_every_panel_size_is_drawn(size: tuple[int, int]) -> None:
    """The makers draw for the panel that is there."""
    for name, maker in DEMO:
        with Image.open(io.BytesIO(maker(*size))) as image:
            assert image.size == size, name
