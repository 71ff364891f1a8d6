"""The closed set of refusals and failures that the event store can answer with.

Every class has a `code`, a literal that callers may switch on. A refusal (`Refused`) is an expected answer and leaves the log as it
was; `Unusable` says that a log cannot be opened at all; `Stopped` is final for this process: the log must be opened anew.
Translation to HTTP or exit codes does not belong here.
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of everything below. `code` is a stable literal, the message says what is wrong and what to do."""

    code = "store"

    def __reduce__(self) -> tuple[object, ...]:
        # As an exception of one argument would be: processes hand errors to each other, and each class takes arguments of its own.
        return _made_again, (type(self), self.args, self.__dict__)


def _made_again(kind: type[StoreError], args: tuple[object, ...], fields: dict[str, object]) -> StoreError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class Refused(StoreError):
    """An expected answer: nothing was appended and no position was used."""

    code = "refused"


class WrongVersion(Refused):
    """The stream is not at the version that the caller expected. `actual` is the current version (0: no such stream)."""

    code = "wrong_version"

    def __init__(self, stream: str, expected: str, actual: int) -> None:
        super().__init__(f"stream {stream!r} is at version {actual}, expected {expected}; read it again and decide anew")
        self.stream = stream
        self.expected = expected
        self.actual = actual


class ConditionFailed(Refused):
    """A condition of the append does not hold any more. `position` is the first event that broke it."""

    code = "condition_failed"

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class KeyReused(Refused):
    """The idempotency key was used before for a different request."""

    code = "key_reused"


class TooLarge(Refused):
    """A batch or an event exceeds its limit; the message names the limit."""

    code = "too_large"


class Invalid(Refused, ValueError):
    """What was given is not such as the log could take in or be asked for: a mistake of the program, which the message names."""

    code = "invalid"


class Overloaded(Refused):
    """The queue in front of the writer is full. Trying again later is the right answer."""

    code = "overloaded"


class ReadOnly(Refused):
    """The file system or the file refuses writes; reads go on."""

    code = "read_only"


class OutOfSpace(Refused):
    """The disk (or a quota) is full; the command left no trace and can be retried once there is room."""

    code = "out_of_space"


class TooSlow(Refused):
    """A read took longer than its bound and was ended, so that others get their turn. Asking for less is the right answer."""

    code = "too_slow"


class Busy(Refused):
    """Another process kept the write lock longer than the bounded wait."""

    code = "busy"


class Stopped(StoreError):
    """A write or a sync failed in a way after which nothing more can be believed. Close the log and open it again."""

    code = "stopped"


class Unusable(StoreError):
    """The log cannot be opened. `code` is one of not_writable, newer, older, migration, not_a_log, damaged, locked, missing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
