"""StateService: the Python door. What a developer calls in a program of his own, with or without a running service beside it.

Every mutation goes through `Executor.execute`, as the HTTP routes' do. Reads go through the areas' queries.
"""

from __future__ import annotations

import io
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar

import apsw
import msgspec

from api import media_types, overview
from api.commands.active import SetActive
from api.commands.deciding import Fault, Rejected
from api.commands.heartbeats import RecordHeartbeat
from api.commands.jobs import CancelJob, ClaimJob, QueueJob, UpdateJob
from api.commands.loop import NewEntry, ReplaceLoop
from api.commands.media import AddMedia, RemoveMedia, RestoreMedia, UpdateMedia
from api.commands.messages import DismissMessage, PostMessage
from api.commands.playback import Action, Control, Jump
from api.commands.settings import ChangeSettings
from api.data import DataDirectory
from api.execution import Executor
from eventstore.blobs import CHUNK_BYTES, Blob
from eventstore.clock import Clock
from eventstore.record import Origin, RecordedEvent
from eventstore.subscription import Subscription
from projections import active, folding, jobs, loop, media, messages, settings
from projections.active import Active
from projections.jobs import Job
from projections.loop import Loop
from projections.media import Media
from projections.messages import Message

if TYPE_CHECKING:
    from api.upkeep import Upkeep

T = TypeVar("T")


