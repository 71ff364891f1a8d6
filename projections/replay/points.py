"""Points of the log as people write them, and the two mappings between the wall clock and logtime.

    1234                 the position: after that event
    head                 the last event
    2026-01-31T12:00:00Z the wall clock's time (RFC 3339)
    -10m, 10m-ago        before the wall clock's time now; units s, m, h, d, also together: -1h30m

From event e to the next one the wall clock showed time(e) + (L − logtime(e)) at logtime L; the last event's stretch has no end. The clock may
have been set back, so a time can lie in several stretches, or in none when it was set forward over it.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import apsw
import msgspec

from projections.times import parse_rfc3339, rfc3339

JITTER_US = 1_000
"""Answers closer together than this are one: both clocks are read one after the other, so stretches that follow each other may overlap a little."""

ANSWERS_MAX = 100
"""Answers that are listed, the newest. A clock that was set back more often is no clock."""

_UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_RELATIVE = re.compile(r"(?:-(?P<before>\S+)|(?P<ago>\S+)(?:-| )ago)")
_AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhd])")
_POSITION = re.compile(r"\d{1,18}")

_STRETCHES = """SELECT e.position, e.logtime, e.time, n.logtime, n.time FROM events AS e
    LEFT JOIN events AS n ON n.position = e.position + 1 AND n.position <= :through
    WHERE e.position <= :through AND e.time <= :time
    AND (n.position IS NULL OR :time < max(e.time + n.logtime - e.logtime, n.time)) ORDER BY e.position"""
"""The stretches in which the wall clock showed :time, or at whose end it was set forward over it."""


class BadPoint(ValueError):
    """The text is no point, or one that this log does not have; the message says what would be right."""


class Answer(msgspec.Struct, frozen=True):
    """One instant at which the wall clock showed a time, and the position of the last event until then."""

    position: int
    logtime_us: int


class Instant(msgspec.Struct, frozen=True):
    """A point of the log: the last event until then (0: none yet), the logtime, and what the wall clock showed.

    `answers` has every instant, oldest first, when the clock showed that time more than once; this is the last of them. `skipped`: the clock
    never showed it, because it was set forward over it or stood still while the machine was off; this is the last instant before.
    """

    position: int
    logtime_us: int
    time_us: int
    answers: tuple[Answer, ...] = ()
    skipped: bool = False


def resolve(db: apsw.Connection, point: str, through: int | None, now_us: int) -> Instant:
    """The instant that `point` means, as the log was known up to position `through` (None: all of it). `now_us`: the wall clock now.

    Raises BadPoint.
    """
    head: int = db.execute("SELECT position FROM head").get
    if through is not None and not 0 <= through <= head:
        raise BadPoint(f"there is no position {through}; the log's last is {head}")
    limit = head if through is None else through
    parsed = parse(point, now_us)
    if parsed == "head":
        return at_position(db, limit)
    if isinstance(parsed, Time):
        return at_time(db, parsed.time_us, limit)
    if parsed > limit:
        raise BadPoint(
            f"position {parsed} is beyond {limit}, the last one" + (" that --through allows" if through is not None else "")
        )
    return at_position(db, parsed)


class Time(msgspec.Struct, frozen=True):
    """A point given by the wall clock, in µs since 1970."""

    time_us: int


def parse(point: str, now_us: int) -> Time | int | Literal["head"]:
    """A Time, a position, or "head". Raises BadPoint."""
    text = point.strip()
    if text == "head":
        return "head"
    if _POSITION.fullmatch(text):
        return int(text)
    relative = _RELATIVE.fullmatch(text)
    if relative is not None:
        return Time(now_us - _duration_us(relative["before"] or relative["ago"], text))
    try:
        return Time(parse_rfc3339(text))
    except (ValueError, OverflowError) as error:
        raise BadPoint(_explain(text)) from error


def _duration_us(text: str, point: str) -> int:
    amounts = _AMOUNT.findall(text)
    if not amounts or "".join(number + unit for number, unit in amounts) != text:
        raise BadPoint(_explain(point))
    return sum(round(float(number) * _UNITS_US[unit]) for number, unit in amounts)


def _explain(text: str) -> str:
    return (
        f"{text!r} is not a point; write a position (1234), a time (2026-01-31T12:00:00Z), how long ago (-10m, 10m-ago), or head"
    )


def at_position(db: apsw.Connection, position: int) -> Instant:
    """The instant of an event that is there; 0 is before the first."""
    row: Any = db.execute("SELECT logtime, time FROM events WHERE position = ?", (position,)).fetchone()
    if row is None:
        return Instant(0, 0, 0)
    logtime_us, time_us = row
    return Instant(position, logtime_us, time_us)


def at_time(db: apsw.Connection, time_us: int, through: int) -> Instant:
    """The last instant at which the wall clock showed `time_us`, by the events up to `through`; before them all, position 0."""
    shown: list[Answer] = []
    skipped: Answer | None = None
    rows: Any = db.execute(_STRETCHES, {"through": through, "time": time_us})
    for position, logtime_us, event_time_us, next_logtime_us, _ in rows:
        answer = Answer(position, logtime_us + (time_us - event_time_us))
        if next_logtime_us is not None and answer.logtime_us >= next_logtime_us:
            skipped = Answer(position, next_logtime_us - 1)
            continue
        if shown and answer.logtime_us - shown[-1].logtime_us < JITTER_US:
            shown.pop()
        shown.append(answer)
    if not shown:
        if skipped is None:
            return Instant(0, 0, time_us)
        return Instant(skipped.position, skipped.logtime_us, time_us, skipped=True)
    last = shown[-1]
    return Instant(last.position, last.logtime_us, time_us, tuple(shown[-ANSWERS_MAX:]) if len(shown) > 1 else ())


def time_of(db: apsw.Connection, logtime_us: int, through: int) -> int | None:
    """What the wall clock showed at a logtime, by the events up to `through`; None before the first. The inverse of `at_time`: for a logtime
    at or after that of `through`, `at_time` gives back exactly this one."""
    position = position_at(db, logtime_us, through)
    if position == 0:
        return None
    row: Any = db.execute("SELECT logtime, time FROM events WHERE position = ?", (position,)).fetchone()
    event_logtime_us, event_time_us = row
    return event_time_us + (logtime_us - event_logtime_us)


def position_at(db: apsw.Connection, logtime_us: int, through: int) -> int:
    """Position of the last event at or before a logtime, at most `through`; 0 when there is none. Logtime increases with position, so
    halving finds it."""
    low, high = 0, through
    while low < high:
        middle = (low + high + 1) // 2
        at: int | None = db.execute("SELECT logtime FROM events WHERE position = ?", (middle,)).get
        if at is not None and at <= logtime_us:
            low = middle
        else:
            high = middle - 1
    return low


def describe(instant: Instant) -> list[str]:
    """Sentences for a person about a time that has no single answer; usually none."""
    notes: list[str] = []
    if instant.answers:
        positions = ", ".join(str(answer.position) for answer in instant.answers)
        notes.append(
            f"the wall clock showed {rfc3339(instant.time_us)} {len(instant.answers)} times (after positions {positions}); this is the last"
        )
    if instant.skipped:
        notes.append(f"the wall clock never showed {rfc3339(instant.time_us)}; this is the last instant before")
    return notes
