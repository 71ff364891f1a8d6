"""Makes projections anew from the log beside the living ones, and brings those that lie behind up to date.

A rebuild works in shadow tables: the same tables by other names, filled from a fold in memory and then caught up, in short write transactions
between which everybody else writes on. Readers and writers of every process use the old tables until one transaction per area puts the new ones in
their place. Killed or cancelled before that, it has changed nothing; what it leaves is dropped by the next one.

The new tables are compared with the fold that filled them (they must be equal), and with the living ones at the same position (which says
whether anything was wrong with those).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import msgspec

from eventstore.errors import Busy, Unusable
from eventstore.reading import read_head
from eventstore.store import EventStore
from eventstore.transaction import Transaction
from projections import catalogue, fingerprints, folding
from projections.area import Area, At
from projections.catalogue import AREA_OF_TYPE, AREAS, UnknownEvent
from projections.folding import BAD_EVENT, CannotFold
from projections.replay import digests
from projections.rows import Key, MemoryRows, SqlRows, Table, put_rows

CATCH_UP_EVENTS = 2_000
"""Events folded in one write transaction when the projections are behind: about 20 ms, after which other writers have their turn."""

STEP_SECONDS = 0.010
"""What one write transaction of a rebuild is to take while nobody else writes; the number of rows in it is adapted to this."""

QUIET_STEP_SECONDS = 0.0005
"""The same while others write: a commit of theirs that meets it takes about twice as long as one that does not."""

ROWS_AT_FIRST = 100
"""Rows in the first transaction of each table, before their cost is known."""

REST = 15
"""While others write, a rebuild rests this many times as long as its last transaction took, so that less than one in ten of theirs meets it."""

OTHERS_SECONDS = 1.0
"""Others count as writing when the head has moved within this time."""

ROWS_IN_MEMORY_MAX = 200_000
"""Rows of a fold that are held at once, some 100 MiB; beyond it they go to the shadow tables, in key order."""

INDEXED_AFTER_ROWS_MAX = 50_000
"""Rows of a table whose indexes are made when it is full, each in one transaction of some 20 ms at most: a third of what they cost row by row."""

DROPPED_ROWS_MAX = 50_000
"""Rows of an old table that is dropped at once, in some 3 ms; a larger one is put aside by the swap and emptied afterwards, in steps."""

SWAP_EVENTS_MAX = 50
"""Events that the swap itself may still have to fold, a few milliseconds."""

OTHER_REBUILD_SECONDS = 300.0
"""How long a start waits for the rebuild of another process: a million events take seconds here, and a small Pi a hundred times as long at most."""

OTHER_REBUILD_LOOK_SECONDS = 0.2
"""How often it looks whether that has ended."""

MEETINGS_MAX = 50
"""Attempts to find both tables at the same position for the comparison, while others write."""

_log = logging.getLogger(__name__)

_SHADOW = re.compile(r"__(?:new|old)(\d+)$")
_INDEX = re.compile(r"CREATE\s+(?:UNIQUE\s+)?INDEX\b")


class Cancelled(Exception):
    """The rebuild was told to stop. The living tables are as they were."""


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild did: the areas that were made anew, those of them whose rows were not what the log says (None: nobody compared, because
    others wrote all the time), the areas that stopped with the reason, and the digest of each new area at `position`."""

    areas: tuple[str, ...]
    position: int
    differed: tuple[str, ...] | None
    stopped: dict[str, str]
    digests: dict[str, str]


def prepare(store: EventStore) -> list[str]:
    """Make the projections of an opened log current: create missing tables, rebuild areas whose fold has changed or that are ahead of the log, fold
    what is missing.

    Returns the names of the areas that were rebuilt. An area that cannot be folded is stopped; see `folding.stopped`. Raises UnknownEvent.
    """
    with store.reading() as db:
        if folding.is_current(db) and not ahead(db):
            known: dict[Any, Any] = dict(db.execute("SELECT area, fingerprint FROM projections").fetchall())  # type: ignore[arg-type]
            if all(known[area.name].endswith(fingerprints.of_sources()) for area in AREAS):
                return []
    store.transact(lambda transaction: folding.create_tables(transaction.db))
    # The parts of a service start together: one rebuilds, the others wait until it has, and find nothing left to do.
    deadline = time.monotonic() + OTHER_REBUILD_SECONDS
    while stale := _stale(store):
        try:
            rebuild(store, stale)
            break
        except Busy:
            if time.monotonic() >= deadline:
                raise
            time.sleep(OTHER_REBUILD_LOOK_SECONDS)
    catch_up(store)
    store.transact(_note_sources, durable=False)
    return [area.name for area in stale]


