"""One writer at a time: whoever holds the lock commits for all who wait.

A caller that finds the lock free commits at once on its own thread: the idle case has no queue, no thread and no timer. Callers that
arrive meanwhile wait; the holder's successor takes all of them into one transaction with a savepoint each and one fsync. No word of
events here: `work` is any function of a transaction.

What may go wrong, and what follows:
  an exception of `work`                its savepoint is rolled back, its caller gets it, the others commit
  SQLITE_FULL, NOMEM, INTERRUPT         SQLite rolls everything back; each waiting work is tried once more alone
  SQLITE_BUSY at BEGIN                  Busy for all who wait: another process held the lock beyond the bounded wait
  read-only file system                 ReadOnly: refused, reads go on
  any other I/O error, a failed sync    final: Stopped for these and all later callers, because what a failed fsync left in the page cache
                                        cannot be known
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import apsw

from eventstore.errors import Busy, OutOfSpace, Overloaded, ReadOnly, Stopped

BATCH_MAX = 128
"""Works in one transaction: beyond it, measured, a larger batch only adds latency."""

WAITING_MAX = 1_024
"""Works waiting at once. At 128 a commit this is eight commits; a caller beyond that is better told so than kept."""

_WHOLE_ROLLBACK = (apsw.FullError, apsw.NoMemError, apsw.InterruptError)


class Transaction(Protocol):
    """What the writer needs from the transaction object that it hands to works."""

    def mark(self) -> Any: ...
    def reset(self, mark: Any) -> None: ...
    def finish(self, durable: bool) -> None: ...


class _Ticket:
    __slots__ = ("baton", "done", "durable", "error", "leads", "result", "work")

    def __init__(self, work: Callable[[Any], Any], durable: bool) -> None:
        self.work = work
        self.durable = durable
        self.done = False
        self.leads = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.baton = threading.Lock()
        self.baton.acquire()

    def settle(self, result: Any, error: BaseException | None) -> None:
        self.result, self.error, self.done = result, error, True


class Writer:
    """Commits works over one connection.

    `begin` makes the transaction object after BEGIN; `committed` is called after each commit; `must_sync` may ask that a batch of relaxed
    works be synced nevertheless. `path` names the file system to ask whether it became read-only.
    """

    def __init__(
        self,
        db: apsw.Connection,
        begin: Callable[[], Transaction],
        committed: Callable[[Any], None],
        must_sync: Callable[[], bool] = lambda: False,
        path: str | None = None,
    ) -> None:
        self._db = db
        self._begin = begin
        self._committed = committed
        self._must_sync = must_sync
        self._path = path
        self._lock = threading.Lock()
        self._waiting: deque[_Ticket] = deque()
        self._synchronous_full = True
        self._stopped: str | None = None
        self.commits = 0

    @property
    def stopped(self) -> str | None:
        """Why nothing can be written any more, or None."""
        return self._stopped

    def submit(self, work: Callable[[Any], Any], durable: bool = True) -> Any:
        """Run `work(transaction)` in a transaction and return its result after the commit; an exception of `work` is raised here
        after its effects were rolled back. `durable`: return only when the bytes are on the disk.

        Raises Overloaded, Busy, ReadOnly, OutOfSpace, Stopped.
        """
        if self._stopped:
            raise Stopped(self._stopped)
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded(f"{WAITING_MAX} commands are waiting to be written; try again in a second")
        ticket = _Ticket(work, durable)
        self._waiting.append(ticket)
        if not self._lock.acquire(blocking=False):
            self._wait(ticket)
        else:
            ticket.leads = True
        if ticket.leads:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    def _wait(self, ticket: _Ticket) -> None:
        # The holder may have looked at the queue just before this ticket joined it: the second try closes that gap.
        if self._lock.acquire(blocking=False):
            if ticket.done:
                self._hand_over()
            else:
                ticket.leads = True
            return
        try:
            ticket.baton.acquire()
        except BaseException:
            # An interrupt while waiting. Leave the queue; if the lock was handed to this ticket, pass it on, else nobody would commit again.
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            if ticket.baton.acquire(timeout=0.05) and ticket.leads:
                self._hand_over()
            raise

    def _lead(self, own: _Ticket) -> None:
        """Holding the lock: commit until the own ticket is settled, then hand the lock to one who waits, or free it."""
        try:
            while not own.done:
                batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
                try:
                    self._commit(batch)
                finally:
                    for ticket in batch:
                        if not ticket.done:  # an interrupt of this thread: the others are not to blame, they go again
                            if ticket is own:
                                ticket.settle(None, Stopped("interrupted"))
                            else:
                                self._waiting.appendleft(ticket)
                        elif ticket is not own:
                            ticket.baton.release()
        finally:
            self._hand_over()

    def _hand_over(self) -> None:
        while True:
            if self._waiting:
                heir = self._waiting[0]
                heir.leads = True
                heir.baton.release()
                return
            self._lock.release()
            # A ticket that joined between the look and the release found the lock taken; take it up again for it.
            if not self._waiting or not self._lock.acquire(blocking=False):
                return

    def _commit(self, batch: list[_Ticket]) -> None:
        if self._stopped:
            for ticket in batch:
                ticket.settle(None, Stopped(self._stopped))
            return
        failure = self._try(batch)
        if failure is None:
            return
        for ticket in batch:
            ticket.done = False
            alone = self._try([ticket]) if isinstance(failure, _WHOLE_ROLLBACK) else failure
            if alone is not None:
                ticket.settle(None, self._explain(alone))

    def _try(self, batch: list[_Ticket]) -> apsw.Error | None:
        """One transaction for the batch. None when it committed and each ticket is settled; else what ended it, with nothing kept."""
        db = self._db
        durable = any(ticket.durable for ticket in batch) or self._must_sync()
        try:
            if durable != self._synchronous_full:
                # Must happen outside a transaction; inside, SQLite ignores it.
                db.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
                self._synchronous_full = durable
            db.execute("BEGIN IMMEDIATE")
            transaction = self._begin()
            for ticket in batch:
                self._run(ticket, transaction, alone=len(batch) == 1)
            if db.in_transaction:
                transaction.finish(durable)
                db.execute("COMMIT")
        except apsw.Error as error:
            self._roll_back()
            return error
        except BaseException:
            self._roll_back()
            for ticket in batch:
                ticket.done = False
            raise
        self.commits += 1
        self._committed(transaction)
        return None

    def _run(self, ticket: _Ticket, transaction: Transaction, alone: bool) -> None:
        db = self._db
        mark = transaction.mark()
        if not alone:
            db.execute("SAVEPOINT work")
        try:
            result = ticket.work(transaction)
        except Exception as error:
            if not db.in_transaction or isinstance(error, (apsw.IOError, *_WHOLE_ROLLBACK)):
                raise  # the whole transaction is gone, or must be
            if alone:
                db.execute("ROLLBACK")
            else:
                db.execute("ROLLBACK TO work")
                db.execute("RELEASE work")
            transaction.reset(mark)
            ticket.settle(None, error)
            return
        if not alone:
            db.execute("RELEASE work")
        ticket.settle(result, None)

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _explain(self, error: apsw.Error) -> BaseException:
        match error:
            case apsw.FullError():
                return OutOfSpace("the disk is full; free some space and try again, nothing was stored")
            case apsw.BusyError() | apsw.LockedError():
                return Busy("another process is writing to the log for longer than 5 s; try again")
            case apsw.ReadOnlyError():
                return ReadOnly("the log cannot be written (read-only); reads go on")
            case apsw.NoMemError() | apsw.InterruptError():
                return error
            case apsw.IOError() if self._on_read_only_file_system():
                return ReadOnly("the file system became read-only (worn card or I/O error); reads go on")
            case apsw.IOError() | apsw.CorruptError() | apsw.CantOpenError():
                self._stopped = f"writing to the log failed ({error}); restart to recover from what is on the disk"
                return Stopped(self._stopped)
            case _:
                return error

    def _on_read_only_file_system(self) -> bool:
        if self._path is None:
            return False
        try:
            return bool(os.statvfs(self._path).f_flag & os.ST_RDONLY)
        except OSError:
            return False

    def close(self) -> None:
        """Wait for the commit under way, then refuse further work and close the connection."""
        with self._lock:
            self._stopped = self._stopped or "the log was closed"
            self._db.close()
