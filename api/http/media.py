"""Routes of the library: upload, list, one item, its file and its thumbnail."""

from __future__ import annotations

from typing import Annotated, Any, cast

import apsw
import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp

from api import cursors, media_types
from api.commands.deciding import Fault
from api.commands.media import AddMedia, RemoveMedia, RestoreMedia, UpdateMedia
from api.execution import Stored
from api.http import multipart
from api.http.changes import answering, carry_out, key_of, nothing
from api.http.conditional import Versioned, area_tag
from api.http.door import Snapshot
from api.http.files import send_file
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import Items, tagged
from api.http.routing import Route
from eventstore.record import RecordedEvent
from projections import media
from projections.media import Files, Sort

SORTS = ("uploadedAt", "-uploadedAt", "filename", "-filename", "size", "-size")
STATUSES = ("pending", "processing", "ready", "failed")
KINDS = ("image", "animation", "video")

SEARCH_CHARACTERS_MAX = 200
"""Characters of a search: each word of it is a look into the index."""

FIELDS = frozenset(("slug", "addToLoop", "makeActive"))
"""Parts of an upload beside the file."""

_FLAGS = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False, "": False}
"""How forms write yes and no."""

Seconds = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of PATCH; what is left out stays. `duration` null: the file's own."""

    filename: str | msgspec.UnsetType = msgspec.UNSET
    tags: list[str] | msgspec.UnsetType = msgspec.UNSET
    duration: Seconds | msgspec.UnsetType | None = msgspec.UNSET


class _Url(msgspec.Struct, frozen=True):
    slug: str


_slug_of = msgspec.json.Decoder(_Url).decode


def resource(call: Call, slug: str) -> Versioned:
    """An item as `If-Match` speaks of it."""

    def version(db: apsw.Connection) -> int:
        item = media.get(db, slug)
        return 0 if item is None else item.version

    return Versioned(call.door.service.store.log_id, f"media/{slug}", version)


