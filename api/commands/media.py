"""Commands of area media: take a file in, note what preparing it gave, change, remove, restore."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import apsw
import msgspec

from api.commands import loop as loop_commands
from api.commands.deciding import Context, Fault, Handler, Rejected, check_version
from projections import active, jobs, loop, media, plan, planning
from projections.active import ActiveCleared, ActiveSet
from projections.jobs import JobCompleted, JobFailed, JobQueued
from projections.loop import LoopItemAdded, LoopItemRemoved
from projections.media import (
    Kind,
    MediaAdded,
    MediaFailed,
    MediaProcessed,
    MediaRemoved,
    MediaRestored,
    MediaUpdated,
    Pack,
)
from projections.plan import Turn

PREPARE = "prepare"
"""Kind of the job that makes a frame pack of an item."""

PREPARE_ATTEMPTS_MAX = 3
"""A worker that dies on a file takes it up twice more; then the file is to blame."""

PACKS_MAX = 8
"""Packs named by one item: the newest geometries; what was made before can be made again."""

SLUG_CHARACTERS_MAX = 200
FILENAME_CHARACTERS_MAX = 255
TAGS_MAX = 50
TAG_CHARACTERS_MAX = 100


class AddMedia(msgspec.Struct, frozen=True):
    """Take a stored blob into the library. `slug` None: made from the file name. The flags apply to content held already, too."""

    filename: str
    sha256: str
    size: int
    type: str
    kind: Kind
    slug: str | None = None
    add_to_loop: bool = False
    make_active: bool = False


class FinishPreparing(msgspec.Struct, frozen=True):
    """Note the frame pack that a job made of an item, and finish the job."""

    job_id: str | None
    slug: str
    sha256: str
    kind: Kind
    type: str
    width: int
    height: int
    frame_count: int
    delays: tuple[tuple[int, int], ...]
    pack: Pack
    thumbnail: str | None
    made_by: str


class FailPreparing(msgspec.Struct, frozen=True):
    """Note that an item cannot be played, and why, and fail the job."""

    job_id: str | None
    slug: str
    sha256: str
    code: str
    error: str


class UpdateMedia(msgspec.Struct, frozen=True):
    """Change what is said about an item; None stays. `duration` in seconds; `clear_duration` goes back to the file's own."""

    slug: str
    filename: str | None = None
    tags: tuple[str, ...] | None = None
    duration: float | None = None
    clear_duration: bool = False
    expected_version: int | None = None


class RemoveMedia(msgspec.Struct, frozen=True):
    """Take an item out of the library, the loop and the choice."""

    slug: str
    expected_version: int | None = None


class RestoreMedia(msgspec.Struct, frozen=True):
    """Bring a removed item back. `blob_held`: whether its file is still there."""

    slug: str
    blob_held: bool


Command = AddMedia | FinishPreparing | FailPreparing | UpdateMedia | RemoveMedia | RestoreMedia


class State(msgspec.Struct, frozen=True):
    """What deciding about one item needs. `slug` is the item meant: for AddMedia the one that holds the content, if any."""

    slug: str | None
    item: media.Media | None
    files: media.Files | None
    taken: frozenset[str]
    entries: tuple[loop.Entry, ...]
    active: str | None
    job_open: bool
    plan: plan.State


