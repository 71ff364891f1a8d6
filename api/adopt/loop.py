"""LOOP's files in: the five generations of its state, its settings and its jobs, as records for the commands of area adoptions.

Formats and rules: `docs/from-loop.md`. Nothing here writes, and nothing decides what comes of a record. Which bytes belong to an item is looked up in
`loop_files`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from api import media_types
from api.adopt import loop_settings, values
from api.adopt.documents import Unreadable, copied_database, kinds, read_json, rows
from api.adopt.findings import Findings, kind_of, quoted, shown
from api.adopt.hiding import covered, covered_addresses, hide, merge, without_secrets
from api.adopt.loop_files import ORIGINAL, Content, Files
from api.commands.adoptions import ActiveRecord, JobRecord, MediaRecord, StateRecord
from eventstore.record import NAME_BYTES_MAX
from projections.media import Kind, Status

SLUG_BYTES_MAX = NAME_BYTES_MAX - len("media/")
"""A slug names a stream of the log."""

FILENAME_CHARACTERS_MAX = 4_096
"""No file system has longer paths."""

KEY_CHARACTERS_MAX = 200
"""Of a key in a report, when nothing else bounds it."""

TYPE_CHARACTERS_MAX = 200
"""No registered MIME type comes near."""

EXTRA_BYTES_MAX = 256 * 1024
"""JSON that is kept of one item beside its fields; an event may have 1 MiB. Lists of 10,000 frame names fit."""

REST_VALUE_BYTES_MAX = 256 * 1024
"""JSON that is kept of one key of the index beyond its library, or of one setting without a counterpart here."""

REST_BYTES_MAX = 800_000
"""The same of all of them together: they are kept in one event, which may have 1 MiB."""

KEPT_IN_DATABASE = "pixelog"
"""Key in LOOP's table of settings under which an export keeps what its columns cannot: LOOP asks for its own keys only."""

STATUSES: dict[str, Status] = {
    "uploaded": "pending",
    "pending": "pending",
    "processing": "processing",
    "completed": "pending",
    "error": "failed",
}
"""LOOP's `processing_status` to ours. A completed one is pending here, too, until it was prepared for this panel."""

_JOB_STATUSES = {"processing": "running", "completed": "completed", "error": "failed"}
_ITEM_FIELDS = frozenset({"slug", "filename", "type", "size", "uploadedAt", "url", "duration", "width", "height", "frame_count"})
_JOB_FIELDS = frozenset({"job_id", "filename", "status", "progress", "stage", "message", "timestamp", "created_at"})
_OPTIONAL = frozenset(
    {
        "fps",
        "processing_status",
        "original_filename",
        "frames",
        "durations",
        "frame_duration",
        "format",
        "loop_count",
        "_optimized",
        "created_at",
    }
)
"""Fields of an item that LOOP knew and that have none here. One of its writers wrote null where another left the key out."""

_TABLES = {"media": "rowid", "loop_order": "position", "settings": "rowid", "processing_jobs": "rowid"}
"""Tables of LOOP's database, and what they are in order of."""

_INDEX_FIELDS = frozenset({"media", "loop", "active", "processing"})
_OLD_TYPES: dict[str, Kind] = {"gif": "animation", "video": "video", "image": "image"}
_USUAL_TYPES = {"gif": "image/gif", "video": "video/mp4"}
"""Types of the first generation: their kind, and a MIME type when the file name does not say one that fits."""


class NoInstallation(Exception):
    """There is nothing of LOOP where it was looked for."""


class Installation(NamedTuple):
    """Where the parts of an installation lie; None: not there. `media` holds the state and the folders `raw` and `processed`."""

    media: Path
    state: Path | None
    database: Path | None
    config: Path | None
    others: tuple[Path, ...] = ()
    """Folders with a state of their own, which is not this one."""

    def name(self, path: Path) -> str:
        """A path as people see it."""
        return path.name if path.parent == self.media else f"{path.parent.name}/{path.name}"


