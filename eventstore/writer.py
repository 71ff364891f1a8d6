"""One writer at a time: whoever leads commits for all who wait.

A caller that finds nobody leading commits at once on its own thread: the idle case has no queue, no thread and no timer. Callers that arrive
meanwhile wait; the leader's heir takes all of them into one transaction with a savepoint each and one fsync. No word of events here: `work` is
any function of a transaction.

Nobody waits for ever, because of three rules, each kept under `_gate`:
  1. nobody leads only while nobody waits (who joins finds no leader, and leads; who stops leading names the first in the queue, if there is one);
  2. a leader takes the front of the queue, where it stands itself, and answers every ticket it took, however the commit ended;
  3. whoever leaves, by an exception too, leaves the queue and passes on the lead if it has it.
Ctrl-C could come in the middle of leaving, so it is put off until then; only a second one is not.
Nothing is applied twice: a ticket goes back into the queue only while its transaction is known not to have committed.

What may go wrong, and what follows:
  an exception of `work`                its savepoint is rolled back, its caller gets it, the others commit
  an interrupt of the leader            everything is rolled back, the others go again under the next leader; after COMMIT: the others are answered
  a work took back what it appended     the same, if it did not say so to the transaction: the head would not be the log's
  SQLITE_FULL, NOMEM, INTERRUPT         SQLite rolls everything back; each waiting work is tried once more alone
  SQLITE_BUSY at BEGIN                  Busy for all who wait: another process held the lock beyond the bounded wait
  read-only file system                 ReadOnly: refused, reads go on
  a file of the log is gone             final: Stopped, as what is written has no name any more
  any other I/O error, a failed sync    final: Stopped for these and all later callers, because what a failed fsync left in the page cache
                                        cannot be known
Checkpoints are made here and not by SQLite, which would hide a failed sync of theirs.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import apsw

from eventstore import connection, forks, interrupts
from eventstore.errors import Busy, OutOfSpace, Overloaded, ReadOnly, Stopped

BATCH_MAX = 128
"""Works in one transaction: beyond it, measured, a larger batch only adds latency."""

PATIENCE = 2
"""How often a leader after a crowd lets the other threads run although nobody new has joined: a few microseconds each."""

WAITING_MAX = 1_024
"""Works waiting at once. At 128 a commit this is eight commits; a caller beyond that is better told so than kept."""

CHECKPOINT_PAGES = 2_000
"""Pages in the write-ahead log before they are brought into the database: about 8 MiB, read again in some 20 ms at a start after a kill. A round
costs three syncs: at half the size they would be two in a hundred of all."""

WAITS_SECONDS = ((0.0001, 80), (0.001, 100), (0.01, connection.BUSY_MS // 10))
"""How a lock of another process is waited for: (pause, how many times). Most are held for less than a millisecond, the shortest wait of SQLite's own;
in all it gives up after the time of `connection.BUSY_MS`, as SQLite would."""

CLOSE_WAIT_SECONDS = 30.0
"""How long `close` waits for the commit under way. A card may stall for seconds; an interrupted leader must not hang the end for ever."""

REMOVED = (
    "the {what} was moved, replaced or removed while in use; put things in order and restart. Never touch the files of an open log, and never use "
    "another SQLite library on it in the same process: when that closes a file, the locks of this one are gone"
)

FILES = {"": "database file", "-wal": "write-ahead log", "-shm": "index of the write-ahead log"}
"""The files of an open log, by the end of their names. What is written to one that has lost its name is lost, and processes that do not share them
overwrite each other."""

TICK_NS = 3_000_000_000
"""The times of a folder are no finer than a clock tick, 4 to 10 ms, and two seconds on FAT."""

_WHOLE_ROLLBACK = (apsw.FullError, apsw.NoMemError, apsw.InterruptError)
_REFUSED_WRITES = {apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_TRUNCATE, apsw.SQLITE_IOERR_DELETE, apsw.SQLITE_IOERR_SHMSIZE}
"""I/O errors that a read-only file system or a quota may explain. A failed sync is not among them: what was written before is in doubt."""

_NO_ROOM = {errno.EDQUOT, errno.EFBIG}
"""What the system says of a quota and of a limit of file sizes; for SQLite only a full disk is a full disk."""


class Transaction(Protocol):
    """What the writer needs from the transaction object that it hands to works."""

    @property
    def must_sync(self) -> bool: ...
    def mark(self) -> Any: ...
    def reset(self, mark: Any) -> None: ...
    def finish(self, synced: bool, relaxed: bool) -> str | None: ...


class _RolledBack(Exception):
    """A work failed, and the transaction of all is gone with it. The cause is for its caller."""


class _Attempt:
    """One try at a transaction. `committed` is what makes its tickets done, all at once."""

    __slots__ = ("committed", "transaction")

    def __init__(self) -> None:
        self.committed = False
        self.transaction: Any = None


class _Ticket:
    __slots__ = ("attempt", "durable", "error", "leads", "result", "thread", "turn", "work")

    def __init__(self, work: Callable[[Any], Any], durable: bool) -> None:
        self.work = work
        self.durable = durable
        self.thread = threading.get_ident()
        self.leads = False
        self.attempt: _Attempt | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.turn: threading.Lock | None = (
            None  # of one who waits; released when there is something to do: an answer to take, or the lead
        )

    @property
    def done(self) -> bool:
        return self.attempt is not None and self.attempt.committed

    def settle(self, attempt: _Attempt, result: Any, error: BaseException | None) -> None:
        self.result, self.error, self.attempt = result, error, attempt

    def refuse(self, error: BaseException) -> None:
        attempt = _Attempt()
        attempt.committed = True
        self.settle(attempt, None, error)


class _File:
    """A file that has to stay where it is, once it was seen."""

    __slots__ = ("_inode", "_path", "what")

    def __init__(self, path: str, what: str) -> None:
        self.what = what
        self._path = path
        self._inode: tuple[int, int] | None = None

    def look(self) -> bool:
        """Whether it still is the file that it was."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return self._inode is None
        except OSError:
            return True  # the card does not answer: whoever writes will learn what there is to learn
        inode = (found.st_dev, found.st_ino)
        if self._inode is None:
            self._inode = inode
        return inode == self._inode


