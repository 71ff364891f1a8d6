"""What all deciders share: their context, the shape of a handler, and the closed set of codes with which they refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import apsw
import msgspec

Code = Literal["not_found", "conflict", "stale", "invalid", "too_many", "gone"]
"""not_found: what the command is about does not exist. conflict: it contradicts the present state. stale: it was decided on an old version.
invalid: a field is well-formed but wrong. too_many: a bound was reached. gone: it existed, but what is needed is no longer held."""


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a command: where (JSON pointer into the request's body) and what."""

    pointer: str
    message: str


class Rejected(Exception):
    """An expected refusal: nothing was appended. `faults` name the fields when a field is to blame."""

    def __init__(self, code: Code, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.faults = tuple(faults)


class Context(msgspec.Struct, frozen=True):
    """The instant of deciding (logtime of the first event to come, and wall clock), a fresh id, randomness, and who asks."""

    now_us: int
    time_us: int
    id: str
    seed: int
    actor: str | None


class Handler(msgspec.Struct, frozen=True):
    """How a command is carried out. `load(db, command, now_us)`, `decide(command, state, context)`, and whether it must be durable."""

    load: Callable[[apsw.Connection, Any, int], Any]
    decide: Callable[[Any, Any, Context], Sequence[msgspec.Struct]]
    durable: Callable[[Any], bool] = lambda _: True


def check_version(expected: int | None, actual: int, what: str) -> None:
    """Raise Rejected (stale) unless the caller expected nothing or this very version."""
    if expected is not None and expected != actual:
        raise Rejected("stale", f"{what} is at version {actual}, not {expected}: read it again and decide anew")
