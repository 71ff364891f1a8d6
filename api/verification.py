"""The whole of `pixelog verify`: the log, the projections against a fresh replay, the media files.

Recovers like a start does, and finds; mends nothing beyond that. What an interruption may leave (a blob that no event names, files under way, a lost
unsynced tail) is no problem, nor is a missing frame pack, which is derived, nor an adopted item that never had a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import apsw
import msgspec

from api.data import DataDirectory
from api.reading import open_for_reading
from eventstore import connection
from eventstore import verify as log_check
from eventstore.errors import StoreError, Unusable
from eventstore.reading import read_head
from eventstore.store import EventStore
from projections import attesting, catalogue, folding
from projections.catalogue import AREAS, UnknownEvent
from projections.replay import digests
from projections.rows import FoldError, MemoryRows, Table

Code = Literal[log_check.Code, "fold", "projection", "attested", "blob_missing", "blob_damaged"]
"""Those of the log, and: fold: an event cannot be folded. projection: a row differs from what the log says; its position is the first after which
the row could not have been. attested: the log itself says that rows were wrong. blob_missing, blob_damaged: the file of a present item is not
there, or not what it was."""

PROBLEMS_MAX = 1_000
"""Problems that are listed: who has this many restores a backup, whatever the next thousand are."""

BAD_LOG = (UnknownEvent, FoldError, msgspec.MsgspecError, LookupError, ValueError, apsw.Error)
"""What folding a damaged log may meet."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that is not as it should be: which kind, a sentence, what would mend it, and the position it is about, if one."""

    code: Code
    message: str
    mend: str
    position: int | None = None


class Report(msgspec.Struct, frozen=True):
    """The outcome. `events` counts them, `head` is the last position, `digest` one SHA-256 over the projections."""

    ok: bool
    events: int
    head: int
    digest: str
    problems: tuple[Problem, ...]


def verify(data: DataDirectory, progress: Callable[[str], None] = lambda stage: None) -> Report:
    """Check everything of a data directory, also while others write to it. One that is empty or half created counts as a fresh one.

    `progress(stage)` is told what begins: log, projections, files. Raises Unusable when there is nothing that could be checked.
    """
    with _opened(data) as store:
        return _verify(store, data.blobs, progress)


def _opened(data: DataDirectory) -> EventStore:
    data.check()
    if connection.inspect(data.database) is not None:
        try:
            return data.open_store()
        except Unusable as error:
            # What a start refuses to write on is just what is to be looked at.
            if error.code not in ("not_writable", "damaged"):
                raise
    return open_for_reading(data, prepare=False)


def _verify(store: EventStore, blobs: Path, progress: Callable[[str], None]) -> Report:
    problems: list[Problem] = []

    def take(found: Iterator[Problem]) -> None:
        for problem in found:
            if len(problems) < PROBLEMS_MAX:
                problems.append(problem)

    progress("log")
    with store.reading(patient=True) as db:
        take(Problem(one.code, one.message, one.mend, one.position) for one in log_check.check(db, store.log_id))
    progress("projections")
    take(_recover(store))
    events, head, digest, files = 0, 0, "", list[tuple[str, str]]()
    try:
        with store.reading(patient=True) as db:
            fresh, folded_to = MemoryRows(folding.all_tables()), read_head(db).position
            take(_fold_log(db, fresh, folded_to))
        with store.snapshot(patient=True) as db:
            head = read_head(db).position
            events = db.execute("SELECT count(*) FROM events").get
            if not any(problem.code == "fold" for problem in problems):
                take(_check_projections(db, head, folding.fold_to(db, head, rows=fresh, after=folded_to)))
            digest = digests.overall(digests.of_areas(db))
            rows: list[Any] = db.execute(
                "SELECT slug, sha256 FROM media_items WHERE removed_at IS NULL AND sha256 IS NOT NULL ORDER BY slug"
            ).fetchall()
            files = rows
    except apsw.Error as error:
        take(iter([Problem("projection", f"the projections cannot be read: {error}", "make them anew: pixelog rebuild")]))
    progress("files")
    take(_check_files(files, blobs))
    return Report(not problems, events, head, digest, tuple(problems))


def _recover(store: EventStore) -> Iterator[Problem]:
    """What every start does: fold what is missing, rebuild what an update made stale."""
    if store.writer is None:
        return
    try:
        folding.prepare(store)
    except (*BAD_LOG, StoreError) as error:
        yield Problem("fold", f"the log cannot be folded: {error}", log_check.RESTORE)


