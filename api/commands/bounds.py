"""Bounds that several areas share: names, texts of limited length, numbers in a range, and JSON that a caller fills as he likes. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import msgspec

from api.commands.deciding import Fault, Rejected

NAME_CHARACTERS_MAX = 200
"""Characters of an id, a kind or a name: with up to four bytes each they fit into a stream's name."""

TEXT_CHARACTERS_MAX = 2_000
"""Characters of a text for people: more than any panel or page shows at once."""

DEPTH_MAX = 64
"""Levels of free JSON: far below where decoders give up, however deep in the program they are called."""


def name(pointer: str, text: str | None) -> list[Fault]:
    """What is wrong with a name: its length, or characters that nobody can see. None is right."""
    if text is None:
        return []
    if not 0 < len(text) <= NAME_CHARACTERS_MAX:
        return [Fault(pointer, f"must have 1 to {NAME_CHARACTERS_MAX} characters")]
    if any(unicodedata.category(one) in ("Cc", "Cs") for one in text):
        return [Fault(pointer, "control characters are not allowed here")]
    return []


def text(pointer: str, text: str | None, characters_max: int = TEXT_CHARACTERS_MAX, characters_min: int = 0) -> list[Fault]:
    """What is wrong with a text for people; line breaks are right, and so is None."""
    if text is None:
        return []
    if not characters_min <= len(text) <= characters_max:
        return [Fault(pointer, f"must have {characters_min} to {characters_max} characters")]
    if "\0" in text or any(unicodedata.category(one) == "Cs" for one in text):
        return [Fault(pointer, "must be valid Unicode without NUL")]
    return []


def number(pointer: str, value: float | None, minimum: float, maximum: float) -> list[Fault]:
    """What is wrong with a number that must lie in [minimum, maximum]; None is right, what is no number (NaN) is not."""
    if value is None or minimum <= value <= maximum:
        return []
    return [Fault(pointer, f"must be {minimum:,} to {maximum:,}")]


def free(pointer: str, value: dict[str, Any] | None, bytes_max: int) -> list[Fault]:
    """What is wrong with a JSON object that the caller fills as he likes: its size as JSON, or its depth. None is right."""
    if value is None:
        return []
    if _too_deep(value):
        return [Fault(pointer, f"must be nested at most {DEPTH_MAX} levels deep")]
    try:
        size_bytes = len(msgspec.json.encode(value))
    except (TypeError, ValueError, OverflowError) as error:
        return [Fault(pointer, f"must be JSON: {error}")]
    if size_bytes > bytes_max:
        return [Fault(pointer, f"must have at most {bytes_max:,} bytes as JSON, not {size_bytes:,}")]
    return []


def _too_deep(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(DEPTH_MAX):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())  # type: ignore[reportUnknownArgumentType]
            elif isinstance(one, list | tuple):
                inner.extend(one)  # type: ignore[reportUnknownArgumentType]
        if not inner:
            return False
        level = inner
    return any(isinstance(one, dict | list | tuple) for one in level)


def refuse(faults: Sequence[Fault]) -> None:
    """Raise Rejected (invalid) when something is wrong."""
    if faults:
        raise Rejected("invalid", "; ".join(f"{fault.pointer.lstrip('/')} {fault.message}" for fault in faults[:5]), faults)
