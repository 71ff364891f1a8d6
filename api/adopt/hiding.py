"""What of an older installation is a secret, and its values without it. Pure.

A secret is known by the name that it stands under, or by how it is written: an address with a password in it, a header of HTTP, `password=…` in a
sentence, a hash of a password, a private key. Where the secrets are kept is the business of `secret_store`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET = _set(
    "password passwd passphrase passcode pass pwd pw psk secret token credential jwt authorization bearer cookie otp pem apikey"
)
"""Words that say it alone, in the singular."""

_JOINED = re.compile(
    r"(?:passw(?:or)?d|passwort|kennwort|passphrase|passcode|passkey"
    r"|(?:aes|api|ssh|wifi|wpa|private|secret|access|auth|encryption|network)key)$"
)
"""Words that are known by their end, also when they are written as two."""

_AFTERWARDS = _set(
    "hash hashed salt digest enc encrypted cipher value text string plain base64 b64 old new backup default key home"
)
"""Words that may follow one of those, and it is a secret still. A `password_length` is none."""

_PLAIN_KEYS = _set(
    "primary foreign sort hot public cache partition group row index map shortcut keyboard storage object arrow function"
)
"""Words before `key` that make it no secret."""

_LOCKS = _set(
    "sync cloud server remote wifi wlan wpa wep network hotspot ap api aes rsa ssh ssl tls auth crypto encryption account"
)
"""Words of a surrounding name for which a mere `key` is a secret."""

_PUBLIC = _set("filename name title slug path file")
"""Words that end the names of names: they say anything, so only what opens an address is a secret in them."""

_PLAIN = (
    r"passw(?:or)?d|pass(?:phrase|code)|pwd|psk|(?:api|aes|private|access|auth|encryption|signing|wpa|wep|network|shared)[_-]?key"
)
_AMBIGUOUS = r"secret|token|credential|jwt|cookie|bearer"
"""Words of everyday language, too: in a sentence they need `=`, quotes as JSON has them, or something after them that is no word."""

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]{0,30}://)(?:[^\s/:]*:[^\s/]*|[^\s/:@]{20,})@", re.IGNORECASE)
_VALUE = r"(?:\"[^\"]+\"|'[^']+'|[^\s\"'&,;]+)"
_SENTENCE = (
    re.compile(r"((?:proxy-)?authorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?digest\s)(?!…)[^\n]+", re.IGNORECASE),
    re.compile(
        rf"((?:proxy-)?authorization[\"']?\s{{0,3}}[:=]\s{{0,3}}[\"']?(?:(?:bearer|basic|token|negotiate|apikey)\s+)?)(?!digest\s|(?:bearer|basic|token|negotiate|apikey)\s+…|…){_VALUE}",
        re.IGNORECASE,
    ),
    re.compile(r"((?:set-)?cookie[\"']?:\s{0,3}[\"']?)(?!…)[^\s=;\"']+=[^\n\"']+", re.IGNORECASE),
    re.compile(rf"((?:{_PLAIN})[\w-]{{0,20}}[\"']?\s{{0,3}}[=:]\s{{0,3}})(?!…){_VALUE}", re.IGNORECASE),
    re.compile(rf"((?:{_AMBIGUOUS}|\bpass|\bpw)[\w-]{{0,20}}=\s{{0,3}})(?!…){_VALUE}", re.IGNORECASE),
    re.compile(
        rf"([\"'][\w-]{{0,20}}(?:{_AMBIGUOUS})[\w-]{{0,20}}[\"']\s{{0,3}}:\s{{0,3}})(?!…)(?:\"[^\"]+\"|'[^']+')", re.IGNORECASE
    ),
    re.compile(rf"((?:{_AMBIGUOUS}|\bpw)[\w-]{{0,20}}:\s{{0,3}})(?=[^\s\"',;]*[0-9])[^\s\"',;…]{{6,}}", re.IGNORECASE),
    re.compile(rf"((?:{_PLAIN})\s{{1,3}})(?:\"[^\"]+\"|'[^']+'|(?=[^\s]{{0,200}}[0-9])[^\s\"',;…]{{6,}})", re.IGNORECASE),
    re.compile(r"(\bbearer\s+)(?=\S{8})(?=[^\s\"'&,;]*[0-9])(?!…)[^\s\"'&,;]+", re.IGNORECASE),
    re.compile(r"([?&](?:key|sig|signature|auth|pass|pw|code)=)(?!…)[^&\s\"']+", re.IGNORECASE),
    re.compile(r"(\s(?:-u|--user)[\s=][^\s:]{1,100}:)(?!…)\S+", re.IGNORECASE),
)
_HASH = re.compile(r"\$(?:2[abxy]|argon2(?:id|i|d)|[1567y]|scrypt|pbkdf2[\w-]*)\$[^\s]{8,}|\bpbkdf2[\w:-]{0,20}\$[^\s]{8,}")
"""A password's hash as crypt(5) and its kin write it."""