def _stale(store: EventStore) -> list[Area]:
    """The areas that have to be made anew."""
    with store.reading() as db:
        kept: dict[Any, Any] = dict(db.execute("SELECT area, fingerprint FROM projections").fetchall())  # type: ignore[arg-type]
        halted = set(folding.stopped(db))
        beyond = ahead(db)
        if beyond:
            _log.warning(
                "the log ends at %d, projections are folded to %d: it has lost its end",
                read_head(db).position,
                max(beyond.values()),
            )
    halted |= beyond.keys()
    return [area for area in AREAS if area.name in halted or not fingerprints.is_same(area.name, kept[area.name])]


def ahead(db: apsw.Connection) -> dict[str, int]:
    """The areas that are folded further than the log goes, each with its position: events were in the log that are not in it now. No interruption
    does that, because both commit together."""
    rows: list[Any] = db.execute("SELECT area, position FROM projections WHERE position > (SELECT position FROM head)").fetchall()
    return dict(rows)


def _note_sources(transaction: Transaction) -> None:
    """The sources changed, the folds did not: the next start need not look at their syntax again."""
    db = transaction.db
    for area, kept in db.execute("SELECT area, fingerprint FROM projections WHERE stopped IS NULL").fetchall():
        if kept != fingerprints.stored(str(area)) and fingerprints.is_same(str(area), str(kept)):
            db.execute("UPDATE projections SET fingerprint = ? WHERE area = ?", (fingerprints.stored(str(area)), area))


# -- catching up ---------------------------------------------------------------------------------------------------------------------


def catch_up(store: EventStore) -> None:
    """Fold events that are in the log but not in the tables, in bounded transactions, each area from its own position. An area whose fold fails
    is stopped there. Raises UnknownEvent."""
    while True:
        try:
            if not store.transact(_catch_up_step):
                return
        except CannotFold as error:
            stop(store, error)


def catch_up_in(transaction: Transaction) -> None:
    """Fold what is missing in a transaction that is under way. Raises CannotFold, UnknownEvent."""
    while _catch_up_step(transaction):
        pass


def _catch_up_step(transaction: Transaction) -> bool:
    db = transaction.db
    rows: list[Any] = db.execute("SELECT area, position FROM projections WHERE stopped IS NULL").fetchall()
    positions: dict[str, int] = dict(rows)
    start = min(positions.values(), default=transaction.head.position)
    end = min(transaction.head.position, start + CATCH_UP_EVENTS)
    if start >= end:  # ahead of the log: nothing to fold; `prepare` makes such areas anew
        return False
    for area, position in positions.items():
        if position < end:
            changed = _fold_into(db, SqlRows(db), catalogue.BY_NAME[area], position, end) if area in catalogue.BY_NAME else None
            db.execute("UPDATE projections SET position = ?, changed = coalesce(?, changed) WHERE area = ?", (end, changed, area))
    _check_known(db, start, end)
    return True


def _fold_into(db: apsw.Connection, rows: SqlRows, area: Area, after: int, until: int) -> int | None:
    """Fold an area's events with after < position ≤ until; the answer is the last of them. Raises CannotFold, UnknownEvent."""
    marks = ",".join("?" * len(area.events))
    found: list[Any] = db.execute(
        "SELECT position, version, logtime, time, type, schemaversion, data FROM events "
        f"WHERE position > ? AND position <= ? AND type IN ({marks}) ORDER BY position",
        (after, until, *area.events),
    ).fetchall()
    for position, version, logtime, time_us, type, schema_version, data in found:
        try:
            rows.apply(area.fold(catalogue.decode(type, schema_version, data), At(position, version, logtime, time_us)))
        except UnknownEvent:
            raise
        except (*BAD_EVENT, apsw.ConstraintError, apsw.MismatchError) as error:
            raise CannotFold(area.name, position, type, error) from error
    return found[-1][0] if found else None