class Library(NamedTuple):
    """State as one of the generations has it, in the terms of the fourth: items and jobs by their keys, `loop` and `active` None when absent."""

    items: dict[str, dict[str, Any]]
    loop: list[Any] | None
    active: tuple[Any] | None
    jobs: dict[str, dict[str, Any]]
    rest: dict[str, Any]
    in_list: bool
    row_count: int = 0
    """Rows of media in the database, whatever becomes of them."""


class Records(NamedTuple):
    """All that a source holds. `contents` says for each slug where the bytes of its file come from; `secrets` never enter the log."""

    media: list[MediaRecord]
    jobs: list[JobRecord]
    state: StateRecord
    contents: dict[str, Content]
    secrets: dict[str, Any]


def find(source: Path) -> Installation:
    """The installation at a folder (the application's, the one above its `backend`, or the one that holds the state), or around a file. Raises
    NoInstallation."""
    if source.is_file():
        if source.suffix == ".tmp":
            raise NoInstallation(
                f"{source} is what LOOP leaves when it stops while writing, and is never taken (IR-1.8); name its folder instead"
            )
        is_database, is_config = source.suffix == ".db", source.name.startswith("config")
        return Installation(
            source.parent,
            None if is_database or is_config else source,
            source if is_database else None,
            source if is_config else None,
        )
    if not source.is_dir():
        why = "is neither a file nor a folder" if source.exists() else "does not exist"
        raise NoInstallation(f"{source} {why}")
    settings: Installation | None = None
    states: dict[Path, Installation] = {}  # by where they really are: a folder may be reached twice
    for base in (source, source / "backend"):
        config = _if_there(base / "config" / "config.json") or _if_there(base / "config.json")
        for media in (base / "media", base):
            index, database = _if_there(media / "index.json"), _if_there(media / "media.db")
            if index or database:
                states.setdefault(media.resolve(), Installation(media, index, database, config))
        if config and settings is None:
            settings = Installation(base, None, None, config)
    if states:
        first, *others = states.values()
        return first._replace(others=tuple(other.media for other in others))
    if settings is None:
        raise NoInstallation(
            f"there is no LOOP installation in {source}: neither media/index.json nor media/media.db; "
            "name the folder that holds media and config"
        )
    return settings


def _if_there(path: Path) -> Path | None:
    """The path when something is there that must be read; what cannot be is told by whoever reads it."""
    try:
        return None if path.is_dir() or not path.exists() else path
    except OSError:
        return path


def read(source: Path, findings: Findings, keep_going: bool) -> Records:
    """Everything of an installation. Raises NoInstallation, and Unreadable unless `keep_going`: then that file is told and passed over."""
    there = find(source)
    for other in there.others:
        why = f"the state in {other} is ignored; name that folder to move it in instead"
        findings.skip(f"{other.relative_to(source)}", "IR-1.8", why)
    library = _library(there, findings, keep_going)
    config_name = "" if there.config is None else there.name(there.config)
    settings, rest, secrets = loop_settings.read(there.config, config_name, findings, keep_going)
    if library is None:
        _tell_secrets(secrets, findings)
        return Records([], [], StateRecord(settings, rest=_bounded({}, rest.get("config"), findings)), {}, secrets)
    files = Files(there.media, library.items.keys(), findings, keep_going)
    media: list[MediaRecord] = []
    contents: dict[str, Content] = {}
    for slug, item in library.items.items():
        content = files.content(slug, item, findings)
        record = _media(slug, item, content, findings, secrets)
        media.append(record)
        if content is not None:
            contents[slug] = content
    files.tell_strays(findings)
    loop = _loop(library, findings)
    jobs = [job for id, found in library.jobs.items() for job in _job(id, found, findings, secrets)]
    index_rest, found = without_secrets(library.rest, "index.")
    merge(secrets, found)
    _tell_secrets(secrets, findings)
    return Records(
        media,
        jobs,
        StateRecord(
            settings,
            loop,
            _active(library, loop, findings),
            _bounded(index_rest, rest.get("config"), findings),
            frozenset(library.items),
        ),
        contents,
        secrets,
    )


