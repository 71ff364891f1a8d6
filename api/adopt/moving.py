"""Carries what was read of an older installation into the log: the files into blobs, the records through one command a batch, and an account of each.

Each batch is judged on the tables as they are, then carried out; a dry run stops before anything is written. A move that was cut short is finished by
the next.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec

from api import ownership
from api.adopt import comparison, loop
from api.adopt.comparison import Difference
from api.adopt.findings import Finding, Findings, shown
from api.adopt.loop_files import Content, read_pieces
from api.adopt.secret_store import keep_secrets
from api.commands import adoptions
from api.commands.adoptions import AdoptRecords, JobRecord, MediaRecord, Outcome, StateRecord
from api.commands.deciding import Context
from api.data import DataDirectory
from api.reading import open_for_reading
from api.service import StateService
from eventstore.blobs import BlobStore
from eventstore.clock import Clock
from eventstore.record import Origin
from eventstore.store import EventStore
from projections.adoptions import find

BATCH_EVENTS_MAX = 500
"""Events of one command: half of what a batch may have, so that others wait for the log no longer than a moment."""

_SOURCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_ID = "00000000-0000-7000-8000-000000000000"
_NO_BLOB = "0" * 64


class Count(msgspec.Struct, omit_defaults=False):
    """How many records of one kind were brought, were here already, and were left out."""

    imported: int = 0
    merged: int = 0
    skipped: int = 0


class Report(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The account of a move. `imported` and `merged` count records, `records` by their kind; `events` were appended (or would be, in a dry run).
    `verified`: the records that were compared afterwards, when that was asked for."""

    system: str
    imported: int
    merged: int
    skipped: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    events: int
    records: dict[str, Count]
    dry_run: bool = False
    verified: int | None = None
    differences: tuple[Difference, ...] | None = None


def adopt_loop(
    data: DataDirectory,
    source: Path,
    *,
    name: str = "loop",
    dry_run: bool = False,
    verify: bool = False,
    keep_going: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    clock: Clock | None = None,
) -> Report:
    """Take over a LOOP installation. `name` tells several of them apart. `progress(records done, in all)`.

    Raises loop.NoInstallation, Unreadable (before anything is written), ValueError (a bad name), Unusable, OSError.
    """
    if not _SOURCE.fullmatch(name):
        raise ValueError(f"a source is called by small letters, digits, - and _, not {name!r}")
    findings = Findings()
    records = loop.read(source, findings, keep_going)
    if dry_run:
        with open_for_reading(data, clock) as store:
            mover = _Mover(store, data, None, name, records.contents, findings)
            mover.move(records, progress)
            found = comparison.differences(store, data, records, name) if verify else None
            return _report(mover, findings, dry_run, found, records)
    try:
        with StateService(data.root, clock=clock, actor="adopt") as service:
            if records.secrets:  # first: what a move that is cut short has left out of the log must not be lost
                keep_secrets(data.secrets, name, records.secrets)
            mover = _Mover(service.store, data, service, name, records.contents, findings)
            mover.move(records, progress)
            found = comparison.differences(service.store, data, records, name) if verify else None
            return _report(mover, findings, dry_run, found, records)
    finally:
        ownership.hand_over(data.root)


