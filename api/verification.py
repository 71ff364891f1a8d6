"""The whole of `pixelog verify`: the log, the projections against a fresh replay, the media files.

Recovers like a start does, and finds; mends nothing beyond that. What an interruption may leave (a blob that no event names, files under way, a lost
unsynced tail) is no problem, nor is a missing frame pack, which is derived, nor an adopted item that never had a file.

Memory is bounded whatever the length of the log: it is read in pages, the fold of it outgrows memory into a temporary file, and tables are compared
in key order.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import apsw
import msgspec

from api.data import DataDirectory
from api.reading import open_for_reading
from eventstore import connection, wal
from eventstore import verify as log_check
from eventstore.errors import StoreError, Unusable
from eventstore.reading import read_head
from eventstore.store import EventStore
from eventstore.verify import RESTORE
from projections import attesting, catalogue, comparing, folding, rebuilding
from projections.area import Area
from projections.catalogue import AREAS, UnknownEvent
from projections.folding import CannotFold
from projections.replay import digests
from projections.rows import FoldError, MemoryRows
from projections.scratch import ScratchRows

Code = Literal[log_check.Code, "wal", "fold", "projection", "attested", "blob_missing", "blob_damaged"]
"""Those of the log, and: wal: a flipped bit hides commits that were in the write-ahead log alone. fold: an event cannot be folded. projection: a row
differs from what the log says; its position is the first after which the row could not have been. attested: the log itself says that rows were
wrong. blob_missing, blob_damaged: the file of a present item is not there, or not what it was."""

PROBLEMS_MAX = 1_000
"""Problems that are listed: who has this many restores a backup, whatever the next thousand are."""

FILES_PER_PAGE = 1_000
"""Items whose files are looked for at once."""

BAD_LOG = (UnknownEvent, FoldError, msgspec.MsgspecError, LookupError, ValueError, apsw.Error)
"""What folding a damaged log may meet."""

UNREADABLE = (apsw.Error, UnicodeDecodeError)
"""What reading damaged tables may meet."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that is not as it should be: which kind, a sentence, what would mend it, and the position it is about, if one. Where it is about a
    projection: the area, and as far as it is about one row the table and the key."""

    code: Code
    message: str
    mend: str
    position: int | None = None
    area: str | None = None
    table: str | None = None
    key: tuple[Any, ...] | None = None


class Report(msgspec.Struct, frozen=True):
    """The outcome. `events` counts them, `head` is the last position, `digest` one SHA-256 over the projections."""

    ok: bool
    events: int
    head: int
    digest: str
    problems: tuple[Problem, ...]


def verify(data: DataDirectory, progress: Callable[[str], None] = lambda stage: None) -> Report:
    """Check everything of a data directory, also while others write to it. One that is empty or half created counts as a fresh one.

    `progress(stage)` is told what begins: log, projections, files. Raises Unusable when there is nothing that could be checked, OSError when there
    is no room for what a large log takes.
    """
    try:
        data.check()
        flip = wal.flipped(data.database)
        store = _opened(data, look_only=flip is not None)
    except (Unusable, *UNREADABLE) as error:
        if isinstance(error, Unusable) and error.code != "damaged":
            raise
        return Report(False, 0, 0, "", (Problem("sqlite", f"the database cannot be read: {error}", RESTORE),))
    with store:
        hidden = [] if flip is None else [_hidden(flip, store.head().position)]
        return _verify(store, data.blobs, progress, hidden)


def _hidden(byte: int, head: int) -> Problem:
    what = f"a bit of the write-ahead log has flipped, in what begins at byte {byte}: what was written after position {head} is not seen"
    return Problem("wal", what, RESTORE, head + 1)


def _opened(data: DataDirectory, look_only: bool) -> EventStore:
    # Opening for writing would bring home what is seen of a damaged write-ahead log, and overwrite the rest.
    if connection.inspect(data.database) is not None and not look_only:
        try:
            return data.open_store()
        except Unusable as error:
            # What a start refuses to write on is just what is to be looked at.
            if error.code not in ("not_writable", "damaged"):
                raise
        except UNREADABLE:
            pass  # and so is what it cannot read
    return open_for_reading(data, prepare=False)


def _verify(store: EventStore, blobs: Path, progress: Callable[[str], None], problems: list[Problem]) -> Report:

    def take(found: Iterator[Problem]) -> None:
        for problem in found:
            if len(problems) < PROBLEMS_MAX:
                problems.append(problem)

    progress("log")
    with store.reading(patient=True) as db:
        take(Problem(one.code, one.message, one.mend, one.position) for one in log_check.check(db, store.log_id))
        lost = list(_lost_end(db))
        take(iter(lost))
    mends = _Mends(log_is_whole=not problems)
    with store.reading(patient=True) as db:
        take(_strange_triggers(db))
    progress("projections")
    if not lost:  # what says that the end is lost is not made anew from what is left
        take(_recover(store, mends))
    events, head, digest = 0, 0, ""
    try:
        with ScratchRows(folding.all_tables()) as fresh:
            fold = _Fold(fresh, mends)
            with store.reading(patient=True) as db:
                take(fold.up_to_now(db))
            with store.snapshot(patient=True) as db:
                head = read_head(db).position
                events = db.execute("SELECT count(*) FROM events").get
                if not any(problem.code == "fold" for problem in problems):
                    fold.on(db, head)
                    take(_check_projections(db, head, fold, mends))
                digest = _digest(db)
    except UNREADABLE as error:
        take(iter([Problem("projection", f"the projections cannot be read: {error}", mends.rebuild("").rstrip())]))
    progress("files")
    take(_check_files(store, blobs))
    return Report(not problems, events, head, digest, tuple(problems))


_MADE = re.compile(r"CREATE\s+(?:VIRTUAL\s+)?(TABLE|TRIGGER)\s+(\w+)")
_OF_A_REBUILD = re.compile(r"__(?:new|old)\d+$")


def _strange_triggers(db: apsw.Connection) -> Iterator[Problem]:
    """Triggers on the tables of the projections that no area makes."""
    statements = [statement for table in folding.all_tables() for statement in table.derived]
    made = [(match[1], match[2]) for statement in statements if (match := _MADE.match(statement))]
    tables = {"projections", *(table.name for table in folding.all_tables()), *(name for kind, name in made if kind == "TABLE")}
    triggers = {name for kind, name in made if kind == "TRIGGER"}
    try:
        for one in log_check.strange_triggers(db, tables, triggers, lambda name: _OF_A_REBUILD.sub("", name)):
            yield Problem(one.code, one.message, one.mend)
    except UNREADABLE:
        pass  # said before


def _lost_end(db: apsw.Connection) -> Iterator[Problem]:
    """Projections that are ahead of the log: the only sign of a last event that was taken out together with all that the log says of it."""
    try:
        beyond = rebuilding.ahead(db)
        if beyond:
            head, furthest = read_head(db).position, max(beyond.values())
            what = (
                f"the log ends at {head}, but projections were folded to {furthest}: the events after {head} are missing from it"
            )
            yield Problem("head", what, RESTORE, head + 1)
    except (*UNREADABLE, Unusable):
        pass  # no such table yet, or said before


def _digest(db: apsw.Connection) -> str:
    """One over all areas; empty when one cannot be read, which was said before."""
    try:
        return digests.overall(digests.of_areas(db))
    except UNREADABLE:
        return ""


class _Mends(NamedTuple):
    """What mends what is wrong with a projection. Of a log that is damaged itself nothing is made anew: the rows may be right, and the log wrong."""

    log_is_whole: bool

    def rebuild(self, area: str, first: str = "make it anew from the log") -> str:
        return f"{first}: pixelog rebuild {area}" if self.log_is_whole else RESTORE

    def update(self, area: str = "") -> str:
        return f"update pixelog, then: pixelog rebuild {area}".rstrip() if self.log_is_whole else RESTORE


def _recover(store: EventStore, mends: _Mends) -> Iterator[Problem]:
    """What every start does: fold what is missing, rebuild what an update made stale."""
    if store.writer is None:
        return
    try:
        folding.prepare(store)
    except (*BAD_LOG, StoreError) as error:
        yield _unfoldable(error, mends)


def _unfoldable(error: Exception, mends: _Mends) -> Problem:
    if isinstance(error, CannotFold):
        return Problem("fold", f"the log cannot be folded: {error}", mends.update(error.area), error.position, error.area)
    return Problem("fold", f"the log cannot be folded: {error}", mends.update())


class _Fold:
    """The log folded anew. `changed` has the position of each area's last event."""

    def __init__(self, rows: MemoryRows, mends: _Mends) -> None:
        self.rows, self.changed = rows, dict[str, int]()
        self._mends = mends
        self._after = 0

    def on(self, db: apsw.Connection, until: int) -> None:
        """Fold on to a position."""
        for _ in folding.fold_onwards(db, self.rows, self._after, until, last=self.changed):
            pass
        self._after = until

    def up_to_now(self, db: apsw.Connection) -> Iterator[Problem]:
        """Fold to the end, and compare what was attested last on the way. Not in a snapshot, which would hold back the write-ahead log for as long as
        this takes."""
        try:
            for last in attesting.newest(db):
                self.on(db, last.said.at)
                wrong = [catalogue.BY_NAME[name] for name in attesting.wrong_areas(last.said, self.rows)]
                for drift in attesting.drifts(db, wrong) if wrong else ():
                    yield _drifted(drift, self._mends)
            self.on(db, read_head(db).position)
        except BAD_LOG as error:
            yield _unfoldable(error, self._mends)


