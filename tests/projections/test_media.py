"""Read slice media: what the fold makes of an item, and how the library is listed, searched and asked for what it lacks."""

from __future__ import annotations

from typing import Any

import pytest

from projections import media
from projections.media import MediaAdded, MediaFailed, MediaProcessed, MediaRemoved, MediaRestored, MediaUpdated, Pack
from projections.rows import FoldError

S = 1_000_000


def added(slug: str, **fields: Any) -> MediaAdded:
    """A picture of this name."""
    whole = {"filename": f"{slug}.png", "kind": "image", "type": "image/png", "size": 5, "sha256": slug.encode().hex()}
    return MediaAdded(slug, **{**whole, **fields})


def pack(name: str, rotation: int = 0, fit: str = "contain", width: int = 240) -> Pack:
    """A pack for a panel."""
    return Pack(name, width, 320, rotation, fit, 9)


def processed(slug: str, *packs: Pack, delays: Any = ((1, 0),), **fields: Any) -> MediaProcessed:
    """What a worker made of it."""
    whole: dict[str, Any] = {
        "slug": slug,
        "sha256": slug.encode().hex(),
        "kind": "image",
        "type": "image/png",
        "width": 4,
        "height": 3,
        "frame_count": sum(count for count, _ in delays),
        "delays": delays,
        "thumbnail": f"t{slug}",
        "made_by": "maker",
        "packs": packs or (pack(f"p{slug}"),),
        **fields,
    }
    return MediaProcessed(**whole)


def slugs(db: Any, **asked: Any) -> str:
    """The slugs of all pages, and a check that the pages join."""
    seen: list[str] = []
    cursor, total = None, -1
    while True:
        items, cursor, total = media.listing(db, cursor=cursor, **asked)
        seen += [item.slug for item in items]
        assert len(items) <= asked.get("limit", 50)
        if cursor is None:
            break
    assert total == len(seen)
    return " ".join(seen)


def test_an_item_through_its_life(desk: Any) -> None:
    """Added, prepared, changed, failed, removed, restored: each step is what a caller sees."""
    here = desk(media.AREA)
    here.fold(added("cat", tags=("a",)))
    item = media.get(here.db, "cat")
    assert item == media.Media(
        slug="cat",
        filename="cat.png",
        kind="image",
        type="image/png",
        size=5,
        sha256="636174",
        uploaded_at="2026-01-01T00:00:00.000000Z",
        width=None,
        height=None,
        duration=None,
        frame_count=None,
        status="pending",
        error=None,
        url="/api/v1/media/cat/content",
        thumbnail_url=None,
        tags=("a",),
        version=1,
    )
    here.fold(processed("cat", delays=((3, S), (1, S // 2)), kind="animation"))
    item = media.get(here.db, "cat")
    assert item is not None
    assert (item.status, item.kind, item.duration, item.frame_count, item.width) == ("ready", "animation", 3.5, 4, 4)
    assert item.thumbnail_url == "/api/v1/media/cat/thumbnail"
    here.fold(MediaUpdated("cat", "dog.png", ("b", "c"), 2 * S))
    item = media.get(here.db, "cat")
    assert item is not None
    assert (item.filename, item.tags, item.duration) == ("dog.png", ("b", "c"), 2.0)
    here.fold(MediaUpdated("cat", clear_duration=True))
    assert media.get(here.db, "cat").duration == 3.5  # type: ignore[union-attr]
    here.fold(MediaFailed("cat", "damaged", "No."))
    assert (media.get(here.db, "cat").status, media.get(here.db, "cat").error) == ("failed", "No.")  # type: ignore[union-attr]
    here.fold(MediaRemoved("cat", "dog.png", "636174"))
    assert media.get(here.db, "cat") is None
    assert media.files(here.db, "cat") == media.Files("636174", "image/png", "dog.png", "tcat", (pack("pcat"),), True)
    assert media.slug_of_content(here.db, "636174") is None
    here.fold(MediaRestored("cat"))
    assert media.resources(here.db) == {"cat": media.get(here.db, "cat")}
    assert media.slug_of_content(here.db, "636174") == "cat"


def test_a_still_has_no_length_of_its_own(desk: Any) -> None:
    """However long its one frame is said to stay."""
    here = desk(media.AREA)
    here.fold(added("cat"))
    here.fold(processed("cat", delays=((1, 40_000),)))
    assert media.get(here.db, "cat").duration is None  # type: ignore[union-attr]


def test_an_event_of_an_item_that_never_was_does_not_fit(desk: Any) -> None:
    """The fold guesses nothing."""
    with pytest.raises(FoldError):
        desk(media.AREA).fold(MediaUpdated("cat", tags=()))


def test_paths_encode_every_slug() -> None:
    """Blanks, quotes, slashes and emoji."""
    assert media.media_path('a/b "c"?#%🐈') == "/api/v1/media/a%2Fb%20%22c%22%3F%23%25%F0%9F%90%88"


def library(desk: Any) -> Any:
    """Nine items: equal times and sizes among them, some removed, renamed and tagged."""
    here = desk(media.AREA)
    for place, name in enumerate(("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis")):
        here.fold(added(name, size=place // 3, tags=("odd",) if place % 2 else ("even", f"t{place}")), 0 if place % 2 else S)
    here.fold(MediaRemoved("gnu", "gnu.png"))
    here.fold(MediaUpdated("hen", "Big Été hen.PNG"))
    for name in ("ant", "bee"):
        here.fold(processed(name))
    here.fold(processed("dog", kind="animation"))
    here.fold(MediaFailed("eel", "x", "y"))
    return here.db


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("-uploadedAt", "ibis hen fox eel dog cat bee ant"),
        ("uploadedAt", "ant bee cat dog eel fox hen ibis"),
        ("filename", "hen ant bee cat dog eel fox ibis"),
        ("-filename", "ibis fox eel dog cat bee ant hen"),
        ("size", "ant bee cat dog eel fox hen ibis"),
        ("-size", "ibis hen fox eel dog cat bee ant"),
    ],
)
def test_every_order_gives_each_item_once(desk: Any, limit: int, sort: Any, expected: str) -> None:
    """In pages of any size; equals are told apart by their place in the log."""
    assert slugs(library(desk), sort=sort, limit=limit) == expected


@pytest.mark.parametrize("limit", [1, 50])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"status": "ready"}, "dog bee ant"),
        ({"status": "failed"}, "eel"),
        ({"status": "processing"}, ""),
        ({"kind": "animation"}, "dog"),
        ({"tag": "odd"}, "hen fox dog bee"),
        ({"tag": "t4"}, "eel"),
        ({"tag": "t"}, ""),
        ({"tag": "odd", "status": "ready", "kind": "image"}, "bee"),
        ({"q": "hen"}, "hen"),
        ({"q": "HEN"}, "hen"),
        ({"q": "été"}, "hen"),
        ({"q": "big png"}, "hen"),
        ({"q": "g png hen"}, "hen"),
        ({"q": "gnu"}, ""),
        ({"q": "png"}, "ibis hen fox eel dog cat bee ant"),
        ({"q": "even"}, "ibis eel cat ant"),
        ({"q": "even t4"}, "eel"),
        ({"q": "[]"}, ""),
        ({"q": "o"}, "hen fox dog bee"),
        ({"q": "i"}, "ibis hen"),
        ({"q": "%"}, ""),
        ({"q": '"'}, ""),
        ({"q": '"""'}, ""),
        ({"q": "a_t"}, ""),
        ({"q": "NEAR( png"}, ""),
        ({"q": "  "}, "ibis hen fox eel dog cat bee ant"),
        ({"q": "png", "status": "ready", "sort": "filename"}, "ant bee dog"),
    ],
)
def test_filters_meet(desk: Any, limit: int, asked: dict[str, Any], expected: str) -> None:
    """All of them at once; the total counts what matches; words are found anywhere in slug, name and tags."""
    assert slugs(library(desk), limit=limit, **asked) == expected


