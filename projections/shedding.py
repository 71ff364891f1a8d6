"""What only removed items have: the question of who has to make room. Reads only; decides nothing."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

_packs = msgspec.json.Decoder(tuple[dict[str, Any], ...]).decode


class Removed(msgspec.Struct, frozen=True):
    """Names of files that removed items have, each with the logtime (µs) of the last removal that concerns it. `contents` are named by SHA-256.
    A present item may have some of them, too."""

    contents: dict[str, int]
    packs: dict[str, int]


def removed(db: apsw.Connection) -> Removed:
    """The files of all removed items. Looks at every item that was ever removed: some ten thousand in a tenth of a second."""
    found = Removed({}, {})
    for sha256, original, packs, removed_at in db.execute(
        "SELECT sha256, extra ->> '$.pixelogOriginal.sha256', packs, removed_at FROM media_items WHERE removed_at IS NOT NULL"
    ):
        at_us = int(str(removed_at))
        for name in (sha256, original):
            if name is not None:
                found.contents[str(name)] = max(at_us, found.contents.get(str(name), at_us))
        for pack in _packs(str(packs)):
            found.packs[pack["name"]] = max(at_us, found.packs.get(pack["name"], at_us))
    return found


def has_running(db: apsw.Connection, kind: str) -> bool:
    """Whether any job of this kind was claimed and is unfinished: then somebody may be about to name a file that it made."""
    found = "SELECT EXISTS (SELECT 1 FROM jobs_all WHERE finished_logtime IS NULL AND kind = ? AND status = 'running')"
    return bool(db.execute(found, (kind,)).get)
