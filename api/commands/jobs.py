"""Commands of area jobs: queue, claim, report, cancel, and the steps of a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import apsw
import msgspec

from api.commands import bounds
from api.commands.deciding import Context, Fault, Handler, Rejected
from projections import jobs
from projections.jobs import (
    MAX_ATTEMPTS,
    JobCancelled,
    JobCancelRequested,
    JobClaimed,
    JobCompleted,
    JobFailed,
    JobProgressed,
    JobQueued,
    JobStepChanged,
    Standing,
    Status,
    StepStatus,
)

UNFINISHED_MAX = 100_000
"""Jobs that may wait or run: beyond that nobody works them off, and every one is in several indexes."""

INPUT_BYTES_MAX = 64 * 1024
"""Bytes of a job's input as JSON. More belongs into a blob that the input names."""

METADATA_BYTES_MAX = 16 * 1024
"""Bytes of a step's metadata as JSON."""

ERROR_CHARACTERS_MAX = 8_000
"""Characters of an error: a sentence, and the end of some program's output."""

PRIORITY_MAX = 1_000_000
ATTEMPTS_MAX = 1_000
STEPS_MAX = 100
"""Steps of one job: more than a person follows, and one batch of events."""

KINDS_MAX = 100
"""Kinds in one claim: each costs a look at the index."""

LEASE_SECONDS_MAX = 86_400
"""A day: a worker that says nothing for longer is gone."""

SETTLED_PER_CLAIM = 100
"""Expired leases that one claim looks at: what a crash of many workers leaves is settled in a few claims, each of them short."""

SIZE_BYTES_MAX = 2**53
"""Sizes: what every reader of JSON takes as a whole number."""


class QueueJob(msgspec.Struct, frozen=True, kw_only=True):
    """Let work wait for a worker. `id` None: made here. When an unfinished job has the same `dedupe_key`, that one is meant and nothing changes."""

    id: str | None = None
    kind: str
    title: str
    input: dict[str, Any] | None = None
    priority: int = 0
    dedupe_key: str | None = None
    max_attempts: int | None = None
    input_size_bytes: int | None = None


class ClaimJob(msgspec.Struct, frozen=True):
    """Give this worker the job of these kinds with the highest priority, the oldest among equals."""

    kinds: tuple[str, ...]
    worker: str
    lease_seconds: float


class UpdateJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of a job; None stays. With `worker` or `attempt` it is refused when somebody else has the job by now."""

    id: str
    progress: float | None = None
    stage: str | None = None
    message: str | None = None
    status: Status | None = None
    error: str | None = None
    output_size_bytes: int | None = None
    worker: str | None = None
    attempt: int | None = None


class CancelJob(msgspec.Struct, frozen=True):
    """Stop a job: at once when nobody works on it, else the worker is asked to."""

    id: str


class NewStep(msgspec.Struct, frozen=True):
    """A step that is asked for."""

    name: str
    status: StepStatus = "pending"
    message: str | None = None
    metadata: dict[str, Any] | None = None


class SetJobStep(msgspec.Struct, frozen=True, kw_only=True):
    """Change a step, or put it after the others when there is none of this name; None stays. `exists`: refuse unless there is (or is not) one."""

    id: str
    name: str
    status: StepStatus | None = None
    message: str | None = None
    metadata: dict[str, Any] | None = None
    exists: bool | None = None


class ReplaceSteps(msgspec.Struct, frozen=True):
    """Make the job's steps exactly these."""

    id: str
    steps: tuple[NewStep, ...]


# -- queue ---------------------------------------------------------------------------------------------------------------------------


class QueueState(msgspec.Struct, frozen=True):
    """Whether the given id is taken, the unfinished job with the same key, and how many are unfinished."""

    taken: bool
    same: str | None
    unfinished: int


def load_queue(db: apsw.Connection, command: QueueJob, now_us: int) -> QueueState:
    """What queueing needs."""
    taken = command.id is not None and jobs.standing(db, command.id) is not None
    same = None if command.dedupe_key is None else jobs.open_with_key(db, command.dedupe_key)
    return QueueState(taken, same, jobs.open_count(db))


