"""Opaque cursors of lists: where a page ended, as text that goes into a query unescaped. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

CURSOR_CHARACTERS_MAX = 2_048
"""A cursor holds a sort value (a file name at most) and a number."""


def encode(place: Any) -> str:
    """The cursor of a place: JSON in base64url without padding."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def decode(cursor: str, type: type[T]) -> T:
    """The place that a cursor stands for. Raises ValueError for a text that `encode` cannot have made."""
    if len(cursor) > CURSOR_CHARACTERS_MAX:
        raise ValueError("the cursor is too long")
    try:
        text = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=type)
    except (binascii.Error, UnicodeError, msgspec.MsgspecError) as error:
        raise ValueError("the cursor is not one that a list gave; begin at the first page") from error
