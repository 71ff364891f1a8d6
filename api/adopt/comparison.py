"""Holds what is here to what an older installation says, record by record and field by field. Reads only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from api.adopt import loop
from api.adopt.loop_files import Content
from api.commands.adoptions import JobRecord, MediaRecord
from eventstore.store import EventStore
from projections import active, jobs, media, settings
from projections import loop as loop_area
from projections.times import rfc3339


class Difference(msgspec.Struct, frozen=True):
    """A field of a record that is here otherwise than at the source; without a record here, `field` is `record`."""

    key: str
    field: str
    source: Any
    here: Any


def differences(store: EventStore, records: loop.Records, blobs: Path) -> list[Difference]:
    """Everything in which the library here differs from the source."""
    found: list[Difference] = []
    with store.snapshot() as db:
        for record in records.media:
            found += _of_media(db, record, records.contents.get(record.slug), blobs)
        for job in records.jobs:
            found += _of_job(db, job)
        found += _of_state(db, records)
    return found


def _fields(key: str, pairs: list[tuple[str, Any, Any]]) -> Iterator[Difference]:
    return (Difference(key, field, source, here) for field, source, here in pairs if source != here)


def _of_media(db: apsw.Connection, record: MediaRecord, content: Content | None, blobs: Path) -> Iterator[Difference]:
    item = media.get(db, record.slug)
    if item is None:
        yield Difference(record.key, "record", "present", None)
        return
    pairs: list[tuple[str, Any, Any]] = [("filename", record.filename, item.filename)]
    if record.uploaded_at_us is not None:
        pairs.append(("uploadedAt", rfc3339(record.uploaded_at_us), item.uploaded_at))
    if content is not None:
        pairs.append(("content", "as at the source", _content(item.sha256, content, blobs)))
    elif item.sha256 is None:
        pairs.append(("size", record.size, item.size))
    if item.status != "ready":  # once it is prepared, what the file itself says stands here
        duration = None if record.duration_us is None else record.duration_us / 1_000_000
        pairs += [
            ("type", record.type, item.type),
            ("width", record.width, item.width),
            ("height", record.height, item.height),
            ("frameCount", record.frame_count, item.frame_count),
            ("duration", duration, item.duration),
        ]
    yield from _fields(record.key, pairs)


def _content(sha256: str | None, content: Content, blobs: Path) -> str:
    """Whether the blob is the source's file, or a whole picture made of its frames."""
    if sha256 is None:
        return "gone"
    if content.file is not None and sha256 != content.file.sha256:
        return "another file"
    try:
        with open(blobs / sha256[:2] / sha256, "rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return "as at the source" if whole else "damaged"


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