def decide_queue(command: QueueJob, state: QueueState, context: Context) -> Sequence[msgspec.Struct]:
    """The queued job; nothing when an unfinished one has the same key."""
    bounds.refuse(_faults_queue(command))
    if state.same is not None:
        return []
    if state.taken:
        raise Rejected("conflict", f"there is a job {command.id!r} already; leave the id out or choose another")
    if state.unfinished >= UNFINISHED_MAX:
        raise Rejected("too_many", f"{UNFINISHED_MAX:,} jobs are unfinished; let some end first")
    queued = JobQueued(
        id=command.id or context.id,
        kind=command.kind,
        title=command.title,
        input=command.input,
        priority=command.priority,
        dedupe_key=command.dedupe_key,
        max_attempts=MAX_ATTEMPTS if command.max_attempts is None else command.max_attempts,
        input_size_bytes=command.input_size_bytes,
    )
    return [queued]


def _faults_queue(command: QueueJob) -> list[Fault]:
    return [
        *bounds.name("/id", command.id),
        *bounds.name("/kind", command.kind),
        *bounds.text("/title", command.title, characters_min=1),
        *bounds.free("/input", command.input, INPUT_BYTES_MAX),
        *bounds.number("/priority", command.priority, -PRIORITY_MAX, PRIORITY_MAX),
        *bounds.name("/dedupeKey", command.dedupe_key),
        *bounds.number("/maxAttempts", command.max_attempts, 1, ATTEMPTS_MAX),
        *bounds.number("/inputSizeBytes", command.input_size_bytes, 0, SIZE_BYTES_MAX),
    ]


# -- claim ---------------------------------------------------------------------------------------------------------------------------


class ClaimState(msgspec.Struct, frozen=True):
    """The best job that waits, and running ones whose lease has run out."""

    waiting: Standing | None
    expired: tuple[Standing, ...]


def load_claim(db: apsw.Connection, command: ClaimJob, now_us: int) -> ClaimState:
    """What could be claimed."""
    kinds = command.kinds[:KINDS_MAX]
    return ClaimState(jobs.first_waiting(db, kinds), jobs.expired(db, kinds, now_us, SETTLED_PER_CLAIM))


def decide_claim(command: ClaimJob, state: ClaimState, context: Context) -> Sequence[msgspec.Struct]:
    """The ends of those whose worker is gone for good, then the claim; without a claim nothing was there to do."""
    bounds.refuse(_faults_claim(command))
    ended = [_end(job) for job in state.expired if job.cancel_requested or job.attempt >= job.max_attempts]
    settled = {event.id for event in ended}
    candidates = [job for job in state.expired if job.id not in settled]
    if state.waiting is not None:
        candidates.append(state.waiting)
    if not candidates:
        return ended
    best = min(candidates, key=lambda job: (-job.priority, job.position))
    lease_us = max(1, round(command.lease_seconds * 1_000_000))
    return [*ended, JobClaimed(best.id, command.worker, best.attempt + 1, lease_us)]


def _end(job: Standing) -> JobCancelled | JobFailed:
    """The end of a job whose worker fell silent and that is not to be taken up again."""
    if job.cancel_requested:
        return JobCancelled(job.id)
    who = "the worker" if job.worker is None else f"worker {job.worker!r}"
    return JobFailed(
        job.id, f"{who} fell silent in attempt {job.attempt} of {job.max_attempts}; queue the job again to try once more"
    )


def _faults_claim(command: ClaimJob) -> list[Fault]:
    faults = bounds.name("/worker", command.worker)
    if not 1 <= len(command.kinds) <= KINDS_MAX:
        faults.append(Fault("/kinds", f"must name 1 to {KINDS_MAX} kinds"))
    for place, kind in enumerate(command.kinds[:KINDS_MAX]):
        faults += bounds.name(f"/kinds/{place}", kind)
    if not 0 < command.lease_seconds <= LEASE_SECONDS_MAX:
        faults.append(Fault("/leaseSeconds", f"must be more than 0 and at most {LEASE_SECONDS_MAX:,}"))
    return faults


# -- report --------------------------------------------------------------------------------------------------------------------------


def load_job(db: apsw.Connection, command: UpdateJob | CancelJob, now_us: int) -> Standing | None:
    """The job that is meant."""
    return jobs.standing(db, command.id)