_PRIVATE = "PRIVATE KEY-----"
"""How PEM names it (RFC 7468)."""

_BASIC = re.compile(r"[Bb]asic ([A-Za-z0-9+/]{8,400}={0,2})")
"""Name and password as HTTP writes them (RFC 7617): a colon in base64."""

_MARK = "…"


def covered_addresses(text: str) -> str:
    """A name with a mark in place of what opens the addresses in it. Names say anything, so nothing else of them is taken for a secret."""
    return _ADDRESS.sub(rf"\1{_MARK}@", text) if "://" in text else text


def covered(text: str) -> str:
    """A sentence with a mark in place of each secret in it; itself when there is none."""
    text = _HASH.sub(_MARK, covered_addresses(text))
    if _PRIVATE in text:
        return _MARK
    for pattern in _SENTENCE:
        text = pattern.sub(rf"\1{_MARK}", text)
    return text


def is_secret_name(name: str, around: str = "") -> bool:
    """Whether what stands under this name is a secret; `around`: the path to it."""
    words = _words(name)
    if not words:
        return False
    last = len(words) - 1
    while last > 0 and words[last] in _AFTERWARDS and words[last] != "key":
        last -= 1
    word = words[last]
    if word == "key":
        before = words[:last]
        if not before:
            return not _LOCKS.isdisjoint(_words(around))
        return before[-1] not in _PLAIN_KEYS
    joined = "".join(words[: last + 1])
    return word in _SECRET or word in ("wifipass", "wifipw", "userpass") or _JOINED.search(joined) is not None


def _words(name: str) -> list[str]:
    """The words of a name in small letters and the singular, numbers left out: `wifiKeys2` has wifi and key."""
    found = (word.lower() for word in _WORDS.findall(name) if not word.isdigit())
    return [word[:-1] if word.endswith("s") and word[:-1] in _SECRET | {"key"} else word for word in found]


def _is_secret(name: str, value: Any, path: str) -> bool:
    if is_secret_name(name, path) or covered_addresses(name) != name:
        return True
    if not isinstance(value, str):
        return False
    words = _words(name)
    if words and words[-1] in _PUBLIC:
        return covered_addresses(value) != value
    return covered(value) != value or _is_basic(value) or bool(words and words[-1] == "auth")


def _is_basic(text: str) -> bool:
    match = _BASIC.fullmatch(text)
    try:
        return match is not None and b":" in base64.b64decode(match[1], validate=True)
    except ValueError:
        return False


def without_secrets(value: Mapping[str, Any], path: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """The same without what must not enter a log, at any depth: values under names such as `password` or `api_key` with all that is in them, and
    texts with a secret in them. And those, by their dotted paths. For values that went through `plain`."""
    secrets: dict[str, Any] = {}
    return _object(value, path, secrets), secrets


def hide(secrets: dict[str, Any], path: str, value: Any) -> None:
    """Put a secret among the others. One of another value under the same path keeps its own: names may have dots in them."""
    free, number = path, 1
    while free in secrets and secrets[free] != value:
        number += 1
        free = f"{path}~{number}"
    secrets[free] = value


def merge(secrets: dict[str, Any], found: Mapping[str, Any]) -> None:
    """Put several among the others."""
    for path, value in found.items():
        hide(secrets, path, value)


_SECRET_WAS_HERE = object()


def _object(value: Mapping[str, Any], path: str, secrets: dict[str, Any]) -> dict[str, Any]:
    # A header as a pair of fields: {"name": "Authorization", "value": …}.
    named: Any = value.get("name", value.get("key"))
    is_header = isinstance(named, str) and is_secret_name(named)
    kept = {
        name: _cleared("secret" if is_header and name == "value" else name, one, f"{path}{name}", path, secrets)
        for name, one in value.items()
    }
    return {name: one for name, one in kept.items() if one is not _SECRET_WAS_HERE}


def _cleared(name: str, value: Any, path: str, around: str, secrets: dict[str, Any]) -> Any:
    """The value without secrets, which go into `secrets`; the mark when it is one as a whole."""
    if (value in (None, "", [], {}) or isinstance(value, bool)) and covered_addresses(name) == name:
        return value
    if _is_secret(name, value, around):
        hide(secrets, path, value)
        return _SECRET_WAS_HERE
    if isinstance(value, dict):
        return _object(value, f"{path}.", secrets)  # type: ignore[reportUnknownArgumentType]
    if isinstance(value, list):
        items: list[Any] = []
        # A header as a pair: ["X-Api-Key", …].
        is_header = len(value) == 2 and isinstance(value[0], str) and is_secret_name(value[0])  # type: ignore[reportUnknownArgumentType]
        for place, one in enumerate(value):  # type: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            items.append(_cleared("secret" if is_header and place == 1 else "", one, f"{path}.{place}", path, secrets))
        return [one for one in items if one is not _SECRET_WAS_HERE]
    return value