def _check_known(db: apsw.Connection, after: int, until: int) -> None:
    """Raise UnknownEvent for a type that no area has."""
    for type, version in _kinds(db, after, until):
        if type not in AREA_OF_TYPE:
            catalogue.decode(type, version, "")


def _kinds(db: apsw.Connection, after: int, until: int) -> list[Any]:
    """Types and schema versions of the events with after < position ≤ until."""
    return db.execute(
        "SELECT DISTINCT type, schemaversion FROM events WHERE position > ? AND position <= ?", (after, until)
    ).fetchall()


def unknown(db: apsw.Connection) -> str | None:
    """Why the first events that are not folded yet cannot be, if one of them is of a newer pixelog; looks at no more than are folded at once."""
    start: int = db.execute("SELECT coalesce(min(position), 0) FROM projections WHERE stopped IS NULL").get
    for type, version in _kinds(db, start, start + CATCH_UP_EVENTS):
        if type not in AREA_OF_TYPE or version > catalogue.version_of(type):
            try:
                catalogue.decode(type, version, "")
            except UnknownEvent as error:
                return str(error)
    return None


def stop(store: EventStore, error: CannotFold) -> None:
    """Note that an area cannot be folded any further: its commands are refused from now on, everything else goes on."""
    store.transact(
        lambda transaction: (
            transaction.db.execute("UPDATE projections SET stopped = ? WHERE area = ?", (str(error), error.area)) and None
        )
    )


# -- rebuilding ----------------------------------------------------------------------------------------------------------------------


def rebuild(
    store: EventStore,
    areas: Sequence[Area] = AREAS,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[str], None] = lambda stage: None,
) -> Rebuilt:
    """Make the tables of these areas anew from the log, while others read and write. `cancelled()` is asked between the steps, `progress(stage)` is
    told what begins: fold, write, compare, swap.

    An area whose fold fails keeps its tables and is stopped. Raises Cancelled, Busy (another rebuild is under way), Unusable, UnknownEvent.
    """
    with _alone(store):
        store.transact(lambda transaction: folding.create_tables(transaction.db))
        _drop_leftovers(store)
        stopped: dict[str, str] = {}
        left: list[Area] = list(areas)
        while left:
            try:
                return _Rebuild(store, left, cancelled, progress).run(stopped)
            except CannotFold as error:
                stop(store, error)
                stopped[error.area] = str(error)
                left = [area for area in left if area.name != error.area]
            finally:
                _drop_leftovers(store)
        return Rebuilt((), store.head().position, (), stopped, {})


_one_rebuild = threading.Lock()


@contextmanager
def _alone(store: EventStore) -> Generator[None]:
    """At most one rebuild of a log at once; the lock dies with its process."""
    if store.path is None:
        yield
        return
    descriptor = _lock_file(store.path.with_name(f"{store.path.name}.rebuild"))
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy("another rebuild of this log is under way; wait for its end") from error
        yield
    finally:
        os.close(descriptor)


def _lock_file(path: Path) -> int:
    """A descriptor to lock; made when missing. For reading, which is enough for a lock: the file may be another user's. What root makes belongs to
    the folder's owner, who may come next, and may have put anything there. Raises Unusable (not_writable)."""
    try:
        # A pipe would hold us up until somebody writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except PermissionError as error:
        what = f"{path} cannot be used by this user: sudo chown --reference={path.parent} {path}"
        raise Unusable("not_writable", what) from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a folder, a socket
            raise _not_a_file(path) from error
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _not_a_file(path)
        if os.geteuid() == 0 and found.st_uid == 0 and found.st_nlink == 1:  # another name could be that of any file of root's
            folder = os.stat(path.parent)
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _not_a_file(path: Path) -> Unusable:
    return Unusable(
        "not_writable", f"{path} is not a regular file and cannot be the lock of a rebuild; move it away and try again"
    )


