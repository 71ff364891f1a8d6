"""Refusals and failures as RFC 9457 problems. The one table from codes to statuses is here.

Everything that is not in the table is a defect: logged for the operator by `app`, hidden from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from starlette.responses import Response

from api.commands.deciding import Fault, Rejected
from eventstore.errors import StoreError

MEDIA_TYPE = "application/problem+json"

STATUSES: Mapping[str, tuple[int, str]] = {
    "malformed": (400, "The request cannot be read"),
    "unauthorized": (401, "Not signed in"),
    "forbidden": (403, "Not allowed"),
    "wrong_host": (403, "Not a name of this service"),
    "cross_site": (403, "Asked for by another site"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "conflict": (409, "It contradicts the present state"),
    "gone": (409, "No longer held"),
    "stale": (412, "Decided on an old version"),
    "too_large": (413, "Too large"),
    "unsupported_type": (415, "Unsupported content type"),
    "range": (416, "No such range"),
    "invalid": (422, "Well-formed but wrong"),
    "too_many": (422, "A limit is reached"),
    "key_reused": (422, "The idempotency key belongs to another request"),
    "too_many_attempts": (429, "Too many bad attempts"),
    "too_many_viewers": (503, "Too many viewers"),
    "no_player": (503, "No player shows anything"),
    "not_ready": (503, "Not ready"),
    "overloaded": (503, "Overloaded"),
    "busy": (503, "The log is busy"),
    "too_slow": (503, "It took too long"),
    "read_only": (503, "The log cannot be written"),
    "stopped": (503, "The log has stopped"),
    "area_stopped": (503, "This part has stopped"),
    "unknown_event": (503, "The log is of a newer pixelog"),
    "out_of_space": (507, "Out of disk space"),
    "internal": (500, "Internal error"),
    # What the event store refuses of itself; commands meet these only through another writer.
    "wrong_version": (412, "Decided on an old version"),
    "condition_failed": (412, "Decided on an old version"),
}
"""Code -> (status, title)."""

RETRY_AFTER_SECONDS: Mapping[str, int] = {
    "not_ready": 1,
    "overloaded": 1,
    "busy": 2,
    "too_slow": 5,
    "no_player": 2,
    "too_many_viewers": 5,
    "stopped": 5,
    "read_only": 30,
    "area_stopped": 60,
    "unknown_event": 60,
}
"""When trying again is worth it."""


class Problem(Exception):
    """A request cannot be answered as asked. `code` is one of STATUSES; `detail` is a sentence that says what is wrong and what to do."""

    def __init__(self, code: str, detail: str, faults: Sequence[Fault] = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: tuple[Fault, ...] = ()


def of(error: Exception) -> Problem | None:
    """The problem that an expected refusal stands for; None for an error that nobody expected."""
    match error:
        case Problem():
            return error
        case Rejected():
            return Problem(error.code, error.message, error.faults)
        case StoreError() if error.code in STATUSES:
            return Problem(error.code, str(error))
        case _:
            return None


def response(problem: Problem, path: str) -> Response:
    """The problem as the answer to a request for `path`."""
    status, title = STATUSES[problem.code]
    headers = {"Cache-Control": "no-store", **problem.headers}
    seconds = RETRY_AFTER_SECONDS.get(problem.code)
    if seconds is not None:
        headers.setdefault("Retry-After", str(seconds))
    name = problem.code.replace("_", "-")
    body = _Body(f"/problems/{name}", title, status, problem.detail, path, problem.faults)
    return Response(msgspec.json.encode(body), status, headers, MEDIA_TYPE)
