"""Area jobs: work that takes a while. What waits, who does it, how far it is, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import apsw
import msgspec

from projections.area import Area, At
from projections.rows import Delete, Patch, Put, Table, Write
from projections.times import rfc3339

Status = Literal["queued", "running", "completed", "failed", "cancelled"]
StepStatus = Literal["pending", "running", "completed", "failed", "skipped"]

MAX_ATTEMPTS = 3
"""Claims of one job when it says nothing else: a worker that died by accident gets two more chances, a file that kills it no more."""

RECENT_US = 300_000_000
"""A finished job stays among the recent ones for five minutes: long enough to be noticed on a page."""


class JobQueued(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Work waits to be claimed. `created_at_us`: of adopted jobs, µs since 1970."""

    id: str
    kind: str
    title: str
    input: dict[str, Any] | None = None
    priority: int = 0
    dedupe_key: str | None = None
    max_attempts: int = MAX_ATTEMPTS
    input_size_bytes: int | None = None
    created_at_us: int | None = None


class JobClaimed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A worker began with it, from the start, for `lease_us` at first. Without a lease it is never taken away."""

    id: str
    worker: str | None
    attempt: int
    lease_us: int | None = None


class JobProgressed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The worker said how far it is. What is None stays; `lease_us` is the lease that begins with this event."""

    id: str
    progress: float | None = None
    stage: str | None = None
    message: str | None = None
    output_size_bytes: int | None = None
    lease_us: int | None = None