def _bounded(index: dict[str, Any], config: dict[str, Any] | None, findings: Findings) -> dict[str, Any]:
    """What an installation has beyond its library and our settings, as far as one event holds it; what is left out is told."""
    by_path: dict[tuple[str, ...], Any] = {("index", name): value for name, value in index.items()}
    for section, keys in (config or {}).items():
        if isinstance(keys, dict):
            by_path |= {("config", section, name): value for name, value in keys.items()}  # type: ignore[reportUnknownVariableType]
        else:
            by_path["config", section] = keys
    sizes = {path: len(msgspec.json.encode((path, value))) for path, value in by_path.items()}
    total = sum(sizes.values())
    for path in sorted(sizes, key=lambda path: (-sizes[path], path)):
        if sizes[path] <= REST_VALUE_BYTES_MAX and total <= REST_BYTES_MAX:
            break
        key = f"index.{path[1]}" if path[0] == "index" else f"config/{'.'.join(path[1:])}"
        findings.skip(key[:KEY_CHARACTERS_MAX], "IR-0.7", f"it has {sizes[path]} bytes, more than can be kept of it; left out")
        total -= sizes[path]
        del by_path[path]
    rest: dict[str, Any] = {"index": {}, "config": {}}
    for (root, *path), value in by_path.items():
        into = rest[root] if len(path) == 1 else rest[root].setdefault(path[0], {})
        into[path[-1]] = value
    return {root: found for root, found in rest.items() if found or (root == "config" and config is not None)}


def _tell_secrets(secrets: Mapping[str, Any], findings: Findings) -> None:
    for name in secrets:
        key = f"config/{name.removeprefix('config.')}" if name.startswith("config.") else name
        findings.warn(key, "IR-0.9", "it is a secret: kept in the folder secrets, never in the log")


# -- the generations -----------------------------------------------------------------------------------------------------------------


def _library(there: Installation, findings: Findings, keep_going: bool) -> Library | None:
    """The database when it has items, else the index."""
    if there.database is not None:
        try:
            library = _read_database(there.database, there.name(there.database), findings)
        except Unreadable as error:
            if not keep_going:
                raise
            findings.skip(error.file, "IR-0.2", error.why)
            library = None
        if library is not None and (library.row_count or there.state is None):
            if there.state is not None:
                why = "media.db has items and is the newer state; this file is ignored"
                findings.skip(there.name(there.state), "IR-1.8", why)
            return library
        if library is not None:
            _tell_empty(library, there.name(there.database), findings)
    if there.state is None:
        return None
    try:
        return _read_index(there.state, there.name(there.state), findings)
    except Unreadable as error:
        leftover = there.state.with_name("index.json.tmp")
        beside = f"; {leftover.name} beside it may be a later state, but is never taken (IR-1.8)" if leftover.is_file() else ""
        if not keep_going:
            raise Unreadable(error.file, error.why + beside) from error
        findings.skip(error.file, "IR-0.2", error.why + beside)
        return None


def _tell_empty(library: Library, name: str, findings: Findings) -> None:
    """A database without items gives way to the index, with whatever else is in it."""
    findings.warn(name, "IR-1.8", "it has no items; index.json is taken instead")
    for table, count in (("processing_jobs", len(library.jobs)), ("settings", len(library.rest.keys() - {"last_updated"}))):
        if count:
            findings.skip(f"{name}#{table}", "IR-1.8", f"index.json is taken instead; rows left out here: {count}")


def _read_index(path: Path, name: str, findings: Findings) -> Library:
    index = read_json(path, name, findings)
    media = index.get("media")
    if media is None:
        findings.warn(name, "IR-0.8", "it has no key `media`; taken as empty")
        media = {}
    if not isinstance(media, dict | list):
        raise Unreadable(name, "`media` is neither a list nor an object; this is not LOOP's index")
    items = _of_dict(media, findings) if isinstance(media, dict) else _of_list(media, findings)  # type: ignore[reportUnknownArgumentType]
    return Library(
        items,
        _list_or_none(index, "loop", name, findings),
        (index["active"],) if "active" in index else None,
        _jobs(index.get("processing"), findings),
        _rest({key: value for key, value in index.items() if key not in _INDEX_FIELDS}, name, findings),
        isinstance(media, list),
    )


def _rest(found: Mapping[str, Any], name: str, findings: Findings) -> dict[str, Any]:
    """What a state says beyond its library. A fresh device has no time of its last change yet."""
    return values.mended(
        {key: value for key, value in found.items() if value is not None or key != "last_updated"}, name, findings
    )