class StateService:
    """An open data directory: commands and queries. Thread-safe. Close it, or use it as a context manager."""

    def __init__(self, data: str | Path, *, clock: Clock | None = None, actor: str = "python") -> None:
        """Open (or create) the data directory. Raises eventstore.errors.Unusable with what to do."""
        self.data = DataDirectory(data)
        self.store = self.data.open_store(clock)
        try:
            self.rebuilt = folding.prepare(self.store)
            self.blobs = self.data.blob_store()
            self.executor = Executor(self.store)
        except BaseException:
            self.store.close()
            raise
        self._origin = Origin(actor)
        self.upkeep: Upkeep | None = None
        """The service's duties of idle time, where this is the service; their outcome is part of its health."""

    # -- media ---------------------------------------------------------------------------------------------------------------------

    def add_media(
        self,
        file: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        filename: str | None = None,
        slug: str | None = None,
        add_to_loop: bool = False,
        make_active: bool = False,
    ) -> Media:
        """Store a file and take it into the library; the worker prepares it. Content that is held already gives the existing item.

        Raises Rejected (conflict: the given slug is taken; invalid), OSError.
        """
        if isinstance(file, str | os.PathLike):
            name = filename or _presentable(Path(file).name)
            with open(file, "rb") as stream:
                blob, head = self.store_blob(stream)
        else:
            stream = io.BytesIO(file) if isinstance(file, bytes) else file
            own = getattr(stream, "name", None)  # of a file without a name it is the number of its descriptor
            name = filename or (_presentable(Path(own).name) if isinstance(own, str) else "") or "upload"
            blob, head = self.store_blob(stream)
        type, kind = media_types.guess(name, head)
        command = AddMedia(name, blob.sha256, blob.size_bytes, type, kind, slug, add_to_loop, make_active)

        def added(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Media:
            found = media.slug_of_content(db, blob.sha256)
            return _there(media.get(db, found or ""))

        return self.executor.execute(command, added, origin=self._origin).answer

    def store_blob(self, stream: BinaryIO) -> tuple[Blob, bytes]:
        """Copy a stream into the blobs; returns the blob and its first bytes."""
        with self.blobs.writer() as writer:
            head = b""
            while chunk := stream.read(CHUNK_BYTES):
                head = head or chunk[: media_types.HEAD_BYTES]
                writer.write(chunk)
            return writer.commit(), head

    def keep_blob(self, sha256: str) -> bool:
        """Whether the blob is held. From now it is young, so that nothing sheds it before the event that is about to name it."""
        return self.blobs.freshen(sha256)

    def get_media(self, slug: str) -> Media | None:
        """The item, or None."""
        with self.store.reading() as db:
            return media.get(db, slug)

    def list_media(
        self, *, limit: int = 200, q: str | None = None, status: str | None = None, kind: str | None = None
    ) -> list[Media]:
        """Items, newest upload first."""
        with self.store.snapshot() as db:
            return media.listing(db, limit=limit, q=q, status=status, kind=kind)[0]

    def update_media(
        self,
        slug: str,
        *,
        filename: str | None = None,
        tags: Sequence[str] | None = None,
        duration: float | None = None,
        clear_duration: bool = False,
    ) -> Media:
        """Change what is said about an item; `clear_duration` goes back to the file's own. Raises Rejected (not_found, invalid)."""
        command = UpdateMedia(slug, filename, None if tags is None else tuple(tags), duration, clear_duration)
        return self.executor.execute(command, lambda db, _: _there(media.get(db, slug)), origin=self._origin).answer

    def remove_media(self, slug: str) -> None:
        """Take an item out of the library, the loop and the choice. Raises Rejected (not_found)."""
        self.executor.execute(RemoveMedia(slug), origin=self._origin)

    def restore_media(self, slug: str) -> Media:
        """Bring a removed item back. Raises Rejected (not_found, conflict, gone)."""
        with self.store.reading() as db:
            files = media.files(db, slug)
        held = files is not None and files.sha256 is not None and self.keep_blob(files.sha256)
        command = RestoreMedia(slug, held)
        return self.executor.execute(command, lambda db, _: _there(media.get(db, slug)), origin=self._origin).answer

    # -- loop, choice, playback ----------------------------------------------------------------------------------------------------

    def reorder_loop(
        self,
        items: Sequence[str | Mapping[str, Any]],
        *,
        mode: Literal["all", "one"] | None = None,
        shuffle: bool | None = None,
    ) -> Loop:
        """Make the loop exactly these: slugs, or mappings with slug, repeat, duration (seconds), when. Raises Rejected (invalid)."""
        entries = tuple(NewEntry(item) if isinstance(item, str) else _entry(item, place) for place, item in enumerate(items))
        return self.executor.execute(ReplaceLoop(entries, mode, shuffle), lambda db, _: loop.get(db), origin=self._origin).answer

    def get_loop(self) -> Loop:
        """The loop with its mode and version."""
        with self.store.snapshot() as db:
            return loop.get(db)

    def list_loop(self) -> list[str]:
        """The slugs of the loop in order."""
        return [item.slug for item in self.get_loop().items]

    def set_active(self, slug: str | None) -> Active:
        """Choose an item (None: none). Raises Rejected (invalid)."""
        return self.executor.execute(SetActive(slug), lambda db, _: active.get(db)[0], origin=self._origin).answer

    def get_active(self) -> str | None:
        """The slug that was chosen last, or None."""
        with self.store.reading() as db:
            return active.get(db)[0].slug

    def control(self, action: Action) -> None:
        """One of the player's buttons: play, pause, toggle, next, previous, hold, release."""
        self.executor.execute(Control(action), origin=self._origin)

    def jump(self, slug: str) -> None:
        """Begin an item's turn now without choosing it for good. Raises Rejected (invalid)."""
        self.executor.execute(Jump(slug), origin=self._origin)

    # -- messages, heartbeats, settings --------------------------------------------------------------------------------------------

    def post_message(
        self, text: str, *, priority: Literal["info", "warning", "critical"] = "info", ttl_seconds: float | None = None
    ) -> Message:
        """Draw a text over the media. Raises Rejected (invalid)."""
        command = PostMessage(text, priority, ttl_seconds)
        return self.executor.execute(
            command, lambda db, events: _there(messages.get(db, events[0].stream.split("/", 1)[1])), origin=self._origin
        ).answer

    def dismiss_message(self, id: str) -> None:
        """Take a message away. Raises Rejected (not_found)."""
        self.executor.execute(DismissMessage(id), origin=self._origin)

    def heartbeat(
        self, service: str, status: Literal["ok", "degraded", "failed"] = "ok", details: Mapping[str, Any] | None = None
    ) -> None:
        """Say that a service lives. Raises Rejected (invalid)."""
        self.executor.execute(RecordHeartbeat(service, status, None if details is None else dict(details)), origin=self._origin)

    def get_settings(self) -> dict[str, Any]:
        """Every setting with its value."""
        with self.store.reading() as db:
            return dict(settings.get(db))

    def change_settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change some settings, all or nothing. Raises Rejected (invalid)."""
        return self.executor.execute(
            ChangeSettings(dict(values)), lambda db, _: dict(settings.get(db)), origin=self._origin
        ).answer

    # -- jobs ----------------------------------------------------------------------------------------------------------------------

    def queue_job(
        self, kind: str, title: str, *, input: Mapping[str, Any] | None = None, priority: int = 0, dedupe_key: str | None = None
    ) -> Job:
        """Queue a job; with a dedupe key that an unfinished job has, that one. Raises Rejected (invalid)."""
        command = QueueJob(
            kind=kind, title=title, input=None if input is None else dict(input), priority=priority, dedupe_key=dedupe_key
        )

        def queued(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Job:
            id = events[0].stream.split("/", 1)[1] if events else jobs.open_with_key(db, dedupe_key or "")
            return _there(jobs.get(db, id or ""))

        return self.executor.execute(command, queued, origin=self._origin).answer

    def get_job(self, id: str) -> Job | None:
        """The job, or None."""
        with self.store.reading() as db:
            return jobs.get(db, id)

    def update_job(
        self,
        id: str,
        *,
        progress: float | None = None,
        stage: str | None = None,
        message: str | None = None,
        status: Literal["running", "completed", "failed", "cancelled"] | None = None,
        error: str | None = None,
    ) -> Job:
        """Report on a job. A lower progress changes nothing. Raises Rejected (not_found, conflict: it is finished)."""
        command = UpdateJob(id=id, progress=progress, stage=stage, message=message, status=status, error=error)
        return self.executor.execute(command, lambda db, _: _there(jobs.get(db, id)), origin=self._origin).answer

    def claim_job(self, kinds: Sequence[str], worker: str, lease_seconds: float) -> Job | None:
        """Take the next job of these kinds, or None."""

        def claimed(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Job | None:
            taken = [event for event in events if event.type == "job.claimed"]
            return jobs.get(db, taken[-1].stream.split("/", 1)[1]) if taken else None

        return self.executor.execute(ClaimJob(tuple(kinds), worker, lease_seconds), claimed, origin=self._origin).answer

    def cancel_job(self, id: str) -> Job:
        """Ask for a job's end; a queued one ends at once. Raises Rejected (not_found, conflict)."""
        return self.executor.execute(CancelJob(id), lambda db, _: _there(jobs.get(db, id)), origin=self._origin).answer

    # -- the whole, and the log ----------------------------------------------------------------------------------------------------

    def get_dashboard_data(self) -> overview.Dashboard:
        """Everything that the page shows, in one consistent read."""
        now_us = self.store.now_us()
        with self.store.snapshot() as db:
            return overview.dashboard(db, self.store.log_id, now_us)

    def subscribe(self, after: int | None = None, types: Sequence[str] = (), streams: Sequence[str] = ()) -> Subscription:
        """Events after a position (None: from now on), then those to come, without end. `types`, `streams`: GLOB patterns."""
        return self.store.subscribe(after, types, streams)

    def close(self) -> None:
        """Bring everything to the disk and close. Safe to call twice."""
        self.store.close()

    def __enter__(self) -> StateService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _presentable(name: str) -> str:
    """A file's name as text that can be stored: on a disk it may hold any bytes, and control characters."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(one) in ("Cc", "Cs") else one for one in name)


def _entry(item: Mapping[str, Any], place: int) -> NewEntry:
    unknown = sorted(item.keys() - set(NewEntry.__struct_fields__))
    if unknown:
        raise Rejected("invalid", f"an entry has no {unknown[0]!r}", [Fault(f"/items/{place}/{unknown[0]}", "is not known here")])
    try:
        return msgspec.convert(item, NewEntry)
    except msgspec.ValidationError as error:
        raise Rejected("invalid", f"entry {place}: {error}", [Fault(f"/items/{place}", str(error))]) from error


def _there(value: T | None) -> T:
    if value is None:
        raise LookupError("what was just written is not there")
    return value
