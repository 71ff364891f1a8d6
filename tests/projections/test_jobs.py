"""Read slice jobs: from queued to finished, with steps, and the lists that callers see."""

from __future__ import annotations

from typing import Any

from projections import jobs
from projections.jobs import (
    RECENT_US,
    Job,
    JobCancelled,
    JobCancelRequested,
    JobClaimed,
    JobCompleted,
    JobFailed,
    JobProgressed,
    JobQueued,
    JobStepChanged,
    Step,
)

SECOND_US = 1_000_000


def queue(here: Any, *ids: str, kind: str = "prepare", **more: Any) -> None:
    for id in ids:
        here.fold(JobQueued(id, kind, f"Do {id}", **more), 1)


def test_a_queued_job_shows_all_that_was_asked(desk: Any) -> None:
    """The resource has the contract's fields, absent ones None."""
    here = desk(jobs.AREA)
    here.fold(JobQueued("j", "prepare", "cat.gif", {"slug": "cat"}, 5, "k", 2, 1234))
    assert jobs.get(here.db, "j") == Job(
        id="j",
        kind="prepare",
        title="cat.gif",
        status="queued",
        progress=0,
        stage=None,
        message=None,
        priority=5,
        attempt=0,
        max_attempts=2,
        cancel_requested=False,
        dedupe_key="k",
        input={"slug": "cat"},
        input_size_bytes=1234,
        created_at="2026-01-01T00:00:00.000000Z",
        updated_at="2026-01-01T00:00:00.000000Z",
        steps=(),
    )


def test_a_claim_begins_an_attempt_under_a_lease(desk: Any) -> None:
    """The lease ends at logtime and wall time of the claim plus its length; what an earlier attempt said is gone."""
    here = desk(jobs.AREA)
    queue(here, "j")
    here.fold(JobClaimed("j", "w1", 1, 10 * SECOND_US))
    here.fold(JobProgressed("j", 40.5, "decoding", "frame 12"), SECOND_US)
    at = here.fold(JobClaimed("j", "w2", 2, 10 * SECOND_US), 20 * SECOND_US)
    job, standing = jobs.get(here.db, "j"), jobs.standing(here.db, "j")
    assert job is not None
    assert standing is not None
    assert (job.status, job.worker, job.attempt, job.progress, job.stage, job.message) == ("running", "w2", 2, 0, None, None)
    assert job.lease_until == "2026-01-01T00:00:31.000001Z"
    assert standing.lease_logtime_us == at.logtime_us + 10 * SECOND_US
    assert not standing.lease_expired(at.logtime_us + 10 * SECOND_US - 1)
    assert standing.lease_expired(at.logtime_us + 10 * SECOND_US)


def test_progress_keeps_what_it_does_not_name(desk: Any) -> None:
    """Whole numbers stay whole, and only a report with a lease renews it."""
    here = desk(jobs.AREA)
    queue(here, "j")
    claimed = here.fold(JobClaimed("j", "w", 1, 10 * SECOND_US))
    here.fold(JobProgressed("j", 40, "decoding", output_size_bytes=9), SECOND_US)
    here.fold(JobProgressed("j", message="almost"), SECOND_US)
    job, standing = jobs.get(here.db, "j"), jobs.standing(here.db, "j")
    assert job is not None
    assert standing is not None
    assert (job.progress, job.stage, job.message, job.output_size_bytes) == (40, "decoding", "almost", 9)
    assert isinstance(job.progress, int)
    assert standing.lease_logtime_us == claimed.logtime_us + 10 * SECOND_US
    renewed = here.fold(JobProgressed("j", lease_us=10 * SECOND_US), SECOND_US)
    again = jobs.standing(here.db, "j")
    assert again is not None
    assert again.lease_logtime_us == renewed.logtime_us + 10 * SECOND_US


def test_the_three_ends(desk: Any) -> None:
    """A finished job has an instant of its end and no lease; only completion makes the progress whole."""
    here = desk(jobs.AREA)
    queue(here, "a", "b", "c")
    for id in "abc":
        here.fold(JobClaimed(id, "w", 1, SECOND_US))
        here.fold(JobProgressed(id, 40))
    here.fold(JobCancelRequested("c"))
    here.fold(JobCompleted("a", "done", "all good", 77))
    here.fold(JobFailed("b", "no such codec", 41))
    here.fold(JobCancelled("c"), SECOND_US)
    a, b, c = (jobs.get(here.db, id) for id in "abc")
    assert a is not None
    assert b is not None
    assert c is not None
    assert (a.status, a.progress, a.stage, a.message, a.output_size_bytes, a.lease_until) == (
        "completed", 100, "done", "all good", 77, None,
    )  # fmt: skip
    assert (b.status, b.progress, b.error) == ("failed", 41, "no such codec")
    assert (c.status, c.progress, c.cancel_requested, c.finished_at) == ("cancelled", 40, True, "2026-01-01T00:00:01.000003Z")
    assert jobs.open_count(here.db) == 0
    assert not jobs.is_open(here.db, "a")