class Writer:
    """Commits works over one connection.

    `begin` makes the transaction object after BEGIN; `committed` is called after each commit and must not fail. `path` is the database (None: in
    memory), whose files have to stay where they are. `doubted` is called when what was written may not be on the disk, before anybody hears of it,
    and must not fail.
    """

    def __init__(
        self,
        db: apsw.Connection,
        begin: Callable[[], Transaction],
        committed: Callable[[Any], None],
        path: Path | None = None,
        doubted: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = db
        self._begin = begin
        self._committed = committed
        self._path = path
        self._doubted = doubted
        self._folder = "" if path is None else str(path.parent)
        self._quiet_since_ns: int | None = None  # when the folder changed last, if that was long before a look at the files
        self._files = [] if path is None else [_File(f"{path}{end}", what) for end, what in FILES.items()]
        self.in_doubt = False
        """Whether an I/O error stopped it, so that what the system takes for written may not be on the disk."""
        self._gate = threading.Lock()
        self._waiting: deque[_Ticket] = deque()
        self._batch: deque[_Ticket] = deque()  # taken by the leader and not answered yet
        self._leader: int | None = None
        self._idle = threading.Condition(self._gate)
        self._synchronous_full = True
        self._stopped: str | None = None
        self._crowd = 1  # works in the last transaction
        self._pid = os.getpid()
        self._wal_pages = 0
        self._checkpoint_at = CHECKPOINT_PAGES
        self.commits = 0
        """Transactions committed since the log was opened."""
        self.checkpoints_put_off = 0
        """Checkpoints that a full disk or a long reader kept from finishing."""
        if path is not None:
            db.set_busy_handler(_wait_for_lock)
            db.wal_autocheckpoint(0)
            db.set_wal_hook(self._grown)
        self.look()

    @property
    def stopped(self) -> str | None:
        """Why nothing can be written any more, or None."""
        return self._stopped

    @property
    def wal_pages(self) -> int:
        """Pages in the write-ahead log after the last commit made here."""
        return self._wal_pages

    def submit(self, work: Callable[[Any], Any], durable: bool = True) -> Any:
        """Run `work(transaction)` in a transaction and return its result after the commit; an exception of `work` is raised here
        after its effects were rolled back. `durable`: return only when the bytes are on the disk. A work may run twice if the first
        transaction came to nothing, on another thread than the caller's, and must not submit in its turn. Ctrl-C is heard at the end, after the
        commit; see `interrupts`.

        Raises Overloaded, Busy, ReadOnly, OutOfSpace, Stopped.
        """
        forks.check(self._pid)
        ticket = _Ticket(work, durable)
        waiting = interrupts.put_off()
        try:
            self._take_part(ticket)
        finally:
            interrupts.end(waiting)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    def _take_part(self, ticket: _Ticket) -> None:
        try:
            with self._gate:
                self._join(ticket)
            if ticket.turn is not None:
                ticket.turn.acquire()
            if ticket.leads:
                self._lead()
        finally:
            self._leave(ticket)

    @property
    def is_working(self) -> bool:
        """Whether a work is running on this thread."""
        return self._leader == threading.get_ident()

    def look(self) -> bool:
        """Whether the files of the log still are those that they were; from then on nothing can be written if not. Looks at the names only, because
        opening and closing a file beside SQLite can take its locks away; and at the folder's time alone while no name in it comes or goes, as this
        is asked before each commit."""
        if self._path is None:
            return True
        try:
            changed_ns = os.stat(self._folder).st_mtime_ns
        except OSError:
            changed_ns = None
        if changed_ns is not None and changed_ns == self._quiet_since_ns:
            return True
        # A name that goes within one tick of the file system's clock after the look would leave the folder's time as it is.
        quiet = changed_ns is not None and time.time_ns() - changed_ns > TICK_NS
        self._quiet_since_ns = changed_ns if quiet else None
        for file in self._files:
            if not file.look():
                self._stopped = self._stopped or REMOVED.format(what=file.what)
                return False
        return True

    def checkpoint(self, wait_ms: int) -> bool:
        """Bring the write-ahead log into the database and cut it back to nothing; whether it was. Gives way to whoever writes, and after `wait_ms` to
        a reader of an older state; who comes to write meanwhile waits for it. Raises Stopped, OutOfSpace, ReadOnly: it fails as a commit does."""
        forks.check(self._pid)
        me = threading.get_ident()
        if self._leader == me:
            return False
        try:
            with self._gate:
                self.look()
                if self._stopped:
                    raise Stopped(self._stopped)
                if self._leader is not None:
                    return False
                self._leader = me
            return self._cut_back(wait_ms)
        finally:
            with self._gate:
                if self._leader == me:
                    self._pass_on()

    def _cut_back(self, wait_ms: int) -> bool:
        put_off = True
        try:
            self._db.set_busy_timeout(wait_ms)
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            put_off = False
        except (apsw.BusyError, apsw.LockedError):
            return False
        except apsw.Error as error:
            raise self._explain(error) from error
        finally:
            self.checkpoints_put_off += put_off
            self._db.set_busy_timeout(connection.BUSY_MS)
        self._grown(self._db, "main", 0)
        return True

    def _join(self, ticket: _Ticket) -> None:
        if self._stopped:
            raise Stopped(self._stopped)
        if self._leader == ticket.thread:
            raise RuntimeError("a work must not submit: it would wait for itself; use the transaction that it was handed")
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded(f"{WAITING_MAX} commands are waiting to be written; try again in a second")
        if self._leader is None:
            self._leader, ticket.leads = ticket.thread, True
        else:
            ticket.turn = threading.Lock()
            ticket.turn.acquire()
        self._waiting.append(ticket)

    def _leave(self, ticket: _Ticket) -> None:
        if ticket.leads:
            self._answer()
        with self._gate:
            if not ticket.done and ticket in self._waiting:
                self._waiting.remove(ticket)
            if not ticket.leads:
                return
            ticket.leads = False
            self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            heir = self._waiting[0]
            self._leader, heir.leads = heir.thread, True
            if heir.turn is not None:
                heir.turn.release()
        else:
            self._leader = None
            self._idle.notify_all()

    def _gather(self) -> None:
        """After a crowd: those just answered are back within microseconds, if they may run. Without this every other commit would be for one,
        the first who is back. No clock: it ends when as many wait as were answered, or when nobody came while others could run."""
        patience = PATIENCE
        while patience and len(self._waiting) < self._crowd:
            before = len(self._waiting)
            time.sleep(0)
            patience = PATIENCE if len(self._waiting) > before else patience - 1

    def _lead(self) -> None:
        if self._crowd > 1:
            self._gather()
        with self._gate:
            while self._waiting and len(self._batch) < BATCH_MAX:
                self._batch.append(self._waiting[0])
                self._waiting.popleft()
        self._crowd = len(self._batch)
        self._commit(list(self._batch))
        self._answer()
        if self._wal_pages >= self._checkpoint_at and self._stopped is None:
            self._checkpoint()

    def _answer(self) -> None:
        """Wake those of the batch who have their answer; the others go again, in their order. A ticket leaves the batch last, so that a second
        call, after an interrupt in the middle of the first, finds what is left to do."""
        with self._gate:
            while self._batch:
                ticket = self._batch[-1]
                if ticket.done:
                    if ticket.turn is not None and ticket.turn.locked():
                        ticket.turn.release()
                elif ticket.thread != self._leader and not (self._waiting and self._waiting[0] is ticket):
                    self._waiting.appendleft(ticket)
                self._batch.pop()

    def _commit(self, batch: Sequence[_Ticket]) -> None:
        if self._stopped or not self.look():
            for ticket in batch:
                ticket.refuse(Stopped(self._stopped))
            return
        failure = self._try(batch)
        if failure is None:
            return
        again = isinstance(failure, (_RolledBack, *_WHOLE_ROLLBACK))
        for ticket in batch:
            error = self._try([ticket]) if again and self._stopped is None else failure
            if error is not None:
                ticket.refuse(self._explain(error))

    def _try(self, batch: Sequence[_Ticket]) -> Exception | None:
        """One transaction for the batch. None when it committed and each ticket is settled; else what ended it, with nothing kept."""
        db = self._db
        attempt = _Attempt()
        committing = False
        durable = sum([ticket.durable for ticket in batch])
        relaxed, synced = durable < len(batch), durable > 0
        try:
            attempt.transaction = transaction = self._open(synced)
            if not synced and transaction.must_sync:
                db.execute("ROLLBACK")
                synced = True
                attempt.transaction = transaction = self._open(synced)
            for ticket in batch:
                self._run(ticket, attempt, alone=len(batch) == 1)
            if db.in_transaction:
                wrong = transaction.finish(synced, relaxed)
                if wrong is not None:
                    raise _RolledBack from RuntimeError(wrong)
                committing = True
                db.execute("COMMIT")
            else:
                attempt.transaction = None
            attempt.committed = True
        except (apsw.Error, _RolledBack) as error:
            self._roll_back()
            return error
        except BaseException:
            # An interrupt of this thread. After COMMIT has returned the events are in the log, and those who wait must hear so.
            if committing and not db.in_transaction:
                attempt.committed = True
                self._announce(attempt)
            else:
                self._roll_back()
            raise
        self._announce(attempt)
        return None

    def _open(self, synced: bool) -> Transaction:
        if synced != self._synchronous_full:
            # Outside a transaction; inside, SQLite ignores it. First the note, so that an interrupt between the two errs towards FULL.
            self._synchronous_full = False
            self._db.execute("PRAGMA synchronous = FULL" if synced else "PRAGMA synchronous = NORMAL")
            self._synchronous_full = synced
        self._db.execute("BEGIN IMMEDIATE")
        return self._begin()

    def _run(self, ticket: _Ticket, attempt: _Attempt, alone: bool) -> None:
        db = self._db
        mark = attempt.transaction.mark()
        if not alone:
            db.execute("SAVEPOINT work")
        try:
            result = ticket.work(attempt.transaction)
            if not db.in_transaction:
                raise RuntimeError("a work must not end the transaction that it was handed")
        except BaseException as error:
            if isinstance(error, (apsw.IOError, *_WHOLE_ROLLBACK)) or self._is_interrupt(error):
                raise
            if not db.in_transaction and not alone:
                raise _RolledBack from error
            if alone:
                self._roll_back()
            else:
                db.execute("ROLLBACK TO work")
                db.execute("RELEASE work")
            attempt.transaction.reset(mark)
            ticket.settle(attempt, None, error)
            return
        if not alone:
            db.execute("RELEASE work")
        ticket.settle(attempt, result, None)

    def _is_interrupt(self, error: BaseException) -> bool:
        """Whether an exception came from outside (Ctrl-C, which only the main thread gets) and not from the work itself."""
        return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()

    def _announce(self, attempt: _Attempt) -> None:
        if attempt.transaction is not None:
            self.commits += 1
            self._committed(attempt.transaction)

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _grown(self, _: apsw.Connection, __: str, pages: int) -> int:
        if pages < self._wal_pages:  # begun anew: all of it is in the database
            self._checkpoint_at = CHECKPOINT_PAGES
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Bring the write-ahead log into the database as far as readers allow; the next commit after a whole one begins it anew."""
        pages, moved = self._wal_pages, 0
        try:
            pages, moved = self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            self._explain(error)
        if moved < pages:
            self.checkpoints_put_off += 1
        # Until it begins anew (see _grown) each further try waits for as much again: a reader may hold it for long.
        self._checkpoint_at = self._wal_pages + CHECKPOINT_PAGES

    def _explain(self, error: Exception) -> BaseException:
        match error:
            case apsw.FullError():
                return OutOfSpace("the disk is full; free some space and try again, nothing was stored")
            case apsw.BusyError() | apsw.LockedError():
                return Busy("another process is writing to the log for longer than 5 s; try again")
            case apsw.ReadOnlyError():
                return ReadOnly("the log cannot be written (read-only); reads go on")
            case apsw.IOError() if _cause(error) in _REFUSED_WRITES and self._on_read_only_file_system():
                return ReadOnly("the file system became read-only (worn card or I/O error); reads go on")
            case apsw.IOError() if _cause(error) in _REFUSED_WRITES and self._db.system_errno in _NO_ROOM:
                return OutOfSpace(
                    "a quota or a limit of file sizes is used up; raise it or free some space and try again, nothing was stored"
                )
            case apsw.IOError() if _cause(error) == apsw.SQLITE_IOERR_SHMSIZE:
                return OutOfSpace("the disk has no room for the index of the write-ahead log; free some space and try again")
            case apsw.IOError() | apsw.CorruptError() | apsw.CantOpenError():
                self._stopped = f"writing to the log failed ({error}); restart to recover from what is on the disk"
                if not self.in_doubt:
                    self.in_doubt = True
                    self._doubted()
                # SQLite would bring the log into the database at the end, from a page cache that cannot be believed any more.
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                return Stopped(self._stopped)
            case _RolledBack(__cause__=cause) if cause is not None:
                return cause
            case _:
                return error

    def _on_read_only_file_system(self) -> bool:
        if self._path is None:
            return False
        if self._db.system_errno == errno.EROFS:
            return True  # after an error of its own the kernel may refuse writes without showing the file system as read-only
        try:
            return bool(os.statvfs(self._path.parent).f_flag & os.ST_RDONLY)
        except OSError:
            return False

    def close(
        self, wanted: Callable[[apsw.Connection], bool] = lambda _: False, last: Callable[[Any], Any] = lambda _: None
    ) -> None:
        """Refuse further work, wait for the commits under way (bounded), then run the durable work `last` if it is `wanted`, bring the write-ahead
        log home and close the connection. Nothing of this process is committed after `last`. In a forked child: nothing, see `forks`.

        Raises what kept `last` from being committed, as `submit` does; the connection is closed all the same."""
        if os.getpid() != self._pid:
            return
        me = threading.get_ident()
        with self._gate:
            failed, self._stopped = self._stopped, self._stopped or "the log was closed"
            if not self._idle.wait_for(lambda: self._leader is None, CLOSE_WAIT_SECONDS):
                return
            self._leader = me
        try:
            if not self.look():
                # What another program has begun since then must not be overwritten with pages of a file that is gone.
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            elif failed is None:
                self._finish(wanted, last)
        finally:
            connection.close(self._db)
            with self._gate:
                self._pass_on()

    def _finish(self, wanted: Callable[[apsw.Connection], bool], last: Callable[[Any], Any]) -> None:
        ticket = _Ticket(last, durable=True)
        try:
            error = self._try([ticket]) if wanted(self._db) else None
        except apsw.Error as unreadable:
            error = unreadable
        error = ticket.error if error is None else self._explain(error)
        if not self.in_doubt and self._wal_pages:
            self._checkpoint()
        if error is not None:
            raise error


def _wait_for_lock(tries: int) -> bool:
    """SQLite's busy handler: pause, and say whether to try again."""
    for seconds, times in WAITS_SECONDS:
        if tries < times:
            time.sleep(seconds)
            return True
        tries -= times
    return False


def _cause(error: apsw.IOError) -> int:
    """SQLite's extended result code: which call on a file failed."""
    return getattr(error, "extendedresult", 0)
