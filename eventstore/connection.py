"""Opens APSW connections, set up alike and read back: one for writing, a fixed small pool for reading.

Every pragma with its reason stands in `PRAGMAS`. No statement of the log or of a projection lives here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw
import msgspec

from eventstore import forks, schema, wal
from eventstore.errors import Busy, Invalid, Overloaded, Stopped, Unusable
from eventstore.statements import READ_SECONDS_MAX, ReadWatch, Statements

BUSY_MS = 5_000
"""How long a statement waits for the lock of another process."""

SETTLE_WAIT_MS = 1_000
"""How long a start after a failed sync waits for those who read; a page takes some ten milliseconds."""

PRAGMAS: tuple[tuple[str, str | int, str], ...] = (
    ("busy_timeout", BUSY_MS, "ms; another process's transaction ends long before; beyond it we answer Busy instead of hanging"),
    ("foreign_keys", 1, "per connection in SQLite: forgetting it once is how dangling rows arise"),
    ("recursive_triggers", 1, "lets DELETE triggers fire for rows that a REPLACE removes"),
    (
        "trusted_schema",
        0,
        "a database from elsewhere must not run functions with side effects through its views",
    ),
    ("cell_size_check", 1, "damaged pages are noticed when read, for about 1 % of time"),
    ("mmap_size", 0, "a truncated or failing card must give an error, not SIGBUS"),
    ("temp_store", 2, "sorting in memory: temp files would wear the card"),
    (
        "cache_size",
        -2_048,
        "2 MiB for each reader: the pages of one answer fit, whatever the size of the library, and five connections stay under 16 MiB",
    ),
)
"""Set on every connection. (name, value, reason)"""

WRITER_PRAGMAS: tuple[tuple[str, str | int, str], ...] = (
    ("cache_size", -4_096, "4 MiB for the writer: the pages that commits change, of 100,000 media, fit"),
    (
        "synchronous",
        2,
        "FULL: a commit returns after fsync of the WAL; the writer lowers it for relaxed batches only",
    ),
    ("wal_autocheckpoint", 0, "the writer makes checkpoints itself: SQLite would hide a failed sync of one"),
    (
        "journal_size_limit",
        16 * 1024 * 1024,
        "bytes; a WAL that once grew is cut back at the next checkpoint",
    ),
    (
        "analysis_limit",
        400,
        "rows of each index that PRAGMA optimize looks at: what SQLite's authors advise beside a running application",
    ),
)

STATEMENT_CACHE = 256
"""Prepared statements kept per connection; the service uses fewer than this many distinct texts."""

FREE_BYTES_LEAST = 64 * 1024
"""Less room than SQLite needs to index its write-ahead log: an I/O error then says no more than that the disk is full."""

READERS_MAX = 4
"""Read connections at once. Two cores cannot use more, and each costs its page cache."""

READER_WAIT_SECONDS = 10.0
"""A reader that finds the pool empty for this long meets a bug, not load: reads are bounded pages."""

READER_AGE_SECONDS = 3_600.0
"""A connection this old is closed when it comes back, and the next one is set up and read back anew: one great read must not fill its cache for good,
nor a setting that somebody changed on it last."""

READER_LENDINGS_MAX = 100_000
"""So is one that was lent this often: opening takes as long as some hundred small reads, which is then nothing."""


def uri(path: Path, **parameters: str | int) -> str:
    """A SQLite URI for `path` with the parameters that every connection of ours carries.

    psow=0: without it a WAL frame shares a sector with the frame before it, and a cut while the sector is in flight can destroy
    acknowledged bytes.
    """
    items = {"psow": 0, **parameters}
    return f"file:{quote(str(path.absolute()))}?" + "&".join(f"{name}={value}" for name, value in items.items())


def _configure(db: apsw.Connection, pragmas: tuple[tuple[str, str | int, str], ...]) -> None:
    for name, value, _ in pragmas:
        db.execute(f"PRAGMA {name} = {value}").fetchall()
        got = db.pragma(name)
        if got != value:
            raise Unusable("damaged", f"SQLite answered {name} = {got!r} when asked for {value!r}")


def check_name(path: str | Path) -> None:
    """Raise Invalid for what no path of a log can be: SQLite wants names in UTF-8."""
    try:
        if isinstance(path, str | Path) and str(path).encode() and "\0" not in str(path):  # type: ignore[reportUnnecessaryIsInstance]
            return
    except UnicodeEncodeError:
        pass
    raise Invalid(f"a log is opened by the path of a file or folder, as text in UTF-8, not by {path!r:.200}")


def inspect(path: Path) -> int | None:
    """Format number of the log at `path`, or None when there is no log yet. Reads only, changes nothing.

    Raises Unusable: newer, not_a_log, damaged, not_writable.
    """
    if not path.exists() or path.stat().st_size == 0:
        if wal.length(path):
            raise Unusable(
                "damaged",
                f"{path} is {'empty' if path.exists() else 'missing'}, but its write-ahead log holds events; put the database back, "
                "or restore a backup: pixelog restore FILE --replace",
            )
        return None
    # Without a WAL nobody has the file open: then it can be read without even the shared-memory file beside it, and stays as it was. If
    # somebody opens it at this very moment, the unlocked look may see half a change: then look again, with locks.
    if _is_hot(Path(f"{path}-journal")):
        # Only the very first start uses a rollback journal. It was cut short; opening for writing undoes what it had begun.
        return None
    looks: list[dict[str, str | int]] = [{}] if Path(f"{path}-wal").exists() else [{"immutable": 1}, {}]
    for look in looks:
        try:
            application_id, version, tables = _marks(path, look)
            break
        except (
            apsw.NotADBError,
            apsw.CorruptError,
            apsw.IOError,
            apsw.CantOpenError,
            apsw.BusyError,
            apsw.ReadOnlyError,
        ) as error:
            if look is looks[-1]:
                raise _unreadable(path, error) from error
    else:
        return None
    if not tables and not application_id:
        return None
    if application_id != schema.APPLICATION_ID:
        raise Unusable("not_a_log", f"{path} is a SQLite database, but not of pixelog; choose another --data")
    if version > schema.FORMAT:
        raise newer(path, version)
    return version


def newer(path: Path, version: int) -> Unusable:
    """The refusal of a log that this program does not know how to read."""
    return Unusable(
        "newer", f"{path} was written by a newer pixelog (format {version}, this one knows {schema.FORMAT}); update pixelog"
    )


def _is_hot(journal: Path) -> bool:
    """Whether a rollback journal would be played back: one that is empty, or whose head was wiped, is over."""
    try:
        with open(journal, "rb") as file:
            return any(file.read(8))
    except FileNotFoundError:
        return False


def _marks(path: Path, look: dict[str, str | int]) -> tuple[int, int, int]:
    """Application id, format version and number of tables."""
    db = apsw.Connection(uri(path, mode="ro", **look), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        db.set_busy_timeout(BUSY_MS)
        # One statement, one state: somebody may be creating the log at this moment.
        marks: Any = db.execute(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id, pragma_user_version"
        ).fetchone()
        return marks
    finally:
        db.close()


def _unreadable(path: Path, error: apsw.Error) -> Unusable:
    match error:
        case apsw.NotADBError():
            return Unusable("not_a_log", f"{path} is not a SQLite database; move it away or choose another --data")
        case apsw.CantOpenError() | apsw.ReadOnlyError():
            if os.access(path, os.R_OK) and wal.length(path):
                return _unclosed(path)
            return Unusable("not_writable", f"{path} cannot be read ({error}); check owner and permissions")
        case apsw.BusyError():
            return Unusable("locked", f"{path} is held by another program ({error}); end it and start again")
        case apsw.IOError():
            return _no_access(path, error)
        case _:
            return Unusable("damaged", f"{path} is damaged ({error}); restore a backup: pixelog restore FILE --replace")


def _unclosed(path: Path) -> Unusable:
    return Unusable(
        "not_writable",
        f"{path} was not closed in order and lies where nothing may be written; copy its folder to where you may, and read it there",
    )


def _no_access(path: Path, error: apsw.IOError) -> Unusable:
    """What an I/O error at opening means: a full disk and a file system that may only be read are no damage."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        disk = None
    if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE or (
        disk and disk.f_bavail * disk.f_frsize < FREE_BYTES_LEAST
    ):
        return Unusable("not_writable", f"the disk of {path.parent} is full; free some space and start again")
    if disk and disk.f_flag & os.ST_RDONLY:
        return Unusable("not_writable", f"the file system of {path.parent} may only be read; check the card")
    return Unusable(
        "damaged", f"{path} cannot be read or written ({error}); check the card, restore a backup: pixelog restore FILE --replace"
    )


