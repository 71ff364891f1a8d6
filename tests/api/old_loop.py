"""A reader of LOOP's files as LOOP itself was one: strict where its code was, and written from the formats alone.

Nothing of pixelog is imported here: what this reader accepts and what it makes of it is a second opinion on what we write. It stands for the last two
generations, `index.json` with its four keys and `media.db`, for the frames in `processed`, and for the loader of the settings.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import unquote

STATUSES = {"uploaded", "pending", "processing", "completed", "error"}
JOB_STATUSES = {"processing", "completed", "error"}
FRAME = 320 * 240 * 2

ITEM_TYPES: dict[str, tuple[type, ...]] = {
    "slug": (str,), "filename": (str,), "type": (str,), "size": (int,), "uploadedAt": (str,), "url": (str,), "duration": (int, float),
    "width": (int,), "height": (int,), "frame_count": (int,), "processing_status": (str,),
}  # fmt: skip
ITEM_NEEDED = {"slug", "filename", "type", "size", "uploadedAt"}
JOB_TYPES: dict[str, tuple[type, ...]] = {
    "filename": (str,), "status": (str,), "progress": (int, float), "stage": (str,), "message": (str,), "timestamp": (int, float),
}  # fmt: skip
SECTIONS = {
    "device": {"name", "version"},
    "display": {
        "type", "width", "height", "rotation", "framerate", "spi_bus", "spi_device", "spi_speed_hz", "spi_chunk_size", "dc_pin", "rst_pin", "bl_pin",
        "brightness", "backlight_freq", "show_progress", "progress_color",
    },
    "wifi": {"ssid", "password", "hotspot_ssid", "hotspot_password", "hotspot_channel", "hotspot_enabled", "timeout"},
    "encoder": {"pin_a", "pin_b", "button_pin", "debounce_ms"},
    "media": {"max_file_size_mb", "active_media", "loop_count", "static_image_duration_sec", "auto_advance_enabled"},
    "sync": {"enabled", "server_url", "interval_minutes", "last_sync"},
    "processing": {"progress_update_interval_ms", "job_cleanup_hours", "max_concurrent_jobs"},
    "web": {"host", "port", "debug", "max_concurrent_requests", "request_timeout_seconds", "allowed_origins"},
}  # fmt: skip

TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{3,6})?Z")
SECOND = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")


class Refused(Exception):
    """LOOP would have stopped here, or shown something else than was meant."""


def check(right: bool, what: str) -> None:
    """Stop when it is not right."""
    if not right:
        raise Refused(what)


def read_index(app: Path) -> dict[str, Any]:
    """`media/index.json` of the fourth generation: its five keys."""
    index: Any = json.loads((app / "media/index.json").read_text("utf-8"))
    check({"media", "loop", "active", "last_updated", "processing"} <= set(index), "a key is missing")
    check(
        type(index["media"]) is dict and type(index["loop"]) is list and type(index["processing"]) is dict,
        "a key has another type",
    )
    check(index["last_updated"] is None or type(index["last_updated"]) is int, "last_updated is no whole number")
    for slug, item in index["media"].items():
        check(item.get("slug") == slug, f"{slug}: another slug inside")
        _item(item)
    _order(index["loop"], index["active"], index["media"])
    for id, job in index["processing"].items():
        check(job.get("job_id", id) == id, f"{id}: another id inside")
        _job(job)
    return index


def read_database(app: Path) -> dict[str, Any]:
    """`media/media.db` in the terms of the index: what each endpoint of the last release asked it for."""
    db = sqlite3.connect(app / "media/media.db")
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    media: dict[str, Any] = {}
    for row in db.execute(
        "SELECT slug, filename, type, size, uploaded_at, url, duration, width, height, frame_count, processing_status "
        "FROM media ORDER BY uploaded_at DESC"
    ):
        item = {("uploadedAt" if name == "uploaded_at" else name): row[name] for name in row.keys() if row[name] is not None}  # noqa: SIM118
        _item(item)
        media[item["slug"]] = item
    loop = [row["slug"] for row in db.execute("SELECT slug FROM loop_order ORDER BY position")]
    places = [row["position"] for row in db.execute("SELECT position FROM loop_order ORDER BY position")]
    check(places == list(range(len(places))), "places of the loop are not 0, 1, 2 …")
    settings = {
        row["key"]: row["value"] for row in db.execute("SELECT key, value FROM settings WHERE key IN ('active', 'last_updated')")
    }
    check(settings["last_updated"] is None or settings["last_updated"].isdigit(), "last_updated is no epoch")
    _order(loop, settings["active"], media)
    jobs: dict[str, Any] = {}
    for row in db.execute("SELECT * FROM processing_jobs ORDER BY updated_at DESC"):
        check(bool(SECOND.fullmatch(row["created_at"]) and SECOND.fullmatch(row["updated_at"])), "a job's time has another form")
        job = {name: row[name] for name in ("filename", "status", "progress", "stage", "message")} | {"timestamp": 0}
        _job(job)
        jobs[row["job_id"]] = job
    # What LOOP does next: an upload, a removal with its entry in the loop, and a choice.
    db.execute(
        "INSERT INTO media (slug, filename, type, size, uploaded_at) VALUES ('new one', 'n.gif', 'image/gif', 1, '2025-01-01T00:00:00Z')"
    )
    db.execute(
        "INSERT INTO loop_order (position, slug) VALUES ((SELECT COALESCE(MAX(position), -1) + 1 FROM loop_order), 'new one')"
    )
    db.execute("INSERT OR REPLACE INTO settings (key, value) VALUES ('active', 'new one')")
    db.execute("DELETE FROM media WHERE slug = 'new one'")
    left = db.execute("SELECT count(*) FROM loop_order WHERE slug = 'new one'").fetchone()[0]
    check(left == 0, "a removed item stays in the loop")
    db.rollback()
    db.close()
    return {"media": media, "loop": loop, "active": settings["active"], "processing": jobs}


def read_frames(app: Path, slug: str) -> list[bytes]:
    """The frames of an item as the player of LOOP takes them; it stops at metadata that says another count or size."""
    folder = app / "media/processed" / slug
    metadata = json.loads((folder / "metadata.json").read_text())
    check(
        {"slug", "original_filename", "type", "width", "height", "frame_count", "format", "fps"} <= set(metadata),
        "metadata lacks a key",
    )
    check(
        metadata["slug"] == slug and metadata["format"] == "rgb565" and metadata["type"] in ("image", "video"),
        "metadata says otherwise",
    )
    packed = (folder / "frames/frames.bin").read_bytes()
    count, size = int.from_bytes(packed[:4], "big"), int.from_bytes(packed[4:8], "big")
    check(size == FRAME and len(packed) == 8 + count * size, "frames.bin is corrupt")
    check(count == metadata["frame_count"] > 0, "another count of frames")
    check(metadata["fps"] == (25 if count > 1 else 0), "another rate")
    return [packed[8 + number * size : 8 + (number + 1) * size] for number in range(count)]


def raw_of(app: Path, item: dict[str, Any]) -> Path:
    """The upload behind an item's address, as the web server finds it: one name below `media/raw`."""
    name = unquote(item["url"].removeprefix("/media/raw/"))
    check(
        item["url"].startswith("/media/raw/") and "/" not in name and name not in (".", "..") and "\0" not in name,
        "an address leads away",
    )
    check(len(os.fsencode(name)) <= 255, "no file has so long a name")
    return app / "media/raw" / name


