"""The event store: append, read, head. Embedded, one SQLite file (or `:memory:`), no word of any domain.

An append happens inside a `Transaction`, which a caller may also use for rows of its own: what it writes through `transaction.db` commits
with the events or not at all. That is how projections live beside the log. Waiting for events is in `head.py`, following them in
`subscription.py`, the checks in `verify.py`.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import apsw

from eventstore import chain, connection, forks, schema
from eventstore.clock import Clock, SystemClock, logtime_at, random_bytes, uuid7
from eventstore.connection import ReaderCounts
from eventstore.errors import Invalid, ReadOnly, Refused, Stopped, TooLarge, Unusable
from eventstore.head import Bell, HeadWatch, begin_runtime, open_shared, runtime_folder
from eventstore.migrating import migrate
from eventstore.reading import EVERYTHING, PAGE_EVENTS, Filter, Page, read_head, read_page, read_stream, version_at
from eventstore.record import (
    EVENTS_PER_BATCH_MAX,
    NOBODY,
    POSITION_MAX,
    Appended,
    Batch,
    Condition,
    ExpectedVersion,
    Head,
    NewEvent,
    Origin,
    RecordedEvent,
    names,
    place,
)
from eventstore.statements import READ_SECONDS_MAX, Statements, WriteWatch
from eventstore.subscription import Subscription
from eventstore.syncing import Behind, Syncer, of_living
from eventstore.tail import Tail
from eventstore.transaction import Remembered, Transaction, Versions, listed, request_fingerprint, scope_of, short_form
from eventstore.verify import Problem, StartCheck, check, check_start
from eventstore.writer import Writer

if TYPE_CHECKING:
    from eventstore.backup import Manifest

T = TypeVar("T")

SYNC_AFTER_SECONDS = 9.0
"""Relaxed events are on the disk within ten seconds; half a second at least is left for the sync itself."""

CLOSE_WAIT_SECONDS = 10.0
"""How long `close` waits for the thread that syncs. A card may stall for seconds."""


class ReaderPool(Protocol):
    """Where read connections come from; see `connection.Readers`."""

    def borrow(self, patient: bool = False) -> AbstractContextManager[apsw.Connection]: ...
    def snapshot(self, patient: bool = False) -> AbstractContextManager[apsw.Connection]: ...
    def counts(self) -> ReaderCounts: ...
    def close(self) -> None: ...


class _SharedConnection:
    """The reader pool of a log in memory: its one connection, lent under the lock that its writer holds, too, and for reading only."""

    def __init__(self, db: apsw.Connection, lock: threading.RLock) -> None:
        self._db, self._lock = db, lock
        self._pid = os.getpid()
        self._lent = 0  # to one thread, as often as it asked
        self._changes = 0  # rows of the connection when the work under way began
        self._writes = self._closed = self._guarded = False

    @contextmanager
    def borrow(self, patient: bool = False) -> Generator[apsw.Connection]:
        forks.check(self._pid)
        with self._lock:
            if self._closed:
                raise Stopped("the log was closed")
            if self._writes and self._db.in_transaction and self._db.total_changes() != self._changes:
                # A log on disk would show its last commit here; this connection would show what the work has done so far.
                raise RuntimeError("a work on a log in memory that has written reads through its transaction: transaction.db")
            self._lent += 1
            self._guard()
            try:
                yield self._db
            finally:
                self._lent -= 1
                self._guard()

    @contextmanager
    def writing(self) -> Generator[None]:
        """For the length of a work; also of one that whoever borrows the connection submits meanwhile."""
        with self._lock:
            before, self._writes = self._writes, True
            if not before and not self._closed:
                self._changes = self._db.total_changes()
            self._guard()
            try:
                yield
            finally:
                self._writes = before
                self._guard()

    def _guard(self) -> None:
        guarded = self._lent > 0 and not self._writes
        if guarded != self._guarded and not self._closed:  # each change lets SQLite prepare its statements anew
            self._db.execute(f"PRAGMA query_only = {int(guarded)}")
            self._guarded = guarded

    snapshot = borrow

    def counts(self) -> ReaderCounts:
        return ReaderCounts()

    def close(self) -> None:
        """Lend the connection no longer; the writer owns it, and closes it."""
        self._closed = True


class EventStore:
    """An open log. Thread-safe; several processes may have the same file open. Close it, or use it as a context manager."""

    def __init__(
        self,
        path: Path | None,
        db: apsw.Connection | None,
        readers: ReaderPool,
        clock: Clock,
        randomness: Callable[[int], bytes],
        lock: threading.RLock | None,
        sync_after_seconds: float = SYNC_AFTER_SECONDS,
        statements: Statements | None = None,
        started: StartCheck | None = None,
    ) -> None:
        self.path = path
        self._doubted = None if path is None else _doubted(path)
        self.statements = statements or Statements()
        """What is known of slow statements."""
        self.started = started
        """The check that this opening made, or None when it made none: for reading, or in memory."""
        self.clock = clock
        self._db = db
        self._randomness = randomness
        self._versions = Versions()
        self._readers = readers
        self._memory_lock = lock
        self._pid = os.getpid()
        self._closed = False
        self._syncer = Syncer(of_living(self._behind), of_living(self.sync), sync_after_seconds)
        with readers.borrow() as reader:  # what fails here has opened nothing else yet
            self.log_id: str = reader.execute("SELECT value FROM log WHERE key = 'log_id'").get
        head = self.head()
        bell = Bell(runtime_folder(path.parent) / _bell(path)) if path is not None else None
        self.watch = HeadWatch(self._look, bell)
        self.tail = Tail(self.watch, self.reading, lock)
        self.watch.announce(head.position)
        self._rung = head.position
        self.writer: Writer | None = None
        if db is not None:
            self._watching = WriteWatch(db, self.statements)
            self.writer = Writer(db, self._begin, self._committed, path, self._doubt)
            if path is not None:
                self._syncer.start()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        clock: Clock | None = None,
        randomness: Callable[[int], bytes] = random_bytes,
        read_only: bool = False,
        vfs: str | None = None,
        sync_after_seconds: float = SYNC_AFTER_SECONDS,
        read_seconds_max: float | None = READ_SECONDS_MAX,
    ) -> EventStore:
        """Open the log at `path` (a file; a folder means its pixelog.db; ":memory:" a log that is gone with the object), creating it
        when missing. The folder must exist. `randomness(n)` gives n bytes for ids, `sync_after_seconds` is how long relaxed events may wait to
        be synced, `vfs` names a SQLite VFS, `read_seconds_max` is the bound for a statement of those who read without patience. Raises Unusable.

        Opening for writing looks at the end of the log first, and refuses one that is not whole."""
        clock = clock or SystemClock()
        connection.check_name(path)
        if str(path) == ":memory:":
            lock = threading.RLock()
            db = forks.known(apsw.Connection(":memory:", statementcachesize=connection.STATEMENT_CACHE))
            db.execute("PRAGMA recursive_triggers = 1; PRAGMA foreign_keys = 1").fetchall()
            _create(db, clock, randomness)
            return cls(None, db, _SharedConnection(db, lock), clock, randomness, lock)
        try:
            path = Path(path).resolve()  # the folder of the process may change, and SQLite's own files lie beside the real one
            if path.is_dir():
                path = path / "pixelog.db"
            if not path.parent.is_dir():
                raise Unusable("missing", f"the folder {path.parent} does not exist; create it first")
            forks.check_inherited(path)
            version = connection.inspect(path)
        except PermissionError as error:
            raise Unusable("not_writable", f"{path} cannot be reached; check owner and permissions of its folders") from error
        statements = Statements()
        readers = connection.Readers(path, vfs, statements=statements, seconds_max=read_seconds_max)
        if read_only:
            if version is None:
                raise Unusable("missing", f"there is no log at {path}")
            if version < schema.FORMAT:
                raise Unusable(
                    "older", f"{path} was written by an older pixelog; open it for writing once, to bring it up to date"
                )
            try:
                return cls(path, None, readers, clock, randomness, None, statements=statements)
            except BaseException as error:
                readers.close()
                reason = connection.unusable(path, error)
                if reason is None:
                    raise
                raise reason from error
        db = connection.open_writer(path, vfs)
        try:
            doubted = _doubted(path)
            if doubted.exists():
                connection.settle(path, db)
                doubted.unlink()
            if version is None:
                if db.pragma("user_version") > schema.FORMAT:  # a start cut short kept it from being seen before
                    raise connection.newer(path, db.pragma("user_version"))
                _create(db, clock, randomness, path)
            else:
                migrate(db, path, version)
            started = check_start(db)
            if started.problem is not None:
                raise _not_whole(path, started.problem)
            return cls(path, db, readers, clock, randomness, None, sync_after_seconds, statements, started)
        except BaseException as error:
            readers.close()
            connection.close(db)
            reason = connection.unusable(path, error)
            if reason is None:
                raise
            raise reason from error

    # -- writing -------------------------------------------------------------------------------------------------------------------

    def append(
        self,
        stream: str,
        events: Iterable[NewEvent] | NewEvent,
        expected_version: ExpectedVersion = "any",
        *,
        conditions: Iterable[Condition] = (),
        idempotency_key: str | None = None,
        origin: Origin = NOBODY,
        durable: bool = True,
    ) -> Appended:
        """Append to one stream and return after the commit. `expected_version`: a number, "none", "exists" or "any".

        With `idempotency_key` the same request again gives the first answer and appends nothing; a different request under the key is
        refused. Raises the classes of `errors.Refused`, and Stopped.
        """
        given: Batch = [(stream, [events] if isinstance(events, NewEvent) else events, expected_version)]
        return self.append_batch(given, conditions=conditions, idempotency_key=idempotency_key, origin=origin, durable=durable)

    def append_batch(
        self,
        batch: Batch,
        *,
        conditions: Iterable[Condition] = (),
        idempotency_key: str | None = None,
        origin: Origin = NOBODY,
        durable: bool = True,
    ) -> Appended:
        """Append to several streams, all or nothing: each item is (stream, events, expected version). At most 1,000 events in all. All
        conditions are asked of the log as it is before the batch."""
        # A work may run twice, so what can be gone through only once is gone through here.
        batch = _parts(batch)
        conditions = listed(conditions, "conditions")
        count = sum(len(events) for _, events, _ in batch)
        if count > EVENTS_PER_BATCH_MAX:
            raise TooLarge(f"{count} events in one batch; the limit is {EVENTS_PER_BATCH_MAX}: append it in parts")
        fingerprint = b""
        if idempotency_key is not None:
            fingerprint = request_fingerprint(batch, conditions, origin)

        def work(transaction: Transaction) -> Appended:
            scope = scope_of(origin)
            if idempotency_key is not None:
                known = transaction.recall(scope, idempotency_key, fingerprint)
                if known is not None:
                    if durable:
                        transaction.sync_up_to(known.position)
                    again: list[RecordedEvent] = []
                    while len(again) < known.count:
                        again += read_page(transaction.db, known.first - 1 + len(again), known.count - len(again)).events
                    return Appended(tuple(again), known.position, repeated=True)
            transaction.check(conditions)
            for stream, _, expected in batch:
                if expected != "any":
                    transaction.check(short_form(stream, expected))
            before = transaction.head.position
            recorded = [event for stream, events, _ in batch for event in transaction.append(stream, events, origin=origin)]
            position = transaction.head.position
            if idempotency_key is not None:
                answer = Remembered(fingerprint, position, before + 1, len(recorded), 0, b"")
                transaction.remember(scope, idempotency_key, answer, relaxed=not durable)
            return Appended(tuple(recorded), position)

        return self.transact(work, durable)

    def transact(self, work: Callable[[Transaction], T], durable: bool = True) -> T:
        """Run `work` in a write transaction, together with others who wait; see `Writer.submit` for what it raises."""
        if self.writer is None:
            raise ReadOnly("this log was opened for reading only")
        if self._memory_lock is None:
            return self.writer.submit(work, durable)
        forks.check(self._pid)
        with self._memory_lock, _writing(self._readers):
            return self.writer.submit(work, durable)

    def _doubt(self) -> None:
        """After a failed sync: nobody may write behind what the system believes to be on the disk and is not, until it was written anew. What is in
        doubt is gone at a boot, and so is this note of it, in shared memory. Said once: who opens the log anew puts an end to it."""
        if self._doubted is not None:
            with suppress(OSError):
                os.close(open_shared(self._doubted, os.O_WRONLY | os.O_CREAT))

    def sync(self) -> None:
        """Bring relaxed events to the disk now, those of other processes, too."""
        self.transact(lambda transaction: transaction.sync_up_to(transaction.head.position))

    def _begin(self) -> Transaction:
        if self._db is None:
            raise ReadOnly("this log was opened for reading only")
        if self._doubted is not None and os.access(self._doubted, os.F_OK):
            raise Stopped("a sync of this log failed in another program; end all that have it open, then start again")
        self._watching.begins()
        return Transaction(self._db, self.clock.read(), self._randomness, self._versions)

    def _committed(self, transaction: Transaction) -> None:
        self._watching.committed()
        head = transaction.head
        transaction.committed()
        if head.synced_position < head.position and self.path is not None:
            self._syncer.note()
        # The bell first, and whatever the watch knows already: a look of our own may have seen this commit before we came here to tell others.
        if head.position > self._rung:
            self._rung = head.position
            self.watch.ring(head.position)
        self.watch.announce(head.position)

    def _behind(self) -> Behind | None:
        """What the syncer wants to know: whether the disk has not all of the log, and since when."""
        if self.writer is not None and self.writer.stopped is not None:
            raise Stopped(self.writer.stopped)
        with self._readers.borrow() as db:
            head = read_head(db)
            if head.synced_position >= head.position:
                return None
            # None: a gap, of which `verify` speaks; then it is old.
            logtime_us: int | None = db.execute("SELECT logtime FROM events WHERE position = ?", (head.synced_position + 1,)).get
        return Behind(head.synced_position, (logtime_at(head, self.clock.read()) - (logtime_us or 0)) / 1_000_000)

    # -- reading -------------------------------------------------------------------------------------------------------------------

    def reading(self, patient: bool = False) -> AbstractContextManager[apsw.Connection]:
        """A read connection for the length of a block. A statement on it that takes more than ten seconds raises TooSlow; who knows that his take
        longer, and sees to it that they end, is `patient`."""
        return self._readers.borrow(patient)

    def snapshot(self, patient: bool = False) -> AbstractContextManager[apsw.Connection]:
        """A read connection inside one read transaction; keep the block short. `patient`: as with `reading`."""
        return self._readers.snapshot(patient)

    def reader_counts(self) -> ReaderCounts:
        """What the pool of read connections did so far."""
        return self._readers.counts()

    def head(self) -> Head:
        """The end of the log now."""
        with self._readers.borrow() as db:
            return read_head(db)

    def now_us(self) -> int:
        """Logtime now, as the next event would get it."""
        return logtime_at(self.head(), self.clock.read())

    def page(self, after: int, limit: int = PAGE_EVENTS, filter: Filter = EVERYTHING, until: int | None = None) -> Page:
        """One bounded page of events; see `read_page`."""
        after, until = place(after, "after"), None if until is None else place(until, "until")
        with self._readers.borrow() as db:
            return read_page(db, after, limit, filter, until)

    def read(
        self,
        after: int = 0,
        *,
        stream: str | None = None,
        types: Sequence[str] = (),
        streams: Sequence[str] = (),
        limit: int | None = None,
        until: int | None = None,
    ) -> Iterator[RecordedEvent]:
        """Events with position > `after` (≤ `until`), in order, up to the head at the time of each page. `types` and `streams` are
        GLOB patterns, `stream` is one exact name."""
        if stream is not None and not types and not streams:
            yield from self._read_stream(stream, after, limit, until)
            return
        filter = Filter(names(types, "types"), names(streams, "streams"), stream)
        left = limit
        while left is None or left > 0:
            page = self.page(after, PAGE_EVENTS if left is None else min(PAGE_EVENTS, left), filter, until)
            yield from page.events
            if left is not None:
                left -= len(page.events)
            if page.scanned_to == after:
                return
            after = page.scanned_to

    def verify(self) -> list[Problem]:
        """Everything that is wrong with the log itself: gaps, versions, chain, times, SQLite's integrity. Empty when nothing is."""
        with self.reading(patient=True) as db:
            return list(check(db, self.log_id))

    def backup(self, file: str | Path) -> Manifest:
        """Write the whole log into one file, while others append; see `backup.py`, which takes further files along. Raises BadBackup, OSError."""
        from eventstore import backup  # not at the start of every program: it is needed once in a while

        return backup.write(self, Path(file), datetime.fromtimestamp(self.clock.read().wall_us / 1_000_000, UTC).isoformat())

    def _read_stream(self, stream: str, after: int, limit: int | None, until: int | None) -> Iterator[RecordedEvent]:
        names((stream,), "stream")
        after, until = place(after, "after"), POSITION_MAX if until is None else place(until, "until")
        with self._readers.borrow() as db:
            version = version_at(db, stream, after)
        left = limit if limit is not None else until
        while left > 0:
            with self._readers.borrow() as db:
                events = read_stream(db, stream, version, min(PAGE_EVENTS, left), until)
            if not events:
                return
            yield from events
            left -= len(events)
            version = events[-1].version

    def _look(self) -> int:
        if self.writer is not None:
            self.writer.look()
        with self._readers.borrow() as db:
            return read_head(db).position

    def subscribe(
        self, after: int | None = None, types: Sequence[str] = (), streams: Sequence[str] = (), *, handled: int = 0
    ) -> Subscription:
        """Follow the log from `after` (None: from the present head). Events up to the position `handled` come as replay; see
        `subscription.py`."""
        return Subscription(self, self.head().position if after is None else place(after, "after"), types, streams, handled)

    # -- ending --------------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Bring everything to the disk, end the waits, close the connections. Safe to call twice.

        In a child that was forked while the log was open it does nothing: see `forks`."""
        if self._closed or os.getpid() != self._pid:
            return
        if self.writer is not None and self.writer.is_working:
            raise RuntimeError("a work must not close its log: it would wait for itself")
        self._closed = True
        self._syncer.end(CLOSE_WAIT_SECONDS)
        self.watch.close()
        self._readers.close()
        if self.writer is not None:
            try:
                if self.path is None:
                    self.writer.close()
                else:
                    self.writer.close(lambda db: self._is_unsettled(read_head(db)), self._settle)
            except Refused:
                pass  # no room, or another process is writing: the log stays marked as not ended in order, which is true

    def _is_unsettled(self, head: Head) -> bool:
        """Whether an orderly end has something to write, left by this process or by one that was killed: events to sync, or a note to clear. The note
        of an earlier boot stays until the next event tells the readers."""
        return head.synced_position < head.position or (head.dirty and head.boot_id == self.clock.read().boot_id)

    def _settle(self, transaction: Transaction) -> None:
        """Bring all to the disk and clear the note in the same commit: the note is gone only if everything before is there. Others may have the log
        open: whoever leaves something unsynced later has its note on the disk first, and clears it at its own end."""
        if self._is_unsettled(transaction.head):  # or another was quicker
            transaction.mark_synced(clean=True)

    def __enter__(self) -> EventStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _not_whole(path: Path, problem: Problem) -> Unusable:
    where = "" if problem.position is None else f" (position {problem.position})"
    message = f"{path} is damaged and is not written on: {problem.message}{where}; {problem.mend}; all of it says: pixelog verify"
    return Unusable("damaged", message)


def _parts(batch: Any) -> list[tuple[str, list[NewEvent], ExpectedVersion]]:
    parts: list[tuple[str, list[NewEvent], ExpectedVersion]] = []
    for part in listed(batch, "the parts of a batch"):
        match part:
            case (stream, events, expected):
                parts.append((stream, listed(events, "events"), expected))
            case _:
                raise Invalid(f"a part of a batch is (stream, events, expected version), not {part!r:.80}")
    return parts


def _doubted(path: Path) -> Path:
    return runtime_folder(path.parent) / f"{path.name}.doubted"


def _writing(readers: ReaderPool) -> AbstractContextManager[None]:
    return readers.writing() if isinstance(readers, _SharedConnection) else nullcontext()


def _bell(path: Path) -> str:
    return f"{path.name}.bell"


def _create(db: apsw.Connection, clock: Clock, randomness: Callable[[int], bytes], path: Path | None = None) -> None:
    reading = clock.read()
    db.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have created the tables between our look and our lock.
        if not db.execute("SELECT count(*) FROM sqlite_schema").get:
            log_id = str(uuid.UUID(bytes=uuid7(reading.wall_us, randomness(10))))
            created_at = datetime.fromtimestamp(reading.wall_us / 1_000_000, UTC).isoformat()
            schema.create(db, log_id, chain.start(log_id), created_at)
            if path is not None:
                begin_runtime(runtime_folder(path.parent), _bell(path))  # under the lock: nobody has seen the log yet
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