def open_writer(path: Path, vfs: str | None = None) -> apsw.Connection:
    """The connection that may write. Creates the file (not its tables). Raises Unusable."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    db: apsw.Connection | None = None
    try:
        if not _can_write(path):
            raise Unusable("not_writable", f"{path} is not writable; check owner, permissions and a read-only file system")
        frames = wal.length(path)
        db = forks.known(apsw.Connection(uri(path), flags=flags, vfs=vfs, statementcachesize=STATEMENT_CACHE), path)
        if db.readonly("main"):
            raise Unusable("not_writable", f"{path} is not writable; check owner, permissions and a read-only file system")
        _configure(db, PRAGMAS)
        if db.execute("SELECT count(*) FROM sqlite_schema").get and db.pragma("application_id") != schema.APPLICATION_ID:
            raise Unusable("not_a_log", f"{path} is a SQLite database, but not of pixelog; choose another --data")
        if frames:
            _check_wal(path, db, frames)
            try:
                wal.sync(path)
            except OSError as error:
                raise Unusable(
                    "not_writable", f"{path}-wal cannot be brought to the disk ({error.strerror}); check the card"
                ) from error
        if db.pragma("journal_mode") != "wal":
            db.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()
            mode = db.execute("PRAGMA journal_mode = WAL").fetchall()
            if mode != [("wal",)]:
                raise Unusable("not_writable", f"{path.parent} cannot hold a write-ahead log (SQLite answered {mode!r})")
        _configure(db, WRITER_PRAGMAS)
    except BaseException as error:
        if db is not None:
            close(db)
        known = unusable(path, error)
        if known is None:
            raise
        raise known from error
    return db


def _check_wal(path: Path, db: apsw.Connection, frames: int) -> None:
    """Raise Unusable when a flipped bit in the write-ahead log hides commits: the next one would overwrite them."""
    known, _ = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    place = wal.flipped(path, certain=True) if known < frames else None
    if place is not None:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        raise Unusable(
            "damaged",
            f"{path}-wal has a flipped bit at byte {place} or after it, and commits behind that cannot be read; nothing was changed: "
            "restore a backup: pixelog restore FILE --replace",
        )


def settle(path: Path, db: apsw.Connection) -> None:
    """Write anew what may be in the page cache only: after a failed sync the system takes the pages of the write-ahead log for written, and no later
    sync would bring them to the disk. The checkpoint puts them into the database, and begins the write-ahead log from its first byte.

    Raises Unusable (locked), apsw.Error."""
    db.set_busy_timeout(SETTLE_WAIT_MS)
    try:
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        raise Unusable("locked", f"a sync of {path} failed; end every program that has it open, then start again") from None
    finally:
        db.set_busy_timeout(BUSY_MS)


def close(db: apsw.Connection) -> None:
    """Close a connection. The last one of a log brings the write-ahead log home and deletes it; where that fails, it stays, which is as good."""
    forks.forget(db)
    with suppress(apsw.Error):
        db.close(True)  # whatever state a cursor is in that somebody kept


def unusable(path: Path, error: BaseException) -> Unusable | None:
    """Why a log cannot be opened, when this error of SQLite kept it from being so; None for any other error."""
    match error:
        case apsw.CantOpenError() | apsw.ReadOnlyError() | apsw.PermissionsError():
            return Unusable("not_writable", f"{path} is not writable ({error}); check owner and permissions")
        case apsw.FullError():
            return Unusable("not_writable", f"the disk of {path.parent} is full; free some space and start again")
        case apsw.CorruptError() | apsw.NotADBError() | apsw.SQLError() | UnicodeDecodeError():
            # The last two: a table that is not there any more, a text that is none.
            return Unusable("damaged", f"{path} is damaged ({error}); restore a backup: pixelog restore FILE --replace")
        case apsw.BusyError() | apsw.LockedError():
            return Unusable("locked", f"{path} is held by another program ({error}); end it and start again")
        case apsw.IOError():
            return _no_access(path, error)
        case _:
            return None


def _can_write(path: Path) -> bool:
    """Whether the folder and the file take writes; SQLite would find out only at the first commit."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def open_reader(path: Path, vfs: str | None = None) -> tuple[apsw.Connection, FileMarks | None]:
    """A connection that cannot write (query_only), though it may create the shared-memory file that WAL needs. Where that cannot be made, on a
    write-protected card or in a folder of somebody else's, a log that was closed in order is read as it lies there, without locks; the marks tell
    whether it still does. None: the connection has locks."""
    try:
        return _open_reader(path, vfs), None
    except (apsw.ReadOnlyError, apsw.CantOpenError):
        marks = _file_marks(path)  # before the first look: a change in between counts as one after it
        if wal.length(path):
            raise _unclosed(path) from None
        return _open_reader(path, vfs, immutable=1), marks