def slug_base(filename: str) -> str:
    """The slug that a file name suggests: its stem, lower case, without control characters; `media` when nothing is left."""
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    stem = name.rsplit(".", 1)[0] if "." in name.strip(".") else name
    clean = "".join(" " if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") else one for one in stem)
    return "-".join(clean.lower().split())[:SLUG_CHARACTERS_MAX].strip("-.") or "media"


def load(db: apsw.Connection, command: Command, now_us: int) -> State:
    """The item, its place in loop and choice, and the plan."""
    state = planning.playing(db)
    taken = frozenset[str]()
    if isinstance(command, AddMedia):
        slug = media.slug_of_content(db, command.sha256)
        base = command.slug or slug_base(command.filename)
        # As far as they follow each other: base, base-2, base-3 … up to the first that is free.
        rows = db.execute(
            """WITH RECURSIVE taken (slug, next) AS (
                SELECT slug, 2 FROM media_items WHERE slug = ?1 AND removed_at IS NULL
                UNION ALL SELECT item.slug, next + 1 FROM taken
                JOIN media_items AS item ON item.slug = ?1 || '-' || next AND item.removed_at IS NULL)
            SELECT slug FROM taken""",
            (base,),
        )
        taken = frozenset(str(row[0]) for row in rows)
    else:
        slug = command.slug
    item = media.get(db, slug) if slug is not None else None
    files = media.files(db, slug) if slug is not None else None
    if slug is not None:
        state = msgspec.structs.replace(state, items={**planning.items(db, {slug}), **state.items})
    job_id = command.job_id if isinstance(command, FinishPreparing | FailPreparing) else None
    job_open = job_id is not None and jobs.is_open(db, job_id)
    return State(slug, item, files, taken, loop.entries(db), active.get(db)[0].slug, job_open, state)


def decide(command: Command, state: State, context: Context) -> Sequence[msgspec.Struct]:
    """The events of the item, and of loop, choice and jobs where it touches them."""
    match command:
        case AddMedia():
            return _add(command, state, context)
        case FinishPreparing():
            return _finish(command, state, context)
        case FailPreparing():
            return _fail(command, state, context)
        case UpdateMedia():
            return _update(command, state, context)
        case RemoveMedia():
            return _remove(command, state, context)
        case RestoreMedia():
            return _restore(command, state, context)


def _present(state: State, slug: str) -> media.Media:
    if state.item is None:
        raise Rejected("not_found", f"there is no item {slug!r}")
    return state.item


def _add(command: AddMedia, state: State, context: Context) -> Sequence[msgspec.Struct]:
    _check_texts(command.filename, None, command.slug)
    events: list[msgspec.Struct] = []
    slug = state.slug
    before = after = state.plan
    if slug is None:
        if command.slug is not None and command.slug in state.taken:
            raise Rejected("conflict", f"the slug {command.slug!r} is taken; leave it out or choose another")
        slug = command.slug or free_slug(slug_base(command.filename), state.taken)
        after = msgspec.structs.replace(after, items={**after.items, slug: plan.Item(slug, command.sha256, False, ((1, 0),))})
        events.append(MediaAdded(slug, command.filename, command.kind, command.type, command.size, command.sha256))
        events.append(_prepare_job(context.id, slug, command.filename, command.sha256))
    begins = command.make_active and not (state.active == slug and _is_on(before, slug, context.now_us))
    if command.add_to_loop and all(entry.slug != slug for entry in state.entries):
        place = len(state.entries)
        if place >= loop.ENTRIES_MAX:
            raise Rejected("too_many", f"a loop has at most {loop.ENTRIES_MAX} entries")
        entry = loop.Entry(slug, loop_commands.rank_at_end(state.entries))
        after = msgspec.structs.replace(after, entries=loop.plan_entries((*state.entries, entry)))
        turn = None if begins else plan.carried(before, after, context.now_us)
        events.append(LoopItemAdded(slug, place, entry, turn))
    if begins:
        after = msgspec.structs.replace(after, active=slug)
        events.append(ActiveSet(slug, plan.started(after, slug, context.now_us)))
    return events


def _is_on(state: plan.State, slug: str, now_us: int) -> bool:
    """Whether it is this item's turn, or would be if it were ready."""
    turn = plan.turn_at(state, now_us)
    return slug in (turn.slug, turn.waiting)


def _prepare_job(id: str, slug: str, filename: str, sha256: str) -> JobQueued:
    return JobQueued(
        id=id,
        kind=PREPARE,
        title=filename,
        input={"slug": slug, "sha256": sha256},
        max_attempts=PREPARE_ATTEMPTS_MAX,
    )


def free_slug(base: str, taken: frozenset[str]) -> str:
    """`base`, or the first of base-2, base-3 … that is not taken."""
    if base not in taken:
        return base
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


def _finish(command: FinishPreparing, state: State, context: Context) -> Sequence[msgspec.Struct]:
    done = [JobCompleted(command.job_id)] if command.job_id is not None and state.job_open else []
    if state.item is None or state.files is None or state.files.sha256 != command.sha256:
        return done  # removed or replaced meanwhile: the pack is of no use any more
    geometry = _geometry(command.pack)
    others = tuple(pack for pack in state.files.packs if _geometry(pack) != geometry)
    packs = (*others, command.pack)[-PACKS_MAX:]
    turn = None
    before = state.plan
    old = before.items.get(command.slug)
    if old is None or not old.ready or old.delays != command.delays:
        item = plan.Item(command.slug, command.sha256, True, command.delays, old.duration_us if old else None)
        after = msgspec.structs.replace(before, items={**before.items, command.slug: item})
        turn = plan.became_ready(before, after, command.slug, context.now_us)
    processed = MediaProcessed(
        command.slug, command.sha256, command.kind, command.type, command.width, command.height, command.frame_count,
        command.delays, packs, command.thumbnail, command.made_by, turn,
    )  # fmt: skip
    return [processed, *done]


def _geometry(pack: Pack) -> tuple[int, int, int, str]:
    return pack.width, pack.height, pack.rotation, pack.fit


def _fail(command: FailPreparing, state: State, context: Context) -> Sequence[msgspec.Struct]:
    done = [JobFailed(command.job_id, command.error)] if command.job_id is not None and state.job_open else []
    if state.item is None or state.files is None or state.files.sha256 != command.sha256 or state.item.status == "failed":
        return done
    before = state.plan
    old = before.items.get(command.slug)
    item = plan.Item(command.slug, command.sha256, False, ((1, 0),), old.duration_us if old else None)
    after = msgspec.structs.replace(before, items={**before.items, command.slug: item})
    return [MediaFailed(command.slug, command.code, command.error, plan.carried(before, after, context.now_us)), *done]


def _update(command: UpdateMedia, state: State, context: Context) -> Sequence[msgspec.Struct]:
    item = _present(state, command.slug)
    check_version(command.expected_version, item.version, f"{command.slug!r}")
    _check_texts(command.filename, command.tags, None)
    tags = None if command.tags is None else tuple(dict.fromkeys(command.tags))
    faults = loop_commands.check_duration(command.duration, "/duration")
    if faults:
        raise Rejected("invalid", faults[0].message, faults)
    duration_us = None if command.duration is None else round(command.duration * 1_000_000)
    own = state.plan.items[command.slug].duration_us if command.slug in state.plan.items else None
    new_filename = None if command.filename == item.filename else command.filename
    new_tags = None if tags == item.tags else tags
    new_duration_us = None if duration_us == own else duration_us
    clear = command.clear_duration and duration_us is None and own is not None
    if (new_filename, new_tags, new_duration_us, clear) == (None, None, None, False):
        return []
    turn = None
    if new_duration_us is not None or clear:
        before = state.plan
        changed = msgspec.structs.replace(before.items[command.slug], duration_us=new_duration_us)
        after = msgspec.structs.replace(before, items={**before.items, command.slug: changed})
        turn = plan.carried(before, after, context.now_us)
    return [MediaUpdated(command.slug, new_filename, new_tags, new_duration_us, clear, turn)]


def _remove(command: RemoveMedia, state: State, context: Context) -> Sequence[msgspec.Struct]:
    item = _present(state, command.slug)
    check_version(command.expected_version, item.version, f"{command.slug!r}")
    before, slug = state.plan, command.slug
    entries = tuple(entry for entry in state.entries if entry.slug != slug)
    was_active = state.active == slug
    after = msgspec.structs.replace(
        before,
        entries=loop.plan_entries(entries),
        items={name: one for name, one in before.items.items() if name != slug},
        active=None if was_active else before.active,
    )
    turn = plan.carried(before, after, context.now_us)
    if was_active and plan.turn_at(before, context.now_us).slug == slug:
        # Without a choice the loop plays from its first entry; a removal that nobody sees on the panel does not disturb it.
        turn = Turn(None, context.now_us)
    events: list[msgspec.Struct] = []
    if was_active:
        events.append(ActiveCleared(slug, turn))
        turn = None
    if len(entries) < len(state.entries):
        events.append(LoopItemRemoved(slug, turn))
        turn = None
    return [MediaRemoved(slug, item.filename, item.sha256, turn), *reversed(events)]


def _restore(command: RestoreMedia, state: State, context: Context) -> Sequence[msgspec.Struct]:
    if state.files is None:
        raise Rejected("not_found", f"there never was an item {command.slug!r}, or another took its place")
    if not state.files.removed:
        raise Rejected("conflict", f"{command.slug!r} is in the library; there is nothing to restore")
    if not command.blob_held and state.files.sha256 is not None:
        raise Rejected("gone", f"the file of {command.slug!r} is no longer held; upload it again")
    return [MediaRestored(command.slug)]


def _check_texts(filename: str | None, tags: Sequence[str] | None, slug: str | None) -> None:
    faults: list[Fault] = []
    if filename is not None and not 0 < len(filename) <= FILENAME_CHARACTERS_MAX:
        faults.append(Fault("/filename", f"a file name has 1 to {FILENAME_CHARACTERS_MAX} characters"))
    if slug is not None and (not 0 < len(slug) <= SLUG_CHARACTERS_MAX or slug in (".", "..") or slug != slug.strip()):
        faults.append(Fault("/slug", f"a slug has 1 to {SLUG_CHARACTERS_MAX} characters, without blanks at its ends"))
    if tags is not None and (len(tags) > TAGS_MAX or any(not 0 < len(tag) <= TAG_CHARACTERS_MAX for tag in tags)):
        faults.append(Fault("/tags", f"at most {TAGS_MAX} tags of 1 to {TAG_CHARACTERS_MAX} characters"))
    for pointer, text in (("/filename", filename), ("/slug", slug), *(("/tags", tag) for tag in tags or ())):
        if text is not None and any(unicodedata.category(one) in ("Cc", "Cs") for one in text):
            faults.append(Fault(pointer, "control characters are not allowed here"))
    if faults:
        raise Rejected("invalid", "; ".join(fault.message for fault in faults), faults)


HANDLERS = {
    command: Handler(load, decide)
    for command in (AddMedia, FinishPreparing, FailPreparing, UpdateMedia, RemoveMedia, RestoreMedia)
}
