"""Routes of jobs: queue, list, claim, report, cancel, and the steps of a job."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import apsw
import msgspec
from starlette.responses import Response

from api import cursors
from api.commands.deciding import Fault
from api.commands.jobs import CancelJob, ClaimJob, NewStep, QueueJob, ReplaceSteps, SetJobStep, UpdateJob
from api.execution import Stored
from api.http.changes import Respond, answering, carry_out
from api.http.conditional import area_tag
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import Items, tagged
from api.http.routing import Route
from eventstore.record import RecordedEvent
from projections import jobs
from projections.jobs import Status, Step, StepStatus

STATUSES = ("queued", "running", "completed", "failed", "cancelled")

Seconds = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]


class NewJob(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Body of POST."""

    kind: str
    title: str
    id: str | None = None
    input: dict[str, Any] | None = None
    priority: int = 0
    dedupe_key: str | None = None
    max_attempts: int | None = None
    input_size_bytes: int | None = None


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Body of POST /jobs/claim."""

    kinds: list[str]
    worker: str
    lease_seconds: Seconds


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Body of PATCH. With `worker` or `attempt` it is refused when somebody else has the job by now."""

    progress: float | None = None
    stage: str | None = None
    message: str | None = None
    status: Status | None = None
    error: str | None = None
    output_size_bytes: int | None = None
    worker: str | None = None
    attempt: int | None = None


class StepBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step."""

    name: str
    status: StepStatus = "pending"
    message: str | None = None
    metadata: dict[str, Any] | None = None


class NewSteps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST: one more step, or with `steps` all of them as they are to be."""

    name: str | None = None
    status: StepStatus = "pending"
    message: str | None = None
    metadata: dict[str, Any] | None = None
    steps: list[StepBody] | None = None


class StepChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of PATCH; what is left out stays."""

    status: StepStatus | None = None
    message: str | None = None
    metadata: dict[str, Any] | None = None


class _Id(msgspec.Struct, frozen=True):
    id: str


_id_of = msgspec.json.Decoder(_Id).decode


def job_path(id: str) -> str:
    """The path of a job."""
    return f"/api/v1/jobs/{quote(id, safe='')}"


async def post_job(call: Call) -> Response:
    """Queue a job; 200 with the unfinished one of the same key, if there is one."""
    body = await call.decode(NewJob)
    command = QueueJob(
        id=body.id,
        kind=body.kind,
        title=body.title,
        input=body.input,
        priority=body.priority,
        dedupe_key=body.dedupe_key,
        max_attempts=body.max_attempts,
        input_size_bytes=body.input_size_bytes,
    )

    def queued(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Stored:
        id = _job_of(events[0]) if events else jobs.open_with_key(db, body.dedupe_key or "")
        return Stored(201 if events else 200, msgspec.json.encode(jobs.get(db, id or "")))

    return await carry_out(call, command, queued, locate=lambda made: job_path(_id_of(made).id))


def _job_of(event: RecordedEvent) -> str:
    return event.stream.partition("/")[2]


async def list_jobs(call: Call) -> Response:
    """Jobs, the newest first."""
    limit, cursor = call.limit(), call.cursor(int)
    status, kind = call.query_choice("status", STATUSES), call.query("kind")
    with call.door.snapshot() as snapshot:
        db = snapshot.db

        def page() -> Items:
            items, following, total = jobs.listing(db, limit=limit, cursor=cursor, status=status, kind=kind)
            return Items(items, None if following is None else cursors.encode(following), total)

        return tagged(call, snapshot, area_tag(snapshot, call.target, "jobs"), page)


async def get_job(call: Call) -> Response:
    """One job with its steps."""
    with call.door.snapshot() as snapshot:
        job = jobs.get(snapshot.db, call.parameters["id"])
        if job is None:
            raise Problem("not_found", f"there is no job {call.parameters['id']!r}")
        return tagged(call, snapshot, area_tag(snapshot, call.target, "jobs"), lambda: job)


async def patch_job(call: Call) -> Response:
    """A worker's report."""
    body = await call.decode(Report)
    command = UpdateJob(
        id=call.parameters["id"],
        progress=body.progress,
        stage=body.stage,
        message=body.message,
        status=body.status,
        error=body.error,
        output_size_bytes=body.output_size_bytes,
        worker=body.worker,
        attempt=body.attempt,
    )
    return await carry_out(call, command, _job(command.id))


def _job(id: str) -> Respond:
    return answering(lambda db: jobs.get(db, id))


async def claim_job(call: Call) -> Response:
    """Give a worker its next job; 204 when there is none."""
    body = await call.decode(Claim)
    return await carry_out(call, ClaimJob(tuple(body.kinds), body.worker, body.lease_seconds), _claimed)


def _claimed(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Stored:
    claims = [event for event in events if event.type == "job.claimed"]
    return Stored(200, msgspec.json.encode(jobs.get(db, _job_of(claims[-1])))) if claims else Stored(204, b"")


async def cancel_job(call: Call) -> Response:
    """Ask for a job's end."""
    await call.decode_nothing()
    id = call.parameters["id"]
    return await carry_out(call, CancelJob(id), _job(id))


async def post_steps(call: Call) -> Response:
    """Put a step after the others (201, the step), or make the steps exactly those of a list (200, the job)."""
    body = await call.decode(NewSteps)
    id, name = call.parameters["id"], body.name
    if body.steps is not None and name is None:
        steps = tuple(NewStep(step.name, step.status, step.message, step.metadata) for step in body.steps)
        return await carry_out(call, ReplaceSteps(id, steps), _job(id))
    if name is None or body.steps is not None:
        message = "must be there, unless a list of all steps is; and not both"
        raise Problem("invalid", f"name {message}", [Fault("/name", message)])
    command = SetJobStep(id=id, name=name, status=body.status, message=body.message, metadata=body.metadata, exists=False)
    where = f"{job_path(id)}/steps/{quote(name, safe='')}"
    return await carry_out(call, command, answering(lambda db: _step(db, id, name), 201), locate=lambda _: where)


def _step(db: apsw.Connection, id: str, name: str) -> Step | None:
    job = jobs.get(db, id)
    return None if job is None else next((step for step in job.steps if step.name == name), None)


async def get_step(call: Call) -> Response:
    """One step."""
    with call.door.snapshot() as snapshot:
        step = _step(snapshot.db, call.parameters["id"], call.parameters["name"])
        if step is None:
            raise Problem("not_found", f"job {call.parameters['id']!r} has no step {call.parameters['name']!r}")
        return tagged(call, snapshot, area_tag(snapshot, call.target, "jobs"), lambda: step)


async def patch_step(call: Call) -> Response:
    """Change a step."""
    body = await call.decode(StepChange)
    id, name = call.parameters["id"], call.parameters["name"]
    command = SetJobStep(id=id, name=name, status=body.status, message=body.message, metadata=body.metadata, exists=True)
    return await carry_out(call, command, answering(lambda db: _step(db, id, name)))


ROUTES = (
    Route("POST", "/jobs", post_job),
    Route("GET", "/jobs", list_jobs),
    Route("POST", "/jobs/claim", claim_job),
    Route("GET", "/jobs/{id}", get_job),
    Route("PATCH", "/jobs/{id}", patch_job),
    Route("POST", "/jobs/{id}/cancel", cancel_job),
    Route("POST", "/jobs/{id}/steps", post_steps),
    Route("GET", "/jobs/{id}/steps/{name}", get_step),
    Route("PATCH", "/jobs/{id}/steps/{name}", patch_step),
)
