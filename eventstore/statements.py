"""How long statements take: what is slow is counted and said, and a read that takes too long is ended.

Readers are watched statement by statement, which costs each 0.6 µs. The writer is not, because it would cost a lone append four hundredths: it looks
at the clock at both ends of a transaction, and at statements only after one was slow. No bound value is kept or said: it may be a secret.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import apsw
import msgspec

from eventstore.errors import TooSlow

_log = logging.getLogger(__name__)

SLOW_SECONDS = 0.25
"""A statement that takes longer is worth a line: a page of the log takes 10 ms, a sync on a slow card 100."""

READ_SECONDS_MAX = 10.0
"""A read that takes longer is ended: it keeps a connection from others and the write-ahead log from being cut back, and nobody waits so long for a
page. Reads are pages and windows of some milliseconds; what goes through the whole log or file says that it is patient."""

STEPS_PER_LOOK = 1_000
"""Steps of SQLite's machine between two looks at the clock. A plain scan gives less than two hundred rows in these, so that a reader who is slow to
take rows is met, too. Short statements end before the first look, and on long ones its cost is lost in the noise."""

LOG_EVERY_SECONDS = 60.0
"""At most one line in this time: on a failing card everything is slow, and the journal lies on the same card."""

SQL_CHARACTERS_MAX = 500
"""How much of a statement is said: enough to find it in the sources."""

CLOSER_TRANSACTIONS = 1_000
"""Transactions whose statements are timed one by one after a slow one: what is slow again soon is named."""


class Slow(msgspec.Struct, frozen=True):
    """A statement, or a write transaction as a whole, that took long."""

    sql: str
    ms: int


class StatementCounts(msgspec.Struct, frozen=True):
    """What was slow since the log was opened: how many on the writer and on readers, the newest of them, and how many reads were ended."""

    slow: int
    newest: Slow | None
    ended: int


class Statements:
    """What is known of the slow statements of one open log. Thread-safe."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now`: seconds of a clock that never goes back."""
        self.now = now
        self._lock = threading.Lock()
        self._slow = 0
        self._ended = 0
        self._newest: Slow | None = None
        self._said_at: float | None = None
        self._unsaid = 0

    def counts(self) -> StatementCounts:
        """What there is to tell."""
        with self._lock:
            return StatementCounts(self._slow, self._newest, self._ended)

    def note(self, sql: str, seconds: float) -> None:
        """Something was slow: count it, and say it if nothing was said lately."""
        now = self.now()
        with self._lock:
            self._slow += 1
            self._newest = slow = Slow(" ".join(sql.split())[:SQL_CHARACTERS_MAX], round(seconds * 1000))
            if self._said_at is not None and now - self._said_at < LOG_EVERY_SECONDS:
                self._unsaid += 1
                return
            self._said_at, unsaid, self._unsaid = now, self._unsaid, 0
        _log.warning(
            "slow: %d ms for %s%s", slow.ms, slow.sql, f" (and {unsaid} more since the last such line)" if unsaid else ""
        )

    def note_ended(self) -> None:
        """A read was ended because it took too long."""
        with self._lock:
            self._ended += 1


class ReadWatch:
    """Watches the statements of one read connection. The time that a caller takes between a statement's rows counts as the statement's: it holds the
    connection and its snapshot. SQLite looks while it works, not while it waits: such a statement ends within STEPS_PER_LOOK after the bound, not at
    its next row; one of which no more rows are taken lives until its cursor is closed."""

    __slots__ = ("_began", "_sql", "_statements", "seconds_max")

    def __init__(self, db: apsw.Connection, statements: Statements, seconds_max: float | None) -> None:
        """`seconds_max`: the bound for a statement. None: a long one is to be expected, and neither ended nor noted."""
        self.seconds_max = seconds_max
        self._statements = statements
        self._sql = ""
        self._began: float | None = None
        db.exec_trace = self._begins
        db.set_profile(self._ends)
        db.set_progress_handler(self._look, STEPS_PER_LOOK, id=self)

    def _begins(self, cursor: Any, sql: str, bindings: Any) -> bool:
        self._sql, self._began = sql, self._statements.now()
        return True

    def _ends(self, sql: str, _: int) -> None:
        # Full-text search runs statements of its own inside another. SQLite's own figure comes from the wall clock, which may be stepped.
        began = self._began
        if began is None or not self._sql.startswith(sql):
            return
        self._began = None
        seconds = self._statements.now() - began
        if seconds >= SLOW_SECONDS and self.seconds_max is not None:
            self._statements.note(sql, seconds)

    def _look(self) -> bool:
        began, most = self._began, self.seconds_max
        if began is None or most is None or self._statements.now() - began <= most:
            return False
        self._statements.note_ended()
        raise TooSlow(
            f"this read took longer than {most:g} s and was ended; ask for less at once, or again when there is less to do"
        )


class WriteWatch:
    """Watches the write transactions of one connection: `begins` after BEGIN, `committed` after COMMIT, on the thread that has the connection."""

    def __init__(self, db: apsw.Connection, statements: Statements) -> None:
        self._db = db
        self._now = statements.now
        self._statements = statements
        self._began = 0.0
        self._closer = 0
        self._longest: tuple[int, str] = (0, "")

    def begins(self) -> None:
        """A transaction has begun."""
        self._began = self._now()
        self._longest = (0, "")

    def committed(self) -> None:
        """It is in the log."""
        seconds = self._now() - self._began
        if seconds >= SLOW_SECONDS:
            ns, sql = self._longest
            named = f"; longest, {ns // 1_000_000} ms: {sql}" if sql else ""
            self._statements.note(f"a write transaction{named}", seconds)
            if not self._closer:
                self._db.set_profile(self._ends)
            self._closer = CLOSER_TRANSACTIONS
        elif self._closer:
            self._closer -= 1
            if not self._closer:
                self._db.set_profile(None)

    def _ends(self, sql: str, ns: int) -> None:
        if ns > self._longest[0]:
            self._longest = (ns, sql)
