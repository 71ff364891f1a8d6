"""A SQLite VFS that counts the calls on files and lets a chosen one fail: a full disk, a failing card, half a write.

It sees what SQLite does through its file layer: database, write-ahead log, journal. It sees neither the shared-memory file nor other files.
Every call that changes a file or makes it durable is a point at which a fault can be planted: write, truncate, sync, delete.

    with FaultyVFS("faulty") as vfs:
        store = EventStore.open(path, vfs=vfs.name)
        vfs.plant(Fault("eio", call=3, kinds=("sync",)))     # counted from now
        …
        vfs.fired                                            # did it happen?
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

import apsw
import msgspec

if TYPE_CHECKING:
    from collections.abc import Buffer  # from Python 3.12 on; apsw's own hints use it, too

Kind = Literal["write", "truncate", "sync", "delete"]
EVERY_KIND: tuple[Kind, ...] = ("write", "truncate", "sync", "delete")


class Fault(msgspec.Struct, frozen=True):
    """What fails. `call` counts calls of `kinds` from 1; `for_good`: that call and all later ones of these kinds.

    enospc: no room. eio: an I/O error. short: half of a write reaches the file, then an I/O error (SQLite's own retry of a partial write has
    failed too); other kinds fail as with eio.
    """

    what: Literal["enospc", "eio", "short"]
    call: int
    kinds: tuple[Kind, ...] = EVERY_KIND
    for_good: bool = False


class Call(msgspec.Struct, frozen=True):
    """One call on a file: what, and which file (the end of its name: "db", "wal", "journal")."""

    kind: Kind
    file: str
    size_bytes: int = 0


_ERRORS: dict[Kind, int] = {
    "write": apsw.SQLITE_IOERR_WRITE,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "delete": apsw.SQLITE_IOERR_DELETE,
}


class FaultyVFS(apsw.VFS):
    """Registered under `name` until `close`; everything not planted passes through to the default VFS. Thread-safe."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[Call] = []
        """Every call so far, in order."""
        self.fired = 0
        """How often the planted fault has happened."""
        self._fault: Fault | None = None
        self._counted = 0
        self._lock = threading.Lock()
        super().__init__(name, "")

    def plant(self, fault: Fault | None) -> None:
        """Let a call fail, counted from now; None heals everything."""
        with self._lock:
            self._fault, self._counted, self.fired = fault, 0, 0

    def count(self, kind: Kind, file: str | None = None) -> int:
        """Calls of one kind so far, on one sort of file or on all."""
        return sum(1 for call in self.calls if call.kind == kind and (file is None or call.file == file))

    def written_bytes(self) -> int:
        """Bytes handed to write calls so far."""
        return sum(call.size_bytes for call in self.calls if call.kind == "write")

    def happens(self, call: Call) -> Fault | None:
        """Count a call, and say whether it has to fail."""
        with self._lock:
            self.calls.append(call)
            fault = self._fault
            if fault is None or call.kind not in fault.kinds:
                return None
            self._counted += 1
            if self._counted != fault.call and not (fault.for_good and self._counted > fault.call):
                return None
            self.fired += 1
            return fault

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:
        """SQLite opens a file."""
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """SQLite deletes a file."""
        fault = self.happens(Call("delete", _sort_of(filename)))
        if fault is not None:
            raise _error(fault, "delete")
        super().xDelete(filename, syncdir)

    def close(self) -> None:
        """Take it back from SQLite. Every file must be closed."""
        self.unregister()

    def __enter__(self) -> FaultyVFS:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _File(apsw.VFSFile):
    def __init__(self, vfs: FaultyVFS, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        self._vfs = vfs
        self._sort = _sort_of(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        super().__init__("", name, flags)

    def xWrite(self, data: Buffer, offset: int) -> None:
        size_bytes = len(memoryview(data))
        fault = self._vfs.happens(Call("write", self._sort, size_bytes))
        if fault is not None:
            if fault.what == "short":
                super().xWrite(bytes(memoryview(data)[: size_bytes // 2]), offset)
            raise _error(fault, "write")
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        fault = self._vfs.happens(Call("truncate", self._sort))
        if fault is not None:
            raise _error(fault, "truncate")
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        fault = self._vfs.happens(Call("sync", self._sort))
        if fault is not None:
            raise _error(fault, "sync")
        super().xSync(flags)


def _sort_of(name: str) -> str:
    for ending in ("-wal", "-journal"):
        if name.endswith(ending):
            return ending[1:]
    return "db"


def _error(fault: Fault, kind: Kind) -> apsw.Error:
    # A full disk can fail a sync too (delayed allocation); SQLite calls that an I/O error like any other.
    if fault.what == "enospc" and kind != "sync":
        return apsw.FullError("planted: no room")
    error = apsw.IOError(f"planted: {fault.what} at {kind}")
    error.extendedresult = _ERRORS[kind]  # type: ignore[attr-defined]
    return error