FileMarks = tuple[int, int, int, int]


def _file_marks(path: Path) -> FileMarks:
    """What changes whenever somebody writes the log: of the database, and how long its write-ahead log is."""
    try:
        about = path.stat()
    except OSError as error:
        raise Unusable("not_writable", f"{path} cannot be read ({error.strerror}); check owner and permissions") from error
    return about.st_ino, about.st_mtime_ns, about.st_size, wal.length(path)


def _open_reader(path: Path, vfs: str | None, **parameters: int) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
    if parameters or not os.access(path, os.W_OK):
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    db = forks.known(apsw.Connection(uri(path, **parameters), flags=flags, vfs=vfs, statementcachesize=STATEMENT_CACHE), path)
    try:
        _configure(db, PRAGMAS)
        db.execute("PRAGMA query_only = 1").fetchall()
        # The writer brings the write-ahead log into the database; a reader that closes last must not do it after the writer refused to.
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        if flags & apsw.SQLITE_OPEN_READONLY:
            db.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # what cannot be read shows itself here
    except BaseException:
        close(db)
        raise
    return db


class ReaderCounts(msgspec.Struct, frozen=True):
    """What the pool of readers did since the log was opened. `opened`, `renewed`: connections; `lent`, `lent_most`: of them in use now, and at once;
    `timeouts`: who asked for one and waited in vain."""

    opened: int = 0
    renewed: int = 0
    lent: int = 0
    lent_most: int = 0
    timeouts: int = 0