class _ShadowRows(MemoryRows):
    """Rows of a fold of which the greater part may have gone to the shadow tables already."""

    def __init__(self, tables: Iterable[Table], read: Callable[[Table, Key], list[Any] | None]) -> None:
        super().__init__(tables)
        self._read = read
        self.spilled = False
        self.gone: dict[str, dict[Key, None]] = {name: {} for name in self.tables}
        self.cleared: set[str] = set()

    def _missing(self, name: str, key: Key) -> list[Any] | None:
        if not self.spilled or name in self.cleared or key in self.gone[name]:
            return None
        return self._read(self.tables[name], key)

    def _delete(self, name: str, key: Key) -> None:
        super()._delete(name, key)
        if self.spilled:
            self.gone[name][key] = None

    def _clear(self, name: str) -> None:
        super()._clear(name)
        if self.spilled:
            self.cleared.add(name)
            self.gone[name].clear()

    def forget(self) -> None:
        """Everything is in the shadow tables now."""
        for rows in self._rows.values():
            rows.clear()
        self.gone = {name: {} for name in self.tables}
        self.cleared.clear()
        self.spilled = True


class _Shadow:
    """The names under which an area's tables, indexes and triggers are made beside the living ones."""

    def __init__(self, area: Area, generation: int) -> None:
        self.area = area
        self.position = 0
        """The tables are folded up to here."""
        self.changed = 0
        """Position of the area's last event up to there."""
        self.suffix = f"__new{generation}"
        self.old = f"__old{generation}"
        made = re.compile(r"CREATE\s+(?:UNIQUE\s+|VIRTUAL\s+)?(?:TABLE|INDEX|TRIGGER)\s+(\w+)")
        statements = [statement for table in area.tables for statement in table.derived]
        named = [match[1] for statement in statements if (match := made.match(statement))]
        self.tables = [table.name for table in area.tables]
        self.tables += [
            name for statement, name in zip(_creating(statements), named, strict=True) if "TABLE" in statement.split("(")[0]
        ]
        self._rename = re.compile(r"\b(" + "|".join(map(re.escape, {*self.tables, *named})) + r")\b")

    def create(self, db: apsw.Connection) -> None:
        """Make them but for their indexes, empty even of seeds: the fold brings those."""
        for table in self.area.tables:
            db.execute(table.create_sql(table.name + self.suffix))
            for statement in table.derived:
                if not _INDEX.match(statement):
                    db.execute(self._named(statement))

    def indexes(self, table: Table) -> list[str]:
        """The statements that make the indexes of one of them."""
        return [self._named(statement) for statement in table.derived if _INDEX.match(statement)]

    def _named(self, statement: str) -> str:
        return self._rename.sub(lambda match: match[0] + self.suffix, statement)

    def swap(self, db: apsw.Connection) -> str:
        """Put them in the place of the living ones, which get other names. Returns the objects that the area now has."""
        objects: str | None = db.execute("SELECT objects FROM projections WHERE area = ?", (self.area.name,)).get
        pairs = msgspec.json.decode(objects or "[]", type=list[tuple[str, str]])
        for kind, name in pairs:
            if kind == "VIEW":
                db.execute(f"DROP VIEW IF EXISTS {name}")
        there = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        old = {name for kind, name in pairs if kind == "TABLE" and name in there}
        # A trigger whose tables go one by one would keep SQLite from renaming anything.
        for trigger, table in db.execute("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            if table in old:
                db.execute(f"DROP TRIGGER {trigger}")
        for name in sorted(old):
            # Each rename reads the whole schema anew, some milliseconds; dropping costs as much or less unless the table is large.
            large = _is_large(db, name)
            db.execute(f"ALTER TABLE {name} RENAME TO {name}{self.old}" if large else f"DROP TABLE {name}")
        for name in self.tables:
            db.execute(f"ALTER TABLE {name}{self.suffix} RENAME TO {name}")
        views = [match[1] for view in self.area.views if (match := re.match(r"CREATE\s+VIEW\s+(\w+)", view))]
        for view in self.area.views:
            db.execute(view)
        made = [("TABLE", name) for name in self.tables] + [("VIEW", name) for name in views]
        return msgspec.json.encode(sorted(made)).decode()


def _creating(statements: Iterable[str]) -> Iterator[str]:
    return (statement for statement in statements if statement.lstrip().startswith("CREATE"))


class _Rebuild:
    """One attempt for some areas."""

    def __init__(
        self, store: EventStore, areas: Sequence[Area], cancelled: Callable[[], bool], progress: Callable[[str], None]
    ) -> None:
        self._store = store
        self._areas = tuple(areas)
        self._cancelled = cancelled
        self._progress = progress
        with store.reading() as db:
            self._head = read_head(db).position
            self._shadows = [_Shadow(area, _generation(db)) for area in areas]
        self._suffix = self._shadows[0].suffix
        self._rows = _ShadowRows([table for area in areas for table in area.tables], self._read)
        self._unindexed = {table.name: shadow.indexes(table) for shadow in self._shadows for table in shadow.area.tables}
        self._pace = _Pace(store)
        self._digests: dict[str, str] = {}
        self._compared_at = 0

    def run(self, stopped: dict[str, str]) -> Rebuilt:
        for shadow in self._shadows:
            self._step(shadow.create)
        self._progress("fold")
        self._fold()
        self._progress("write")
        whole = not self._rows.spilled
        written = self._flush()
        folded = written if whole else None
        self._progress("compare")
        differed = self._compare(folded)
        self._progress("swap")
        for shadow in self._shadows:
            self._follow(shadow, SWAP_EVENTS_MAX)
            self._swap(shadow)
        return Rebuilt(tuple(area.name for area in self._areas), self._compared_at, differed, stopped, self._digests)

    def _fold(self) -> None:
        last: dict[str, int] = {}
        with self._store.reading(patient=True) as db:
            for _ in folding.fold_onwards(db, self._rows, 0, self._head, self._areas, False, last):
                self._look()
                if self._rows.count() > ROWS_IN_MEMORY_MAX:
                    self._flush()
            for shadow in self._shadows:
                shadow.position, shadow.changed = self._head, last.get(shadow.area.name, 0)

    def _read(self, table: Table, key: Key) -> list[Any] | None:
        with self._store.reading() as db:
            row = db.execute(f"SELECT * FROM {table.name}{self._suffix} WHERE {table.where}", key).fetchone()
        return None if row is None else list(row)

    def _flush(self) -> dict[str, str]:
        """Bring what the fold holds to the shadow tables, and forget it; the digests of what was written, by area."""
        written: dict[str, str] = {}
        for area in self._areas:
            try:
                written[area.name] = folding.digest_tables((table.name, self._writing(table)) for table in area.tables)
            except (apsw.ConstraintError, apsw.MismatchError) as error:
                raise CannotFold(area.name, self._head, "any", error) from error
        self._rows.forget()
        return written

    def _writing(self, table: Table) -> Iterator[list[Any]]:
        """Write what the fold holds of a table; gives the rows once they are written, in key order."""
        rows, suffix = self._rows, self._suffix
        name = table.name + suffix
        if self._pace.others or rows.count(table.name) > INDEXED_AFTER_ROWS_MAX:
            self._index(table)
        if table.name in rows.cleared:
            self._step(lambda db: db.execute(f"DELETE FROM {name}"))
        for _ in self._in_steps(
            rows.gone[table.name], lambda db, keys: db.executemany(f"DELETE FROM {name} WHERE {table.where}", keys)
        ):
            pass
        yield from self._in_steps(rows.in_order(table.name), lambda db, some: put_rows(db, table, some, suffix))
        self._index(table)

    def _index(self, table: Table) -> None:
        """Make the indexes of a shadow table, one in each transaction, unless they are there."""
        for statement in self._unindexed.pop(table.name, ()):
            self._step(lambda db, statement=statement: db.execute(statement))

    def _in_steps(self, values: Iterable[Any], work: Callable[[apsw.Connection, list[Any]], Any]) -> Iterator[Any]:
        """Do something with all of these, in as many short transactions as it takes; gives them once it is done."""
        self._pace.rows = ROWS_AT_FIRST  # a row of this table may cost a hundred times as much as one of the last
        waiting = iter(values)
        while batch := list(islice(waiting, self._pace.rows)):
            # The batch is bound here: a transaction that came to nothing is tried once more.
            self._pace.adapt(self._step(lambda db, batch=batch: work(db, batch)))
            yield from batch

    def _step(self, work: Callable[[apsw.Connection], Any]) -> float:
        """One write transaction; the answer is how long it took, in seconds."""
        self._look()
        took = 0.0

        def timed(transaction: Transaction) -> None:
            nonlocal took
            begin = time.perf_counter()
            work(transaction.db)
            took = time.perf_counter() - begin

        # Not synced: nothing refers to the shadows before the swap, which is.
        self._store.transact(timed, durable=False)
        self._pace.rest(took)
        return took

    def _look(self) -> None:
        if self._cancelled():
            raise Cancelled("the rebuild was cancelled; the tables are as they were")

    def _check_written(self, folded: dict[str, str] | None, db: apsw.Connection) -> None:
        """Digest the shadow tables. While nothing was added to them, they must be what was folded."""
        self._digests = {area.name: digests.of_area(db, area, self._suffix) for area in self._areas}
        if folded is not None and folded != self._digests:
            wrong = sorted(name for name in folded if folded[name] != self._digests[name])
            raise RuntimeError(f"what was written is not what was folded: {', '.join(wrong)}; the tables are as they were")

    def _follow(self, shadow: _Shadow, near: int) -> None:
        """Fold what others appended meanwhile, until at most `near` events are left."""
        while True:
            head = self._store.head().position
            if head - shadow.position <= near:
                return
            end = min(head, shadow.position + self._pace.events)
            changed = shadow.changed

            def work(db: apsw.Connection, end: int = end) -> None:
                nonlocal changed
                changed = _fold_into(db, SqlRows(db, self._suffix), shadow.area, shadow.position, end) or shadow.changed

            self._pace.adapt_events(self._step(work))
            shadow.position, shadow.changed = end, changed

    def _compare(self, folded: dict[str, str] | None) -> tuple[str, ...] | None:
        """Digest old and new tables in one snapshot that has both at the same position; the areas that differ."""
        if self._store.head().position != self._head:
            with self._store.reading(patient=True) as db:
                self._check_written(folded, db)
            folded = None
        for _ in range(MEETINGS_MAX):
            self._look()
            for shadow in self._shadows:
                self._follow(shadow, SWAP_EVENTS_MAX)
            # All in one transaction, so that one moment has them all at the head.
            positions: list[int] = self._store.transact(lambda transaction: self._close_up(transaction), durable=False)
            for shadow, position in zip(self._shadows, positions, strict=True):
                shadow.position = position
            with self._store.snapshot(patient=True) as db:
                head = read_head(db).position
                if any(shadow.position != head for shadow in self._shadows):
                    continue
                self._compared_at = head
                self._check_written(folded if head == self._head else None, db)
                rows: list[Any] = db.execute(
                    "SELECT area FROM projections WHERE position = ? AND stopped IS NULL", (head,)
                ).fetchall()
                met = {area for (area,) in rows}
                # Tables that lie behind, or cannot be read, are no match whatever is in them.
                return tuple(
                    area.name
                    for area in self._areas
                    if area.name not in met or _living_digest(db, area) != self._digests[area.name]
                )
        return None

    def _close_up(self, transaction: Transaction) -> list[int]:
        head = transaction.head.position
        for shadow in self._shadows:
            last = _fold_into(transaction.db, SqlRows(transaction.db, self._suffix), shadow.area, shadow.position, head)
            shadow.changed = last or shadow.changed
        return [head] * len(self._shadows)

    def _swap(self, shadow: _Shadow) -> None:
        area = shadow.area

        def work(transaction: Transaction) -> None:
            db, head = transaction.db, transaction.head.position
            last = _fold_into(db, SqlRows(db, self._suffix), area, shadow.position, head)
            objects = shadow.swap(db)
            folding.note(db, area.name, head, last or shadow.changed, fingerprints.stored(area.name), objects)

        self._look()
        self._store.transact(work)


class _Pace:
    """How much one write transaction may hold, so that others hardly notice it."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.rows = ROWS_AT_FIRST
        self.events = 100
        self._moved_at = -OTHERS_SECONDS
        self._seen: int = store.head().position

    @property
    def _budget_seconds(self) -> float:
        return QUIET_STEP_SECONDS if self.others else STEP_SECONDS

    @property
    def others(self) -> bool:
        """Whether somebody else writes, too."""
        return time.monotonic() - self._moved_at < OTHERS_SECONDS

    def adapt(self, took_seconds: float) -> None:
        """Aim at the budget, by halves and doubles."""
        self.rows = _nearer(self.rows, took_seconds, self._budget_seconds)

    def adapt_events(self, took_seconds: float) -> None:
        """As `adapt`, for events to fold."""
        self.events = _nearer(self.events, took_seconds, self._budget_seconds)

    def rest(self, took_seconds: float) -> None:
        """Leave the lock to others for a while, if there are any."""
        head = self._store.head().position
        if head != self._seen:
            self._seen, self._moved_at = head, time.monotonic()
        if self.others:
            time.sleep(min(0.1, REST * took_seconds))


def _nearer(count: int, took_seconds: float, budget_seconds: float) -> int:
    if took_seconds > budget_seconds:
        return max(10, count // 2)
    return min(10_000, count * 2) if took_seconds < budget_seconds / 3 else count


def _living_digest(db: apsw.Connection, area: Area) -> str | None:
    try:
        return digests.of_area(db, area)
    except apsw.Error:
        return None


def _generation(db: apsw.Connection) -> int:
    """A number that no shadow, index or trigger of ours has had."""
    names = [str(row[0]) for row in db.execute("SELECT name FROM sqlite_schema")]
    return 1 + max((int(match[1]) for name in names if (match := _SHADOW.search(name))), default=0)


def _is_large(db: apsw.Connection, table: str) -> bool:
    return db.execute(f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT {DROPPED_ROWS_MAX + 1})").get > DROPPED_ROWS_MAX


def _drop_leftovers(store: EventStore) -> None:
    """Drop the shadow tables of rebuilds that ended or died, a table at a time; large ones are emptied first, in steps."""
    pace = _Pace(store)
    while True:
        with store.reading() as db:
            rows: list[Any] = db.execute(
                "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual') ORDER BY name"
            ).fetchall()
            names = [name for name, _ in rows if _SHADOW.search(name)]
            if not names:
                return
            name = names[0]
            inner = [
                f"{kind} {inner}"
                for kind, inner in db.execute(
                    "SELECT upper(type), name FROM sqlite_schema WHERE tbl_name = ? AND type IN ('trigger', 'index') AND sql IS NOT NULL",
                    (name,),
                )
            ]
            large = dict(rows)[name] != "virtual" and _is_large(db, name)
        if large:
            for one in inner:
                _alone_step(store, pace, f"DROP {one}")
            while _alone_step(store, pace, f"DELETE FROM {name} WHERE rowid IN (SELECT rowid FROM {name} LIMIT {pace.rows})"):
                pass
        _alone_step(store, pace, f"DROP TABLE IF EXISTS {name}")


def _alone_step(store: EventStore, pace: _Pace, sql: str) -> bool:
    """One statement in a transaction of its own; whether it changed a row."""
    took = 0.0

    def work(transaction: Transaction) -> bool:
        nonlocal took
        begin = time.perf_counter()
        transaction.db.execute(sql)
        took = time.perf_counter() - begin
        return transaction.db.changes() > 0 and sql.startswith("DELETE")

    changed: bool = store.transact(work, durable=False)
    if sql.startswith("DELETE"):
        pace.adapt(took)
    pace.rest(took)
    return changed