def _unfinished(job: Standing | None, id: str) -> Standing:
    if job is None:
        raise Rejected("not_found", f"there is no job {id!r}")
    if job.finished:
        raise Rejected("conflict", f"job {id!r} is {job.status}, and that is final")
    return job


def decide_update(command: UpdateJob, state: Standing | None, context: Context) -> Sequence[msgspec.Struct]:
    """What changed: progress only upwards, an end at most once. A report renews the lease; one that says nothing new is noted only when the
    lease is half over, so that a patient worker keeps its job and a chatty one does not fill the log."""
    bounds.refuse(_faults_update(command))
    job = _unfinished(state, command.id)
    _check_worker(command, job)
    progress, stage, message = _news(command, job)
    output = None if command.output_size_bytes == job.output_size_bytes else command.output_size_bytes
    match command.status:
        case "completed":
            return [JobCompleted(job.id, stage, message, output)]
        case "failed":
            return [JobFailed(job.id, command.error or command.message or "the worker gave no reason", progress, stage, message)]
        case "cancelled":
            return [JobCancelled(job.id, progress, stage, message)]
        case "queued" if job.status == "running":
            fault = Fault("/status", "must not go back to queued: a job is taken up again when its lease has run out")
            raise Rejected("invalid", fault.message, [fault])
        case "running" if job.status == "queued":
            begun = JobClaimed(job.id, command.worker, job.attempt + 1)
            rest = JobProgressed(job.id, progress, command.stage, command.message, output)
            return [begun] if rest == JobProgressed(job.id) else [begun, rest]
        case _:
            return _progressed(JobProgressed(job.id, progress, stage, message, output, job.lease_us), job, context.now_us)


def _news(command: UpdateJob, job: Standing) -> tuple[float | None, str | None, str | None]:
    """Progress, stage and message, each None unless it is new."""
    higher = command.progress is not None and command.progress > job.progress
    return (
        command.progress if higher else None,
        None if command.stage == job.stage else command.stage,
        None if command.message == job.message else command.message,
    )


def _progressed(event: JobProgressed, job: Standing, now_us: int) -> Sequence[msgspec.Struct]:
    if event != JobProgressed(job.id, lease_us=job.lease_us):
        return [event]
    if job.lease_us is None or job.lease_logtime_us is None or job.lease_logtime_us - now_us > job.lease_us // 2:
        return []
    return [event]


def _check_worker(command: UpdateJob, job: Standing) -> None:
    if command.worker is not None and job.worker is not None and command.worker != job.worker:
        raise Rejected("conflict", f"job {job.id!r} is with worker {job.worker!r} now")
    if command.attempt is not None and command.attempt != job.attempt:
        raise Rejected("conflict", f"job {job.id!r} is in attempt {job.attempt} now")


def _faults_update(command: UpdateJob) -> list[Fault]:
    faults = [
        *bounds.number("/progress", command.progress, 0, 100),
        *bounds.text("/stage", command.stage),
        *bounds.text("/message", command.message),
        *bounds.text("/error", command.error, ERROR_CHARACTERS_MAX),
        *bounds.number("/outputSizeBytes", command.output_size_bytes, 0, SIZE_BYTES_MAX),
        *bounds.name("/worker", command.worker),
    ]
    if command.status is not None and command.status not in get_args(Status):
        faults.append(Fault("/status", f"must be one of {', '.join(get_args(Status))}"))
    if command.error is not None and command.status != "failed":
        faults.append(Fault("/error", 'goes with "status": "failed" only'))
    return faults


def durable_update(command: UpdateJob) -> bool:
    """Whether the report says more than how far the work is."""
    return command.status is not None or command.error is not None or command.output_size_bytes is not None


# -- cancel --------------------------------------------------------------------------------------------------------------------------


def decide_cancel(command: CancelJob, state: Standing | None, context: Context) -> Sequence[msgspec.Struct]:
    """The end, when the job waits or its worker fell silent; else the request, once."""
    job = _unfinished(state, command.id)
    if job.status == "queued" or job.lease_expired(context.now_us):
        return [JobCancelled(job.id)]
    return [] if job.cancel_requested else [JobCancelRequested(job.id)]