def _drifted(drift: attesting.Drift, mends: _Mends) -> Problem:
    since = f"; at position {drift.right_at} they were right" if drift.right_at else ""
    return Problem(
        "attested",
        f"area {drift.area}: after position {drift.at} its rows were not what the log says, as event {drift.position} attests{since}",
        mends.rebuild(drift.area, "make it anew from the log, which attests anew"),
        drift.at,
        drift.area,
    )


def _check_projections(db: apsw.Connection, head: int, fold: _Fold, mends: _Mends) -> Iterator[Problem]:
    for area in AREAS:
        for message in _check_standing(db, area, head, fold.changed.get(area.name, 0)):
            mend = mends.update(area.name) if "stopped" in message else mends.rebuild(area.name)
            yield Problem("projection", f"area {area.name} {message}", mend, area=area.name)
        found: list[comparing.Difference] = []
        try:
            found += islice(comparing.differences(db, area, fold.rows), PROBLEMS_MAX)
        except UNREADABLE as error:
            yield Problem("projection", f"area {area.name} cannot be read: {error}", mends.rebuild(area.name), area=area.name)
        stored = {(one.table or "", one.key or ()): one.stored for one in found if one.folded}
        since = attesting.impossible_since(db, stored, head, (area,)) if stored else {}
        for one in found:
            at = since.get((one.table or "", one.key or ()))
            message = f"area {area.name}: {one.sentence}"
            yield Problem("projection", message, mends.rebuild(area.name), at, area.name, one.table, one.key)