def _list_or_none(index: Mapping[str, Any], key: str, name: str, findings: Findings) -> list[Any] | None:
    value = index.get(key)
    if value is not None and not isinstance(value, list):
        findings.warn(f"{name}#{key}", "IR-0.8", "it is no list; taken as absent")
        return None
    return value  # type: ignore[reportUnknownVariableType]


def _of_dict(media: dict[str, Any], findings: Findings) -> dict[str, dict[str, Any]]:
    """The dict form: the key is the slug."""
    items: dict[str, dict[str, Any]] = {}
    for slug, item in media.items():
        if not isinstance(item, dict):
            findings.skip(f"media/{slug}", "IR-1.1", f"it is {kind_of(item)}, not an object")
        elif _is_slug(slug, f"media/{slug}", findings):
            inner: Any = item.get("slug")  # type: ignore[reportUnknownMemberType]
            if inner is None:
                findings.warn(f"media/{slug}", "IR-1.1", "its own slug is absent; the key counts")
            elif inner != slug:
                findings.warn(f"media/{slug}", "IR-1.1", f"its own slug is {quoted(inner)}; the key counts")
            items[slug] = item
    return items


def _of_list(media: list[Any], findings: Findings) -> dict[str, dict[str, Any]]:
    """The list form: the slug is in the item; of equal ones the last counts, in the place of the first."""
    items: dict[str, dict[str, Any]] = {}
    for place, item in enumerate(media):
        if not isinstance(item, dict):
            findings.skip(f"media[{place}]", "IR-1.2", f"it is {kind_of(item)}, not an object")
            continue
        slug: Any = item.get("slug")  # type: ignore[reportUnknownMemberType]
        if not isinstance(slug, str) or not slug:
            slug = f"legacy_{place}"
            findings.warn(f"media/{slug}", "IR-1.2", f"item {place} of the list has no slug; it is called {slug}")
        if not _is_slug(slug, f"media/{slug}", findings):
            continue
        if slug in items:
            findings.repeated += 1
            findings.warn(
                f"media/{slug}", "IR-1.2", "the list has it more than once; the last one's data counts, in the place of the first"
            )
        items[slug] = item
    return items


def _is_slug(slug: str, key: str, findings: Findings) -> bool:
    """Whether a log can name a stream after it."""
    if not slug or shown(slug) != slug or len(slug.encode()) > SLUG_BYTES_MAX:
        findings.skip(key, "IR-0.10", f"a slug has 1 to {SLUG_BYTES_MAX} bytes and is whole Unicode")
        return False
    return True


def _jobs(found: Any, findings: Findings) -> dict[str, dict[str, Any]]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        findings.warn("processing", "IR-0.8", f"it is {kind_of(found)}, not an object; taken as absent")
        return {}
    jobs: dict[str, dict[str, Any]] = {}
    for id, job in found.items():  # type: ignore[reportUnknownVariableType]
        if not isinstance(job, dict):
            findings.skip(f"jobs/{id}", "IR-0.8", f"it is {kind_of(job)}, not an object")
        elif _is_slug(id, f"jobs/{id}", findings):  # type: ignore[reportUnknownArgumentType]
            jobs[id] = job
    return jobs


