"""given / when / then for deciders, with exact comparison. Knows no domain: how to fold, to decide and to name a refusal is handed in.

case = Case(fold=fold, decide=decide, code_of=lambda error: error.code, refusal=Rejected)
case.given(Opened("a")).when(Close("a"), at_us=5).then(Closed("a"))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

State = TypeVar("State")


class Case(Generic[State]):
    """The rules of one domain.

    `fold(events)` gives the state after these events, `decide(command, state, at_us)` the new events, or raises `refusal`, whose code
    `code_of` tells.
    """

    def __init__(
        self,
        fold: Callable[[Sequence[Any]], State],
        decide: Callable[[Any, State, int], Sequence[Any]],
        refusal: type[Exception],
        code_of: Callable[[Any], str],
    ) -> None:
        self._fold, self._decide, self._refusal, self._code_of = fold, decide, refusal, code_of

    def given(self, *events: Any) -> _Given[State]:
        """What has happened before, in order."""
        return _Given(self, events)

    def judge(self, events: Sequence[Any], command: Any, at_us: int) -> tuple[list[Any], str | None]:
        """The new events, or the code of the refusal."""
        try:
            return list(self._decide(command, self._fold(events), at_us)), None
        except self._refusal as refusal:
            return [], self._code_of(refusal)


class _Given(Generic[State]):
    def __init__(self, case: Case[State], events: Sequence[Any]) -> None:
        self._case, self._events = case, events

    def when(self, command: Any, at_us: int = 0) -> Verdict:
        """The command, and the instant at which it is decided."""
        return Verdict(*self._case.judge(self._events, command, at_us))


class Verdict:
    """What came of a command. Each check raises AssertionError with both sides in full."""

    def __init__(self, events: list[Any], code: str | None) -> None:
        self.events, self.code = events, code

    def then(self, *events: Any) -> None:
        """Exactly these events, in this order, equal in type and every field."""
        self._accepted()
        alike = len(events) == len(self.events) and all(
            type(one) is type(other) and one == other for one, other in zip(events, self.events, strict=True)
        )
        if not alike:
            raise AssertionError(f"expected {list(events)!r}, decided {self.events!r}")

    def then_nothing(self) -> None:
        """Accepted, and nothing changes."""
        self.then()

    def then_rejected(self, code: str) -> None:
        """Refused with this code."""
        if self.code != code:
            raise AssertionError(f"expected a refusal {code!r}, got {self.code!r} with the events {self.events!r}")

    def _accepted(self) -> None:
        if self.code is not None:
            raise AssertionError(f"refused with {self.code!r}")