def test_the_counters_follow(desk: Any) -> None:
    """Kept by triggers: the number of items present is right after every step."""
    here = desk(media.AREA)
    for event, count in (
        (added("a"), 1),
        (added("b"), 2),
        (MediaRemoved("a", "a.png"), 1),
        (MediaRemoved("a", "a.png"), 1),
        (MediaRestored("a"), 2),
        (MediaRestored("a"), 2),
        (MediaRemoved("b", "b.png"), 1),
        (added("b", filename="new.png"), 2),
    ):
        here.fold(event)
        assert media.listing(here.db)[2] == count
    assert slugs(here.db, q="new") == "b"
    assert slugs(here.db, q="b.png") == ""


def test_what_lacks_a_pack(desk: Any) -> None:
    """Ready, present, with a file, and no pack for exactly this geometry; the preferred first, then the newest."""
    here = desk(media.AREA)
    for name in ("a", "b", "c", "d", "e", "f"):
        here.fold(added(name))
        if name != "f":
            here.fold(processed(name))
    here.fold(processed("b", pack("p"), pack("q", 90)))
    here.fold(MediaRemoved("e", "e.png"))

    def lacking(rotation: int = 90, fit: str = "contain", limit: int = 9, prefer: tuple[str, ...] = (), width: int = 240) -> str:
        return "".join(slug for slug, _ in media.lacking_pack(here.db, width, 320, rotation, fit, limit, prefer))

    assert lacking(0) == ""
    assert lacking() == "dca"
    assert lacking(0, "cover") == "dcba"
    assert lacking(0, width=24) == "dcba"
    assert lacking(prefer=("b", "a", "x", "e", "d")) == "adc"
    assert lacking(limit=2, prefer=("a",)) == "ad"
    assert media.lacking_pack(here.db, 240, 320, 90, "contain", 1) == [("d", "64")]
    assert media.preferred_lacking_pack(here.db, 240, 320, 90, "contain", ["b", "c"]) == ("c", "63")
    assert media.preferred_lacking_pack(here.db, 240, 320, 90, "contain", ["b"]) is None