class _Pooled:
    """A connection of the pool, with its age; `marks` of the file, if it has no locks."""

    __slots__ = ("db", "lendings", "marks", "opened_at", "watch")

    def __init__(self, db: apsw.Connection, marks: FileMarks | None, watch: ReadWatch, opened_at: float) -> None:
        self.db, self.marks, self.watch, self.opened_at = db, marks, watch, opened_at
        self.lendings = 0


class Readers:
    """A bounded pool of read connections, each watched by `statements`. Close it when no read is under way."""

    def __init__(
        self,
        path: Path,
        vfs: str | None = None,
        most: int = READERS_MAX,
        statements: Statements | None = None,
        seconds_max: float | None = READ_SECONDS_MAX,
    ) -> None:
        """`seconds_max`: how long a statement may take that nobody called patient; None: as long as it wants. The ages of connections are those of
        the clock of `statements`."""
        self._path, self._vfs, self._most = path, vfs, most
        self._statements = statements or Statements()
        self._seconds_max = seconds_max
        self._idle: list[_Pooled] = []
        self._lent = self._lent_most = self._opened = self._renewed = self._timeouts = 0
        self._free = threading.Condition(threading.Lock())
        self._closed = False
        self._pid = os.getpid()

    def counts(self) -> ReaderCounts:
        """What the pool did so far."""
        with self._free:
            return ReaderCounts(self._opened, self._renewed, self._lent, self._lent_most, self._timeouts)

    @contextmanager
    def borrow(self, patient: bool = False) -> Generator[apsw.Connection]:
        """A connection for the length of the block. Inside, every statement sees its own newest state; see `snapshot`. A statement that takes
        longer than the bound raises TooSlow, unless the borrower is `patient`: then it may take as long as reading the whole file does, and the
        borrower sees to it that it ends."""
        pooled = self._take()
        pooled.watch.seconds_max = None if patient else self._seconds_max
        try:
            yield pooled.db
            self._check_still(pooled)
        except apsw.CorruptError:
            self._check_still(pooled)
            raise
        finally:
            self._give_back(pooled)

    @contextmanager
    def snapshot(self, patient: bool = False) -> Generator[apsw.Connection]:
        """A connection inside one read transaction: all statements of the block see one state. Keep it short: the WAL cannot be
        cut back while it lasts. `patient`: as with `borrow`."""
        with self.borrow(patient) as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _check_still(self, pooled: _Pooled) -> None:
        """Raise Busy when what was read without locks was written meanwhile: it may be half old and half new."""
        if pooled.marks is not None and pooled.marks != _file_marks(self._path):
            raise Busy(f"{self._path} was written while it was read, in a folder where readers can take no lock; try again")

    def _take(self) -> _Pooled:
        forks.check(self._pid)
        with self._free:
            if not self._free.wait_for(lambda: self._closed or self._idle or self._lent < self._most, READER_WAIT_SECONDS):
                self._timeouts += 1
                raise Overloaded(f"all {self._most} read connections are in use for {READER_WAIT_SECONDS:.0f} s; try again")
            if self._closed:
                raise Stopped("the log was closed")
            pooled = self._idle.pop() if self._idle else self._open()
            if pooled.marks is not None and pooled.marks != _file_marks(self._path):
                close(pooled.db)
                self._renewed += 1
                pooled = self._open()
            pooled.lendings += 1
            self._lent += 1
            self._lent_most = max(self._lent_most, self._lent)
            return pooled

    def _open(self) -> _Pooled:
        db, marks = open_reader(self._path, self._vfs)
        self._opened += 1
        return _Pooled(db, marks, ReadWatch(db, self._statements, self._seconds_max), self._statements.now())

    def _give_back(self, pooled: _Pooled) -> None:
        if os.getpid() != self._pid:
            return  # borrowed before a fork; see `forks`
        # A cursor or a transaction that outlives its block would hold the old state for the next one who borrows, and the write-ahead log with it.
        held = pooled.db.in_transaction or pooled.db.txn_state("main") != apsw.SQLITE_TXN_NONE
        aged = held or pooled.lendings >= READER_LENDINGS_MAX or self._statements.now() - pooled.opened_at >= READER_AGE_SECONDS
        with self._free:
            self._lent -= 1
            keep = not aged and not self._closed
            if keep:
                self._idle.append(pooled)
            elif aged:
                self._renewed += 1
            self._free.notify()
        if not keep:
            close(pooled.db)

    def close(self) -> None:
        """Close every idle connection; borrowed ones close when they come back. In a forked child: none, see `forks`."""
        if os.getpid() != self._pid:
            return
        with self._free:
            self._closed = True
            idle, self._idle = self._idle, []
            self._free.notify_all()
        for pooled in idle:
            close(pooled.db)
