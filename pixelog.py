"""The front door for importers, and `python -m pixelog`.

    import pixelog
    with pixelog.open("data") as state:
        state.add_media("cat.gif")

`EventStore` alone is an event log that knows nothing of media.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api.commands.deciding import Rejected
    from api.service import StateService
    from eventstore.errors import StoreError
    from eventstore.record import NewEvent, RecordedEvent
    from eventstore.store import EventStore

__all__ = ["EventStore", "NewEvent", "RecordedEvent", "Rejected", "StateService", "StoreError", "main", "open"]

_WHERE = {
    "EventStore": "eventstore.store",
    "NewEvent": "eventstore.record",
    "RecordedEvent": "eventstore.record",
    "Rejected": "api.commands.deciding",
    "StateService": "api.service",
    "StoreError": "eventstore.errors",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: `pixelog --help` and a lone EventStore need not wait for all the rest."""
    if name not in _WHERE:
        raise AttributeError(f"module 'pixelog' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)


def open(data: str | Path) -> StateService:
    """Open a data directory, creating it when missing. No service is needed. Close it, or use it as a context manager."""
    from api.service import StateService

    return StateService(data)


def main() -> None:
    """The command line."""
    from api.cli.main import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
