"""Commands jobs: queue, claim, report, cancel and steps, on a real log."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.commands.catalogue import HANDLERS
from api.commands.deciding import Context, Rejected
from api.commands.jobs import (
    SETTLED_PER_CLAIM,
    STEPS_MAX,
    UNFINISHED_MAX,
    CancelJob,
    ClaimJob,
    NewStep,
    QueueJob,
    QueueState,
    ReplaceSteps,
    SetJobStep,
    UpdateJob,
    decide_queue,
    decide_update,
)
from projections import jobs
from projections.jobs import (
    JobCancelled,
    JobCancelRequested,
    JobClaimed,
    JobCompleted,
    JobFailed,
    JobProgressed,
    JobQueued,
    JobStepChanged,
)

CONTEXT = Context(1, 1, "id", 1, None)
TIME_US = 1_767_225_600_000_000
LEASE_US = 10_000_000


def queue(bench: Any, id: str, **more: Any) -> None:
    bench.do(QueueJob(id=id, kind="prepare", title=id, **more))


def claim(bench: Any, worker: str = "w", seconds: float = 10) -> list[Any]:
    return bench.do(ClaimJob(("prepare",), worker, seconds))


def status(bench: Any, id: str) -> str:
    job = bench.ask(lambda db: jobs.get(db, id))
    assert job is not None
    return job.status


def refusal(bench: Any, command: msgspec.Struct) -> str:
    with pytest.raises(Rejected) as caught:
        bench.run(command)
    return caught.value.code


# -- queue ---------------------------------------------------------------------------------------------------------------------------


def test_a_job_is_queued_under_the_given_or_a_fresh_id(bench: Any) -> None:
    """A given id that is taken is a conflict, also when its job has ended."""
    (made,) = bench.do(QueueJob(kind="prepare", title="x"))
    assert made == JobQueued(made.id, "prepare", "x")
    assert len(made.id) == 36
    queue(bench, "mine")
    assert refusal(bench, QueueJob(id="mine", kind="prepare", title="x")) == "conflict"
    bench.do(CancelJob("mine"))
    assert refusal(bench, QueueJob(id="mine", kind="prepare", title="x")) == "conflict"


def test_a_dedupe_key_means_the_unfinished_job(bench: Any) -> None:
    """The second asking appends nothing, whatever else it says; after the end the key makes a new job."""
    queue(bench, "a", dedupe_key="k")
    assert bench.do(QueueJob(kind="other", title="y", dedupe_key="k")) == []
    assert bench.do(QueueJob(id="a", kind="prepare", title="y", dedupe_key="k")) == []
    bench.do(CancelJob("a"))
    assert len(bench.do(QueueJob(id="b", kind="prepare", title="y", dedupe_key="k"))) == 1


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"id": ""}, "/id"),
        ({"kind": ""}, "/kind"),
        ({"title": ""}, "/title"),
        ({"title": "x" * 2001}, "/title"),
        ({"input": {"x": "y" * 65_536}}, "/input"),
        ({"priority": 1_000_001}, "/priority"),
        ({"dedupe_key": "x" * 201}, "/dedupeKey"),
        ({"max_attempts": 0}, "/maxAttempts"),
        ({"input_size_bytes": -1}, "/inputSizeBytes"),
    ],
)
def test_what_is_wrong_with_a_job_is_named(change: dict[str, Any], pointer: str) -> None:
    """Each bound is refused with the field that broke it."""
    command = msgspec.structs.replace(QueueJob(kind="prepare", title="x"), **change)
    with pytest.raises(Rejected) as caught:
        decide_queue(command, QueueState(taken=False, same=None, unfinished=0), CONTEXT)
    assert (caught.value.code, [fault.pointer for fault in caught.value.faults]) == ("invalid", [pointer])


def test_the_queue_has_a_bound() -> None:
    """The last place is given away, one more is refused."""
    command = QueueJob(kind="prepare", title="x")
    assert len(decide_queue(command, QueueState(taken=False, same=None, unfinished=UNFINISHED_MAX - 1), CONTEXT)) == 1
    with pytest.raises(Rejected) as caught:
        decide_queue(command, QueueState(taken=False, same=None, unfinished=UNFINISHED_MAX), CONTEXT)
    assert caught.value.code == "too_many"


# -- claim ---------------------------------------------------------------------------------------------------------------------------


def test_the_most_urgent_job_is_claimed_first(bench: Any) -> None:
    """Then the oldest; with nothing left there is no event."""
    queue(bench, "old")
    queue(bench, "young")
    queue(bench, "urgent", priority=1)
    assert [claim(bench)[0].id for _ in range(3)] == ["urgent", "old", "young"]
    assert claim(bench) == []


def test_only_the_asked_kinds_are_claimed(bench: Any) -> None:
    """A worker never gets what it cannot do."""
    queue(bench, "a")
    assert bench.do(ClaimJob(("caption",), "w", 10)) == []
    assert bench.do(ClaimJob(("caption", "prepare"), "w", 10)) == [JobClaimed("a", "w", 1, LEASE_US)]


def test_an_expired_lease_is_claimed_again(bench: Any) -> None:
    """Not a moment before its end, and with one attempt more."""
    queue(bench, "a")
    claim(bench, "dead")
    bench.clock.advance(9.999)
    assert claim(bench) == []
    bench.clock.advance(0.001)
    assert claim(bench, "next") == [JobClaimed("a", "next", 2, LEASE_US)]


def test_an_expired_job_waits_its_turn_by_priority(bench: Any) -> None:
    """Whether a job waits or was left behind does not matter, only urgency and age."""
    queue(bench, "left")
    claim(bench)
    queue(bench, "urgent", priority=1)
    queue(bench, "young")
    bench.clock.advance(20)
    assert [claim(bench)[-1].id for _ in range(3)] == ["urgent", "left", "young"]


def test_used_up_attempts_end_the_job(bench: Any) -> None:
    """The next claim fails it with a sentence and takes the job after it."""
    queue(bench, "poison", max_attempts=1)
    claim(bench, "victim")
    queue(bench, "next")
    bench.clock.advance(20)
    failed, claimed = claim(bench, "w2")
    assert failed == JobFailed("poison", "worker 'victim' fell silent in attempt 1 of 1; queue the job again to try once more")
    assert claimed == JobClaimed("next", "w2", 1, LEASE_US)
    assert status(bench, "poison") == "failed"


def test_a_job_to_be_cancelled_is_not_claimed_again(bench: Any) -> None:
    """When its worker fell silent, the request is granted instead."""
    queue(bench, "a")
    claim(bench)
    bench.do(CancelJob("a"))
    bench.clock.advance(20)
    assert claim(bench) == [JobCancelled("a")]
    assert status(bench, "a") == "cancelled"


def test_one_claim_settles_a_bounded_number(bench: Any) -> None:
    """The rest is settled by the claims after it."""
    for number in range(SETTLED_PER_CLAIM + 1):
        queue(bench, f"j{number}", max_attempts=1)
        claim(bench)
    bench.clock.advance(20)
    assert len(claim(bench)) == SETTLED_PER_CLAIM
    assert len(claim(bench)) == 1
    assert claim(bench) == []


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (ClaimJob((), "w", 10), "/kinds"),
        (ClaimJob(("a",) * 101, "w", 10), "/kinds"),
        (ClaimJob(("a", ""), "w", 10), "/kinds/1"),
        (ClaimJob(("a",), "", 10), "/worker"),
        (ClaimJob(("a",), "w", 0), "/leaseSeconds"),
        (ClaimJob(("a",), "w", 86_401), "/leaseSeconds"),
    ],
)
def test_what_is_wrong_with_a_claim_is_named(bench: Any, command: ClaimJob, pointer: str) -> None:
    """Each bound is refused with the field that broke it."""
    with pytest.raises(Rejected) as caught:
        bench.run(command)
    assert [fault.pointer for fault in caught.value.faults] == [pointer]


# -- report --------------------------------------------------------------------------------------------------------------------------


def test_progress_goes_up_only(bench: Any) -> None:
    """A lower or equal progress changes nothing; what comes with it may."""
    queue(bench, "a")
    claim(bench)
    assert bench.do(UpdateJob(id="a", progress=40, stage="decoding")) == [JobProgressed("a", 40, "decoding", lease_us=LEASE_US)]
    assert bench.do(UpdateJob(id="a", progress=30)) == []
    assert bench.do(UpdateJob(id="a", progress=40, stage="decoding")) == []
    assert bench.do(UpdateJob(id="a", progress=10, message="frame 7")) == [
        JobProgressed("a", None, None, "frame 7", lease_us=LEASE_US)
    ]
    job = bench.ask(lambda db: jobs.get(db, "a"))
    assert (job.progress, job.stage, job.message) == (40, "decoding", "frame 7")


def test_reports_keep_the_lease_alive(bench: Any) -> None:
    """News renews it; the same again does so when it is half over, and not before."""
    queue(bench, "a")
    claim(bench)
    bench.clock.advance(4)
    assert bench.do(UpdateJob(id="a", progress=0)) == []
    bench.clock.advance(4)
    assert bench.do(UpdateJob(id="a", progress=0)) == [JobProgressed("a", lease_us=LEASE_US)]
    bench.clock.advance(9)
    assert claim(bench, "thief") == []
    bench.do(UpdateJob(id="a", progress=50))
    bench.clock.advance(9)
    assert claim(bench, "thief") == []
    bench.clock.advance(2)
    assert len(claim(bench, "next")) == 1


def test_the_ends_are_final(bench: Any) -> None:
    """Completed, failed, cancelled: each once, with what was said last; afterwards every report is a conflict."""
    for id in ("a", "b", "c"):
        queue(bench, id)
        claim(bench)
    ends = [
        (UpdateJob(id="a", status="completed", message="ok", output_size_bytes=5), JobCompleted("a", None, "ok", 5)),
        (UpdateJob(id="b", status="failed", error="no codec", progress=20), JobFailed("b", "no codec", 20)),
        (UpdateJob(id="c", status="cancelled", stage="stopped"), JobCancelled("c", None, "stopped")),
    ]
    for command, event in ends:
        assert bench.do(command) == [event]
        assert refusal(bench, command) == "conflict"
        assert refusal(bench, UpdateJob(id=command.id, progress=1)) == "conflict"
    assert bench.ask(lambda db: jobs.get(db, "a")).progress == 100


def test_a_failure_always_has_a_sentence(bench: Any) -> None:
    """Without an error the message serves, and without both it says so."""
    for id in ("a", "b"):
        queue(bench, id)
    assert bench.do(UpdateJob(id="a", status="failed", message="gave up"))[0].error == "gave up"
    assert bench.do(UpdateJob(id="b", status="failed"))[0].error == "the worker gave no reason"


def test_a_worker_without_claims_can_begin_a_job(bench: Any) -> None:
    """Status running begins an attempt without a lease, which nobody takes away; again it changes nothing."""
    queue(bench, "a")
    assert bench.do(UpdateJob(id="a", status="running", progress=5)) == [JobClaimed("a", None, 1), JobProgressed("a", 5)]
    assert bench.do(UpdateJob(id="a", status="running")) == []
    bench.clock.advance(1_000_000)
    assert claim(bench) == []
    assert refusal(bench, UpdateJob(id="a", status="queued")) == "invalid"


def test_a_worker_that_lost_its_job_is_told(bench: Any) -> None:
    """Who names worker or attempt is refused once somebody else has the job."""
    queue(bench, "a")
    claim(bench, "slow")
    bench.clock.advance(20)
    claim(bench, "fast")
    assert refusal(bench, UpdateJob(id="a", worker="slow", progress=90)) == "conflict"
    assert refusal(bench, UpdateJob(id="a", attempt=1, progress=90)) == "conflict"
    assert len(bench.do(UpdateJob(id="a", worker="fast", attempt=2, progress=90))) == 1


def test_an_unknown_job_is_not_found(bench: Any) -> None:
    """For reports, cancellation and steps alike."""
    commands = [UpdateJob(id="x", progress=1), CancelJob("x"), SetJobStep(id="x", name="a"), ReplaceSteps("x", ())]
    assert [refusal(bench, command) for command in commands] == ["not_found"] * 4


def test_only_plain_progress_is_relaxed() -> None:
    """Whatever ends or begins a job must be on the disk."""
    durable = HANDLERS[UpdateJob].durable
    assert not durable(UpdateJob(id="a", progress=1, stage="s", message="m"))
    assert durable(UpdateJob(id="a", status="completed"))
    assert durable(UpdateJob(id="a", output_size_bytes=1))
    assert HANDLERS[ClaimJob].durable(ClaimJob(("a",), "w", 1))


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (UpdateJob(id="a", progress=100.1), "/progress"),
        (UpdateJob(id="a", progress=float("nan")), "/progress"),
        (UpdateJob(id="a", stage="x" * 2001), "/stage"),
        (UpdateJob(id="a", message="\0"), "/message"),
        (UpdateJob(id="a", error="why"), "/error"),
        (UpdateJob(id="a", status="paused"), "/status"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_with_a_report_is_named(command: UpdateJob, pointer: str) -> None:
    """Each bound is refused with the field that broke it, before the job is looked at."""
    with pytest.raises(Rejected) as caught:
        decide_update(command, None, CONTEXT)
    assert (caught.value.code, [fault.pointer for fault in caught.value.faults]) == ("invalid", [pointer])


# -- cancel --------------------------------------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_at_once(bench: Any) -> None:
    """There is nobody to ask; afterwards it is final."""
    queue(bench, "a")
    assert bench.do(CancelJob("a")) == [JobCancelled("a")]
    assert refusal(bench, CancelJob("a")) == "conflict"


def test_a_running_job_is_asked_to_stop(bench: Any) -> None:
    """Once; then the worker ends it, as cancelled or, when it was quicker, as completed."""
    queue(bench, "a")
    claim(bench)
    assert bench.do(CancelJob("a")) == [JobCancelRequested("a")]
    assert bench.do(CancelJob("a")) == []
    assert bench.ask(lambda db: jobs.get(db, "a")).cancel_requested
    assert bench.do(UpdateJob(id="a", status="cancelled")) == [JobCancelled("a")]


def test_a_job_whose_worker_fell_silent_is_cancelled_at_once(bench: Any) -> None:
    """Its lease has run out, so nobody would hear the request."""
    queue(bench, "a")
    claim(bench)
    bench.clock.advance(20)
    assert bench.do(CancelJob("a")) == [JobCancelled("a")]


# -- steps ---------------------------------------------------------------------------------------------------------------------------


def test_a_step_runs_through_its_life(bench: Any) -> None:
    """It begins when it first runs and is complete when it ends; what is not named stays."""
    queue(bench, "a")
    bench.do(SetJobStep(id="a", name="fetch", message="soon"))
    bench.clock.advance(1)
    assert bench.do(SetJobStep(id="a", name="fetch", status="running")) == [
        JobStepChanged("a", "fetch", "running", 0, TIME_US + 1_000_000, None, "soon")
    ]
    assert bench.do(SetJobStep(id="a", name="fetch", status="running")) == []
    bench.clock.advance(1)
    assert bench.do(SetJobStep(id="a", name="fetch", status="completed", metadata={"n": 1})) == [
        JobStepChanged("a", "fetch", "completed", 0, TIME_US + 1_000_000, TIME_US + 2_000_000, "soon", {"n": 1})
    ]
    assert bench.do(SetJobStep(id="a", name="fetch", status="running"))[0].completed_at_us is None


def test_new_steps_come_after_the_others(bench: Any) -> None:
    """Presence can be asked for: a step that must exist, or must not."""
    queue(bench, "a")
    for name in ("one", "two"):
        bench.do(SetJobStep(id="a", name=name, exists=False))
    assert refusal(bench, SetJobStep(id="a", name="one", exists=False)) == "conflict"
    assert refusal(bench, SetJobStep(id="a", name="three", exists=True)) == "not_found"
    assert [step.name for step in bench.ask(lambda db: jobs.get(db, "a")).steps] == ["one", "two"]


def test_replacing_steps_changes_only_what_differs(bench: Any) -> None:
    """Steps that stay as they were cause no event; those not named are removed."""
    queue(bench, "a")
    bench.do(ReplaceSteps("a", (NewStep("one"), NewStep("two", "running"), NewStep("three"))))
    assert bench.do(ReplaceSteps("a", (NewStep("one"), NewStep("three"), NewStep("four")))) == [
        JobStepChanged("a", "two", removed=True),
        JobStepChanged("a", "three", "pending", 1),
        JobStepChanged("a", "four", "pending", 2),
    ]
    assert bench.do(ReplaceSteps("a", (NewStep("one"), NewStep("three"), NewStep("four")))) == []
    assert [step.name for step in bench.ask(lambda db: jobs.get(db, "a")).steps] == ["one", "three", "four"]


def test_steps_have_bounds(bench: Any) -> None:
    """Number, names and metadata; and a finished job keeps its steps as they are."""
    queue(bench, "a")
    bench.do(ReplaceSteps("a", tuple(NewStep(f"s{number}") for number in range(STEPS_MAX))))
    assert refusal(bench, SetJobStep(id="a", name="more")) == "too_many"
    assert refusal(bench, ReplaceSteps("a", tuple(NewStep(f"s{number}") for number in range(STEPS_MAX + 1)))) == "too_many"
    with pytest.raises(Rejected) as caught:
        bench.run(ReplaceSteps("a", (NewStep("x"), NewStep("x"), NewStep(""), NewStep("y", "odd"))))  # type: ignore[arg-type]
    assert sorted(fault.pointer for fault in caught.value.faults) == ["/steps/1/name", "/steps/2/name", "/steps/3/status"]
    bench.do(CancelJob("a"))
    assert refusal(bench, SetJobStep(id="a", name="s0", status="running")) == "conflict"
