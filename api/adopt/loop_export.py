"""LOOP's files out: an installation of its last generation, with the index of the generation before beside it, for the way back.

Whatever LOOP's form can hold of the library goes along, also what was kept of an earlier move. What it cannot hold (tags, hours, repeats,
messages, the log itself) stays here and is not touched. Writes only into the folder that it is given, which must be new or empty.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import msgspec

from api.adopt import loop_settings, values
from api.adopt.findings import Finding, Findings
from api.adopt.loop import KEPT_IN_DATABASE, raw_name, raw_url, replaced_name
from api.adopt.loop_files import ORIGINAL
from api.adopt.secret_store import kept_secrets
from api.commands.adoptions import CONVERT
from api.data import DataDirectory
from api.reading import open_for_reading
from player.framepack import FramePack
from player.media_error import MediaError
from player.prepare import Geometry, prepare
from projections import active, adoptions, jobs, loop, media, planning, settings
from projections.jobs import Job
from projections.media import Media

FPS = 25
"""LOOP plays frames at this rate."""

FRAMES_MAX = 1_500
"""Frames written of one item: a minute, 230 MB. LOOP kept the whole clip in one file, too."""

_NAME_BYTES_MAX = 255
"""Bytes of a file name on every file system that matters here."""

_SCHEMA = """
CREATE TABLE media (
    slug TEXT PRIMARY KEY, filename TEXT NOT NULL, type TEXT NOT NULL, size INTEGER NOT NULL, uploaded_at TEXT NOT NULL, url TEXT, duration REAL,
    width INTEGER, height INTEGER, frame_count INTEGER, processing_status TEXT DEFAULT 'completed', created_at DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE loop_order (
    position INTEGER PRIMARY KEY, slug TEXT NOT NULL, FOREIGN KEY (slug) REFERENCES media(slug) ON DELETE CASCADE);
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT, updated_at DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE processing_jobs (
    job_id TEXT PRIMARY KEY, filename TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'processing', progress REAL NOT NULL DEFAULT 0,
    stage TEXT NOT NULL DEFAULT 'starting', message TEXT NOT NULL DEFAULT 'Initializing...',
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE INDEX idx_media_status ON media(processing_status);
CREATE INDEX idx_media_uploaded ON media(uploaded_at);
CREATE INDEX idx_loop_position ON loop_order(position);
CREATE INDEX idx_jobs_status ON processing_jobs(status);
CREATE INDEX idx_jobs_updated ON processing_jobs(updated_at);
"""
_PRAGMAS = """
PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = 2000; PRAGMA temp_store = MEMORY;
PRAGMA foreign_keys = ON; PRAGMA mmap_size = 268435456
"""
_COLUMNS = (
    "slug",
    "filename",
    "type",
    "size",
    "uploadedAt",
    "url",
    "duration",
    "width",
    "height",
    "frame_count",
    "processing_status",
    "created_at",
)
_INDEX = frozenset({"media", "loop", "active", "last_updated", "processing"})
_JOB_STATUSES = {
    "queued": "processing",
    "running": "processing",
    "completed": "completed",
    "failed": "error",
    "cancelled": "error",
}


class NotEmpty(Exception):
    """The folder to write to has something in it."""


class Report(msgspec.Struct, frozen=True):
    """What was written: items, loop entries, jobs, uploads, and items with frames; and what LOOP's form could not take as it was."""

    system: str
    media: int
    loop: int
    jobs: int
    files: int
    frames: int
    warnings: tuple[Finding, ...]


class _Item(msgspec.Struct, frozen=True):
    """An item with what was kept of it, under the name that its file gets."""

    media: Media
    extra: Mapping[str, Any]
    raw: str
    original: str | None
    original_size: int

    @property
    def sha256(self) -> str | None:
        """The blob that is its upload: not the picture that plays in its place."""
        return self.original or self.media.sha256


def export_loop(data: DataDirectory, target: Path, *, frames: bool = True, secrets: bool = False, name: str = "loop") -> Report:
    """Write an installation of LOOP into `target`. `frames` makes those of prepared items anew, so that LOOP can play them at once; `secrets`
    puts the passwords of an earlier move back into its settings.

    Raises NotEmpty, Unusable, OSError.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise NotEmpty(f"{target} is not empty; name a new folder, so that nothing is overwritten")
    findings = Findings()
    with open_for_reading(data) as store, store.snapshot() as db:
        items = list(_items(db))
        order = [entry.slug for entry in loop.entries(db)]
        chosen = active.get(db)[0].slug
        kept = _kept(db, name)
        index = _index(items, order, chosen, _jobs(db), planning.moment(db).time_us // 1_000_000, kept.index)
        config = _config(db, kept.config, kept_secrets(data.secrets, name), secrets, findings)
    (target / "media" / "raw").mkdir(parents=True)
    files = sum(_write_raw(item, data.blobs, target / "media" / "raw", findings) for item in items)
    made = 0
    for item in items if frames else ():
        count = _write_frames(item, data.blobs, target / "media" / "processed", findings)
        if count:
            made += 1
            index["media"][item.media.slug]["frame_count"] = count
    _write(target / "media" / "index.json", msgspec.json.format(msgspec.json.encode(index), indent=2))
    _write_database(target / "media" / "media.db", index)
    (target / "config").mkdir()
    _write(
        target / "config" / "config.json", msgspec.json.format(msgspec.json.encode(config), indent=2), 0o600 if secrets else 0o644
    )
    return Report("loop", len(items), len(order), len(index["processing"]), files, made, tuple(findings.warnings))


# -- the state in the terms of the fourth generation -----------------------------------------------------------------------------------


def _items(db: apsw.Connection) -> Iterator[_Item]:
    """Every item in the order of their coming."""
    taken = set[str]()
    rows: list[Any] = db.execute("SELECT slug, extra FROM media_items WHERE removed_at IS NULL ORDER BY position").fetchall()
    for slug, text in rows:
        item = media.get(db, slug)
        if item is None:
            continue
        extra: dict[str, Any] = {} if text is None else msgspec.json.decode(text)
        original: Any = extra.pop(ORIGINAL, None)
        name = _file_name(item, taken)
        taken.add(name)
        if isinstance(original, dict):
            yield _Item(item, extra, name, original["sha256"], original["size"])  # type: ignore[reportUnknownArgumentType]
        else:
            yield _Item(item, extra, name, None, 0)


def _file_name(item: Media, taken: set[str]) -> str:
    """As LOOP names uploads; what no file can be called, or another one is called, gets a hash of its slug for a name."""
    name = raw_name(item.slug, item.filename)
    if "/" in name or "\0" in name or len(name.encode()) > _NAME_BYTES_MAX or name in taken:
        return replaced_name(item.slug, item.filename)
    return name


def _index(
    items: list[_Item], order: list[str], chosen: str | None, found: list[Job], time_s: int, rest: dict[str, Any]
) -> dict[str, Any]:
    return {
        **rest,
        "media": {item.media.slug: _entry(item) for item in items},
        "loop": order,
        "active": chosen,
        "last_updated": time_s,
        "processing": {job.id: _job_entry(job) for job in found},
    }


def _entry(item: _Item) -> dict[str, Any]:
    """The item as LOOP writes it; keys without a value are left out."""
    it, extra = item.media, item.extra
    entry: dict[str, Any] = {
        "slug": it.slug,
        "filename": it.filename,
        "type": extra.get("type", it.type),
        "size": item.original_size if item.original is not None else it.size,
        "uploadedAt": values.iso(_us(it.uploaded_at)),
        "url": extra.get("url", raw_url(item.raw)),
        "processing_status": _status(it, extra),
        "duration": it.duration,
        "width": it.width,
        "height": it.height,
        "frame_count": it.frame_count,
    }
    return {**extra, **{name: value for name, value in entry.items() if value is not None}}


def _status(item: Media, extra: Mapping[str, Any]) -> str:
    if item.status == "ready":
        return "completed"
    if item.status == "failed" and item.sha256 is not None:
        return "error"
    return str(extra.get("processing_status", "completed"))


def _jobs(db: apsw.Connection) -> list[Job]:
    """Jobs that LOOP knew; ours prepare items for our own panels."""
    rows: list[Any] = db.execute("SELECT id FROM jobs_all WHERE kind = ? ORDER BY position", (CONVERT,)).fetchall()
    return [job for (id,) in rows if (job := jobs.get(db, id)) is not None]


def _job_entry(job: Job) -> dict[str, Any]:
    extra = {name: value for name, value in (job.input or {}).items() if name != "timestamp"}
    created_us, reported_us = _us(job.created_at), _reported_us(job)
    entry = {
        "job_id": job.id,
        "filename": job.title,
        "status": _JOB_STATUSES[job.status],
        "progress": job.progress,
        "stage": job.stage or "",
        "message": job.message or "",
        "timestamp": reported_us / 1_000_000,
    }
    if created_us != reported_us:
        entry["created_at"] = values.iso(created_us)
    return {**extra, **entry}


def _reported_us(job: Job) -> int:
    """When the job last said something: a running one that moved in says it itself."""
    told = values.instant_us((job.input or {}).get("timestamp")) if job.status == "running" else None
    return _us(job.finished_at or job.updated_at) if told is None else told


def _us(text: str) -> int:
    """Our own form of an instant, in whole milliseconds."""
    time_us = values.instant_us(text)
    if time_us is None:
        raise ValueError(f"{text!r} is no instant")
    return time_us


def _kept(db: apsw.Connection, name: str) -> _Rest:
    rest = adoptions.find(db, name, ["rest"]).get("rest")
    return msgspec.convert(rest.kept if rest is not None else {}, _Rest)


def _config(
    db: apsw.Connection, config: dict[str, Any], hidden: dict[str, Any], with_secrets: bool, findings: Findings
) -> dict[str, Any]:
    """LOOP's settings: what was kept of them (`config`), and ours where they correspond. `hidden`: the secrets of the move."""
    here: dict[str, Any] = settings.get(db)
    for section, key, value in (
        ("device", "name", here["name"]),
        ("display", "brightness", here["brightness"]),
        ("display", "rotation", here["rotation"]),
        ("media", "static_image_duration_sec", here["defaultDuration"]),
    ):
        _put(config, [section, key], value)
    for place, secret in hidden.items():
        root, *path = place.split(".")
        if root != "config" or not path:
            findings.warn(place, "IR-0.9", "it is a secret outside of the settings, and left out")
        elif not with_secrets:
            findings.warn(f"config/{'.'.join(path)}", "IR-0.9", "it is a secret, and left out; --secrets puts it in")
        elif not _put(config, path, secret):
            findings.warn(f"config/{'.'.join(path)}", "IR-0.9", "it is a secret, and cannot be put back where it was")
    for name in loop_settings.unknown(config):
        why = "the last LOOP knows no such key, and does not start with one that it does not know; take it out if yours stops"
        findings.warn(f"config/{name}", "IR-0.7", why)
    return config


class _Rest(msgspec.Struct):
    """What an earlier move kept: of the settings, and of the state beyond its library."""

    config: dict[str, Any] = {}
    index: dict[str, Any] = {}


def _put(config: dict[str, Any], path: list[str], value: Any) -> bool:
    """Put a value where it belongs; False when something else is in the way."""
    *folders, last = path
    for folder in folders:
        inner: Any = config.setdefault(folder, {})
        if not isinstance(inner, dict):
            return False
        config = inner  # type: ignore[reportUnknownVariableType]
    config[last] = value
    return True


# -- files ---------------------------------------------------------------------------------------------------------------------------


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write_raw(item: _Item, blobs: Path, folder: Path, findings: Findings) -> int:
    """The upload, when it is held; how many files were written."""
    if item.sha256 is None:
        return 0
    try:
        shutil.copyfile(blobs / item.sha256[:2] / item.sha256, folder / item.raw)
    except FileNotFoundError:
        findings.warn(f"media/{item.media.slug}", "IR-0.8", "its file is gone from the disk; pixelog verify tells more")
        return 0
    return 1


def _write_frames(item: _Item, blobs: Path, folder: Path, findings: Findings) -> int:
    """The frames of what plays: those that LOOP made itself as they were, others 25 a second. How many were written."""
    it = item.media
    if it.sha256 is None or (item.original is None and it.status != "ready"):
        return 0
    key = f"media/{it.slug}"
    if "/" in it.slug or "\0" in it.slug or it.slug in (".", "..") or len(it.slug.encode()) > _NAME_BYTES_MAX:
        findings.warn(key, "IR-0.10", "no folder can have this name; its frames are left out")
        return 0
    source = blobs / it.sha256[:2] / it.sha256
    portrait = item.original is not None and _png_size(source) == (240, 320)
    geometry = Geometry(240, 320) if portrait else Geometry(320, 240)
    into = folder / it.slug / "frames"
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            prepared = prepare(source, Path(temporary), geometry, lambda percent, stage: None)
            into.mkdir(parents=True)
            with FramePack.open(Path(temporary) / f"{prepared.pack}.pack") as pack:
                count = _write_bin(pack, into / "frames.bin", item.original is not None)
    except (MediaError, FileNotFoundError) as error:
        findings.warn(key, "IR-1.9", f"no frames could be made of it: {error}")
        return 0
    if count == FRAMES_MAX:
        findings.warn(key, "IR-1.9", f"its frames end after {FRAMES_MAX // FPS} seconds")
    width, height = geometry.width, geometry.height
    metadata = {
        "slug": it.slug,
        "original_filename": it.filename,
        "type": "video" if count > 1 else "image",
        "width": width,
        "height": height,
        "frame_count": count,
        "format": "rgb565",
        "fps": FPS if count > 1 else 0,
    }
    _write(folder / it.slug / "metadata.json", msgspec.json.encode(metadata))
    return count


def _png_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    with open(path, "rb") as file:
        head = file.read(24)
    return struct.unpack(">II", head[16:24]) if len(head) == 24 else (0, 0)


def _write_bin(pack: FramePack, path: Path, as_they_are: bool) -> int:
    """`frames.bin`: count and size of the frames, then the frames. Returns their count."""
    shown = list(range(pack.frame_count)) if as_they_are else _sampled(pack.delays_us)
    with open(path, "xb") as file:
        file.write(struct.pack(">II", len(shown), pack.width * pack.height * 2))
        for number in shown:
            file.write(pack.frame(number))
    return len(shown)


def _sampled(delays_us: tuple[int, ...]) -> list[int]:
    """Which frame shows at each tick of LOOP's rate."""
    if len(delays_us) == 1:
        return [0]
    tick_us = 1_000_000 // FPS
    shown: list[int] = []
    end_us = 0
    for number, delay_us in enumerate(delays_us):
        end_us += delay_us
        while len(shown) * tick_us < end_us and len(shown) < FRAMES_MAX:
            shown.append(number)
    return shown


def _write_database(path: Path, index: Mapping[str, Any]) -> None:
    """The state in LOOP's last form. What its columns cannot hold goes into a row of its settings that LOOP never asks for."""
    db = apsw.Connection(str(path))
    try:
        db.execute(_PRAGMAS).fetchall()
        with db:
            db.execute(_SCHEMA)
            items: Mapping[str, dict[str, Any]] = index["media"]
            marks = ",".join("?" * len(_COLUMNS))
            db.executemany(
                f"INSERT INTO media VALUES ({marks})",
                (tuple(_column(item.get(name)) for name in _COLUMNS) for item in items.values()),
            )
            order: list[str] = index["loop"]
            db.executemany("INSERT INTO loop_order VALUES (?, ?)", enumerate(order))
            beside = {
                "media": {slug: rest for slug, item in items.items() if (rest := _beside(item))},
                "jobs": {id: _job_beside(job) for id, job in index["processing"].items()},
                "index": {"rest": rest} if (rest := {name: index[name] for name in index if name not in _INDEX}) else {},
            }
            rows = [("active", index["active"]), ("last_updated", str(index["last_updated"]))]
            if any(beside.values()):
                rows.append((KEPT_IN_DATABASE, msgspec.json.encode(beside).decode()))
            db.executemany("INSERT INTO settings (key, value) VALUES (?, ?)", rows)
            db.executemany(
                "INSERT INTO processing_jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (_job_row(job) for job in index["processing"].values()),
            )
    finally:
        db.close()


def _column(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _beside(item: Mapping[str, Any]) -> dict[str, Any]:
    """What an item says beyond the columns."""
    return {name: value for name, value in item.items() if name not in _COLUMNS}


_JOB_COLUMNS = frozenset({"job_id", "filename", "status", "progress", "stage", "message"})


def _job_beside(job: Mapping[str, Any]) -> dict[str, Any]:
    """What a job says beyond the columns; its times to the millisecond, for the columns have whole seconds."""
    created_us = values.instant_us(job.get("created_at"))
    created = values.iso(round(job["timestamp"] * 1_000_000) if created_us is None else created_us)
    return {**{name: value for name, value in job.items() if name not in _JOB_COLUMNS}, "created_at": created}


def _job_row(job: Mapping[str, Any]) -> tuple[Any, ...]:
    reported_us = round(job["timestamp"] * 1_000_000)
    created_us = values.instant_us(job.get("created_at"))
    return (
        *(job["job_id"], job["filename"], job["status"], job["progress"], job["stage"], job["message"]),
        *(_seconds(reported_us if created_us is None else created_us), _seconds(reported_us)),
    )


def _seconds(time_us: int) -> str:
    """An instant as LOOP's database has it: UTC, whole seconds."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
