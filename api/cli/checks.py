"""`pixelog verify` and `pixelog rebuild`: is everything as it should be, and make the projections anew."""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from api.cli.command import Call, Command, Usage
from api.data import DataDirectory
from api.verification import verify
from eventstore.store import EventStore
from projections import folding
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
    with data.open_store() as store:
        _create_missing(store)
        folding.rebuild(store, areas)
        position = store.head().position
    names = [area.name for area in areas]
    if call.out.json:
        call.out.document({"areas": names, "position": position})
    call.out.line(f"made anew up to position {position}: {', '.join(names)}")
    return 0


def _create_missing(store: EventStore) -> None:
    """What a start would do, except folding: a table that is damaged must not keep its own rebuild from happening."""
    store.transact(lambda transaction: folding.create_tables(transaction.db))


VERIFY = Command(_verify)
REBUILD = Command(_rebuild, _rebuild_arguments)