class _Mover:
    """One move. Without a service it only judges."""

    def __init__(
        self,
        store: EventStore,
        data: DataDirectory,
        service: StateService | None,
        name: str,
        contents: dict[str, Content],
        findings: Findings,
    ) -> None:
        self._store, self._data, self._service = store, data, service
        self._blobs = None if service is None else service.blobs
        self._name, self._contents, self._findings = name, contents, findings
        self._arriving = set[str]()
        self.outcomes: list[Outcome] = []
        self.event_count = 0

    def move(self, records: loop.Records, progress: Callable[[int, int], None]) -> None:
        """All batches in order."""
        total = len(records.media) + len(records.jobs)
        done = 0
        for media, jobs, state in batches(records):
            self._move(media, jobs, state)
            done += len(media) + len(jobs)
            progress(done, total)
        self._tell_vanished(records)

    def _move(self, media: Sequence[MediaRecord], jobs: Sequence[JobRecord], state: StateRecord | None) -> None:
        with self._store.reading() as db:
            known = find(db, self._name, (record.key for record in media))
            here = _contents(db, media)
        brought = tuple(
            record
            if record.key in known
            and known[record.key].fingerprint == adoptions.fingerprint_of(record)
            and not self._has_lost(here.get(record.slug))
            else self._with_blob(record)
            for record in media
        )
        command = AdoptRecords(system="loop", source=self._name, media=brought, jobs=tuple(jobs), state=state)
        judgement = self._judge(command)
        self.outcomes += judgement.outcomes
        if self._service is None:
            self._arriving |= judgement.known
            self.event_count += len(judgement.events)
        elif judgement.events:
            self._keep_fresh(brought)
            outcome = self._service.executor.execute(command, origin=Origin("adopt"))
            self.event_count += len(outcome.events)

    def _judge(self, command: AdoptRecords) -> adoptions.Judgement:
        now_us = self._store.now_us()
        with self._store.snapshot() as db:
            state = adoptions.load(db, command, now_us)
        state = msgspec.structs.replace(state, known=state.known | self._arriving, moved=state.moved | self._arriving)
        return adoptions.judge(command, state, Context(now_us, 0, _ID, 0, None))

    def _with_blob(self, record: MediaRecord) -> MediaRecord:
        """The record with its file stored, and the upload that is kept beside it. A dry run only says so."""
        content = self._contents.get(record.slug)
        if content is None:
            return record
        held = content.file.sha256 if content.file is not None else None
        if self._blobs is None:
            return msgspec.structs.replace(record, sha256=held or self._would_be(record.slug, content))
        if content.original is not None and not self._blobs.freshen(content.original.sha256):
            self._stored(self._blobs, read_pieces(content.original.path))
        if held is not None and self._blobs.freshen(held):
            return msgspec.structs.replace(record, sha256=held)
        sha256, size_bytes = self._stored(self._blobs, content.pieces())
        return msgspec.structs.replace(record, sha256=sha256, size=size_bytes)

    def _has_lost(self, sha256: str | None) -> bool:
        """Whether an item of ours has a file that is not there any more: the source may have it."""
        return self._blobs is not None and sha256 is not None and not self._blobs.holds(sha256)

    def _keep_fresh(self, brought: Sequence[MediaRecord]) -> None:
        """What the next command names is young again: a nearly full disk is cleared of what nobody named for a while. A batch may have taken long."""
        if self._blobs is not None:
            for record in brought:
                if record.sha256 is not None and not self._blobs.freshen(record.sha256):
                    self._with_blob(record)

    def _would_be(self, slug: str, content: Content) -> str:
        """The name of a blob that is not made yet. It matters only where an item of that slug is here, which may have the same."""
        with self._store.reading() as db:
            here: Any = db.execute("SELECT sha256 FROM media_items WHERE slug = ? AND removed_at IS NULL", (slug,)).get
        if here is None:
            return _NO_BLOB
        digest = hashlib.sha256()
        for piece in content.pieces():
            digest.update(piece)
        return digest.hexdigest()

    def _stored(self, blobs: BlobStore, pieces: Iterator[bytes]) -> tuple[str, int]:
        """Write a blob. A running service may prepare it as soon as the log names it, so it must be able to read it by then."""
        with blobs.writer() as writer:
            for piece in pieces:
                writer.write(piece)
            blob = writer.commit()
        path = blobs.path(blob.sha256)
        ownership.hand_over(self._data.root, (path.parent, path))
        return blob.sha256, blob.size_bytes

    def _tell_vanished(self, records: loop.Records) -> None:
        """Items that came from this source once, and are no longer in it. Nothing is known of that when its state could not be read."""
        if records.state.loop is None:
            return
        now = {f"{self._name}/{record.key}" for record in records.media}
        with self._store.reading() as db:
            rows: list[Any] = db.execute(
                "SELECT key FROM adoptions_records WHERE key GLOB ? AND EXISTS (SELECT 1 FROM media_items "
                "WHERE slug = substr(key, ?) AND removed_at IS NULL) ORDER BY key",
                (f"{self._name}/media/*", len(f"{self._name}/media/") + 1),
            ).fetchall()
        for (key,) in rows:
            if key not in now:
                self._findings.warn(key.removeprefix(f"{self._name}/"), "IR-0.3", "it is no longer in the source; it stays here")


def _contents(db: apsw.Connection, media: Sequence[MediaRecord]) -> dict[str, str | None]:
    """The contents of the items that are here under these slugs."""
    wanted = msgspec.json.encode([record.slug for record in media]).decode()
    rows: list[Any] = db.execute(
        "SELECT slug, sha256 FROM media_items WHERE removed_at IS NULL AND slug IN (SELECT value FROM json_each(?))", (wanted,)
    ).fetchall()
    return dict(rows)


def batches(records: loop.Records) -> Iterator[tuple[list[MediaRecord], list[JobRecord], StateRecord | None]]:
    """The records in parts of a bounded number of events, media first, and the state that names them last."""
    media: list[MediaRecord] = []
    jobs: list[JobRecord] = []
    weight = 0
    for record in (*records.media, *records.jobs):
        # An item may be three events (added, its own length, a job), a job too; and what was taken over is one event for many.
        if weight + 3 > BATCH_EVENTS_MAX:
            yield media, jobs, None
            media, jobs, weight = [], [], 0
        weight += 3 if isinstance(record, JobRecord) or record.content is not None else 1
        if isinstance(record, MediaRecord):
            media.append(record)
        else:
            jobs.append(record)
    yield media, jobs, records.state


def _report(
    mover: _Mover, findings: Findings, dry_run: bool, differences: list[Difference] | None, records: loop.Records
) -> Report:
    counts: dict[str, Count] = {}
    skipped = list(findings.skipped)
    warnings = list(findings.warnings)
    for finding in findings.skipped:
        _count(counts, finding.key, finding.rule).skipped += 1
    for outcome in mover.outcomes:
        if outcome.how != "told":
            count = _count(counts, outcome.key)
            setattr(count, outcome.how, getattr(count, outcome.how) + 1)
        if outcome.rule is not None and outcome.why is not None:
            (skipped if outcome.how == "skipped" else warnings).append(Finding(shown(outcome.key), outcome.rule, outcome.why))
    if findings.repeated:
        _count(counts, "media/").merged += findings.repeated
    return Report(
        system="loop",
        imported=sum(count.imported for count in counts.values()),
        merged=sum(count.merged for count in counts.values()),
        skipped=tuple(skipped),
        warnings=tuple(warnings),
        events=mover.event_count,
        records=counts,
        dry_run=dry_run,
        verified=None if differences is None else len(records.media) + len(records.jobs) + len(records.state.settings) + 2,
        differences=None if differences is None else tuple(differences),
    )


_KINDS = re.compile(r"(media|jobs|loop|settings|config|active)(?=$|[/\[])")
_OF_FILES = ("IR-0.2", "IR-1.8")
"""Rules by which a whole file is left out. Names of items look like anything, those of files too."""


def _count(counts: dict[str, Count], key: str, rule: str | None = None) -> Count:
    """The count of a record's kind; what is no record is a file."""
    match = _KINDS.match(key)
    kind = "files" if match is None or rule in _OF_FILES else match[1]
    return counts.setdefault("settings" if kind == "config" else kind, Count())
