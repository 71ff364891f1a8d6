"""The hash chain over the log. Pure; the byte layout below is for ever.

    chain_0 = SHA-256(log id as 36 ASCII characters)
    chain_n = SHA-256(chain_{n-1} ‖ SHA-256(header_n) ‖ SHA-256(body_n))

    body_n   = the event's data, the stored UTF-8 bytes
    header_n = u64 position ‖ u64 version ‖ u32 schema version ‖ i64 logtime (µs) ‖ i64 time (µs) ‖ 16 bytes id
               ‖ text(stream) ‖ text(type) ‖ text(actor) ‖ text(correlation id) ‖ text(causation id) ‖ text(tags)
    text(s)  = u32 length in bytes ‖ UTF-8 bytes; an absent value is the single u32 0xFFFFFFFF
    tags     = a JSON array of strings as stored, absent when there are none

A kept answer is no event and has a hash of its own, so that a changed bit of it is seen before it is given out again:

    seal     = SHA-256(bytes(scope) ‖ bytes(key) ‖ bytes(fingerprint) ‖ bytes(answer)
               ‖ i64 position ‖ i64 first ‖ i64 count ‖ i64 status ‖ i64 logtime ‖ i64 relaxed)
    bytes(b) = u32 length ‖ b

All integers are big-endian. Two levels, so that a body can be left out of an incident bundle (its hash put in its place) while the
chain still verifies.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from hashlib import sha256

_FIXED = struct.Struct(">QQIqq16s")
_LENGTH = struct.Struct(">I")
_NUMBERS = struct.Struct(">6q")
_ABSENT = _LENGTH.pack(0xFFFFFFFF)


def start(log_id: str) -> bytes:
    """`chain_0` of the log with this id."""
    return sha256(log_id.encode("ascii")).digest()


def _text(value: str | None) -> bytes:
    if value is None:
        return _ABSENT
    raw = value.encode()
    return _LENGTH.pack(len(raw)) + raw


_name = lru_cache(maxsize=1_024)(_text)
"""As `_text`, for what comes again and again and has at most 1 KiB: streams, types, actors."""


def header(
    position: int,
    version: int,
    schema_version: int,
    logtime_us: int,
    time_us: int,
    id: bytes,
    stream: str,
    type: str,
    actor: str | None,
    correlation_id: str | None,
    causation_id: str | None,
    tags: str | None,
) -> bytes:
    """`header_n` in the layout above."""
    return b"".join(
        (
            _FIXED.pack(position, version, schema_version, logtime_us, time_us, id),
            _name(stream),
            _name(type),
            _name(actor),
            _name(correlation_id),
            _name(causation_id),
            _text(tags),
        )
    )


def seal(
    scope: bytes,
    key: bytes,
    fingerprint: bytes,
    position: int,
    first: int,
    count: int,
    status: int,
    answer: bytes,
    logtime_us: int,
    relaxed: int,
) -> bytes:
    """The hash over a kept answer, in the layout above."""
    hash = sha256()
    for part in (scope, key, fingerprint, answer):
        hash.update(_LENGTH.pack(len(part)))
        hash.update(part)
    hash.update(_NUMBERS.pack(position, first, count, status, logtime_us, relaxed))
    return hash.digest()


def link(before: bytes, header: bytes, body_hash: bytes) -> bytes:
    """`chain_n` from `chain_{n-1}`, the header and the SHA-256 of the body."""
    return sha256(before + sha256(header).digest() + body_hash).digest()