def _fold_log(db: apsw.Connection, rows: MemoryRows, until: int) -> Iterator[Problem]:
    """Fold the log into `rows`, and compare what was attested last on the way. Not in a snapshot, which would hold back the write-ahead log for as
    long as this takes."""
    try:
        after = 0
        for last in attesting.newest(db):
            after = last.said.at
            folding.fold_to(db, after, rows=rows)
            wrong = [catalogue.BY_NAME[name] for name in attesting.wrong_areas(last.said, rows)]
            for drift in attesting.drifts(db, wrong) if wrong else ():
                yield _drifted(drift)
        folding.fold_to(db, until, rows=rows, after=after)
    except BAD_LOG as error:
        yield Problem("fold", f"the log cannot be replayed: {error}", log_check.RESTORE)


def _drifted(drift: attesting.Drift) -> Problem:
    since = f"; at position {drift.right_at} they were right" if drift.right_at else ""
    return Problem(
        "attested",
        f"area {drift.area}: after position {drift.at} its rows were not what the log says, as event {drift.position} attests{since}",
        f"make it anew from the log, which attests anew: pixelog rebuild {drift.area}",
        drift.at,
    )


class _Difference(NamedTuple):
    """A row that is not what it should be: where, as it is stored (None: absent), and a sentence."""

    place: tuple[str, tuple[Any, ...]]
    stored: tuple[Any, ...] | None
    sentence: str


def _check_projections(db: apsw.Connection, head: int, fresh: MemoryRows) -> Iterator[Problem]:
    for area in AREAS:
        mend = f"make it anew from the log: pixelog rebuild {area.name}"
        row: Any = db.execute("SELECT position, stopped FROM projections WHERE area = ?", (area.name,)).fetchone()
        folded, stopped = row or (None, None)
        if stopped is not None:
            yield Problem(
                "projection", f"area {area.name} is stopped: {stopped}", f"update pixelog, then: pixelog rebuild {area.name}"
            )
        elif folded != head:
            yield Problem("projection", f"area {area.name} is folded to {folded}, the log goes to {head}", mend)
        found: list[_Difference] = []
        try:
            for table in area.tables:
                different = _differences(table, folding.table_rows(db, table), fresh.rows[table.name])
                found += islice(different, PROBLEMS_MAX - len(found))
        except apsw.Error as error:
            yield Problem("projection", f"area {area.name} cannot be read: {error}", mend)
        if found:
            since = attesting.impossible_since(db, {one.place: one.stored for one in found}, head, (area,))
            for one in found:
                yield Problem("projection", f"area {area.name}: {one.sentence}", mend, since.get(one.place))


def _differences(table: Table, stored: Any, fresh: dict[tuple[Any, ...], list[Any]]) -> Iterator[_Difference]:
    """Every difference of the stored table from the freshly folded one. Uses `fresh` up."""
    for row in stored:
        key = tuple(row[: table.key_columns])
        place = (table.name, key)
        expected = fresh.pop(key, None)
        if expected is None:
            yield _Difference(place, row, f"{table.name} has a row {_shown(key)} that the log does not account for")
            continue
        for name, value, right in zip(table.names, row, expected, strict=True):
            if value != right or type(value) is not type(right):
                sentence = f"{table.name} row {_shown(key)}, field {name} is {_short(value)}; by the log it is {_short(right)}"
                yield _Difference(place, row, sentence)
    for key in fresh:
        yield _Difference((table.name, key), None, f"{table.name} lacks the row {_shown(key)}")


def _shown(key: tuple[Any, ...]) -> str:
    return repr(key[0] if len(key) == 1 else key)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _check_files(files: list[tuple[str, str]], blobs: Path) -> Iterator[Problem]:
    for slug, sha256 in files:
        path = blobs / sha256[:2] / sha256
        try:
            with open(path, "rb") as file:
                whole = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except FileNotFoundError:
            yield Problem("blob_missing", f"the file of {slug!r} ({sha256}) is not there", _upload_again(slug))
            continue
        except OSError as error:
            yield Problem(
                "blob_damaged", f"the file of {slug!r} ({sha256}) cannot be read: {error.strerror}", _upload_again(slug)
            )
            continue
        if not whole:
            yield Problem("blob_damaged", f"the file of {slug!r} ({sha256}) is not what it was", _upload_again(slug))


def _upload_again(slug: str) -> str:
    return f"restore a backup (pixelog restore FILE), or remove {slug!r} and add the file again"