def read_config(app: Path) -> dict[str, Any]:
    """The settings, section by section into constructors that know their keys: an unknown one stops the program."""
    config = json.loads((app / "config/config.json").read_text())
    for section, keys in config.items():
        check(section in SECTIONS, f"no section {section}")
        check(set(keys) <= SECTIONS[section], f"{section} has no {sorted(set(keys) - SECTIONS[section])}")
    return config


def _item(item: dict[str, Any]) -> None:
    check(set(item) >= ITEM_NEEDED, f"an item lacks {sorted(ITEM_NEEDED - set(item))}")
    for name, value in item.items():
        if name in ITEM_TYPES and value is not None:
            check(type(value) in ITEM_TYPES[name], f"{item['slug']}: {name} is {value!r}")
    check(bool(TIME.fullmatch(item["uploadedAt"])), f"{item['slug']}: {item['uploadedAt']} is no time")
    check("/" in item["type"], f"{item['slug']}: {item['type']} is no MIME type")
    check(item["size"] >= 0 and item.get("processing_status", "completed") in STATUSES, f"{item['slug']}: size or status")


def _order(loop: list[Any], active: Any, media: dict[str, Any]) -> None:
    check(len(set(loop)) == len(loop) and set(loop) <= set(media), "the loop has an entry twice, or one without an item")
    check(active is None or active in media, "what is active is no item")


def _job(job: dict[str, Any]) -> None:
    check(set(JOB_TYPES) <= set(job), f"a job lacks {sorted(set(JOB_TYPES) - set(job))}")
    check(all(type(job[name]) in kinds for name, kinds in JOB_TYPES.items()), f"a job has another type: {job}")
    check(job["status"] in JOB_STATUSES and 0 <= job["progress"] <= 100, f"a job's status or progress: {job}")
