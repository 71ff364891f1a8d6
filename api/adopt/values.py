"""Single values as the older systems wrote them, in the forms that pixelog keeps. Each function answers None for what it cannot read, and the caller
tells that the record was mended.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from api.adopt.findings import Findings, shown

MILLISECONDS_FROM = 100_000_000_000
"""An epoch number from here on counts milliseconds: as seconds it would lie beyond the year 5000."""

SIZE_MAX = 2**53
"""Sizes and counts above are wrong: no reader of JSON takes them as whole numbers."""

DEPTH_MAX = 64
"""Levels of free JSON that are kept; deeper ones are told and left out. Far below where decoders give up."""

_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.]([0-9]{0,9}))?(Z|[+-]00:00Z|([+-])([0-9]{2})(?::?([0-9]{2}))?)?"
)
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999  # years 1 to 9999


def instant_us(value: object) -> int | None:
    """An instant in µs since 1970, in whole milliseconds: ISO 8601 text (naive means UTC; fractions are cut off) or epoch seconds or milliseconds as
    number or text (rounded to the nearest)."""
    if isinstance(value, str):
        match = _ISO.fullmatch(value)
        if match is not None:
            return _iso_us(match)
        value = _as_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    exact = Fraction(value)
    ms = math.floor(exact * (1 if abs(exact) >= MILLISECONDS_FROM else 1000) + Fraction(1, 2))
    return ms * 1000 if _FIRST_MS <= ms <= _LAST_MS else None


def _iso_us(match: re.Match[str]) -> int | None:
    year, month, day, hour, minute, second, fraction, _, sign, ahead_hours, ahead_minutes = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        return None
    ms = (moment - _EPOCH) // timedelta(milliseconds=1) + int(((fraction or "") + "000")[:3])
    if sign is not None:
        minutes_ahead = int(ahead_minutes or 0)
        if int(ahead_hours) > 23 or minutes_ahead > 59:
            return None
        ahead_ms = (int(ahead_hours) * 60 + minutes_ahead) * 60_000
        ms += ahead_ms if sign == "-" else -ahead_ms
    return ms * 1000 if _FIRST_MS <= ms <= _LAST_MS else None


def is_iso(value: object) -> bool:
    """Whether an instant is written as ISO 8601 text."""
    return isinstance(value, str) and _ISO.fullmatch(value) is not None


def iso(time_us: int) -> str:
    """An instant in UTC with milliseconds, without them when there are none: `2025-06-20T10:11:12.123Z`."""
    seconds, ms = divmod(time_us // 1000, 1000)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{text}.{ms:03d}Z" if ms else f"{text}Z"


def size(value: object) -> int | None:
    """A whole number of 0 or more: an int, an integral float, or decimal text."""
    if isinstance(value, str):
        value = _as_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return int(value) if value == int(value) and 0 <= value <= SIZE_MAX else None


def number(value: object) -> float | None:
    """A finite number, also as decimal text."""
    if isinstance(value, str):
        value = _as_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def _as_number(text: str) -> Fraction | None:
    return Fraction(text) if _NUMBER.fullmatch(text) else None


def mended(value: dict[str, Any], key: str, findings: Findings) -> dict[str, Any]:
    """An object as `plain` has it; when that is not what was found, it is told of the record, once."""
    kept: dict[str, Any] = plain(value)
    if kept != value:
        why = f"half characters, numbers beyond 64 bits, bytes or more than {DEPTH_MAX} levels in it were mended"
        findings.warn(key, "IR-0.7", why)
    return kept


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON can carry it everywhere: no number that is none, no whole number beyond 64 bits, no half characters, not nested too deep."""
    if depth > DEPTH_MAX:
        return None
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {shown(str(name)): plain(one, depth + 1) for name, one in value.items()}  # type: ignore[reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [plain(one, depth + 1) for one in value]  # type: ignore[reportUnknownVariableType]
    return value
