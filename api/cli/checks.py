"""`pixelog verify` and `pixelog rebuild`: is everything as it should be, and make the projections anew."""

from __future__ import annotations

import signal
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable

from api.cli.command import Call, Command, Usage
from api.data import DataDirectory
from api.execution import Executor
from api.verification import verify
from eventstore.store import EventStore
from projections import attesting, rebuilding
from projections.replay.state import areas_named


def _verify(call: Call) -> int:
    on_terminal = sys.stderr.isatty()

    def progress(stage: str) -> None:
        if on_terminal:
            sys.stderr.write(f"\r\x1b[Kchecking the {stage} …")
            sys.stderr.flush()

    try:
        report = verify(DataDirectory(call.data), progress)
    finally:
        if on_terminal:
            sys.stderr.write("\r\x1b[K")
    if call.out.json:
        call.out.document(report)
        return 0 if report.ok else 1
    for problem in report.problems:
        where = f" (position {problem.position})" if problem.position is not None else ""
        call.out.line(f"{problem.code}: {problem.message}{where}; {problem.mend}")
    if report.ok:
        call.out.line(f"all is well: {report.events} events")
    else:
        call.out.line(f"{len(report.problems)} problems in {report.events} events")
    call.out.line(f"digest {report.digest}")
    return 0 if report.ok else 1


def _rebuild_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("areas", metavar="AREA", nargs="*", help="only these (default: all)")


def _rebuild(call: Call) -> int:
    areas = areas_named(call.options.areas)
    data = DataDirectory(call.data)
    data.check()
    if not data.database.exists():
        raise Usage(f"there is no log in {call.data}; nothing to rebuild from")
    stop = threading.Event()
    interrupted = signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        with data.open_store() as store:
            rebuilt = rebuilding.rebuild(store, areas, stop.is_set, _on_terminal("making anew"))
            if rebuilt.differed and not rebuilt.stopped:
                _attest(store)
    except rebuilding.Cancelled as error:
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGINT, interrupted)
    if call.out.json:
        call.out.document(rebuilt)
    call.out.line(f"made anew up to position {rebuilt.position}: {', '.join(rebuilt.areas) or 'nothing'}")
    if rebuilt.differed:
        call.out.line(f"their rows were not what the log says: {', '.join(rebuilt.differed)}")
    for area, why in rebuilt.stopped.items():
        call.out.note(f"area {area} cannot be folded and is stopped: {why}; update pixelog")
    return 1 if rebuilt.stopped else 0


def _attest(store: EventStore) -> None:
    """Have the log say that the rows are right now, after it may have said that they were not."""
    with store.snapshot(patient=True) as db:
        said = attesting.attest(db) if attesting.newest(db) else None
    if said is not None:
        Executor(store).note(said)


def _on_terminal(doing: str) -> Callable[[str], None]:
    """Shows what is being done, where somebody looks."""

    def progress(stage: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{doing}: {stage} …\r")
            sys.stderr.flush()

    return progress


VERIFY = Command(_verify)
REBUILD = Command(_rebuild, _rebuild_arguments)
