"""Entity tags and the requests that depend on them (RFC 9110 §8.8.3, §13.1). Pure but for the query of a version.

A tag names all that a body is a function of, so it is computed without building the body. Resources with a version of their own are tagged by it:
another item's change leaves the tag of this one alone.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

import apsw
import msgspec

from api.commands.deciding import Rejected
from api.http.door import Snapshot
from eventstore.record import RecordedEvent
from projections import folding

_TAG = re.compile(r'(W/)?"[^"]*"')


def _build() -> str:
    try:
        return version("pixelog")
    except PackageNotFoundError:
        return "source"


BUILD = _build()
"""Which program made the body: another one may shape it differently."""


def tag_of(*parts: object) -> str:
    """A strong tag over these parts and the build."""
    digest = hashlib.sha256(msgspec.json.encode([BUILD, *(str(part) for part in parts)])).digest()
    return f'"{urlsafe_b64encode(digest[:15]).decode()}"'


def area_tag(snapshot: Snapshot, target: str, *areas: str, also: object = "") -> str:
    """The tag of a body that is a function of these areas and of `also` (the expiries that have passed)."""
    changed = folding.changed_at(snapshot.db, *areas)
    return tag_of(snapshot.log_id, snapshot.head.epoch, changed, target, also)


def head_tag(snapshot: Snapshot, target: str, also: object = "") -> str:
    """The tag of a body that depends on the whole log."""
    return tag_of(snapshot.log_id, snapshot.head.epoch, snapshot.head.position, target, also)


def none_match(header: str | None, tag: str) -> bool:
    """Whether `If-None-Match` lets the body be sent: no tag in it is this one, by weak comparison."""
    if header is None:
        return True
    if header.strip() == "*":
        return False
    return tag not in (found.group().removeprefix("W/") for found in _TAG.finditer(header))


def match(header: str | None, tag: str) -> bool:
    """Whether `If-Match` lets a change happen: a tag in it is this one, by strong comparison."""
    if header is None or header.strip() == "*":
        return True
    return tag in (found.group() for found in _TAG.finditer(header))


class Versioned:
    """A resource whose version is that of its stream: its tag, and the check that a change was decided on the present one."""

    def __init__(self, log_id: str, stream: str, version: Callable[[apsw.Connection], int]) -> None:
        self._log_id = log_id
        self._stream = stream
        self._version = version

    def tag(self, version: int) -> str:
        """The tag of the resource at this version."""
        return tag_of(self._log_id, self._stream, version)

    def read_tag(self, db: apsw.Connection) -> str:
        """The tag of the resource as it is."""
        return self.tag(self._version(db))

    def check(self, if_match: str | None, db: apsw.Connection, own: Sequence[RecordedEvent]) -> str:
        """The tag after a change, inside its transaction. `own` are the change's events. Raises Rejected (stale), which undoes the change, when
        the version before it is not one that `if_match` names."""
        versions = [event.version for event in own if event.stream == self._stream]
        before = versions[0] - 1 if versions else self._version(db)
        if not match(if_match, self.tag(before)):
            raise Rejected("stale", "the resource has changed since that ETag; read it again and decide anew")
        return self.tag(versions[-1] if versions else before)
