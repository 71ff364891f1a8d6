"""Commands about the library: add, ls, show, rm, restore. They work with or without a running service."""

from __future__ import annotations

import difflib
import stat
from argparse import ArgumentParser
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from api import ownership
from api.cli.command import Call, Command, Usage
from api.commands.deciding import Rejected
from api.data import DataDirectory
from api.reading import open_for_reading
from api.service import StateService
from projections import media
from projections.media import Media

PAGE_ITEMS = 500
"""Items read at once when the whole library is listed."""

NEAR_MAX = 10_000
"""Names among which one is looked for that comes close: a hint is not worth more than a moment."""


@contextmanager
def writing(call: Call) -> Generator[StateService]:
    """The data directory, opened for commands. What root makes in the directory of a service belongs to that service afterwards."""
    try:
        with StateService(call.data, actor="cli") as service:
            yield service
    finally:
        ownership.hand_over(DataDirectory(call.data).root)


def meant(given: str, known: Iterable[str]) -> str:
    """What may have been meant by a name that is not known, as a question; empty when nothing comes close."""
    near = [repr(one) for one in difflib.get_close_matches(given.lower(), islice(known, NEAR_MAX), 3)]
    return f"is it {' or '.join(near)}? " if near else ""


@contextmanager
def naming(service: StateService, *slugs: str) -> Generator[None]:
    """Add to a refusal, when an item of such a name is not there, which may have been meant and what lists them."""
    try:
        yield
    except Rejected as error:
        with service.store.snapshot() as db:
            strange = next((slug for slug in slugs if media.get(db, slug) is None), None)
            if strange is None:
                raise
            raise Usage(f"{error}; {_hint(db, strange)}") from error


def _hint(db: Any, slug: str) -> str:
    known = (name for (name,) in db.execute("SELECT slug FROM media LIMIT ?", (NEAR_MAX,)))
    return f"{meant(slug, known)}pixelog ls lists them"


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path)
    parser.add_argument("--loop", action="store_true", help="put them at the end of the loop, too")
    parser.add_argument("--activate", action="store_true", help="show it now (of several files the last)")


def _add(call: Call) -> int:
    for file in call.options.files:
        _check_file(file)
    items: list[Media] = []
    with writing(call) as service:
        for place, file in enumerate(call.options.files, 1):
            is_last = place == len(call.options.files)
            item = service.add_media(file, add_to_loop=call.options.loop, make_active=call.options.activate and is_last)
            items.append(item)
            call.out.line(f"{item.slug}  {item.status}")
    if call.out.json:
        call.out.document({"items": items})
    return 0


def _check_file(file: Path) -> None:
    """Refuse before the first one is added, so that nothing is done by halves."""
    if file.is_dir():
        raise Usage(f"{file} is a folder; name the files in it, such as {file}/*")
    try:
        # Not opened to see: whoever writes into a pipe would be cut off, and a device may have no end.
        is_file = stat.S_ISREG(file.stat().st_mode)
        if is_file:
            with open(file, "rb"):
                pass
    except (OSError, ValueError) as error:
        raise Usage(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}; nothing was added") from error
    if not is_file:
        raise Usage(f"{file} is a device or a pipe, not a file; nothing was added")


def _ls_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="WORD", help="only items whose slug, name or tags contain every word")
    parser.add_argument("--status", choices=("pending", "processing", "ready", "failed"))
    parser.add_argument("--kind", choices=("image", "animation", "video"))
    parser.add_argument("--tag")


def _ls(call: Call) -> int:
    with open_for_reading(DataDirectory(call.data)) as store, store.snapshot() as db:
        items = list(_all(db, call))
    if call.out.json:
        call.out.document({"items": items, "next": None, "total": len(items)})
        return 0
    if not items:
        call.out.line("nothing there; pixelog add FILE takes something in")
        return 0
    call.out.table(
        ("SLUG", "KIND", "STATUS", "SIZE", "PIXELS", "LENGTH", "ADDED"),
        (
            (item.slug, item.kind, item.status, size(item.size), _pixels(item), _length(item), item.uploaded_at[:19])
            for item in items
        ),
    )
    return 0


def _all(db: Any, call: Call) -> Iterator[Media]:
    options = call.options
    cursor = None
    while True:
        items, cursor, _ = media.listing(
            db,
            limit=PAGE_ITEMS,
            cursor=cursor,
            q=" ".join(options.words) or None,
            status=options.status,
            kind=options.kind,
            tag=options.tag,
        )
        yield from items
        if cursor is None:
            return


def slug_argument(parser: ArgumentParser) -> None:
    """One slug."""
    parser.add_argument("slug", metavar="SLUG")


def _show(call: Call) -> int:
    with open_for_reading(DataDirectory(call.data)) as store, store.reading() as db:
        item = media.get(db, call.options.slug)
        if item is None:
            raise Usage(f"there is no item {call.options.slug!r}; {_hint(db, call.options.slug)}")
    if call.out.json:
        call.out.document(item)
        return 0
    call.out.strong(item.slug)
    call.out.fields(
        (
            ("file", item.filename),
            ("kind", f"{item.kind}, {item.type}, {size(item.size)}"),
            ("status", item.status),
            ("error", item.error),
            ("pixels", _pixels(item)),
            ("length", _length(item)),
            ("frames", item.frame_count),
            ("tags", ", ".join(item.tags)),
            ("added", item.uploaded_at),
            ("sha256", item.sha256),
        )
    )
    return 0


def _rm(call: Call) -> int:
    with writing(call) as service, naming(service, call.options.slug):
        service.remove_media(call.options.slug)
    if call.out.json:
        call.out.document({"slug": call.options.slug, "removed": True})
    call.out.line(f"{call.options.slug} is gone; pixelog restore {call.options.slug} brings it back")
    return 0


def _restore(call: Call) -> int:
    with writing(call) as service:
        try:
            item = service.restore_media(call.options.slug)
        except Rejected as error:
            if error.code != "not_found":
                raise
            raise Usage(f"{error}; pixelog log --type media.removed lists what was taken out") from error
    if call.out.json:
        call.out.document(item)
    call.out.line(f"{item.slug} is back")
    return 0


def size(size_bytes: int) -> str:
    """A size for people."""
    amount, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _pixels(item: Media) -> str | None:
    return None if item.width is None else f"{item.width}x{item.height}"


def _length(item: Media) -> str | None:
    return None if item.duration is None else f"{item.duration:g} s"


ADD = Command(_add, _add_arguments)
LS = Command(_ls, _ls_arguments)
SHOW = Command(_show, slug_argument)
RM = Command(_rm, slug_argument)
RESTORE = Command(_restore, slug_argument)