def _check_standing(db: apsw.Connection, area: Area, head: int, changed: int) -> Iterator[str]:
    """What is wrong with the note of how far the area is folded."""
    row: Any = db.execute("SELECT position, changed, stopped FROM projections WHERE area = ?", (area.name,)).fetchone()
    folded, noted, stopped = row or (None, None, None)
    if stopped is not None:
        yield f"is stopped: {stopped}"
    elif folded != head:
        yield f"is folded to {folded}, the log goes to {head}"
    elif noted != changed:
        yield f"is noted to have changed last at {noted}; by the log it was at {changed}"


def _check_files(store: EventStore, blobs: Path) -> Iterator[Problem]:
    for slug, sha256, removed in _files(store):
        path = blobs / sha256[:2] / sha256
        try:
            with open(path, "rb") as file:
                whole = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except FileNotFoundError:
            if removed:
                continue
            mend = f"add the file again: pixelog add FILE; or {RESTORE}"
            yield Problem("blob_missing", f"the file of {slug!r} ({sha256}) is not there", mend, area="media", key=(slug,))
            continue
        except OSError as error:
            yield _damaged(slug, sha256, f"cannot be read: {error.strerror}", path, removed)
            continue
        if not whole:
            yield _damaged(slug, sha256, "is not what it was", path, removed)


def _damaged(slug: str, sha256: str, what: str, path: Path, removed: bool) -> Problem:
    # A file of the same size would be taken for the one that is wanted, and left as it is. That of a removed item is kept to bring the item back.
    mend = f"delete {path}" if removed else f"delete {path} and add the file again: pixelog add FILE; or {RESTORE}"
    return Problem("blob_damaged", f"the file of {slug!r} ({sha256}) {what}", mend, area="media", key=(slug,))


def _files(store: EventStore) -> Iterator[tuple[str, str, bool]]:
    """(slug, SHA-256, whether it is removed) of the items that have a file, by slug; as far as they can be read."""
    after, condition = "", "slug >= ?"
    while True:
        try:
            with store.reading(patient=True) as db:
                rows: list[Any] = db.execute(
                    "SELECT slug, sha256, removed_at IS NOT NULL FROM media_items "
                    f"WHERE sha256 IS NOT NULL AND {condition} ORDER BY slug LIMIT ?",
                    (after, FILES_PER_PAGE),
                ).fetchall()
        except UNREADABLE:
            return  # said before
        yield from rows
        if len(rows) < FILES_PER_PAGE:
            return
        after, condition = rows[-1][0], "slug > ?"