def _read_database(path: Path, name: str, findings: Findings) -> Library:
    with copied_database(path, name) as db:
        there = kinds(db)
        for table in _TABLES:
            if there.get(table) == "view":
                raise Unreadable(name, f"{table} is a view in it, not a table; this is not as LOOP wrote it")
        missing = [table for table in _TABLES if table not in there]
        if len(missing) == 4 and db.execute("SELECT count(*) FROM sqlite_schema").get:
            raise Unreadable(name, "it has none of LOOP's tables; this is not LOOP's database")
        if missing and len(missing) < 4:
            findings.warn(name, "IR-0.8", f"it has no table {', '.join(missing)}; taken as empty")
        media, order, settings, jobs = (
            [] if table in missing else rows(db, f"SELECT * FROM {table} ORDER BY {by}") for table, by in _TABLES.items()
        )
    known = _known(settings, name, findings)
    beside = _kept_beside(known.pop(KEPT_IN_DATABASE, None), name, findings)
    items: dict[str, dict[str, Any]] = {}
    for row in media:
        slug = row.get("slug")
        if not isinstance(slug, str):
            findings.skip(f"media/{slug}", "IR-1.1", f"its slug is {kind_of(slug)}, not text")
        elif _is_slug(slug, f"media/{slug}", findings):
            item = {
                ("uploadedAt" if column == "uploaded_at" else column): value for column, value in row.items() if value is not None
            }
            items[slug] = {**beside.get("media", {}).get(slug, {}), **item}
    found: dict[str, dict[str, Any]] = {}
    for row in jobs:
        id = row.pop("job_id", None)
        if not isinstance(id, str):
            findings.skip(f"jobs/{id}", "IR-0.8", f"its id is {kind_of(id)}, not text")
        elif _is_slug(id, f"jobs/{id}", findings):
            job = {column: value for column, value in row.items() if value is not None}
            if "updated_at" in job:
                job["timestamp"] = job.pop("updated_at")
            found[id] = _with_beside(job, beside.get("jobs", {}).get(id, {}))
    active = (known.pop("active"),) if "active" in known else (None,)
    rest = beside.get("index", {}).get("rest", {}) | _rest(known, name, findings)
    return Library(items, [row.get("slug") for row in order], active, found, rest, in_list=False, row_count=len(media))


def _known(settings: list[dict[str, Any]], name: str, findings: Findings) -> dict[str, Any]:
    """Rows of the table of settings by their keys."""
    known: dict[str, Any] = {}
    for row in settings:
        key = row.get("key")
        if isinstance(key, str):
            known[key] = row.get("value")
        else:
            found = kind_of(key) if "key" in row else "absent"
            findings.skip(f"{name}#settings", "IR-0.8", f"the key of a row is {found}, not text; this row is left out")
    return known


def _with_beside(job: dict[str, Any], beside: Mapping[str, Any]) -> dict[str, Any]:
    """A job's row with what an export kept beside it. LOOP may have written the row anew since: the row counts, but for the fractions of its
    whole seconds."""
    joined = {**beside, **job}
    for name in ("created_at", "timestamp"):
        row_us, kept_us = values.instant_us(job.get(name)), values.instant_us(beside.get(name))
        if row_us is not None and kept_us is not None and row_us // 1_000_000 == kept_us // 1_000_000:
            joined[name] = beside[name]
    return joined


def _kept_beside(text: Any, name: str, findings: Findings) -> dict[str, dict[str, dict[str, Any]]]:
    """What an export of pixelog kept for the way back."""
    if text is None:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, dict[str, dict[str, Any]]])
    except (msgspec.MsgspecError, TypeError):
        findings.warn(f"{name}#settings.{KEPT_IN_DATABASE}", "IR-0.8", "this row is not as pixelog wrote it; left aside")
        return {}


# -- items ---------------------------------------------------------------------------------------------------------------------------


def _media(
    slug: str, item: Mapping[str, Any], content: Content | None, findings: Findings, secrets: dict[str, Any]
) -> MediaRecord:
    key = f"media/{slug}"
    reading = _Reading(key, item, findings)
    filename = _public(covered_addresses, _filename(slug, item, key, findings), f"{key}.filename", secrets)
    type, kind = _type(item, filename, content)
    extra = _extra(slug, item, filename, type, content, key, findings, secrets)
    found: Any = item.get("processing_status")
    status = STATUSES.get(found) if isinstance(found, str) else None
    if found is not None and status is None:
        findings.warn(key, "IR-1.6", f"processing_status {quoted(found)} is none of LOOP's; taken as completed")
    status = status or "pending"
    error = None
    if content is None:
        status, error = (
            "failed",
            "This item moved in from LOOP without its file. Upload the file as a new item, or move in again with it.",
        )
        findings.warn(
            key,
            "IR-1.9",
            "neither its file nor its frames are there; it is kept, and shown once it was moved in again with them",
        )
    elif status == "failed":
        error = "LOOP could not process this file."
    size = reading.size("size", 0)
    frame_count = reading.size("frame_count")
    if content is not None and content.frame_count is not None:
        if frame_count is not None and frame_count != content.frame_count:
            findings.warn(key, "IR-1.9", f"frame_count is {frame_count}; {content.frame_count} frames are there, and count")
        frame_count = content.frame_count
    if content is not None and content.size_bytes not in (None, size) and item.get("size") is not None:
        findings.warn(key, "IR-0.6", f"size is {size}; the file has {content.size_bytes} bytes, and counts")
    if kind == "image" and frame_count is not None and frame_count > 1:
        kind = "animation"
    return MediaRecord(
        slug=slug,
        filename=filename,
        kind=kind,
        type=type,
        size=size if content is None or content.size_bytes is None else content.size_bytes,
        status=status,
        error=error,
        uploaded_at_us=reading.instant("uploadedAt"),
        width=reading.size("width"),
        height=reading.size("height"),
        frame_count=frame_count,
        duration_us=reading.duration_us("duration"),
        extra=extra or None,
        content=None if content is None else content.identity,
    )