async def post_media(call: Call) -> Response:
    """Take a file in; 200 with the item that has this content already, if there is one."""
    key_of(call)
    form = await multipart.receive(call, "file", FIELDS)
    slug = form.fields.get("slug") or None
    add_to_loop, make_active = _flag(form, "addToLoop"), _flag(form, "makeActive")
    type, kind = media_types.guess(form.filename, form.head)
    command = AddMedia(form.filename, form.blob.sha256, form.blob.size_bytes, type, kind, slug, add_to_loop, make_active)

    def added(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Stored:
        item = media.get(db, media.slug_of_content(db, form.blob.sha256) or "")
        fresh = any(event.type == "media.added" for event in events)
        return Stored(201 if fresh else 200, msgspec.json.encode(item))

    return await carry_out(call, command, added, locate=lambda made: media.media_path(_slug_of(made).slug))


def _flag(form: multipart.Form, name: str) -> bool:
    text = form.fields.get(name, "").strip().lower()
    if text not in _FLAGS:
        message = "must be true or false"
        raise Problem("invalid", f"{name} {message}", [Fault(f"/{name}", message)])
    return _FLAGS[text]


async def list_media(call: Call) -> Response:
    """Items of the library; a search goes to a thread, because it may look at all of them."""
    cursor = call.cursor(tuple[str | int, int])
    sort = call.query_choice("sort", SORTS) or "-uploadedAt"
    by_text = sort.endswith("filename")
    if cursor is not None and isinstance(cursor[0], str) is not by_text:
        raise Problem("invalid", "the cursor belongs to another order", [Fault("?cursor", "belongs to another order")])
    q = call.query("q")
    if q is not None and len(q) > SEARCH_CHARACTERS_MAX:
        message = f"has at most {SEARCH_CHARACTERS_MAX} characters"
        raise Problem("invalid", f"q {message}", [Fault("?q", message)])
    arguments: dict[str, Any] = {
        "limit": call.limit(),
        "cursor": cursor,
        "q": q,
        "status": call.query_choice("status", STATUSES),
        "kind": call.query_choice("kind", KINDS),
        "tag": call.query("tag"),
        "sort": cast(Sort, sort),
    }

    def answer(snapshot: Snapshot) -> Response:
        def page() -> Items:
            items, following, total = media.listing(snapshot.db, **arguments)
            return Items(items, None if following is None else cursors.encode(following), total)

        return tagged(call, snapshot, area_tag(snapshot, call.target, "media"), page)

    if any(arguments[name] is not None for name in ("q", "status", "kind", "tag")):
        return await call.door.read(answer)
    with call.door.snapshot() as snapshot:
        return answer(snapshot)


async def get_item(call: Call) -> Response:
    """One item."""
    slug = call.parameters["slug"]
    with call.door.snapshot() as snapshot:
        item = media.get(snapshot.db, slug)
        if item is None:
            raise _no_item(slug)
        return tagged(call, snapshot, resource(call, slug).tag(item.version), lambda: item)


def _no_item(slug: str) -> Problem:
    return Problem("not_found", f"there is no item {slug!r}")


async def patch_item(call: Call) -> Response:
    """Change what is said about an item."""
    slug = call.parameters["slug"]
    body = await call.decode(Change)
    command = UpdateMedia(
        slug,
        body.filename if isinstance(body.filename, str) else None,
        tuple(body.tags) if isinstance(body.tags, list) else None,
        body.duration if isinstance(body.duration, float) else None,
        clear_duration=body.duration is None,
    )
    return await carry_out(call, command, answering(lambda db: media.get(db, slug)), resource=resource(call, slug))


async def delete_item(call: Call) -> Response:
    """Take an item out of the library, the loop and the choice."""
    slug = call.parameters["slug"]
    return await carry_out(call, RemoveMedia(slug), nothing, resource=resource(call, slug))


async def restore_item(call: Call) -> Response:
    """Bring a removed item back."""
    await call.decode_nothing()
    slug = call.parameters["slug"]
    with call.door.snapshot() as snapshot:
        files = media.files(snapshot.db, slug)
    held = files is not None and files.sha256 is not None and call.door.service.keep_blob(files.sha256)
    # Whether the file is held is not part of the request: a repeat after it was swept is still the same one.
    answer = answering(lambda db: media.get(db, slug))
    return await carry_out(call, RestoreMedia(slug, held), answer, request=["restore", slug])


def _files(call: Call) -> Files:
    with call.door.snapshot() as snapshot:
        files = media.files(snapshot.db, call.parameters["slug"])
    if files is None or files.removed:
        raise _no_item(call.parameters["slug"])
    return files


async def get_content(call: Call) -> ASGIApp:
    """The file as it was uploaded."""
    files = _files(call)
    if files.sha256 is None:
        raise Problem("not_found", "this item was adopted without its file")
    path = call.door.service.blobs.path(files.sha256)
    return await send_file(call, path, files.type, files.filename, f'"{files.sha256}"')


async def get_thumbnail(call: Call) -> ASGIApp:
    """A small still picture of the item."""
    files = _files(call)
    if files.thumbnail is None:
        raise Problem("not_found", "there is no thumbnail: the item is not ready, or cannot be decoded")
    path = call.door.service.data.thumbnail(files.thumbnail)
    return await send_file(call, path, "image/png", f"{files.filename}.png", f'"{files.thumbnail}"')


ROUTES = (
    Route("POST", "/media", post_media),
    Route("GET", "/media", list_media),
    Route("GET", "/media/{slug}", get_item),
    Route("PATCH", "/media/{slug}", patch_item),
    Route("DELETE", "/media/{slug}", delete_item),
    Route("POST", "/media/{slug}/restore", restore_item),
    Route("GET", "/media/{slug}/content", get_content),
    Route("GET", "/media/{slug}/thumbnail", get_thumbnail),
)
