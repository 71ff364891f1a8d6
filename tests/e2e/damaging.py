"""A data directory with something of everything, made through the real door, and ways to damage it behind pixelog's back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import samples

from api.cli.main import main
from api.commands.access import AddToken, OfferSession, OpenSession
from api.commands.adoptions import AdoptRecords, StateRecord
from api.commands.device import ReportDevice
from api.commands.display import Attached, RecordFacts, Shown, Started
from api.commands.plays import Played
from api.commands.settings import ChangeSettings
from api.execution import Repeat, Stored
from api.service import StateService
from eventstore.testing.clock import FakeClock
from projections import attesting

EVENTS_MIN = 200

FILES = {f"picture-{number}.png": samples.png((24, 32), number).content for number in range(6)}
"""What is uploaded: small real pictures, by their names."""

REQUESTS = 5
"""Requests with a key of their own, whose answers are kept."""


def fill(data: Path) -> None:
    """Make the directory: at least EVENTS_MIN events in every area, three attestations, kept answers, and an orderly end."""
    clock = FakeClock()
    with StateService(data, clock=clock) as state:
        _people(state, clock)
        attest(state)
        for number in range(30):
            clock.advance(1_000_000)
            _machines(state, number)
            if number == 15:
                attest(state)
        _changes(state)
        attest(state)
        state.post_message("the last word")
        assert state.store.head().position >= EVENTS_MIN


def attest(state: StateService) -> int:
    """Have the log attest its projections, as the service does in idle time; the position up to which."""
    with state.store.snapshot() as db:
        said = attesting.attest(db)
    assert said is not None
    state.executor.note(said)
    return said.at


def _people(state: StateService, clock: FakeClock) -> None:
    for name, content in FILES.items():
        clock.advance(1_000_000)
        state.add_media(content, filename=name, add_to_loop=True)
    state.reorder_loop([f"picture-{number}" for number in (3, 1, 0, 2)])
    state.set_active("picture-1")
    state.change_settings({"brightness": 70, "fit": "cover"})
    state.control("pause")
    state.control("hold")
    execute = state.executor.execute
    execute(AddToken("camera", "ab" * 32))
    execute(OfferSession("offer-1", "cd" * 32))
    execute(OpenSession("offer-1", "cd" * 32, "ef" * 32, "a telephone"))
    execute(ReportDevice(boot_id="boot-1", conditions=("under_voltage",), model="a board", cpu_temperature_celsius=41.5))
    execute(AdoptRecords(system="loop", source="old", state=StateRecord({"brightness": 60})))
    execute(RecordFacts((Started(7, "boot-1"), Attached("sim", 240, 320))))
    for number in range(REQUESTS):
        ask(state, number)


def ask(state: StateService, number: int) -> Any:
    """Set the number-th setting of a request with a key; the same call again is its repeat. The outcome."""
    command = ChangeSettings({"brightness": 10 + number})
    fingerprint = hashlib.sha256(str(number).encode()).digest()
    return state.executor.execute(
        command, lambda db, events: Stored(200, b'{"brightness":%d}' % (10 + number)), repeat=Repeat(f"key-{number}", fingerprint)
    )


def _machines(state: StateService, number: int) -> None:
    slug = f"picture-{number % 4}"
    name = hashlib.sha256(FILES[f"{slug}.png"]).hexdigest()
    for service in ("player", "worker"):
        state.heartbeat(service, details={"beat": number})
    state.executor.execute(RecordFacts((Shown(slug, number, number, number, name, number % 4),)))
    state.executor.execute(RecordFacts((Played(slug, f"{slug}.png", name, number, number + 1, 25, 0, True),)))
    if number % 3 == 0:
        job = state.queue_job("convert", f"job {number}", input={"number": number})
        state.claim_job(["convert"], "worker-1", 60)
        state.update_job(job.id, progress=50.0, stage="half")
        if number % 2 == 0:
            state.update_job(job.id, status="completed")
        state.post_message(f"message {number}")


def _changes(state: StateService) -> None:
    state.update_media("picture-2", filename="renamed.png", tags=["a", "b"])
    state.update_media("picture-3", duration=7.5)
    state.remove_media("picture-5")
    state.control("next")
    state.set_active("picture-2")


# -- damage --------------------------------------------------------------------------------------------------------------------------


def plain(data: Path, work: Callable[[apsw.Connection], object]) -> None:
    """Run `work` on the database with a plain connection, without any trigger meanwhile."""
    db = apsw.Connection(str(data / "pixelog.db"))
    try:
        db.execute("PRAGMA foreign_keys = 0").fetchall()
        with db:
            triggers: list[Any] = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                db.execute(f"DROP TRIGGER {name}")
            work(db)
            for _, sql in triggers:
                db.execute(sql)
    finally:
        db.close()


def change(data: Path, *statements: str) -> None:
    """Change the database by SQL, the triggers taken off and put back."""
    plain(data, lambda db: list(map(db.execute, statements)))


def flip(data: Path, table: str, column: str, where: str, bit: int = 0) -> None:
    """Flip one bit of a stored value: of a whole number the given one, of text and bytes the given one of the last byte; a text that is absent comes
    to be there with one character, as where the header of its row was hit."""

    def work(db: apsw.Connection) -> None:
        value: Any = db.execute(f"SELECT {column} FROM {table} WHERE {where}").get
        match value:
            case int():
                changed: Any = value ^ (1 << bit)
            case bytes():
                changed = value[:-1] + bytes([value[-1] ^ (1 << bit)])
            case str():
                raw = value.encode()
                changed = (raw[:-1] + bytes([raw[-1] ^ (1 << bit)])).decode()
            case _:
                changed = "0"
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (changed,))
        assert db.changes() == 1

    plain(data, work)


# -- mends ---------------------------------------------------------------------------------------------------------------------------


def carry_out(mend: str, data: Path, backup: Path, file: Path | None = None) -> None:
    """Do what a mend says: the first act that it names, or the restore when there is no file to add."""
    if file is not None and (match := re.search(r"(?:delete (\S+) and )?add the file again: pixelog add FILE", mend)):
        if match[1]:
            Path(match[1]).unlink()
        assert main(["add", str(file), "--data", str(data)]) == 0
    elif match := re.fullmatch(r"delete (\S+)", mend):
        Path(match[1]).unlink()
    elif match := re.search(r"pixelog rebuild( [a-z]+)?$", mend):
        assert main(["rebuild", *(match[1] or "").split(), "--data", str(data)]) == 0
    else:
        assert mend.endswith("pixelog restore FILE --replace"), mend
        assert main(["restore", str(backup), "--replace", "--data", str(data)]) == 0
