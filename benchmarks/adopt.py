"""How fast a LOOP library moves in and out: items without files, then small uploads. `python -m benchmarks.adopt [ITEMS]` prints a line for each."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from api.adopt.loop_export import export_loop
from api.adopt.moving import adopt_loop
from api.data import DataDirectory


def build(source: Path, count: int, uploads: bool) -> None:
    """An index of the fourth generation; every item with an upload of a few bytes, or none with any."""
    raw = source / "media" / "raw"
    raw.mkdir(parents=True)
    items: dict[str, object] = {}
    for number in range(count):
        slug = f"item_{number:06}_{number * 2654435761 % 2**64:016x}"
        items[slug] = {
            "slug": slug,
            "filename": f"Item {number}.gif",
            "type": "image/gif",
            "size": 1_000 + number,
            "uploadedAt": f"2025-06-{1 + number % 28:02}T10:11:12.{number % 1_000_000:06}Z",
            "url": f"/media/raw/{slug}_Item {number}.gif",
            "processing_status": "completed",
            "frame_count": 9,
            "width": 320,
            "height": 240,
        }
        if uploads:
            (raw / f"{slug}_Item {number}.gif").write_bytes(b"GIF89a %d" % number)
    index = {
        "media": items,
        "loop": list(items)[:1000],
        "active": next(iter(items)),
        "last_updated": 1751065201,
        "processing": {},
    }
    (source / "media" / "index.json").write_text(json.dumps(index))


def timed(name: str, count: int, work: Callable[[], object]) -> None:
    """Run it once and print how long it took."""
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    print(f"{name:42} {seconds:8.2f} s {count / seconds:10.0f} items/s")


def main(count: int) -> None:
    """All measurements."""
    for uploads, size in ((False, count), (True, max(1, count // 10))):
        with tempfile.TemporaryDirectory() as name:
            folder, what = Path(name), "with uploads" if uploads else "without files"
            source, data = folder / "app", DataDirectory(folder / "data")
            build(source, size, uploads)
            timed(f"{size} items {what}: dry run", size, lambda s=source, d=data: adopt_loop(d, s, dry_run=True))
            timed(f"{size} items {what}: move in", size, lambda s=source, d=data: adopt_loop(d, s))
            timed(f"{size} items {what}: move in again", size, lambda s=source, d=data: adopt_loop(d, s))
            timed(f"{size} items {what}: again, with --verify", size, lambda s=source, d=data: adopt_loop(d, s, verify=True))
            timed(f"{size} items {what}: move out", size, lambda t=folder / "out", d=data: export_loop(d, t))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
