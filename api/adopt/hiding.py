"""What of an older installation is a secret, and its values without it. Pure.

A secret is known by the name that it stands under, or by how it is written: an address with a password in it, a credential of HTTP, `password=…` in a
sentence. Where the secrets are kept is the business of `secret_store`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_KEY = r"(?:api|aes|private|access|auth|encryption|signing|wpa|wep|network|shared)[_-]?key"
_PLAIN = rf"passw(?:or)?d|pass(?:phrase|code)|pwd|psk|authorization|{_KEY}"
_AMBIGUOUS = r"secret|token|credential|jwt|cookie|bearer"
"""Words of everyday language, too: in a sentence only what they are set equal to is a secret."""

_NAME = re.compile(rf"{_PLAIN}|{_AMBIGUOUS}|pass$|pw$|^pw|[_-]pw[_-]", re.IGNORECASE)
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]{0,30}://)(?:[^\s/:@]*:[^\s/]*|[^\s/:@]{20,})@", re.IGNORECASE)
_GIVEN = re.compile(
    rf"((?:(?:{_PLAIN})[\w-]{{0,20}}[\"']?\s{{0,3}}[=:]|(?:{_AMBIGUOUS})[\w-]{{0,20}}=)\s{{0,3}}(?:(?:bearer|basic)\s+)?|\bbearer\s+(?=\S{{8}}))"
    r"(?!(?:(?:bearer|basic)\s+)?…)(?:\"[^\"]+\"|'[^']+'|[^\s\"'&,;]+)",
    re.IGNORECASE,
)
_BASIC = re.compile(r"[Bb]asic (?=\S*[a-z]\S*[A-Z])[A-Za-z0-9+/]{8,}={0,2}")
"""Name and password as HTTP writes them (RFC 7617). In base64 small letters come before large ones somewhere; in words they do not."""

_MARK = "…"


def covered_addresses(text: str) -> str:
    """A name with a mark in place of what opens the addresses in it. Names say anything, so nothing else of them is taken for a secret."""
    return _ADDRESS.sub(rf"\1{_MARK}@", text)


def covered(text: str) -> str:
    """A sentence with a mark in place of each secret in it; itself when there is none."""
    return _GIVEN.sub(rf"\1{_MARK}", covered_addresses(text))


def _is_secret(name: str, value: Any) -> bool:
    if _NAME.search(name) or covered_addresses(name) != name:
        return True
    return isinstance(value, str) and (covered(value) != value or _BASIC.fullmatch(value) is not None)


def without_secrets(value: Mapping[str, Any], path: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """The same without what must not enter a log, at any depth: values under names such as `password` or `api_key` with all that is in them, and
    texts with a secret in them. And those, by their dotted paths. For values that went through `plain`."""
    secrets: dict[str, Any] = {}
    kept = {name: _cleared(name, one, f"{path}{name}", secrets) for name, one in value.items()}
    return {name: one for name, one in kept.items() if one is not _SECRET_WAS_HERE}, secrets


_SECRET_WAS_HERE = object()


def _cleared(name: str, value: Any, path: str, secrets: dict[str, Any]) -> Any:
    """The value without secrets, which go into `secrets`; the mark when it is one as a whole."""
    if (value in (None, "", [], {}) or isinstance(value, bool)) and covered_addresses(name) == name:
        return value
    if _is_secret(name, value):
        secrets[path] = value
        return _SECRET_WAS_HERE
    if isinstance(value, dict):
        inner, found = without_secrets(value, f"{path}.")  # type: ignore[reportUnknownArgumentType]
        secrets.update(found)
        return inner
    if isinstance(value, list):
        items: list[Any] = [_cleared("", one, f"{path}.{place}", secrets) for place, one in enumerate(value)]  # type: ignore[reportUnknownArgumentType]
        return [one for one in items if one is not _SECRET_WAS_HERE]
    return value
