"""What the panel shows now, handed to other processes through shared memory.

Here: the memory layout, its one writer (the player) and its readers (the service). Neither ever waits for
the other. Not here: what a picture means, and PNG. The file lies outside the data directory: it is
rewritten with every frame, and nothing in it is worth keeping.

Layout, little-endian:

       0   8s  magic "PXSCREEN"
       8   u32 layout version, 1
      12   u32 width in pixels
      16   u32 height in pixels
      20   u32 process id of the writer
      24   u64 start time of that process in clock ticks since boot (0: unknown),
               so that a recycled process id is not believed
      32   u32 1 when the writer has ended
      36   28s name of the panel's driver, padded with zeros
      64       the facts: two slots for up to 4096 bytes
    8384       the picture: two slots for 24 + 2 * width * height bytes

    in a slot:
       0   u64 number of the publication, written first
       8   u64 the same number, written last
      16   u32 length of the payload in bytes
      20   u32 CRC-32 of the number and the payload
      24       payload, then zeros up to a multiple of 64

    payload of the picture:
       0   i64 planned instant in microseconds
       8   i64 position in the log
      16   i64 wall clock in microseconds
      24       the panel's RAM: RGB565, the high byte first, row by row

The payload of the facts is JSON as the writer made it.

A writer fills the slot that is not the newest. A reader takes the newest slot whose two numbers agree,
copies it, and believes the copy only if the numbers are still the same and the CRC fits: the numbers alone
would not do, because nothing orders one process's stores for another. So a writer killed in the middle
leaves the other slot valid, and a reader never has a torn picture. Another size means another file put in
place by rename; readers notice the new inode.
"""

import hashlib
import mmap
import os
import stat
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from msgspec import Struct

FACTS_SIZE_MAX_BYTES = 4096
# As large as a framebuffer that a panel may have: 4096 x 2160 pixels. A reader trusts no header beyond it.
PIXELS_MAX = 4096 * 2160
DRIVER_SIZE_MAX_BYTES = 28

_MAGIC = b"PXSCREEN"
_VERSION = 1
_HEAD = struct.Struct("<8sIIIIQI28s")
_HEAD_SIZE_BYTES = 64
_ENDED = struct.Struct("<I")
_ENDED_AT = 32
_SLOT_HEAD = struct.Struct("<QQII")
_NUMBER = struct.Struct("<Q")
_CLOSING_NUMBER_AT = 8
_SUM = struct.Struct("<II")
_SUM_AT = 16
_PICTURE_HEAD = struct.Struct("<qqq")
_ALIGNMENT_BYTES = 64
# Each try fails only when the writer finished a whole publication while one was copied, which takes it far
# longer.
_READ_TRIES_MAX = 16


class Screen(Struct, frozen=True, kw_only=True):
    """One picture. `ram` has 2 * width * height bytes.

    `planned_us` is the instant of the plan that the picture belongs to, `position` the log that it was
    drawn from, `published_us` the wall clock when it was published. `sequence` rises with each publication,
    across writers too as long as the machine is not restarted.
    """

    width: int
    height: int
    planned_us: int
    position: int
    published_us: int
    sequence: int
    ram: bytes
    driver: str


def screen_path(data_dir: Path) -> Path:
    """Where the player and the service of one data directory meet: in memory if there is a place for it."""
    memory = Path("/dev/shm")
    folder = memory if memory.is_dir() else Path(tempfile.gettempdir())
    name = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return folder / f"pixelog-{os.getuid()}-{name}.screen"


class ScreenWriter:
    """The one publisher of a path. Replaces what lies there; the owner closes it. One thread at a time.

    OSError: no room or no right to write there; nothing is left behind. ValueError: no such size, or the
    driver's name is longer than 28 bytes.
    """

    def __init__(self, path: Path, width: int, height: int, *, driver: str = "") -> None:
        name = driver.encode()
        if width < 1 or height < 1 or width * height > PIXELS_MAX or len(name) > DRIVER_SIZE_MAX_BYTES:
            raise ValueError(f"no screen has {width}x{height} pixels and a driver named {driver!r}")
        self._path = path
        self._ram_size_bytes = 2 * width * height
        # Microseconds since boot: nobody publishes a million times a second, so a later writer counts on
        # from above.
        self._number = time.monotonic_ns() // 1000
        pid = os.getpid()
        head = _HEAD.pack(_MAGIC, _VERSION, width, height, pid, _start_ticks(pid) or 0, 0, name)
        self._memory, self._inode = _create(path, head, _size_bytes(width, height))
        self._facts, self._picture = _cells(self._memory, width, height)
        self._closed = False

    def publish(self, ram: bytes, planned_us: int, position: int, wall_us: int) -> None:
        """Make this the picture that readers get. ValueError: `ram` is not of this screen's size, or it is
        closed."""
        self._check_open()
        if len(ram) != self._ram_size_bytes:
            raise ValueError(f"this screen has {self._ram_size_bytes} bytes, not {len(ram)}")
        self._number += 1
        self._picture.write(self._number, _PICTURE_HEAD.pack(planned_us, position, wall_us), ram)

    def publish_facts(self, facts: bytes) -> None:
        """Make this JSON what readers get beside the picture. ValueError: beyond 4096 bytes, or it is
        closed."""
        self._check_open()
        if len(facts) > FACTS_SIZE_MAX_BYTES:
            raise ValueError(f"the facts beside the screen have {len(facts)} bytes, more than {FACTS_SIZE_MAX_BYTES}")
        self._number += 1
        self._facts.write(self._number, facts)

    def close(self) -> None:
        """Tell readers that this writer has ended, and remove the file if it is still this one's.
        Idempotent."""
        if self._closed:
            return
        self._closed = True
        _ENDED.pack_into(self._memory, _ENDED_AT, 1)
        self._memory.close()
        try:
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        except FileNotFoundError:
            pass  # somebody swept it; gone is what was wanted

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("this screen is closed")


class ScreenReader:
    """Reads what the writer of `path` publishes; may be made before there is one. One thread at a time.

    Each call looks anew for the file and for the writer's process, which costs some microseconds, and then
    reads from memory: no call blocks. `is_running(pid, start_ticks)` says whether that very process still
    runs.
    """

    def __init__(self, path: Path, *, is_running: Callable[[int, int], bool] | None = None) -> None:
        self._path = path
        self._is_running = is_running or process_runs
        self._attached: _Attached | None = None

    def read(self) -> Screen | None:
        """The newest picture. None: no writer, its process is gone, or it has not published a picture yet."""
        attached = self._attach()
        found = attached.picture.read() if attached is not None else None
        if attached is None or found is None:
            return None
        sequence, payload = found
        if len(payload) != _PICTURE_HEAD.size + 2 * attached.width * attached.height:
            return None
        planned_us, position, wall_us = _PICTURE_HEAD.unpack_from(payload)
        return Screen(
            width=attached.width,
            height=attached.height,
            planned_us=planned_us,
            position=position,
            published_us=wall_us,
            sequence=sequence,
            ram=payload[_PICTURE_HEAD.size :],
            driver=attached.driver,
        )

    def facts(self) -> bytes | None:
        """The newest facts. None as for `read`."""
        attached = self._attach()
        found = attached.facts.read() if attached is not None else None
        return found[1] if found is not None else None

    def live_sequence(self) -> int | None:
        """The `sequence` that `read` would answer with, without copying a picture. None as for `read`."""
        attached = self._attach()
        return (attached.picture.newest() or None) if attached is not None else None

    def close(self) -> None:
        """Unmap. A later read attaches again."""
        if self._attached is not None:
            self._attached.memory.close()
            self._attached = None

    def _attach(self) -> "_Attached | None":
        try:
            found = os.stat(self._path)
        except OSError:
            self.close()
            return None
        if self._attached is None or self._attached.identity != (found.st_dev, found.st_ino):
            self.close()
            self._attached = _open(self._path)
        attached = self._attached
        if attached is None or _ENDED.unpack_from(attached.memory, _ENDED_AT)[0]:
            return None
        return attached if self._is_running(attached.pid, attached.start_ticks) else None


def process_runs(pid: int, start_ticks: int) -> bool:
    """Whether that very process runs: the id is in use, by a process started then, that is not a corpse."""
    if Path("/proc/self/stat").exists():
        return _start_ticks(pid) == start_ticks
    try:
        os.kill(pid, 0)  # only a question; there is no /proc to answer it better
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _Cell:
    """Two slots for one thing that is published again and again."""

    def __init__(self, memory: mmap.mmap, start: int, payload_max_bytes: int) -> None:
        self._memory = memory
        self._payload_max_bytes = payload_max_bytes
        self._slots = (start, start + _slot_size_bytes(payload_max_bytes))
        self._next = 0

    def write(self, number: int, *parts: bytes) -> None:
        memory, slot = self._memory, self._slots[self._next]
        _NUMBER.pack_into(memory, slot, number)
        at, total = slot + _SLOT_HEAD.size, crc32(_NUMBER.pack(number))
        for part in parts:
            memory[at : at + len(part)] = part
            at += len(part)
            total = crc32(part, total)
        _SUM.pack_into(memory, slot + _SUM_AT, at - slot - _SLOT_HEAD.size, total)
        _NUMBER.pack_into(memory, slot + _CLOSING_NUMBER_AT, number)
        self._next = 1 - self._next

    def read(self) -> tuple[int, bytes] | None:
        for _ in range(_READ_TRIES_MAX):
            # None is complete when the writer went from one slot to the other between our two looks: then look again.
            for head, slot in self._complete():
                number, _, length, total = head
                start = slot + _SLOT_HEAD.size
                payload = self._memory[start : start + length]
                unchanged = _SLOT_HEAD.unpack_from(self._memory, slot) == head
                if unchanged and crc32(payload, crc32(_NUMBER.pack(number))) == total:
                    return number, payload
        return None

    def newest(self) -> int:
        """The highest number of a complete slot; 0 when there is none."""
        for _ in range(_READ_TRIES_MAX):
            complete = self._complete()
            if complete:
                return complete[0][0][0]
        return 0

    def _complete(self) -> list[tuple[tuple[int, int, int, int], int]]:
        """The heads and places of the slots whose numbers agree, the newest first."""
        heads = [(_SLOT_HEAD.unpack_from(self._memory, slot), slot) for slot in self._slots]
        complete = [
            ((opening, closing, length, total), slot)
            for (opening, closing, length, total), slot in heads
            if opening == closing != 0 and length <= self._payload_max_bytes
        ]
        return sorted(complete, reverse=True)


class _Attached(Struct, frozen=True, kw_only=True):
    memory: mmap.mmap
    identity: tuple[int, int]
    width: int
    height: int
    pid: int
    start_ticks: int
    driver: str
    facts: _Cell
    picture: _Cell


def _slot_size_bytes(payload_max_bytes: int) -> int:
    return -(-(_SLOT_HEAD.size + payload_max_bytes) // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def _picture_max_bytes(width: int, height: int) -> int:
    return _PICTURE_HEAD.size + 2 * width * height


def _size_bytes(width: int, height: int) -> int:
    slots = _slot_size_bytes(FACTS_SIZE_MAX_BYTES) + _slot_size_bytes(_picture_max_bytes(width, height))
    return _HEAD_SIZE_BYTES + 2 * slots


def _cells(memory: mmap.mmap, width: int, height: int) -> tuple[_Cell, _Cell]:
    facts = _Cell(memory, _HEAD_SIZE_BYTES, FACTS_SIZE_MAX_BYTES)
    picture_at = _HEAD_SIZE_BYTES + 2 * _slot_size_bytes(FACTS_SIZE_MAX_BYTES)
    return facts, _Cell(memory, picture_at, _picture_max_bytes(width, height))


def _create(path: Path, head: bytes, size_bytes: int) -> tuple[mmap.mmap, int]:
    """A new file with that head, put in place at once; readers never see half of it. The mapping and its
    inode."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)  # left by a writer that was killed right here
    # The folder may be everybody's: nothing that lies there is opened, followed or shown to others.
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _reserve(descriptor, size_bytes)
        memory = mmap.mmap(descriptor, size_bytes)
        memory[: len(head)] = head
        inode = os.fstat(descriptor).st_ino
        os.replace(new, path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return memory, inode


def _reserve(descriptor: int, size_bytes: int) -> None:
    # Space that is not reserved would, on a full file system, end the player by SIGBUS in the middle of a frame.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
    else:
        os.ftruncate(descriptor, size_bytes)  # not Linux: the panel is simulated there, and the risk is taken


def _open(path: Path) -> _Attached | None:
    """Attach to the file that lies there now; None when it is not one that a writer of ours could have
    made."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        ours = os.geteuid() in (0, found.st_uid)
        if not ours or not stat.S_ISREG(found.st_mode) or found.st_size < _HEAD_SIZE_BYTES:
            return None
        memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    magic, version, width, height, pid, start_ticks, _, driver = _HEAD.unpack_from(memory)
    known = (magic, version) == (_MAGIC, _VERSION) and 0 < width * height <= PIXELS_MAX
    if not known or len(memory) != _size_bytes(width, height):
        memory.close()
        return None
    facts, picture = _cells(memory, width, height)
    return _Attached(
        memory=memory,
        identity=(found.st_dev, found.st_ino),
        width=width,
        height=height,
        pid=pid,
        start_ticks=start_ticks,
        driver=driver.rstrip(b"\0").decode("utf-8", "replace"),
        facts=facts,
        picture=picture,
    )


def _start_ticks(pid: int) -> int | None:
    """When that process started, in clock ticks since boot; None when there is no such process or only its
    corpse.

    Source: proc_pid_stat(5): the name is in parentheses and may contain any character, the state is the
    first field after it, the start time the twentieth.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if len(fields) > 19 and fields[0] not in (b"Z", b"X") else None
