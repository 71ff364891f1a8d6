"""What must stay secret: the pairing key in `DIR/secrets`, what is computed from it, and secrets made of chance.

The log holds SHA-256 of codes, cookies and tokens and nothing that gives them back. An offer's code is a function of the key and the offer's id, so
that whoever may read the key can show it, also later; what has 256 bits of chance needs no slow hash.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path

PAIRING_KEY = "pairing.key"
KEY_BYTES = 32

CODE_CHARACTERS = 12
"""Of Crockford's alphabet: 60 bits, far beyond what can be guessed at ten tries in five minutes while an offer lasts."""

TOKEN_PREFIX = "pixelog_"
"""Lets people and scanners of source code see what a leaked text is."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans("OIL", "011", "- ")

Codes = Callable[[str, str], str | None]
"""`codes(offer id, code hash)`: the code of an offer, as it is shown; None when the key that made it is not there."""


def pairing_key(folder: Path) -> bytes:
    """The key, made at the first call. `folder` must exist. Raises OSError."""
    key = _read(folder)
    if key is None:
        _make_key(folder)
        key = _read(folder)
    if key is None:
        raise OSError(f"{folder / PAIRING_KEY} is damaged; remove it, and a new one is made")
    return key


def existing_key(folder: Path) -> bytes | None:
    """The key, or None when there is none that may be read."""
    try:
        return _read(folder)
    except OSError:
        return None


def _read(folder: Path) -> bytes | None:
    try:
        key = (folder / PAIRING_KEY).read_bytes()
    except FileNotFoundError:
        return None
    return key if len(key) == KEY_BYTES else None


def _make_key(folder: Path) -> None:
    """Write a whole key aside and give it its name, unless another process was faster: nobody ever reads half of one. One of a wrong
    length, which only a hand can have left, is replaced."""
    path = folder / PAIRING_KEY
    aside = folder / f"{PAIRING_KEY}.{os.urandom(8).hex()}"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, os.urandom(KEY_BYTES))
        os.fsync(descriptor)
        if path.is_file() and path.stat().st_size != KEY_BYTES:
            path.unlink()
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        os.close(descriptor)
        aside.unlink()
    _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def crockford(content: bytes, characters: int) -> str:
    """The first bits of the content in Crockford's base 32 (https://www.crockford.com/base32.html)."""
    bits = int.from_bytes(content, "big")
    size = 8 * len(content)
    return "".join(_ALPHABET[bits >> size - 5 * place - 5 & 31] for place in range(characters))


def code_of(key: bytes, offer: str) -> str:
    """The code of an offer, in groups of four."""
    code = crockford(hmac.digest(key, offer.encode(), "sha256"), CODE_CHARACTERS)
    return "-".join(code[start : start + 4] for start in range(0, CODE_CHARACTERS, 4))


def code_hash(code: str) -> str | None:
    """The hash by which the log knows a code, however it was typed: case, dashes and blanks do not matter, O is 0, I and L are 1. None when
    it cannot be a code."""
    plain = code.strip().upper().translate(_READ_AS) if len(code) <= 64 else ""
    return hash_of(plain) if len(plain) == CODE_CHARACTERS and set(plain) <= set(_ALPHABET) else None


def codes_of(folder: Path) -> Codes:
    """The codes of offers, by the key in this folder. A key that is not there yet is looked for again."""
    key: bytes | None = None

    def code(offer: str, hash: str) -> str | None:
        nonlocal key
        key = key or existing_key(folder)
        found = None if key is None else code_of(key, offer)
        return found if found is not None and code_hash(found) == hash else None

    return code


def hash_of(secret: str) -> str:
    """What the log holds of a secret: SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_id() -> str:
    """A name that no other has: 80 bits of chance."""
    return crockford(os.urandom(10), 16).lower()


def new_secret() -> str:
    """256 bits of chance, in characters that go into a cookie."""
    return _text(os.urandom(32))


def derived_secret(key: bytes, *purpose: str) -> str:
    """256 bits that the same key gives for the same purpose again, and that tell nothing of either."""
    said = "\0".join(f"{len(one)}:{one}" for one in ("pixelog secret", *purpose))
    return _text(hmac.digest(key, said.encode(), "sha256"))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
