"""A LOOP installation to fill, the data directory that it moves into, and what its files hold."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from PIL import Image

import pixelog
from api.adopt.moving import Report, adopt_loop
from api.cli.ports import PrepareDesk
from api.data import DataDirectory
from player.pixels import pack_rgb565
from player.prepare import prepare

SAMPLES = Path(__file__).parent.parent / "samples" / "loop"
FRAME_BYTES = 320 * 240 * 2


class Move:
    """A source to fill and a data directory to move it into."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "app"
        self.media = self.source / "media"
        self.media.mkdir(parents=True)
        self.data = DataDirectory(folder / "data")

    def sample(self, name: str, into: str = "media/index.json") -> None:
        """Put a sample where it lies on a device."""
        target = self.source / into
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".sql"):
            database = sqlite3.connect(target)
            database.executescript((SAMPLES / name).read_text())
            database.close()
        else:
            shutil.copy(SAMPLES / name, target)

    def index(self, media: Any, **rest: Any) -> None:
        """Write an index of these items."""
        index: dict[str, Any] = {"media": media, "loop": [], "active": None, "last_updated": 1751065201, "processing": {}} | rest
        (self.media / "index.json").write_text(json.dumps(index))

    def raw(self, name: str, content: bytes) -> bytes:
        """Put an upload there."""
        (self.media / "raw").mkdir(exist_ok=True)
        (self.media / "raw" / name).write_bytes(content)
        return content

    def frames(self, slug: str) -> Path:
        """The folder for the frames of an item."""
        folder = self.media / "processed" / slug / "frames"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def adopt(self, **options: Any) -> Report:
        """Move in. The source must be as it was afterwards, each byte and each time."""
        before = fingerprint(self.source)
        try:
            return adopt_loop(self.data, self.source, **options)
        finally:
            assert fingerprint(self.source) == before

    def state(self) -> pixelog.StateService:
        """The data directory, open."""
        return pixelog.open(self.data.root)


def item(slug: str, **fields: Any) -> dict[str, Any]:
    """An item of the fourth generation."""
    usual = {"slug": slug, "filename": f"{slug}.gif", "type": "image/gif", "size": 5, "uploadedAt": "2025-06-24T18:02:11.482913Z"}
    return {**usual, "processing_status": "completed", **fields}


def frame(number: int) -> bytes:
    """A frame with a pattern of its own, as the panel shows it."""
    image = Image.linear_gradient("L").resize((320, 240)).rotate(number * 37)
    return pack_rgb565(Image.merge("RGB", (image, image.rotate(90).resize((320, 240)), image.point([number % 256] * 256))))


def gif(seed: int) -> bytes:
    """A small GIF."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (seed % 256, 80, 160)).save(file, "GIF")
    return file.getvalue()


def found(findings: Any) -> list[tuple[str, str]]:
    """Keys and rules of findings."""
    return [(one.key, one.rule) for one in findings]


def fingerprint(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Every file of a tree with its content, times and mode, and every folder with its times."""
    result: dict[str, tuple[Any, ...]] = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        result[str(path.relative_to(folder))] = (content, about.st_mtime_ns, about.st_mode, about.st_size)
    return result


def prepared(state: pixelog.StateService, into: Path) -> int:
    """Do what the worker does with every waiting job; how many there were."""
    desk, count = PrepareDesk(state), 0
    while (task := desk.take()) is not None:
        desk.prepared(task, prepare(task.source, into, task.geometry, lambda percent, stage: None))
        count += 1
    return count