class _Reading:
    """The fields of one item or job; what cannot be read becomes null, and is told."""

    def __init__(self, key: str, item: Mapping[str, Any], findings: Findings) -> None:
        self._key, self._item, self._findings = key, item, findings

    def size(self, name: str, absent: int | None = None) -> Any:
        """A whole number; `absent` when it is not there."""
        value = self._item.get(name)
        if value is None:
            if absent is not None:
                self._findings.warn(self._key, "IR-0.6", f"{name} is absent; taken as {absent}")
            return absent
        result = values.size(value)
        if result is None:
            self._findings.warn(self._key, "IR-0.6", f"{name} {quoted(value)} is no whole number of 0 or more; taken as {absent}")
            return absent
        return result

    def duration_us(self, name: str) -> int | None:
        """A length in seconds."""
        value = self._item.get(name)
        seconds = values.number(value)
        if seconds is not None and 0 <= seconds <= 10**9:
            return round(seconds * 1_000_000)
        if value is not None:
            self._findings.warn(self._key, "IR-0.6", f"{name} {quoted(value)} is no length in seconds; taken as null")
        return None

    def instant(self, name: str) -> int | None:
        """An instant; null when it is not there or cannot be read."""
        value = self._item.get(name)
        time_us = values.instant_us(value)
        if time_us is None and value is not None:
            self._findings.warn(self._key, "IR-0.5", f"{name} {quoted(value)} is no time; taken as null")
        elif time_us is not None and name == "uploadedAt" and not values.is_iso(value):
            self._findings.warn(self._key, "IR-0.5", f"{name} {quoted(value)} is a number; taken as {values.iso(time_us)}")
        return time_us


def _filename(slug: str, item: Mapping[str, Any], key: str, findings: Findings) -> str:
    for name in ("filename", "original_filename"):
        value = item.get(name)
        if isinstance(value, str) and value:
            if len(value) > FILENAME_CHARACTERS_MAX or shown(value) != value:
                findings.warn(key, "IR-0.10", f"{name} is longer than any path, or no whole Unicode; it was mended")
            return shown(value)[:FILENAME_CHARACTERS_MAX]
        if value not in (None, ""):
            findings.warn(key, "IR-1.6", f"{name} is {kind_of(value)}, not text")
    findings.warn(key, "IR-1.6", "it has no file name; its slug stands for it")
    return slug


def _type(item: Mapping[str, Any], filename: str, content: Content | None) -> tuple[str, Kind]:
    """MIME type and kind: of the bytes when they are there, else as LOOP says."""
    if content is not None:
        return content.type, content.kind
    found = item.get("type")
    if isinstance(found, str) and "/" in found and covered(shown(found)) == found and len(found) <= TYPE_CHARACTERS_MAX:
        return found, _as_kind(found)
    guessed, kind = media_types.guess(filename, b"")
    if isinstance(found, str) and found in _OLD_TYPES:
        fits = _as_kind(guessed) == _OLD_TYPES[found]
        return guessed if fits else _USUAL_TYPES.get(found, guessed), _OLD_TYPES[found]
    return guessed, kind