class JobCompleted(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The work is done. `finished_at_us`: of adopted jobs."""

    id: str
    stage: str | None = None
    message: str | None = None
    output_size_bytes: int | None = None
    finished_at_us: int | None = None


class JobFailed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """It will not be done; `error` is a sentence for a person."""

    id: str
    error: str
    progress: float | None = None
    stage: str | None = None
    message: str | None = None
    finished_at_us: int | None = None


class JobCancelRequested(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Somebody wants it stopped; the worker that has it is to see this and stop."""

    id: str


class JobCancelled(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """It was stopped."""

    id: str
    progress: float | None = None
    stage: str | None = None
    message: str | None = None
    finished_at_us: int | None = None


class JobStepChanged(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A step of the job is now this, as a whole. `ordinal` is its place among the steps, the times are µs since 1970; `removed`: it is gone."""

    id: str
    name: str
    status: StepStatus = "pending"
    ordinal: int = 0
    started_at_us: int | None = None
    completed_at_us: int | None = None
    message: str | None = None
    metadata: dict[str, Any] | None = None
    removed: bool = False


Event = JobQueued | JobClaimed | JobProgressed | JobCompleted | JobFailed | JobCancelRequested | JobCancelled | JobStepChanged
EVENTS: dict[str, type[msgspec.Struct]] = {
    "job.queued": JobQueued,
    "job.claimed": JobClaimed,
    "job.progressed": JobProgressed,
    "job.completed": JobCompleted,
    "job.failed": JobFailed,
    "job.cancel_requested": JobCancelRequested,
    "job.cancelled": JobCancelled,
    "job.step_changed": JobStepChanged,
}

JOBS = Table(
    "jobs_all",
    (
        ("id", "TEXT", False),
        ("position", "INTEGER", False),  # of job.queued: the order of age
        ("kind", "TEXT", False),
        ("title", "TEXT", False),
        ("status", "TEXT", False),
        ("progress", "REAL", False),
        ("stage", "TEXT", True),
        ("message", "TEXT", True),
        ("priority", "INTEGER", False),
        ("attempt", "INTEGER", False),
        ("max_attempts", "INTEGER", False),
        ("worker", "TEXT", True),
        ("lease", "INTEGER", True),  # µs, its length
        ("lease_until", "INTEGER", True),  # µs
        ("lease_logtime", "INTEGER", True),  # its end
        ("cancel_requested", "INTEGER", False),
        ("dedupe_key", "TEXT", True),
        ("input", "TEXT", True),  # JSON
        ("input_size", "INTEGER", True),
        ("output_size", "INTEGER", True),
        ("created_at", "INTEGER", False),  # µs
        ("updated_at", "INTEGER", False),  # µs
        ("finished_at", "INTEGER", True),  # µs
        ("finished_logtime", "INTEGER", True),
        ("error", "TEXT", True),
    ),
    derived=(
        "CREATE INDEX jobs_by_position ON jobs_all (position)",
        "CREATE INDEX jobs_by_status ON jobs_all (status, position)",
        "CREATE INDEX jobs_by_kind ON jobs_all (kind, position)",
        "CREATE INDEX jobs_waiting ON jobs_all (kind, priority DESC, position) WHERE status = 'queued'",
        "CREATE INDEX jobs_leased ON jobs_all (lease_logtime) WHERE lease_logtime IS NOT NULL",
        "CREATE INDEX jobs_unfinished ON jobs_all (position) WHERE finished_logtime IS NULL",
        "CREATE INDEX jobs_finished ON jobs_all (finished_logtime) WHERE finished_logtime IS NOT NULL",
        "CREATE INDEX jobs_deduped ON jobs_all (dedupe_key) WHERE dedupe_key IS NOT NULL AND finished_logtime IS NULL",
        "CREATE TABLE jobs_count (only INTEGER PRIMARY KEY, total INTEGER NOT NULL, unfinished INTEGER NOT NULL) STRICT",
        "INSERT INTO jobs_count VALUES (1, 0, 0)",
        """CREATE TRIGGER jobs_all_added AFTER INSERT ON jobs_all BEGIN
            UPDATE jobs_count SET total = total + 1, unfinished = unfinished + (new.finished_logtime IS NULL); END""",
        """CREATE TRIGGER jobs_all_changed AFTER UPDATE OF finished_logtime ON jobs_all BEGIN
            UPDATE jobs_count SET unfinished = unfinished + (new.finished_logtime IS NULL) - (old.finished_logtime IS NULL); END""",
    ),
)
STEPS = Table(
    "jobs_steps",
    (
        ("job_id", "TEXT", False),
        ("name", "TEXT", False),
        ("ordinal", "INTEGER", False),
        ("status", "TEXT", False),
        ("started_at", "INTEGER", True),  # µs
        ("completed_at", "INTEGER", True),  # µs
        ("message", "TEXT", True),
        ("metadata", "TEXT", True),  # JSON
    ),
    key_columns=2,
)
TABLES = (JOBS, STEPS)
VIEWS = (
    """CREATE VIEW jobs AS SELECT id, kind, title, status, progress, stage, message, priority, attempt, max_attempts, worker, lease_until,
    cancel_requested, dedupe_key, input, input_size AS input_size_bytes, output_size AS output_size_bytes, created_at, updated_at,
    finished_at, error FROM jobs_all""",
)


def stream(event: Event) -> str:
    """Each job has its own stream, its steps in it."""
    return f"jobs/{event.id}"


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    change: dict[str, Any] = {"updated_at": at.time_us}
    match event:
        case JobQueued():
            return (_queued(event, at),)
        case JobStepChanged():
            return (_step(event), Patch(JOBS, (event.id,), change))
        case JobClaimed():
            change |= {
                "status": "running",
                "worker": event.worker,
                "attempt": event.attempt,
                "progress": 0.0,
                "stage": None,
                "message": None,
            }
            change |= _lease(event.lease_us, at)
        case JobProgressed():
            change |= _said(event)
            if event.output_size_bytes is not None:
                change["output_size"] = event.output_size_bytes
            if event.lease_us is not None:
                change |= _lease(event.lease_us, at)
        case JobCompleted():
            change |= _finished("completed", event.finished_at_us, at) | _said(event) | {"progress": 100.0}
            if event.output_size_bytes is not None:
                change["output_size"] = event.output_size_bytes
        case JobFailed():
            change |= _finished("failed", event.finished_at_us, at) | _said(event) | {"error": event.error}
        case JobCancelRequested():
            change["cancel_requested"] = 1
        case JobCancelled():
            change |= _finished("cancelled", event.finished_at_us, at) | _said(event)
    return (Patch(JOBS, (event.id,), change),)


def _queued(event: JobQueued, at: At) -> Put:
    created_at_us = at.time_us if event.created_at_us is None else event.created_at_us
    row = {
        "position": at.position,
        "kind": event.kind,
        "title": event.title,
        "status": "queued",
        "progress": 0.0,
        "priority": event.priority,
        "attempt": 0,
        "max_attempts": event.max_attempts,
        "cancel_requested": 0,
        "dedupe_key": event.dedupe_key,
        "input": _json(event.input),
        "input_size": event.input_size_bytes,
        "created_at": created_at_us,
        "updated_at": created_at_us,
    }
    return Put(JOBS, (event.id,), row)


def _step(event: JobStepChanged) -> Write:
    key = (event.id, event.name)
    if event.removed:
        return Delete(STEPS, key)
    row = {
        "ordinal": event.ordinal,
        "status": event.status,
        "started_at": event.started_at_us,
        "completed_at": event.completed_at_us,
        "message": event.message,
        "metadata": _json(event.metadata),
    }
    return Put(STEPS, key, row)


def _lease(lease_us: int | None, at: At) -> dict[str, int | None]:
    if lease_us is None:
        return {"lease": None, "lease_until": None, "lease_logtime": None}
    return {"lease": lease_us, "lease_until": at.time_us + lease_us, "lease_logtime": at.logtime_us + lease_us}


def _said(event: JobProgressed | JobCompleted | JobFailed | JobCancelled) -> dict[str, Any]:
    """What the event says of progress, stage and message."""
    said: dict[str, Any] = {"stage": event.stage, "message": event.message}
    if not isinstance(event, JobCompleted):
        said["progress"] = None if event.progress is None else float(event.progress)
    return {name: value for name, value in said.items() if value is not None}


def _finished(status: Status, finished_at_us: int | None, at: At) -> dict[str, Any]:
    finish: dict[str, Any] = {"status": status, "lease": None, "lease_until": None, "lease_logtime": None}
    if finished_at_us is None:
        return finish | {"finished_at": at.time_us, "finished_logtime": at.logtime_us}
    # An adopted job ended in the past: it is as old as it was.
    age_us = at.time_us - finished_at_us
    return finish | {"finished_at": finished_at_us, "updated_at": finished_at_us, "finished_logtime": at.logtime_us - age_us}


# -- queries -------------------------------------------------------------------------------------------------------------------------


class Step(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A step of a job as callers see it."""

    name: str
    status: StepStatus
    started_at: str | None = None
    completed_at: str | None = None
    message: str | None = None
    metadata: dict[str, Any] | None = None


class Job(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A job as callers see it. `progress` 0–100, `lease_until` an instant, `input` what the worker is handed."""

    id: str
    kind: str
    title: str
    status: Status
    progress: float
    stage: str | None
    message: str | None
    priority: int
    attempt: int
    max_attempts: int
    worker: str | None = None
    lease_until: str | None = None
    cancel_requested: bool
    dedupe_key: str | None = None
    input: dict[str, Any] | None = None
    input_size_bytes: int | None = None
    output_size_bytes: int | None = None
    created_at: str
    updated_at: str
    finished_at: str | None = None
    error: str | None = None
    steps: tuple[Step, ...]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A job as far as deciding needs it. `lease_us` is the lease's length, `lease_logtime_us` its end."""

    id: str
    position: int
    status: Status
    progress: float
    stage: str | None
    message: str | None
    priority: int
    attempt: int
    max_attempts: int
    worker: str | None
    lease_us: int | None
    lease_logtime_us: int | None
    cancel_requested: bool
    output_size_bytes: int | None

    @property
    def finished(self) -> bool:
        """Whether nothing can change any more."""
        return self.status in ("completed", "failed", "cancelled")

    def lease_expired(self, logtime_us: int) -> bool:
        """Whether a worker has it whose lease has run out."""
        return self.lease_logtime_us is not None and self.lease_logtime_us <= logtime_us


_RESOURCE = (
    "id, kind, title, status, progress, stage, message, priority, attempt, max_attempts, worker, lease_until, cancel_requested, "
    "dedupe_key, input, input_size, output_size, created_at, updated_at, finished_at, error"
)
_STANDING = (
    "id, position, status, progress, stage, message, priority, attempt, max_attempts, worker, lease, lease_logtime, cancel_requested, "
    "output_size"
)


def _instant(time_us: int | None) -> str | None:
    return None if time_us is None else rfc3339(time_us)


def _object(text: str | None) -> dict[str, Any] | None:
    return None if text is None else msgspec.json.decode(text)


def _resource(row: Any, steps: Sequence[Step]) -> Job:
    (
        id,
        kind,
        title,
        status,
        progress,
        stage,
        message,
        priority,
        attempt,
        max_attempts,
        worker,
        lease_until,
        cancel_requested,
        dedupe_key,
        input,
        input_size,
        output_size,
        created_at,
        updated_at,
        finished_at,
        error,
    ) = row
    return Job(
        id=id,
        kind=kind,
        title=title,
        status=status,
        progress=int(progress) if progress.is_integer() else progress,
        stage=stage,
        message=message,
        priority=priority,
        attempt=attempt,
        max_attempts=max_attempts,
        worker=worker,
        lease_until=_instant(lease_until),
        cancel_requested=bool(cancel_requested),
        dedupe_key=dedupe_key,
        input=_object(input),
        input_size_bytes=input_size,
        output_size_bytes=output_size,
        created_at=rfc3339(created_at),
        updated_at=rfc3339(updated_at),
        finished_at=_instant(finished_at),
        error=error,
        steps=tuple(steps),
    )


def _resources(db: apsw.Connection, rows: Sequence[Any]) -> list[Job]:
    """The jobs of these rows, with their steps from one query."""
    found: list[Any] = db.execute(
        "SELECT job_id, name, status, started_at, completed_at, message, metadata FROM jobs_steps "
        "WHERE job_id IN (SELECT value FROM json_each(?)) ORDER BY job_id, ordinal, name",
        (msgspec.json.encode([row[0] for row in rows]).decode(),),
    ).fetchall()
    steps: dict[str, list[Step]] = {}
    for id, name, status, started_at, completed_at, message, metadata in found:
        step = Step(name, status, _instant(started_at), _instant(completed_at), message, _object(metadata))
        steps.setdefault(id, []).append(step)
    return [_resource(row, steps.get(row[0], ())) for row in rows]


def get(db: apsw.Connection, id: str) -> Job | None:
    """The job with this id."""
    return next(iter(_resources(db, db.execute(f"SELECT {_RESOURCE} FROM jobs_all WHERE id = ?", (id,)).fetchall())), None)


def listing(
    db: apsw.Connection, *, limit: int = 50, cursor: int | None = None, status: str | None = None, kind: str | None = None
) -> tuple[list[Job], int | None, int]:
    """Up to `limit` jobs, the newest first, after `cursor` (the position of the last one seen); the next cursor, and the number of matches."""
    parts, arguments = list[str](), list[Any]()
    for condition, value in (("status = ?", status), ("kind = ?", kind)):
        if value is not None:
            parts.append(condition)
            arguments.append(value)
    if parts:
        total = db.execute(f"SELECT count(*) FROM jobs_all WHERE {' AND '.join(parts)}", arguments).get
    else:
        total = db.execute("SELECT total FROM jobs_count").get
    if cursor is not None:
        parts.append("position < ?")
        arguments.append(cursor)
    rows: list[Any] = db.execute(
        f"SELECT {_RESOURCE}, position FROM jobs_all WHERE {' AND '.join(parts) or 'true'} ORDER BY position DESC LIMIT ?",
        (*arguments, limit + 1),
    ).fetchall()
    following = rows[limit - 1][-1] if len(rows) > limit else None
    return _resources(db, [row[:-1] for row in rows[:limit]]), following, total


def recent(db: apsw.Connection, logtime_us: int, limit: int = 100) -> list[Job]:
    """Up to `limit` jobs that are unfinished, or finished less than RECENT_US before `logtime_us`; the newest first."""
    rows: list[Any] = db.execute(
        f"""SELECT {_RESOURCE} FROM jobs_all WHERE position IN (
            SELECT position FROM (SELECT position FROM jobs_all WHERE finished_logtime IS NULL ORDER BY position DESC LIMIT ?1)
            UNION ALL SELECT position FROM jobs_all WHERE finished_logtime > ?2)
        ORDER BY position DESC LIMIT ?1""",
        (limit, logtime_us - RECENT_US),
    ).fetchall()
    return _resources(db, rows)


def last_expiry(db: apsw.Connection, logtime_us: int) -> int:
    """When a finished job last ceased to be recent (0: never): beside the log's position, all that `recent` depends on."""
    newest = db.execute("SELECT max(finished_logtime) FROM jobs_all WHERE finished_logtime <= ?", (logtime_us - RECENT_US,)).get
    return 0 if newest is None else newest + RECENT_US


def _standing(row: Any) -> Standing:
    (
        id,
        position,
        status,
        progress,
        stage,
        message,
        priority,
        attempt,
        max_attempts,
        worker,
        lease_us,
        lease_logtime_us,
        cancel_requested,
        output_size,
    ) = row
    return Standing(
        id=id,
        position=position,
        status=status,
        progress=progress,
        stage=stage,
        message=message,
        priority=priority,
        attempt=attempt,
        max_attempts=max_attempts,
        worker=worker,
        lease_us=lease_us,
        lease_logtime_us=lease_logtime_us,
        cancel_requested=bool(cancel_requested),
        output_size_bytes=output_size,
    )


def standing(db: apsw.Connection, id: str) -> Standing | None:
    """What deciding needs of the job with this id."""
    row = db.execute(f"SELECT {_STANDING} FROM jobs_all WHERE id = ?", (id,)).fetchone()
    return None if row is None else _standing(row)


def steps(db: apsw.Connection, id: str) -> tuple[JobStepChanged, ...]:
    """The job's steps in order, each as the event that would make it so."""
    rows: list[Any] = db.execute(
        "SELECT name, status, ordinal, started_at, completed_at, message, metadata FROM jobs_steps WHERE job_id = ? ORDER BY ordinal, name",
        (id,),
    ).fetchall()
    return tuple(
        JobStepChanged(id, name, status, ordinal, started_at, completed_at, message, _object(metadata))
        for name, status, ordinal, started_at, completed_at, message, metadata in rows
    )


def is_open(db: apsw.Connection, id: str) -> bool:
    """Whether there is an unfinished job with this id."""
    return bool(db.execute("SELECT count(*) FROM jobs_all WHERE id = ? AND finished_logtime IS NULL", (id,)).get)


def open_with_key(db: apsw.Connection, dedupe_key: str) -> str | None:
    """Id of the unfinished job with this key."""
    return db.execute(
        "SELECT id FROM jobs_all WHERE dedupe_key = ? AND finished_logtime IS NULL ORDER BY position LIMIT 1", (dedupe_key,)
    ).get


def open_count(db: apsw.Connection) -> int:
    """How many jobs are unfinished."""
    return db.execute("SELECT unfinished FROM jobs_count").get


def first_waiting(db: apsw.Connection, kinds: Sequence[str]) -> Standing | None:
    """The queued job of these kinds with the highest priority, the oldest among equals."""
    found = [
        _standing(row)
        for kind in dict.fromkeys(kinds)
        for row in db.execute(
            f"SELECT {_STANDING} FROM jobs_all WHERE status = 'queued' AND kind = ? ORDER BY priority DESC, position LIMIT 1",
            (kind,),
        )
    ]
    return min(found, key=lambda job: (-job.priority, job.position), default=None)


def expired(db: apsw.Connection, kinds: Sequence[str], logtime_us: int, limit: int) -> tuple[Standing, ...]:
    """Up to `limit` running jobs of these kinds whose lease has run out, those that ran out first."""
    rows = db.execute(
        f"SELECT {_STANDING} FROM jobs_all WHERE lease_logtime <= ? AND +kind IN (SELECT value FROM json_each(?)) "
        "ORDER BY lease_logtime, position LIMIT ?",
        (logtime_us, msgspec.json.encode(list(kinds)).decode(), limit),
    ).fetchall()
    return tuple(_standing(row) for row in rows)


def resources(db: apsw.Connection) -> dict[str, Job]:
    """Every job by id."""
    return {job.id: job for job in _resources(db, db.execute(f"SELECT {_RESOURCE} FROM jobs_all ORDER BY id").fetchall())}


AREA = Area("jobs", EVENTS, TABLES, fold, stream, resources, VIEWS)
