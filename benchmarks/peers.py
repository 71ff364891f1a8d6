"""Against the library `eventsourcing` (on PyPI; `make bench` installs it): the same events into a file, and one stream out of it.

Its side is used as its documentation shows: an aggregate with a method that triggers an event, `Application.save`, the SQLite module, the default
transcoder. Both sides are as durable as each other: write-ahead log, `synchronous` FULL, one sync for each save (the table says what was read back).
What each does for a save: theirs writes the event. Ours, as a command, decides on the present state, writes the event with its hash and folds it into
a table, all in one transaction; a bare append leaves out deciding and folding. Ours also opens the file with psow=0, which costs bytes and saves what
was acknowledged from a torn sector.

The cases take turns within each round, in one process; a ratio is taken within its round. The files go where $TMPDIR says, and to /dev/shm.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from table import row, spread

from api.commands.settings import ChangeSettings
from api.service import StateService
from eventstore.transaction import Transaction
from eventstore.writer import TICK_NS
from projections import catalogue, folding
from projections.settings import SettingChanged

ROUNDS = 9
EACH = 100
BATCH = 100
BATCHES = 10
STREAM_EVENTS = 1_000
GETS = 10
QUIET_SECONDS = TICK_NS / 1e9 + 0.5
"""Until a log that was just opened looks at its folder's time alone, as it does for the rest of its life."""

Case = Callable[[int], None]


class Settings(Aggregate):
    """Their settings: one event for a change, as ours."""

    @event("Changed")
    def change(self, name: str, value: int) -> None:
        """Take the new value."""
        setattr(self, name, value)


def theirs(file: Path) -> Application[Any]:
    """Their application over a file of its own."""
    return Application(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(file)})


def saving(application: Application[Any], changes: int) -> Case:
    """Save an aggregate after so many changes of it, again and again."""
    settings = Settings()
    application.save(settings)

    def run(count: int) -> None:
        for number in range(count):
            for _ in range(changes):
                settings.change("brightness", number % 100 + 1)
            application.save(settings)

    return run


def commanding(service: StateService) -> Case:
    """Commands: decide, append, chain, fold."""
    number = 0

    def run(count: int) -> None:
        nonlocal number
        for _ in range(count):
            number += 1
            service.executor.execute(ChangeSettings({"brightness": number % 100 + 1}))

    return run


def appending(service: StateService, changes: int, fold: bool) -> Case:
    """Appends of so many events to one stream in a transaction, folded in it or not."""

    def run(count: int) -> None:
        for number in range(count):
            structs = [SettingChanged("brightness", number % 100 + 1) for _ in range(changes)]

            def work(transaction: Transaction, structs: list[SettingChanged] = structs) -> None:
                events = transaction.append("settings", [catalogue.encode(one) for one in structs])
                if fold:
                    folding.apply(transaction.db, list(zip(events, structs, strict=True)))

            service.store.transact(work)

    return run


def turns(cases: Mapping[str, Case], each: int) -> dict[str, list[float]]:
    """Seconds for one call of each case, by round."""
    took: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case(each)  # statements are prepared, files have grown
    time.sleep(QUIET_SECONDS)
    for _ in range(ROUNDS):
        for name, case in cases.items():
            began = time.perf_counter()
            case(each)
            took[name].append((time.perf_counter() - began) / each)
    return took


def faster(took: Mapping[str, list[float]], name: str) -> list[float]:
    """How many times as fast as theirs, by round."""
    return [other / own for own, other in zip(took[name], took["theirs"], strict=True)]


