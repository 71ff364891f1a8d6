"""The front door for importers, and `python -m pixelog`.

    import pixelog
    with pixelog.open("data") as state:
        state.add_media("cat.gif")

`EventStore` alone is an event log that knows nothing of media.
"""

from __future__ import annotations

import sys
from pathlib import Path

from api.commands.deciding import Rejected
from api.service import StateService
from eventstore.errors import StoreError
from eventstore.record import NewEvent, RecordedEvent
from eventstore.store import EventStore

__all__ = ["EventStore", "NewEvent", "RecordedEvent", "Rejected", "StateService", "StoreError", "main", "open"]


def open(data: str | Path) -> StateService:
    """Open a data directory, creating it when missing. No service is needed. Close it, or use it as a context manager."""
    return StateService(data)


def main() -> None:
    """The command line."""
    from api.cli.main import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