def _as_kind(type: str) -> Kind:
    return "video" if type.startswith("video/") else "animation" if type == "image/gif" else "image"


def _extra(
    slug: str,
    item: Mapping[str, Any],
    filename: str,
    type: str,
    content: Content | None,
    key: str,
    findings: Findings,
    secrets: dict[str, Any],
) -> dict[str, Any]:
    """What LOOP says beyond our fields: what has no field here, and what a field of ours says otherwise."""
    extra = {
        name: value for name, value in item.items() if name not in _ITEM_FIELDS and (value is not None or name not in _OPTIONAL)
    }
    if extra.pop(ORIGINAL, None) is not None:
        findings.warn(key, "IR-0.7", f"{ORIGINAL} is a name that pixelog uses for itself; left out")
    if extra.get("processing_status") == "completed":  # says the same as its absence
        del extra["processing_status"]
    if extra.get("original_filename") == filename and "filename" not in item:
        del extra["original_filename"]
    if item.get("type") not in (None, type, *_OLD_TYPES):
        extra["type"] = item["type"]
    url = item.get("url")
    if url is not None and not _is_usual(url, slug, filename, content):
        extra["url"] = url
    kept: dict[str, Any] = {}
    if extra:
        kept, found = without_secrets(values.mended(extra, key, findings), f"{key}.")
        merge(secrets, found)
    if content is not None and content.original is not None:
        kept[ORIGINAL] = {"sha256": content.original.sha256, "size": content.original.size_bytes}
    if kept and len(msgspec.json.encode(kept)) > EXTRA_BYTES_MAX:
        findings.warn(key, "IR-0.7", f"what it says beside its fields has more than {EXTRA_BYTES_MAX >> 10} KiB, and is left out")
        kept = {name: kept[name] for name in (ORIGINAL, "processing_status") if name in kept}
    return kept


def _is_usual(url: Any, slug: str, filename: str, content: Content | None) -> bool:
    """Whether an address says nothing but where the upload is."""
    if not isinstance(url, str) or not url.startswith(("/media/raw/", "/media/processed/")):
        return False
    name = raw_name(slug, filename)
    if url in (raw_url(name), f"/media/raw/{name}", raw_url(replaced_name(slug, filename))):
        return True
    upload = None if content is None else content.file or content.original
    tail = url.removeprefix("/media")
    return upload is not None and upload.path.as_posix().endswith((tail, unquote(tail)))


# -- loop, choice, jobs --------------------------------------------------------------------------------------------------------------


def _loop(library: Library, findings: Findings) -> tuple[str, ...]:
    if library.in_list and not library.loop:
        if library.items:
            findings.warn("loop", "IR-1.3", "a list of media without a loop plays all of them, in the order of the list")
        return tuple(library.items)
    loop: dict[str, None] = {}
    for place, slug in enumerate(library.loop or ()):
        if not isinstance(slug, str):
            findings.skip(f"loop[{place}]", "IR-1.4", f"it is {kind_of(slug)}, not a slug")
        elif slug not in library.items:
            findings.skip(f"loop/{slug}", "IR-1.4", "no item has this slug")
        elif slug in loop:
            findings.skip(f"loop/{slug}", "IR-1.4", "it is in the loop already; its first place counts")
        else:
            loop[slug] = None
    return tuple(loop)


def _active(library: Library, loop: tuple[str, ...], findings: Findings) -> ActiveRecord:
    if library.active is None or library.active[0] is None:
        return ActiveRecord(None)
    slug = library.active[0]
    if isinstance(slug, str) and slug in library.items:
        return ActiveRecord(slug)
    first = loop[0] if loop else None
    instead = "nothing is chosen" if first is None else f"the first of the loop is chosen, {first!r}"
    findings.warn("active", "IR-1.5", f"no item has the slug {quoted(slug)}; {instead}")
    return ActiveRecord(first)


_JOB_TEXTS = {"filename": covered_addresses, "stage": covered, "message": covered}
"""Fields of a job that are texts, and how secrets in them are covered."""