def saves(folder: Path, where: str, goal: str, batch_goal: str) -> None:
    """One event for each save, then a hundred."""
    application = theirs(folder / "theirs.db")
    with StateService(folder / "command") as service, StateService(folder / "bare") as bare:
        one = {"theirs": saving(application, 1), "command": commanding(service), "append": appending(bare, 1, fold=False)}
        took = turns(one, EACH)
        row(f"one event, {where}: a command / eventsourcing Application.save", spread(faster(took, "command")), f">= {goal}")
        row(f"one event, {where}: a bare append / the same", spread(faster(took, "append")))
        for name, times in took.items():
            row(f"  one event, {where}: {name}", f"{statistics.median(times) * 1e6:.0f}", unit="µs")
        many = {
            "theirs": saving(application, BATCH),
            "folded": appending(service, BATCH, fold=True),
            "append": appending(bare, BATCH, fold=False),
        }
        took = turns(many, BATCHES)
        name = f"{BATCH} events in a transaction, {where}"
        row(f"{name}: append, chain, fold / Application.save", spread(faster(took, "folded")), batch_goal)
        row(f"{name}: a bare append / the same", spread(faster(took, "append")))
    application.close()


def one_stream(folder: Path) -> None:
    """The state of one stream of a thousand events, from the log."""
    application = theirs(folder / "theirs.db")
    settings = Settings()
    for _ in range(STREAM_EVENTS - 1):
        settings.change("brightness", 50)
    application.save(settings)
    with StateService(folder / "stream") as service:
        store, last = service.store, {"value": 0}
        store.append("settings", [catalogue.encode(SettingChanged("brightness", 50))] * STREAM_EVENTS)

        def get(count: int) -> None:
            for _ in range(count):
                state: dict[str, Any] = {}
                decode = catalogue.decoder("setting.changed").decode
                with store.reading() as db:
                    for (data,) in db.execute("SELECT data FROM events WHERE stream = ? ORDER BY version", ("settings",)):
                        changed = decode(str(data))
                        state[changed.name] = changed.value
                last["value"] = state["brightness"]

        def read(count: int) -> None:
            for _ in range(count):
                state: dict[str, Any] = {}
                for recorded in store.read(stream="settings"):
                    changed = catalogue.struct_of(recorded)
                    state[changed.name] = changed.value
                last["value"] = state["brightness"]

        def their_get(count: int) -> None:
            for _ in range(count):
                found: Any = application.repository.get(settings.id)
                last["value"] = found.brightness

        took = turns({"theirs": their_get, "get": get, "read": read}, GETS)
    application.close()
    name = f"one stream of {STREAM_EVENTS:,}"
    row(f"{name}, rows decoded and folded / eventsourcing repository.get", spread(faster(took, "get")), ">= 20")
    row(f"{name}, whole events through EventStore.read / the same", spread(faster(took, "read")))
    for side, times in took.items():
        row(f"  {name}: {side}", f"{statistics.median(times) * 1e3:.2f}", unit="ms")


def durability(folder: Path) -> None:
    """What both sides ask of SQLite, read back from their own connections."""
    application = theirs(folder / "asked.db")
    recorder: Any = application.recorder
    with recorder.datastore.get_connection(commit=False) as connection:
        cursor = connection.cursor()
        found: list[Any] = []
        for pragma in ("journal_mode", "synchronous"):
            cursor.execute(f"PRAGMA {pragma}")
            found.append(cursor.fetchone()[0])
    application.close()
    with StateService(folder / "asked") as service:
        own = service.store.transact(
            lambda transaction: [transaction.db.pragma(name) for name in ("journal_mode", "synchronous")]
        )
    row("journal mode and synchronous (2: FULL): theirs, ours", f"{found[0]} {found[1]}, {own[0]} {own[1]}")


def main() -> None:
    """Print the table."""
    for where, place, goal, batch_goal in (("on disk", None, "1.5", ">= 2.0"), ("on tmpfs", "/dev/shm", "2.5", "")):
        with tempfile.TemporaryDirectory(prefix="pixelog-bench-", dir=place) as name:
            folder = Path(name)
            if place is None:
                durability(folder)
                one_stream(folder)
            saves(folder, where, goal, batch_goal)


if __name__ == "__main__":
    sys.exit(main())
