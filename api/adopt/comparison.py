"""Holds what is here to what an older installation says, record by record and field by field. Reads only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
from PIL import Image, UnidentifiedImageError

from api.adopt import loop
from api.adopt.loop_files import Content
from api.adopt.loop_frames import Frames
from api.adopt.secret_store import kept_secrets
from api.commands.adoptions import JobRecord, MediaRecord
from api.data import DataDirectory
from eventstore.store import EventStore
from player.pixels import unpack_rgb565
from projections import active, adoptions, jobs, media, settings
from projections import loop as loop_area
from projections.times import rfc3339


class Difference(msgspec.Struct, frozen=True):
    """A field of a record that is here otherwise than at the source; without a record here, `field` is `record`."""

    key: str
    field: str
    source: Any
    here: Any


def differences(store: EventStore, data: DataDirectory, records: loop.Records, name: str) -> list[Difference]:
    """Everything in which the library here differs from the source that is called `name` here. Raises OSError when a file of the source cannot be
    read."""
    found: list[Difference] = []
    with store.snapshot() as db:
        for record in records.media:
            found += _of_media(db, record, records.contents.get(record.slug), data.blobs)
        for job in records.jobs:
            found += _of_job(db, job)
        found += _of_state(db, records)
        found += _of_rest(db, records, name)
    found += _of_secrets(data.secrets, records, name)
    return found


def _fields(key: str, pairs: list[tuple[str, Any, Any]]) -> Iterator[Difference]:
    return (Difference(key, field, source, here) for field, source, here in pairs if source != here)


def _of_media(db: apsw.Connection, record: MediaRecord, content: Content | None, blobs: Path) -> Iterator[Difference]:
    item = media.get(db, record.slug)
    if item is None:
        yield Difference(record.key, "record", "present", None)
        return
    extra: Any = db.execute("SELECT extra FROM media_items WHERE slug = ?", (record.slug,)).get
    pairs: list[tuple[str, Any, Any]] = [
        ("filename", record.filename, item.filename),
        ("extra", _as_json(record.extra) or None, None if extra is None else msgspec.json.decode(extra) or None),
    ]
    if record.uploaded_at_us is not None:
        pairs.append(("uploadedAt", rfc3339(record.uploaded_at_us), item.uploaded_at))
    if content is not None:
        pairs.append(("content", "as at the source", _content(item.sha256, content, blobs)))
    elif item.sha256 is None:
        pairs.append(("size", record.size, item.size))
    if item.status != "ready":  # once it is prepared, what the file itself says stands here
        duration = None if record.duration_us is None else record.duration_us / 1_000_000
        pairs += [
            ("kind", record.kind, item.kind),
            ("type", record.type, item.type),
            ("width", record.width, item.width),
            ("height", record.height, item.height),
            ("frameCount", record.frame_count, item.frame_count),
            ("duration", duration, item.duration),
        ]
    yield from _fields(record.key, pairs)


def _content(sha256: str | None, content: Content, blobs: Path) -> str:
    """Whether the blob is the source's file, or a picture that shows its frames; and whether the upload is held that it stands for."""
    if sha256 is None:
        return "gone"
    if content.file is not None and sha256 != content.file.sha256:
        return "another file"
    for one in (sha256, *(() if content.original is None else (content.original.sha256,))):
        try:
            with open(blobs / one[:2] / one, "rb") as file:
                whole = hashlib.file_digest(file, "sha256").hexdigest() == one
        except OSError as error:
            return f"unreadable: {error.strerror}"
        if not whole:
            return "damaged"
    if content.frames is not None and not _shows(blobs / sha256[:2] / sha256, content.frames):
        return "another picture"
    return "as at the source"


def _shows(picture: Path, frames: Frames) -> bool:
    """Whether a picture has these frames, pixel for pixel."""
    try:
        with Image.open(picture) as image:
            if getattr(image, "n_frames", 1) != len(frames.parts) or image.size != frames.size:
                return False
            for number, frame in enumerate(frames.raw()):
                image.seek(number)
                if image.convert("RGB").tobytes() != unpack_rgb565(frame, *frames.size).tobytes():
                    return False
    except (UnidentifiedImageError, EOFError, SyntaxError):
        return False
    return True


def _as_json(value: Any) -> Any:
    """A value as it comes back from the log."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _of_job(db: apsw.Connection, record: JobRecord) -> Iterator[Difference]:
    job = jobs.get(db, record.id)
    if job is None:
        yield Difference(record.key, "record", "present", None)
        return
    pairs: list[tuple[str, Any, Any]] = [
        ("filename", record.title, job.title),
        ("status", record.status, job.status),
        ("progress", record.progress, job.progress),
        ("stage", record.stage, job.stage),
        ("message", record.message, job.message),
    ]
    # Where LOOP does not say when a job began, its last report stands for it the first time that it is seen.
    if record.created_at_us not in (None, record.reported_at_us):
        pairs.append(("createdAt", rfc3339(record.created_at_us or 0), job.created_at))
    if record.reported_at_us is not None and record.status != "running":
        pairs.append(("finishedAt", rfc3339(record.reported_at_us), job.finished_at))
    yield from _fields(record.key, pairs)


def _of_state(db: apsw.Connection, records: loop.Records) -> Iterator[Difference]:
    state = records.state
    values = settings.get(db)
    pairs: list[tuple[str, Any, Any]] = [(f"settings/{name}", value, values[name]) for name, value in state.settings.items()]
    if state.loop is not None:
        pairs.append(("loop", list(state.loop), [entry.slug for entry in loop_area.entries(db)]))
    if state.active is not None:
        pairs.append(("active", state.active.slug, active.get(db)[0].slug))
    for key, source, here in pairs:
        yield from _fields(key, [("value", source, here)])


def _of_rest(db: apsw.Connection, records: loop.Records, name: str) -> Iterator[Difference]:
    """What has no place here, and is kept with the adoption."""
    adoption = adoptions.find(db, name, ["rest"]).get("rest")
    kept: dict[str, Any] = {} if adoption is None else adoption.kept or {}
    for part, source in records.state.rest.items():
        yield from _fields(f"rest/{part}", [("value", _as_json(source), kept.get(part))])


def _of_secrets(folder: Path, records: loop.Records, name: str) -> Iterator[Difference]:
    """Secrets that are not kept as they are at the source; what they are is not said."""
    try:
        kept = kept_secrets(folder, name)
    except OSError:
        kept = {}
    for path, secret in records.secrets.items():
        if kept.get(path) != secret:
            yield Difference(f"secrets/{path}", "value", "kept apart", "another" if path in kept else None)