def _job(id: str, job: Mapping[str, Any], findings: Findings, secrets: dict[str, Any]) -> Iterator[JobRecord]:
    key = f"jobs/{id}"
    reading = _Reading(key, job, findings)
    found: Any = job.get("status")
    status: Any = _JOB_STATUSES.get(found) if isinstance(found, str) else None
    extra = {name: value for name, value in job.items() if name not in _JOB_FIELDS}
    if status is None and found is not None:
        findings.warn(key, "IR-1.7", f"status {quoted(found)} is none of LOOP's; taken as processing")
        extra["status"] = found
    inner = job.get("job_id")
    if inner not in (None, id):
        findings.warn(key, "IR-1.7", f"its own job_id is {quoted(inner)}; the key counts")
    progress = _progress(job.get("progress"), key, findings)
    if status == "completed" and progress != 100:
        findings.warn(key, "IR-0.6", f"it is completed at {progress:g} %; taken as 100")
        progress = 100.0
    reported_at_us = reading.instant("timestamp")
    created_at_us = reading.instant("created_at")
    if status in (None, "running") and reported_at_us is not None:
        extra["timestamp"] = values.iso(reported_at_us)  # a running job has no field for when it last said something
    for name in _JOB_TEXTS:
        if not isinstance(job.get(name, ""), str | None):
            findings.warn(key, "IR-0.7", f"{name} is {kind_of(job[name])}, not text; kept beside the job")
            extra[name] = job[name]
    kept, hidden = without_secrets(values.mended(extra, key, findings), f"{key}.")
    merge(secrets, hidden)
    if len(msgspec.json.encode(kept)) > EXTRA_BYTES_MAX:
        findings.warn(key, "IR-0.7", f"what it says beside its fields has more than {EXTRA_BYTES_MAX >> 10} KiB, and is left out")
        kept = {"timestamp": extra["timestamp"]} if status in (None, "running") and reported_at_us is not None else {}
    texts = {
        name: _public(cover, _text(job.get(name), name, key, findings), f"{key}.{name}", secrets)
        for name, cover in _JOB_TEXTS.items()
    }
    yield JobRecord(
        id=id,
        title=texts["filename"],
        status=status or "running",
        progress=progress,
        stage=texts["stage"] or None,
        message=texts["message"] or None,
        created_at_us=reported_at_us if created_at_us is None else created_at_us,
        reported_at_us=reported_at_us,
        extra=kept or None,
    )


def _progress(value: Any, key: str, findings: Findings) -> float:
    if value is None:
        return 0.0
    found = values.number(value)
    if found is None:
        findings.warn(key, "IR-0.6", f"progress {quoted(value)} is no number; taken as 0")
        return 0.0
    clamped = min(100.0, max(0.0, found))
    if clamped != found:
        findings.warn(key, "IR-0.6", f"progress {found:g} lies outside of 0 to 100; taken as {clamped:g}")
    return clamped


def _text(value: Any, name: str, key: str, findings: Findings) -> str:
    """A text of bounded length; empty when there is none."""
    if not isinstance(value, str):
        return ""
    if len(value) > FILENAME_CHARACTERS_MAX:
        findings.warn(key, "IR-0.7", f"{name} has {len(value)} characters; it ends after {FILENAME_CHARACTERS_MAX}")
    if shown(value) != value:
        findings.warn(key, "IR-0.10", f"{name} is no whole Unicode; it was mended")
    return shown(value)[:FILENAME_CHARACTERS_MAX]


def _public(cover: Callable[[str], str], text: str, path: str, secrets: dict[str, Any]) -> str:
    """The text with its secrets covered; whole, it is kept among the secrets."""
    public = cover(text)
    if public != text:
        hide(secrets, path, text)
    return public


def raw_name(slug: str, filename: str) -> str:
    """The name that LOOP gives the file of an item under `media/raw`."""
    return f"{slug}_{filename}"


def replaced_name(slug: str, filename: str) -> str:
    """The name that an export gives it where no file can have that one: a hash of the slug."""
    suffix = Path(filename.replace("/", "_").replace("\0", "_")).suffix
    return hashlib.sha256(slug.encode()).hexdigest()[:32] + (suffix if len(suffix.encode()) <= 16 else "")


def raw_url(name: str) -> str:
    """The address under which LOOP serves it, quoted as its last generation does."""
    return f"/media/raw/{quote(name)}"
