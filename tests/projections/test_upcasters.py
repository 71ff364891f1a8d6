"""Old shapes of events: what they become is what would be written today, at every door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore.record import NewEvent
from eventstore.store import EventStore
from projections import catalogue, fingerprints, folding, rebuilding
from projections.catalogue import AREAS, UnknownEvent
from projections.media import MediaAdded, MediaProcessed, Pack

PACK = Pack("p", 240, 320, 0, "contain", 5)
OTHER = Pack("q", 320, 240, 90, "cover", 6)
COMMON: dict[str, Any] = {
    "slug": "cat", "sha256": "a" * 64, "kind": "animation", "type": "image/gif", "width": 9, "height": 9, "frameCount": 2,
    "delays": [[2, 40_000]], "thumbnail": "t", "madeBy": "x",
}  # fmt: skip


def native(*packs: Pack) -> MediaProcessed:
    """The event as it is written today."""
    return MediaProcessed("cat", "a" * 64, "animation", "image/gif", 9, 9, 2, ((2, 40_000),), packs, "t", "x")


@pytest.mark.parametrize(
    ("old", "packs"),
    [
        ({"pack": PACK}, (PACK,)),
        ({"pack": PACK, "packs": []}, (PACK,)),
        ({"pack": PACK, "packs": [OTHER, PACK]}, (OTHER, PACK)),
    ],
)
def test_upcast_equals_native(old: dict[str, Any], packs: tuple[Pack, ...]) -> None:
    """The struct of an old event is that of a new one that says the same, and so is what it folds to, live and from scratch."""
    text = msgspec.json.encode({**COMMON, **old}).decode()
    assert catalogue.decode("media.processed", 1, text) == native(*packs)
    rows: list[Any] = []
    for new in (NewEvent("media.processed", text, 1), catalogue.encode(native(*packs))):
        with EventStore.open(":memory:") as store:
            added = MediaAdded("cat", "cat.gif", "animation", "image/gif", 5, "a" * 64, uploaded_at_us=7)
            store.append("media/cat", catalogue.encode(added))
            store.append("media/cat", new)
            folding.prepare(store)
            with store.snapshot() as db:
                rows.append(list(folding.table_rows(db, catalogue.BY_NAME["media"].tables[0])))
            assert rebuilding.rebuild(store).differed == ()
    assert rows[0] == rows[1]


def test_new_events_carry_the_present_version() -> None:
    """Which has no upcaster, while each one before has."""
    assert catalogue.encode(native(PACK)).schema_version == 2
    for area in AREAS:
        for type in area.events:
            old = range(1, catalogue.version_of(type))
            assert [version for version in range(1, 20) if (type, version) in area.upcasters] == list(old)


def test_a_version_of_the_future_is_refused(tmp_path: Path) -> None:
    """It is not guessed at; the start says to update."""
    with pytest.raises(UnknownEvent, match="update"):
        catalogue.decode("media.processed", 3, "{}")
    with EventStore.open(tmp_path) as store:
        store.append("media/cat", NewEvent("media.processed", "{}", 3))
        with pytest.raises(UnknownEvent, match="update"):
            folding.prepare(store)


def test_a_fingerprint_follows_the_fold_and_not_the_comments() -> None:
    """It changes with a table, a version or an upcaster; a docstring is not part of it; constants that the fold uses are."""
    area = catalogue.BY_NAME["media"]
    one = fingerprints.of(area)
    assert fingerprints.of(msgspec.structs.replace(area, versions={"media.processed": 3})) != one
    assert fingerprints.of(msgspec.structs.replace(area, upcasters={})) != one
    assert fingerprints.of(msgspec.structs.replace(area, tables=area.tables[:1])) != one
    assert fingerprints.of(msgspec.structs.replace(area, fold=catalogue.BY_NAME["loop"].fold)) != one
    reached = dict(fingerprints._reached([catalogue.BY_NAME["messages"].fold]))  # pyright: ignore[reportPrivateUsage]
    assert "projections.messages.RANKS" in reached
    assert all("The rows that change" not in text for text in reached.values())
    assert fingerprints.is_same("media", f"{fingerprints.of_area('media')}/other sources")
    assert fingerprints.is_same("media", f"other/{fingerprints.of_sources()}")
    assert not fingerprints.is_same("media", "other/other")
