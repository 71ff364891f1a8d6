"""Instants as text: RFC 3339 in UTC with six fraction digits and `Z`. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FORM = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?\Z")


def rfc3339(time_us: int) -> str:
    """`time_us` (µs since 1970) as `2026-01-31T12:00:00.000000Z`. Years outside 1–9999 are shown at that end of the range."""
    try:
        moment = _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        moment = datetime.max.replace(tzinfo=UTC) if time_us > 0 else datetime.min.replace(tzinfo=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def parse_rfc3339(text: str) -> int:
    """µs since 1970 of an RFC 3339 time; seconds and offset may be left out (then 0 and UTC). Raises ValueError."""
    if not _FORM.match(text):
        raise ValueError(f"{text!r} is not a time such as 2026-01-31T12:00:00Z")
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND
