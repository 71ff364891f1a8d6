"""What the service does in idle time: keeps files small, sheds what nobody needs, has the log attest its projections, checks everything once a day.
Making room on a full disk is the one duty that does not wait for idle time; what goes then is said in `room`.

One thread, one duty at a time, each a bounded piece of work in a table with its interval. A duty that fails says so in `checks` and is tried again at
its next turn; it never ends the service. The check of everything runs in a process of its own with the lowest priority, so that nobody waits for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal

import apsw
import msgspec

from api.data import DataDirectory
from api.device.facts import Disk
from api.execution import Executor
from api.room import PLAYS_KEPT, Room, Swept, contents_under, modified, remove_content, sweep_temporary
from eventstore import upkeep
from eventstore.errors import StoreError
from eventstore.head import open_shared
from projections import active, attesting, folding, loop, media, plays, snapshots
from projections.times import rfc3339

IDLE_SECONDS = 5.0
"""The log counts as idle when nothing durable or relaxed came for this long."""

TICK_SECONDS = 2.0
"""Interval of looks at what is due. Costs one SELECT."""

ATTEST_EVENTS = 10_000
"""Events between two attestations; folding that many again takes a tenth of a second."""

ATTEST_IDLE_SECONDS = 24 * 3600.0
"""A log that grows slowly is attested once a day."""

ATTEST_AT_END_SECONDS = 1.0
"""An orderly end waits no longer for its attestation: `pixelog up` promises an end within five."""

BLOB_KEPT_UNNAMED_SECONDS = 24 * 3600.0
"""A file that no event names yet may be that of an upload under way."""

BLOB_KEPT_REMOVED_SECONDS = 30 * 24 * 3600.0
"""The file of a removed item is kept for this long, so that it can be restored; for less where room is short, see `room`."""

PACKS_BYTES_MAX = 4 * 1024 * 1024 * 1024
"""Frame packs beyond this are shed: a quarter of a small card. A pack that is wanted again is made again."""

FILES_PER_TURN = 1_000
"""Files looked at or removed in one turn of a duty."""

CHECK_AFTER_SECONDS = 600.0
"""The first check of everything waits until a start is long over."""

CHECK_SECONDS_MAX = 3600.0
"""A check that takes longer is ended and tells so: ten million events take less."""

CHECK_SECONDS = 24 * 3600.0
"""Interval of the checks of everything: each reads all files once, which is nothing for a card and much for its queue."""

CHECK_AGAIN_SECONDS = 3600.0
"""Interval while there is something wrong: who has mended it wants to see so."""

CHECK_SOON_SECONDS = 60.0
"""A problem that was known before this start is looked for soon."""

CHECKED = "verified.json"
"""Where the outcome of the last check lies, beside the screen in shared memory: it outlives the service, and after a boot all is checked anew."""

CHECKED_BYTES_MAX = 65_536
"""A larger file is none of ours."""

Standing = Literal["ok", "degraded", "failed"]


class Check(msgspec.Struct, frozen=True):
    """One check for the health page: its standing, its figure and the figure's unit; what would mend it, where it is not ok; what else there is to
    count."""

    status: Standing
    value: int | str | None
    unit: str | None = None
    mend: str | msgspec.UnsetType = msgspec.UNSET
    figures: dict[str, int | str] | msgspec.UnsetType = msgspec.UNSET


class Duty:
    """Something to do again and again: `work()` gives True when there is more of it to do at once. `idle`: only while nobody writes."""

    def __init__(
        self, name: str, seconds: float, work: Callable[[], bool], idle: bool = False, first_seconds: float | None = None
    ) -> None:
        self.name, self.seconds, self.work, self.idle = name, seconds, work, idle
        self.due_at = seconds if first_seconds is None else first_seconds
        self.failure: str | None = None


class Upkeep:
    """The duties of one open data directory. `start` begins a thread, `stop` ends it; `turn` is one look, for tests and for the thread."""

    def __init__(
        self,
        data: DataDirectory,
        executor: Executor,
        clock: Callable[[], float] = time.monotonic,
        packs_bytes_max: int = PACKS_BYTES_MAX,
        now: Callable[[], float] = time.time,
        disk: Callable[[], Disk | None] | None = None,
    ) -> None:
        """`disk` says how full it is; None: look."""
        self._data, self._executor, self._store = data, executor, executor.store
        self._clock, self._now = clock, now
        self._packs_bytes_max = packs_bytes_max
        self._began_at = clock()
        self._head, self._moved_at = -1, clock()
        self._attested_at = clock()
        self._checked_file = data.runtime() / CHECKED
        self._checked = _kept(self._checked_file)
        self._room = Room(data, self._store, disk, clock, now)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pixelog-upkeep", daemon=True)
        self._checking: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._checking_since = 0.0
        known = self._checked is not None and self._checked.status != "ok"
        check_first = min(CHECK_AFTER_SECONDS, CHECK_SOON_SECONDS) if known else CHECK_AFTER_SECONDS
        self._verifying = Duty("verify", CHECK_SECONDS, self._begin_check, idle=True, first_seconds=check_first)
        self._making_room = Duty("room", 10, self._room.make, first_seconds=0)
        self.duties = (
            self._making_room,
            Duty("checkpoint", 30, self._checkpoint, idle=True),
            Duty("attest", 10, self._attest),
            Duty("snapshot", 60, self._snapshot, idle=True),
            Duty("keys", 3600, lambda: upkeep.forget_keys(self._store) > 0, first_seconds=60),
            Duty("vacuum", 3600, lambda: upkeep.give_back(self._store) > 0, idle=True, first_seconds=120),
            Duty("optimise", 24 * 3600, self._optimise, idle=True, first_seconds=300),
            Duty("tmp", 600, self._sweep_temporary, first_seconds=0),
            Duty("blobs", 3600, self._sweep_blobs, idle=True, first_seconds=90),
            Duty("packs", 600, self._sweep_packs, idle=True, first_seconds=100),
            self._verifying,
        )

    def want_room(self, size_bytes: int) -> None:
        """Somebody was refused for want of room for this many bytes: it is made at the next look, if it can be. From any thread."""
        self._room.ask(size_bytes)
        self._making_room.due_at = 0.0

    # -- the thread ----------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the piece of work under way, and have the log attest what it holds if that is quickly done."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._checking is not None:
            self._end_check()
        deadline = self._clock() + ATTEST_AT_END_SECONDS
        self._guarded(Duty("attest", 0, lambda: self._attest_now(lambda: self._clock() > deadline)))

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            self.turn()

    def turn(self) -> None:
        """Do one piece of each duty that is due."""
        now = self._clock()
        self._look_at_check()
        if self._store.writer is not None and self._store.writer.stopped is not None:
            return
        head = self._store.head().position
        if head != self._head:
            self._head, self._moved_at = head, now
        idle = now - self._moved_at >= IDLE_SECONDS
        for duty in self.duties:
            if now - self._began_at >= duty.due_at and (idle or not duty.idle) and not self._stop.is_set():
                more = self._guarded(duty)
                duty.due_at = now - self._began_at + (0 if more else duty.seconds)

    def _guarded(self, duty: Duty) -> bool:
        """Do one piece. What the disk, another process or a damaged file may answer is noted, and tried again at the next turn."""
        try:
            more = duty.work()
        except (StoreError, OSError, apsw.Error, *folding.BAD_EVENT) as error:
            duty.failure = f"{duty.name}: {error}"
            return False
        duty.failure = None
        return more

    # -- the log -------------------------------------------------------------------------------------------------------------------

    def _checkpoint(self) -> bool:
        if upkeep.files(self._store).wal_bytes:
            upkeep.checkpoint(self._store)
        return False

    def _optimise(self) -> bool:
        upkeep.optimise(self._store)
        return False

    def _attest(self) -> bool:
        with self._store.reading() as db:
            after = attesting.unattested(db)
        waited = self._clock() - self._attested_at
        if after >= ATTEST_EVENTS or (after and waited >= ATTEST_IDLE_SECONDS):
            self._attest_now(self._stop.is_set)
        return False

    def _attest_now(self, stop: Callable[[], bool]) -> bool:
        with self._store.reading() as db:
            if not attesting.unattested(db):
                return False
        with self._store.snapshot(patient=True) as db:
            said = attesting.attest(db, stop)
        if said is not None:
            self._executor.note(said)
            self._attested_at = self._clock()
        return False

    def _snapshot(self) -> bool:
        snapshots.keep(self._store, self._data.root / snapshots.FOLDER, self._stop.is_set)
        return False

    # -- files ---------------------------------------------------------------------------------------------------------------------

    def _sweep_temporary(self) -> bool:
        return _more(sweep_temporary(self._data.temporary, self._now(), FILES_PER_TURN))

    def _sweep_blobs(self) -> bool:
        """Remove files that nothing present names, once they are old enough. Asked and removed inside a write transaction, so that no event can name
        one of them meanwhile; who takes a file that is there already makes it young again."""
        before = self._now() - BLOB_KEPT_UNNAMED_SECONDS
        with self._store.reading() as db:
            originals = media.originals_held(db, self._kept_since_us())
            doubtful = [
                path
                for path in contents_under(self._data.blobs)
                if modified(path) < before
                and path.name not in originals
                and not media.names_blob(db, path.name, self._kept_since_us())
            ]
        if not doubtful:
            return False

        def work(transaction: Any) -> OSError | None:
            since_us, failure = self._kept_since_us(), None
            for path in doubtful[:FILES_PER_TURN]:
                try:
                    if not media.names_blob(transaction.db, path.name, since_us):
                        remove_content(path, before, self._data.temporary)
                except OSError as error:
                    failure = failure or error
            return failure

        return _more(Swept(len(doubtful) > FILES_PER_TURN, self._store.transact(work, durable=False)))

    def _kept_since_us(self) -> int:
        return self._store.now_us() - int(BLOB_KEPT_REMOVED_SECONDS * 1_000_000)

    def _sweep_packs(self) -> bool:
        """Bring the frame packs below their budget: what no item has first, then what was made longest ago; what retained plays name last. Never
        those of the loop or the choice."""
        found = [(path, stat) for path in self._data.packs.iterdir() if path.is_file() and (stat := path.stat())]
        excess = sum(stat.st_size for _, stat in found) - self._packs_bytes_max
        if excess <= 0:
            return False
        with self._store.snapshot() as db:
            held, playing, played = media.packs_held(db), _in_play(db), plays.packs(db, PLAYS_KEPT)
        found = [(path, stat) for path, stat in found if path.stem not in playing]
        found.sort(key=lambda one: (one[0].stem in played, one[0].stem in held, one[1].st_mtime))
        failure: OSError | None = None
        for path, stat in found[:FILES_PER_TURN]:
            if excess <= 0:
                break
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                failure = failure or error
                continue
            excess -= stat.st_size
        return _more(Swept(excess > 0 and len(found) > FILES_PER_TURN, failure))

    # -- the check of everything ---------------------------------------------------------------------------------------------------

    def _begin_check(self) -> bool:
        if self._checking is None:
            nice = shutil.which("nice")
            command = [sys.executable, "-m", "pixelog", "verify", "--json", "--data", str(self._data.root)]
            if nice is not None:
                command = [nice, "-n", "19", *command]
            # Into a file: what a damaged log has to say does not fit into a pipe that nobody reads meanwhile.
            said = tempfile.TemporaryFile()  # noqa: SIM115
            try:
                self._checking = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            except OSError:
                said.close()
                raise
            self._said, self._checking_since = said, self._clock()
        return False

    def _look_at_check(self) -> None:
        if self._checking is None:
            return
        if self._checking.poll() is not None:
            self._take_outcome()
        elif self._clock() - self._checking_since > CHECK_SECONDS_MAX:
            self._end_check()
            self._note_outcome(
                Check("degraded", "the check of everything took too long and was ended", mend="run: pixelog verify")
            )

    def _take_outcome(self) -> None:
        said, self._checking, self._said = self._said, None, None
        if said is not None:
            with said:
                said.seek(0)
                self._note_outcome(outcome(said.read(), int(self._now() * 1_000_000)))

    def _end_check(self) -> None:
        checking, said, self._checking, self._said = self._checking, self._said, None, None
        if checking is not None:
            checking.kill()
            checking.wait()
        if said is not None:
            said.close()

    def _note_outcome(self, found: Check) -> None:
        """Keep an outcome until the next one, also beyond this process."""
        self._checked = found
        if found.status != "ok":
            self._verifying.due_at = min(self._verifying.due_at, self._clock() - self._began_at + CHECK_AGAIN_SECONDS)
        part = self._checked_file.with_name(f"{CHECKED}.part")
        try:
            part.unlink(missing_ok=True)  # left by a service that was killed right here
            with open(open_shared(part, os.O_WRONLY | os.O_CREAT), "wb") as opened:
                opened.write(msgspec.json.encode(found))
            os.replace(part, self._checked_file)
        except OSError as error:
            self._verifying.failure = f"verify: its outcome cannot be kept ({error.strerror})"

    def check_now(self) -> None:
        """Check everything and wait for the outcome, for tests."""
        self._begin_check()
        if self._checking is not None:
            self._checking.wait()
            self._take_outcome()

    # -- health --------------------------------------------------------------------------------------------------------------------

    def checks(self) -> dict[str, Check]:
        """What there is to say of all this, for the health page."""
        files = upkeep.files(self._store)
        with self._store.reading() as db:
            stopped, last = folding.stopped(db), attesting.newest(db)
        failures = [duty.failure for duty in self.duties if duty.failure is not None]
        return {
            "areas": Check(
                "failed",
                "; ".join(f"{area} is stopped: {why}" for area, why in stopped.items()),
                mend=f"update pixelog, then: pixelog rebuild {' '.join(stopped)}",
            )
            if stopped
            else Check("ok", "all are folded"),
            "wal": Check("ok", files.wal_bytes, "bytes")
            if files.wal_bytes <= upkeep.WAL_BYTES_ALARM
            else Check(
                "degraded",
                files.wal_bytes,
                "bytes",
                "a reader keeps it from being cut back: end other programs that read the log, or restart pixelog",
            ),
            "database": Check("ok", files.database_bytes, "bytes"),
            "attested": Check("ok", last[0].said.at if last else None, "position"),
            "verified": self._checked or Check("ok", "not yet since the start"),
            "upkeep": Check(
                "degraded", "; ".join(failures), mend="it is tried again by itself; free some space, or see the service's log"
            )
            if failures
            else Check("ok", "all duties done"),
        }


def outcome(said: bytes, at_us: int) -> Check:
    """What `pixelog verify --json` said, as a check; `at_us`: when, by the wall clock."""
    try:
        report: Any = msgspec.json.decode(said)
        figures: dict[str, int | str] = {"at": rfc3339(at_us), "position": report["head"]}
        if report["ok"]:
            return Check("ok", report["events"], "events, all as they should be", figures=figures)
        first, count = report["problems"][0], len(report["problems"])
        sentence = f"{count} problem{'s' * (count > 1)}, first {first['code']}: {first['message']}; {first['mend']}"
        return Check("failed", sentence, mend=first["mend"], figures=figures)
    except (msgspec.DecodeError, LookupError, TypeError):
        return Check("degraded", "the check of everything could not be made; see pixelog verify", mend="run: pixelog verify")


def _kept(file: Path) -> Check | None:
    """The outcome that an earlier service of this boot kept; None when there is none, or one that cannot be read, which is as good."""
    try:
        with open(open_shared(file, os.O_RDONLY), "rb") as opened:
            return msgspec.json.decode(opened.read(CHECKED_BYTES_MAX), type=Check)
    except (OSError, msgspec.MsgspecError):
        return None


def _in_play(db: apsw.Connection) -> set[str]:
    """Names of the packs of what plays: the loop's items and the chosen one."""
    slugs = {entry.slug for entry in loop.entries(db)}
    chosen = active.get(db)[0].slug
    files = [media.files(db, slug) for slug in (*slugs, *(() if chosen is None else (chosen,)))]
    return {name for one in files if one is not None for name in (*[pack.name for pack in one.packs], one.thumbnail or "")}


def _more(swept: Swept) -> bool:
    """Whether there is more to remove. Raises OSError when something could not be removed."""
    if swept.failure is not None:
        raise swept.failure
    return swept.more
