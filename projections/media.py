"""Area media: the library. Which items there are, what became of their files, which frame packs they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

import apsw
import msgspec

from projections.area import Area, At, Raw, turn_table, turn_writes
from projections.plan import Turn
from projections.rows import Patch, Put, Table, Write
from projections.times import rfc3339

Kind = Literal["image", "animation", "video"]
Status = Literal["pending", "processing", "ready", "failed"]


class Pack(msgspec.Struct, frozen=True, rename="camel"):
    """A frame pack: the SHA-256 that names its file, the geometry that it was made for (panel width × height in pixels), its size."""

    name: str
    width: int
    height: int
    rotation: int
    fit: str
    size_bytes: int


class MediaAdded(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A file was taken into the library, in place of what had its slug. `sha256` is None for adopted items whose file is gone; `error` says why
    an item that comes as `failed` cannot be shown."""

    slug: str
    filename: str
    kind: Kind
    type: str
    size: int
    sha256: str | None
    tags: tuple[str, ...] = ()
    status: Status = "pending"
    uploaded_at_us: int | None = None
    width: int | None = None
    height: int | None = None
    frame_count: int | None = None
    duration_us: int | None = None
    extra: dict[str, Any] | None = None
    turn: Turn | None = None
    error: str | None = None


class MediaProcessed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The file was decoded once and made into a frame pack. `delays` are runs of (frames, µs each); `packs` are all that the item has now, the one
    just made last; `made_by` names what made it. (In version 1 that one was `pack`, and `packs` might be left out.)"""

    slug: str
    sha256: str
    kind: Kind
    type: str
    width: int
    height: int
    frame_count: int
    delays: tuple[tuple[int, int], ...]
    packs: tuple[Pack, ...]
    thumbnail: str | None
    made_by: str
    turn: Turn | None = None


class MediaFailed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The file cannot be played; `error` is a sentence for a person, `code` one of a closed set."""

    slug: str
    code: str
    error: str
    turn: Turn | None = None


class MediaUpdated(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The owner changed what is said about the item. Fields left out stay; `clear_duration` takes the own duration away. `uploaded_at_us` and
    `extra`: of adopted items, when the older installation says something new."""

    slug: str
    filename: str | None = None
    tags: tuple[str, ...] | None = None
    duration_us: int | None = None
    clear_duration: bool = False
    turn: Turn | None = None
    uploaded_at_us: int | None = None
    extra: dict[str, Any] | None = None


class MediaRemoved(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The item left the library. Its blob is kept a while, so that it can be restored."""

    slug: str
    filename: str
    sha256: str | None = None
    turn: Turn | None = None


class MediaRestored(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A removed item is back, as it was."""

    slug: str
    turn: Turn | None = None


Event = MediaAdded | MediaProcessed | MediaFailed | MediaUpdated | MediaRemoved | MediaRestored
EVENTS: dict[str, type[msgspec.Struct]] = {
    "media.added": MediaAdded,
    "media.processed": MediaProcessed,
    "media.failed": MediaFailed,
    "media.updated": MediaUpdated,
    "media.removed": MediaRemoved,
    "media.restored": MediaRestored,
}

_SEARCHED = "new.slug || ' ' || new.filename || (SELECT coalesce(' ' || group_concat(value, ' '), '') FROM json_each(new.tags))"

MEDIA = Table(
    "media_items",
    (
        ("slug", "TEXT", False),
        ("position", "INTEGER", False),  # of media.added: breaks ties in every sort order
        ("filename", "TEXT", False),
        ("kind", "TEXT", False),
        ("type", "TEXT", False),
        ("size", "INTEGER", False),
        ("sha256", "TEXT", True),
        ("uploaded_at", "INTEGER", False),  # µs
        ("width", "INTEGER", True),
        ("height", "INTEGER", True),
        ("duration", "INTEGER", True),  # µs, the owner's
        ("natural_duration", "INTEGER", True),  # µs, the file's
        ("frame_count", "INTEGER", True),
        ("status", "TEXT", False),
        ("error", "TEXT", True),
        ("tags", "TEXT", False),  # JSON
        ("delays", "TEXT", True),  # JSON: runs of [frames, µs]
        ("packs", "TEXT", False),  # JSON
        ("thumbnail", "TEXT", True),
        ("made_by", "TEXT", True),
        ("extra", "TEXT", True),  # JSON: what an older system knew beyond this
        ("version", "INTEGER", False),
        ("removed_at", "INTEGER", True),  # logtime µs
    ),
    derived=(
        "CREATE INDEX media_by_uploaded ON media_items (uploaded_at, position) WHERE removed_at IS NULL",
        "CREATE INDEX media_by_filename ON media_items (filename, position) WHERE removed_at IS NULL",
        "CREATE INDEX media_by_size ON media_items (size, position) WHERE removed_at IS NULL",
        "CREATE INDEX media_by_sha256 ON media_items (sha256)",
        "CREATE INDEX media_by_status ON media_items (status, position) WHERE removed_at IS NULL",
        "CREATE TABLE media_count (only INTEGER PRIMARY KEY, total INTEGER NOT NULL) STRICT",
        "INSERT INTO media_count VALUES (1, 0)",
        "CREATE VIRTUAL TABLE media_text USING fts5(text, tokenize = 'trigram')",
        f"""CREATE TRIGGER media_items_added AFTER INSERT ON media_items BEGIN
            UPDATE media_count SET total = total + (new.removed_at IS NULL);
            INSERT INTO media_text (rowid, text) VALUES (new.rowid, {_SEARCHED}); END""",
        f"""CREATE TRIGGER media_items_changed AFTER UPDATE ON media_items BEGIN
            UPDATE media_count SET total = total + (new.removed_at IS NULL) - (old.removed_at IS NULL)
                WHERE (new.removed_at IS NULL) <> (old.removed_at IS NULL);
            UPDATE media_text SET text = {_SEARCHED} WHERE rowid = new.rowid
                AND (new.filename IS NOT old.filename OR new.tags IS NOT old.tags); END""",
        """CREATE TRIGGER media_items_deleted AFTER DELETE ON media_items BEGIN
            UPDATE media_count SET total = total - (old.removed_at IS NULL);
            DELETE FROM media_text WHERE rowid = old.rowid; END""",
    ),
)
TURN = turn_table("media")
TABLES = (MEDIA, TURN)

VIEWS = (
    """CREATE VIEW media AS SELECT slug, filename, kind, type, size, sha256, uploaded_at, width, height,
    coalesce(duration, natural_duration) / 1e6 AS duration, frame_count, status, error, tags, version
    FROM media_items WHERE removed_at IS NULL""",
)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def stream(event: Event) -> str:
    """Each item has its own stream."""
    return f"media/{event.slug}"


def processed_from_1(raw: Raw) -> Raw:
    """`media.processed`, version 1 to 2: the pack that was made is among `packs`, and nowhere else."""
    pack = raw.pop("pack")
    return {**raw, "packs": raw.get("packs") or [pack]}


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    key = (event.slug,)
    change: dict[str, Any] = {"version": at.version}
    match event:
        case MediaAdded():
            row = {
                "position": at.position,
                "filename": event.filename,
                "kind": event.kind,
                "type": event.type,
                "size": event.size,
                "sha256": event.sha256,
                "uploaded_at": at.time_us if event.uploaded_at_us is None else event.uploaded_at_us,
                "width": event.width,
                "height": event.height,
                "frame_count": event.frame_count,
                "natural_duration": event.duration_us,
                "status": event.status,
                "error": event.error,
                "tags": _json(event.tags),
                "packs": "[]",
                "extra": None if event.extra is None else _json(event.extra),
                "version": at.version,
            }
            return (Put(MEDIA, key, row), *turn_writes(TURN, event.turn, at))
        case MediaProcessed():
            natural = sum(count * delay_us for count, delay_us in event.delays) if event.frame_count > 1 else None
            change |= {
                "sha256": event.sha256,
                "kind": event.kind,
                "type": event.type,
                "width": event.width,
                "height": event.height,
                "frame_count": event.frame_count,
                "natural_duration": natural,
                "delays": _json(event.delays),
                "packs": _json(event.packs),
                "thumbnail": event.thumbnail,
                "made_by": event.made_by,
                "status": "ready",
                "error": None,
            }
        case MediaFailed():
            change |= {"status": "failed", "error": event.error}
        case MediaUpdated():
            if event.filename is not None:
                change["filename"] = event.filename
            if event.tags is not None:
                change["tags"] = _json(event.tags)
            if event.duration_us is not None or event.clear_duration:
                change["duration"] = event.duration_us
            if event.uploaded_at_us is not None:
                change["uploaded_at"] = event.uploaded_at_us
            if event.extra is not None:
                change["extra"] = _json(event.extra)
        case MediaRemoved():
            change["removed_at"] = at.logtime_us
        case MediaRestored():
            change["removed_at"] = None
    return (Patch(MEDIA, key, change), *turn_writes(TURN, event.turn, at))


# -- queries -------------------------------------------------------------------------------------------------------------------------


class Media(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An item of the library as callers see it. `duration` in seconds, `size` in bytes, absent values None."""

    slug: str
    filename: str
    kind: Kind
    type: str
    size: int
    sha256: str | None
    uploaded_at: str
    width: int | None
    height: int | None
    duration: float | None
    frame_count: int | None
    status: Status
    error: str | None
    url: str
    thumbnail_url: str | None
    tags: tuple[str, ...]
    version: int


class Files(msgspec.Struct, frozen=True):
    """The files behind an item: blob, thumbnail and packs by name, and whether the item was removed."""

    sha256: str | None
    type: str
    filename: str
    thumbnail: str | None
    packs: tuple[Pack, ...]
    removed: bool


COMMON_SHARE = 20
"""A filter that one in so many items passes counts as common."""

Sort = Literal["uploadedAt", "-uploadedAt", "filename", "-filename", "size", "-size"]
_SORTS = {"uploadedAt": "uploaded_at", "filename": "filename", "size": "size"}

_RESOURCE = (
    "slug, filename, kind, type, size, sha256, uploaded_at, width, height, coalesce(duration, natural_duration), frame_count, "
    "status, error, thumbnail, tags, version"
)
_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_packs = msgspec.json.Decoder(tuple[Pack, ...]).decode


def media_path(slug: str) -> str:
    """The resource's path under the base; slugs are opaque Unicode, so every reserved character is encoded."""
    return f"/api/v1/media/{quote(slug, safe='')}"


def _resource(row: Any) -> Media:
    (
        slug,
        filename,
        kind,
        type,
        size,
        sha256,
        uploaded_at,
        width,
        height,
        duration_us,
        frames,
        status,
        error,
        thumb,
        tags,
        version,
    ) = row
    path = media_path(slug)
    return Media(
        slug=slug,
        filename=filename,
        kind=kind,
        type=type,
        size=size,
        sha256=sha256,
        uploaded_at=rfc3339(uploaded_at),
        width=width,
        height=height,
        duration=None if duration_us is None else duration_us / 1_000_000,
        frame_count=frames,
        status=status,
        error=error,
        url=f"{path}/content",
        thumbnail_url=None if thumb is None else f"{path}/thumbnail",
        tags=_tags(tags),
        version=version,
    )


def get(db: apsw.Connection, slug: str) -> Media | None:
    """The item with this slug, unless removed."""
    row = db.execute(f"SELECT {_RESOURCE} FROM media_items WHERE slug = ? AND removed_at IS NULL", (slug,)).fetchone()
    return None if row is None else _resource(row)


def files(db: apsw.Connection, slug: str) -> Files | None:
    """The files of an item, also of a removed one."""
    row: Any = db.execute(
        "SELECT sha256, type, filename, thumbnail, packs, removed_at FROM media_items WHERE slug = ?", (slug,)
    ).fetchone()
    if row is None:
        return None
    sha256, type, filename, thumbnail, packs, removed_at = row
    return Files(sha256, type, filename, thumbnail, _packs(packs), removed_at is not None)


def names_blob(db: apsw.Connection, sha256: str, removed_since_us: int) -> bool:
    """Whether a present item, or one removed since that logtime, has this content."""
    found = "SELECT EXISTS (SELECT 1 FROM media_items WHERE sha256 = ? AND (removed_at IS NULL OR removed_at >= ?))"
    return bool(db.execute(found, (sha256, removed_since_us)).get)


def originals_held(db: apsw.Connection, removed_since_us: int) -> set[str]:
    """Contents that items keep beside their own: the originals that came over from an older system and cannot be played here."""
    rows: list[Any] = db.execute(
        "SELECT extra ->> '$.pixelogOriginal.sha256' FROM media_items WHERE extra IS NOT NULL AND (removed_at IS NULL OR removed_at >= ?)",
        (removed_since_us,),
    ).fetchall()
    return {sha256 for (sha256,) in rows if sha256 is not None}


def packs_held(db: apsw.Connection) -> set[str]:
    """Names of the packs and thumbnails of all present items."""
    rows: list[Any] = db.execute("SELECT packs, thumbnail FROM media_items WHERE removed_at IS NULL").fetchall()
    return {pack.name for packs, _ in rows for pack in _packs(packs)} | {
        thumbnail for _, thumbnail in rows if thumbnail is not None
    }


def slug_taken(db: apsw.Connection, slug: str) -> bool:
    """Whether a present item has this slug."""
    return bool(db.execute("SELECT count(*) FROM media_items WHERE slug = ? AND removed_at IS NULL", (slug,)).get)


def slug_of_content(db: apsw.Connection, sha256: str) -> str | None:
    """The present item with this content, if the library holds it."""
    return db.execute(
        "SELECT slug FROM media_items WHERE sha256 = ? AND removed_at IS NULL ORDER BY position LIMIT 1", (sha256,)
    ).get


class MediaPage(msgspec.Struct, frozen=True):
    """A page of items; `next` is the cursor of the following page, `total` counts all matches."""

    items: list[Media]
    next: str | None
    total: int


def listing(
    db: apsw.Connection,
    *,
    limit: int = 50,
    cursor: tuple[Any, int] | None = None,
    q: str | None = None,
    status: str | None = None,
    kind: str | None = None,
    tag: str | None = None,
    sort: Sort = "-uploadedAt",
) -> tuple[list[Media], tuple[Any, int] | None, int]:
    """Up to `limit` items after `cursor` (the sort value and position of the last one seen), the next cursor, and the number of matches."""
    column, descending = _SORTS[sort.lstrip("-")], sort.startswith("-")
    where, arguments = ["removed_at IS NULL"], list[Any]()
    for condition, value in (("status = ?", status), ("kind = ?", kind)):
        if value is not None:
            where.append(condition)
            arguments.append(value)
    if tag is not None:
        where.append("EXISTS (SELECT 1 FROM json_each(media_items.tags) WHERE json_each.value = ?)")
        arguments.append(tag)
    for condition, argument in _contains((q or "").split()):
        where.append(condition)
        arguments.append(argument)
    everything = " AND ".join(where)
    held: int = db.execute("SELECT total FROM media_count").get
    total = held
    if len(where) > 1:
        total = db.execute(f"SELECT count(*) FROM media_items WHERE {everything}", arguments).get
    if total * COMMON_SHARE >= held:
        # So many match that going along the order meets a page of them at once; finding all first and sorting them would take far longer.
        everything = everything.replace("status = ?", "+status = ?").replace("rowid IN", "+rowid IN")
    if cursor is not None:
        everything += f" AND ({column}, position) {'<' if descending else '>'} (?, ?)"
        arguments += cursor
    order = "DESC" if descending else "ASC"
    rows: list[Any] = db.execute(
        f"SELECT {_RESOURCE}, {column}, position FROM media_items WHERE {everything} ORDER BY {column} {order}, position {order} LIMIT ?",
        (*arguments, limit + 1),
    ).fetchall()
    following = (rows[limit - 1][-2], rows[limit - 1][-1]) if len(rows) > limit else None
    return [_resource(row[:-2]) for row in rows[:limit]], following, total


def _contains(words: Sequence[str]) -> list[tuple[str, str]]:
    """Conditions for "the item's text contains all these words", with their arguments: by trigram index from three characters on, by scan below."""
    conditions: list[tuple[str, str]] = []
    long = [word for word in words if len(word) >= 3]
    if long:
        match = " AND ".join(['"' + word.replace('"', '""') + '"' for word in long])
        conditions.append(("rowid IN (SELECT rowid FROM media_text WHERE media_text MATCH ?)", match))
    for word in words:
        if len(word) < 3:
            escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            conditions.append(("rowid IN (SELECT rowid FROM media_text WHERE text LIKE ? ESCAPE '\\')", f"%{escaped}%"))
    return conditions


_LACKING = "status = 'ready' AND removed_at IS NULL AND sha256 IS NOT NULL AND instr(packs, ?) = 0"


def lacking_pack(
    db: apsw.Connection, width: int, height: int, rotation: int, fit: str, limit: int, prefer: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Up to `limit` ready items without a pack for this geometry, as (slug, sha256): `prefer` first, in its order, then the newest."""
    geometry = _geometry_in_json(width, height, rotation, fit)
    found: list[Any] = db.execute(
        f"SELECT slug, sha256 FROM json_each(?) AS wanted CROSS JOIN media_items ON slug = wanted.value WHERE {_LACKING} "
        "ORDER BY wanted.key LIMIT ?",
        (msgspec.json.encode(prefer).decode(), geometry, limit),
    ).fetchall()
    if len(found) < limit:
        found += db.execute(
            f"SELECT slug, sha256 FROM media_items WHERE {_LACKING} ORDER BY position DESC LIMIT ?", (geometry, limit)
        ).fetchall()
    return list(dict.fromkeys(found))[:limit]


def preferred_lacking_pack(
    db: apsw.Connection, width: int, height: int, rotation: int, fit: str, prefer: Sequence[str]
) -> tuple[str, str] | None:
    """The first of these items that is ready and has no pack for this geometry, as (slug, sha256)."""
    geometry = _geometry_in_json(width, height, rotation, fit)
    row: Any = db.execute(
        f"SELECT slug, sha256 FROM json_each(?) AS wanted CROSS JOIN media_items ON slug = wanted.value WHERE {_LACKING} "
        "ORDER BY wanted.key LIMIT 1",
        (msgspec.json.encode(prefer).decode(), geometry),
    ).fetchone()
    return row


def _geometry_in_json(width: int, height: int, rotation: int, fit: str) -> str:
    """The part of the column `packs` that a pack of this geometry has: looking for a text is ten times as fast as decoding each row."""
    pack = _json(Pack("", width, height, rotation, fit, 0))
    return pack[pack.index('"width"') : pack.index(',"sizeBytes"')]


def resources(db: apsw.Connection) -> dict[str, Media]:
    """Every present item by slug."""
    rows = db.execute(f"SELECT {_RESOURCE} FROM media_items WHERE removed_at IS NULL ORDER BY slug")
    return {row[0]: _resource(row) for row in rows}  # type: ignore[index]


AREA = Area(
    "media",
    EVENTS,
    TABLES,
    fold,
    stream,
    resources,
    VIEWS,
    versions={"media.processed": 2},
    upcasters={("media.processed", 1): processed_from_1},
)