def test_steps_stand_in_their_order(desk: Any) -> None:
    """Each event is the whole step; a removed one is gone; metadata comes back as it went in."""
    here = desk(jobs.AREA)
    queue(here, "j", "other")
    here.fold(JobStepChanged("j", "encode", "pending", 1))
    here.fold(JobStepChanged("j", "fetch", "completed", 0, 1_767_225_600_000_000, 1_767_225_601_000_000, "ok", {"n": [1]}))
    here.fold(JobStepChanged("j", "deploy", "pending", 2))
    here.fold(JobStepChanged("j", "deploy", removed=True))
    here.fold(JobStepChanged("other", "fetch"))
    job = jobs.get(here.db, "j")
    assert job is not None
    assert job.steps == (
        Step("fetch", "completed", "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:01.000000Z", "ok", {"n": [1]}),
        Step("encode", "pending"),
    )
    assert [step.name for step in jobs.steps(here.db, "j")] == ["fetch", "encode"]
    assert jobs.steps(here.db, "j")[0].metadata == {"n": [1]}


def test_the_next_job_is_the_most_urgent_then_the_oldest(desk: Any) -> None:
    """Only queued jobs of the asked kinds count."""
    here = desk(jobs.AREA)
    queue(here, "old")
    queue(here, "urgent", "urgent2", priority=9)
    queue(here, "foreign", kind="caption", priority=99)
    first = jobs.first_waiting(here.db, ["prepare", "none"])
    assert first is not None
    assert first.id == "urgent"
    here.fold(JobClaimed("urgent", "w", 1, SECOND_US))
    here.fold(JobCancelled("urgent2"))
    first = jobs.first_waiting(here.db, ["prepare"])
    assert first is not None
    assert first.id == "old"
    assert jobs.first_waiting(here.db, ["none"]) is None


def test_expired_leases_are_found_by_kind(desk: Any) -> None:
    """On the instant of its end a lease has run out; a job without a lease never does."""
    here = desk(jobs.AREA)
    queue(here, "a", "b", "free")
    queue(here, "c", kind="caption")
    here.fold(JobClaimed("a", "w", 1, 2 * SECOND_US))
    here.fold(JobClaimed("b", "w", 1, SECOND_US))
    here.fold(JobClaimed("c", "w", 1, SECOND_US))
    at = here.fold(JobClaimed("free", None, 1))
    found = jobs.expired(here.db, ["prepare"], at.logtime_us + 2 * SECOND_US, 10)
    assert [job.id for job in found] == ["b", "a"]
    assert [job.id for job in jobs.expired(here.db, ["prepare"], at.logtime_us + 2 * SECOND_US - 1, 10)] == ["b"]


def test_lists_show_the_newest_first(desk: Any) -> None:
    """Filters, pages and totals agree."""
    here = desk(jobs.AREA)
    queue(here, "a", "b", "c")
    queue(here, "x", kind="caption")
    here.fold(JobCancelled("b"))
    items, cursor, total = jobs.listing(here.db, limit=3)
    assert ([job.id for job in items], total) == (["x", "c", "b"], 4)
    items, cursor, total = jobs.listing(here.db, limit=3, cursor=cursor)
    assert ([job.id for job in items], cursor, total) == (["a"], None, 4)
    items, _, total = jobs.listing(here.db, status="queued", kind="prepare")
    assert ([job.id for job in items], total) == (["c", "a"], 2)


def test_recent_jobs_are_the_open_and_the_just_finished(desk: Any) -> None:
    """A finished job stays for less than five minutes of logtime; the instant at which the answer changed is known."""
    here = desk(jobs.AREA)
    queue(here, "open", "done", "late")
    done = here.fold(JobCompleted("done"))
    here.fold(JobCompleted("late"), SECOND_US)
    end_us = done.logtime_us + RECENT_US
    assert [job.id for job in jobs.recent(here.db, end_us - 1)] == ["late", "done", "open"]
    assert jobs.last_expiry(here.db, end_us - 1) == 0
    assert [job.id for job in jobs.recent(here.db, end_us)] == ["late", "open"]
    assert jobs.last_expiry(here.db, end_us) == end_us
    assert [job.id for job in jobs.recent(here.db, end_us, 1)] == ["late"]


def test_a_dedupe_key_is_free_again_after_the_end(desk: Any) -> None:
    """Only an unfinished job holds its key."""
    here = desk(jobs.AREA)
    queue(here, "a", dedupe_key="k")
    assert jobs.open_with_key(here.db, "k") == "a"
    here.fold(JobFailed("a", "no"))
    assert jobs.open_with_key(here.db, "k") is None


def test_adopted_jobs_keep_their_times(desk: Any) -> None:
    """A job that ended long ago is not a recent one."""
    here = desk(jobs.AREA)
    created_us = 1_700_000_000_000_000
    here.fold(JobQueued("a", "upload", "old.gif", created_at_us=created_us))
    at = here.fold(JobFailed("a", "Error: x", 100, finished_at_us=created_us + SECOND_US))
    job = jobs.get(here.db, "a")
    assert job is not None
    assert (job.created_at, job.updated_at, job.finished_at) == (
        "2023-11-14T22:13:20.000000Z", "2023-11-14T22:13:21.000000Z", "2023-11-14T22:13:21.000000Z",
    )  # fmt: skip
    assert jobs.recent(here.db, at.logtime_us) == []


def test_state_and_view_hold_every_job(desk: Any) -> None:
    """The view has the contract's names in snake case."""
    here = desk(jobs.AREA)
    queue(here, "b", "a")
    assert list(jobs.resources(here.db)) == ["a", "b"]
    assert here.db.execute("SELECT id, status, max_attempts, output_size_bytes FROM jobs ORDER BY id").fetchall() == [
        ("a", "queued", 3, None),
        ("b", "queued", 3, None),
    ]