# -- steps ---------------------------------------------------------------------------------------------------------------------------


class StepsState(msgspec.Struct, frozen=True):
    """The job, and its steps in order."""

    job: Standing | None
    steps: tuple[JobStepChanged, ...]


def load_steps(db: apsw.Connection, command: SetJobStep | ReplaceSteps, now_us: int) -> StepsState:
    """The job with its steps."""
    return StepsState(jobs.standing(db, command.id), jobs.steps(db, command.id))


def decide_step(command: SetJobStep, state: StepsState, context: Context) -> Sequence[msgspec.Struct]:
    """The step as it is now; nothing when it was so."""
    before = next((step for step in state.steps if step.name == command.name), None)
    wanted = NewStep(
        command.name,
        command.status or (before.status if before else "pending"),
        command.message if command.message is not None or before is None else before.message,
        command.metadata if command.metadata is not None or before is None else before.metadata,
    )
    bounds.refuse(_faults_step(wanted, ""))
    job = _unfinished(state.job, command.id)
    if command.exists is True and before is None:
        raise Rejected("not_found", f"job {job.id!r} has no step {command.name!r}")
    if command.exists is False and before is not None:
        raise Rejected("conflict", f"job {job.id!r} has a step {command.name!r} already")
    if before is None and len(state.steps) >= STEPS_MAX:
        raise Rejected("too_many", f"a job has at most {STEPS_MAX} steps")
    ordinal = before.ordinal if before else max((step.ordinal for step in state.steps), default=-1) + 1
    step = _step(job.id, wanted, ordinal, before, context.time_us)
    return [] if step == before else [step]


def decide_replace(command: ReplaceSteps, state: StepsState, context: Context) -> Sequence[msgspec.Struct]:
    """One event for each step that goes, comes or changes."""
    faults = [fault for place, step in enumerate(command.steps) for fault in _faults_step(step, f"/steps/{place}")]
    names = [step.name for step in command.steps]
    faults += [
        Fault(f"/steps/{place}/name", f"{name!r} is in the list more than once")
        for place, name in enumerate(names)
        if name in names[:place]
    ]
    bounds.refuse(faults)
    if len(names) > STEPS_MAX:
        raise Rejected("too_many", f"a job has at most {STEPS_MAX} steps")
    job = _unfinished(state.job, command.id)
    before = {step.name: step for step in state.steps}
    gone = [JobStepChanged(job.id, name, removed=True) for name in before if name not in names]
    now = [_step(job.id, step, place, before.get(step.name), context.time_us) for place, step in enumerate(command.steps)]
    return [*gone, *(step for step in now if step != before.get(step.name))]


def _step(id: str, wanted: NewStep, ordinal: int, before: JobStepChanged | None, time_us: int) -> JobStepChanged:
    """The step as asked for, begun when it first ran and completed when it ended; one that begins again forgets its end."""
    started_at_us = before.started_at_us if before else None
    completed_at_us = before.completed_at_us if before else None
    if before is None or before.status != wanted.status:
        match wanted.status:
            case "pending":
                started_at_us = completed_at_us = None
            case "running":
                started_at_us, completed_at_us = time_us, None
            case "completed" | "failed" | "skipped":
                completed_at_us = time_us
    return JobStepChanged(
        id, wanted.name, wanted.status, ordinal, started_at_us, completed_at_us, wanted.message, wanted.metadata
    )


def _faults_step(step: NewStep, where: str) -> list[Fault]:
    faults = [
        *bounds.name(f"{where}/name", step.name),
        *bounds.text(f"{where}/message", step.message),
        *bounds.free(f"{where}/metadata", step.metadata, METADATA_BYTES_MAX),
    ]
    if step.status not in get_args(StepStatus):
        faults.append(Fault(f"{where}/status", f"must be one of {', '.join(get_args(StepStatus))}"))
    return faults


HANDLERS = {
    QueueJob: Handler(load_queue, decide_queue),
    ClaimJob: Handler(load_claim, decide_claim),
    UpdateJob: Handler(load_job, decide_update, durable_update),
    CancelJob: Handler(load_job, decide_cancel),
    SetJobStep: Handler(load_steps, decide_step),
    ReplaceSteps: Handler(load_steps, decide_replace),
}
