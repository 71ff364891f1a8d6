"""The windows of `when`: at which instants may a turn of an entry begin?

Here alone log time meets local time. A window is one span of instants per local day that it names: from (that
day, `from`) to (that day or the next, `until`), each end turned into an instant by itself. So a change to or
from summer time makes a span shorter or longer, and needs no other rule. A local time that occurs twice means
the first one; one that is skipped is taken as if the clocks had not changed yet (both are fold=0 of PEP 495).
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from msgspec import Struct

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60

# A window opens and closes within a week; within two, should a change of the clocks swallow its only span.
_HORIZON_DAYS = 15


class When(Struct, frozen=True, rename={"from_": "from"}, omit_defaults=True):
    """Days and hours, in local time, in which a turn of an entry may begin. Checked where it enters the log."""

    days: tuple[str, ...] = ()
    """Of mon tue wed thu fri sat sun; none means every day."""
    from_: str | None = None
    """HH:MM, inclusive; None is the day's beginning."""
    until: str | None = None
    """HH:MM up to 24:00, exclusive; None is the day's end. Not after `from_`: on the following day."""


class Timetable:
    """Which windows are open, stretch by stretch: between two boundaries the set of open windows is constant.

    Remembers each window's latest stretch, which changes no answer.
    """

    def __init__(self, whens: Iterable[When], time_zone: str, offset_us: int) -> None:
        self._zone = time_zone
        self._offset_us = offset_us
        # Of each window: open?, its beginning and its end in log time (None: no end).
        self._stretches: dict[When, tuple[bool, int, int | None] | None] = dict.fromkeys(whens)

    def stretch(self, when: When, instant_us: int) -> tuple[bool, int | None]:
        """Whether the window is open at the instant, and the next instant at which that differs."""
        known = self._stretches.get(when)
        if known is not None and known[1] <= instant_us and (known[2] is None or instant_us < known[2]):
            return known[0], known[2]
        wall_us = instant_us + self._offset_us
        is_open = _is_open(when, wall_us, self._zone)
        flip_us = _next_flip(when, wall_us, is_open, self._zone)
        until_us = None if flip_us is None else flip_us - self._offset_us
        self._stretches[when] = (is_open, instant_us, until_us)
        return is_open, until_us

    def shut(self, instant_us: int) -> tuple[frozenset[When], int | None]:
        """The windows that are shut at the instant, and the next instant at which that set differs."""
        shut: list[When] = []
        until_us: int | None = None
        for when in self._stretches:
            is_open, flip_us = self.stretch(when, instant_us)
            if not is_open:
                shut.append(when)
            if flip_us is not None and (until_us is None or flip_us < until_us):
                until_us = flip_us
        return frozenset(shut), until_us


def _is_open(when: When, wall_us: int, zone: str) -> bool:
    # The day before may reach into this one; where clocks go back past midnight, the day after has begun too.
    today = _local_day(wall_us, zone)
    return any(start <= wall_us < end for start, end in _spans(when, range(today - 1, today + 2), zone))


def _next_flip(when: When, wall_us: int, is_open: bool, zone: str) -> int | None:
    """The first later instant (wall clock, microseconds) at which the window is not as it is now."""
    today = _local_day(wall_us, zone)
    # Later days begin and end later, so the first edge that counts is the nearest. Spans of neighbouring days may
    # touch or overlap: an edge counts only if the window is different there.
    for span in _spans(when, range(today - 1, today + _HORIZON_DAYS), zone):
        for edge_us in span:
            if edge_us > wall_us and _is_open(when, edge_us, zone) != is_open:
                return edge_us
    return None


def _spans(when: When, days: range, zone: str) -> Iterator[tuple[int, int]]:
    return (_span(when, day, zone) for day in days)


# Each turn asks about the same three days again; a loop with many different hours looks a week or two ahead.
@lru_cache(maxsize=4096)
def _span(when: When, day: int, zone: str) -> tuple[int, int]:
    """The window of one local day (its proleptic ordinal), in wall-clock microseconds; (0, 0) if it has none."""
    if when.days and _DAYS[date.fromordinal(day).weekday()] not in when.days:
        return (0, 0)
    from_minute = _minute(when.from_) if when.from_ is not None else 0
    until_minute = _minute(when.until) if when.until is not None else _DAY_MINUTES
    if until_minute <= from_minute:
        until_minute += _DAY_MINUTES
    start_us, end_us = _wall_us(day, from_minute, zone), _wall_us(day, until_minute, zone)
    return (start_us, end_us) if start_us < end_us else (0, 0)


def _minute(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _wall_us(day: int, minute: int, zone: str) -> int:
    days, minute = divmod(minute, _DAY_MINUTES)
    local = datetime.combine(date.fromordinal(day + days), time(minute // 60, minute % 60), _zone(zone))
    return (local - _EPOCH) // _MICROSECOND


def _local_day(wall_us: int, zone: str) -> int:
    return (_EPOCH + wall_us * _MICROSECOND).astimezone(_zone(zone)).toordinal()


@lru_cache(maxsize=16)  # one is in use; the others while looking at states from before it was set
def _zone(name: str) -> tzinfo:
    # The name was checked when it was set, perhaps on a machine that knew more zones than this one.
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC
