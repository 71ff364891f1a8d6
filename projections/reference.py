"""The reference page of what SQL sees: written from the tables themselves, so that it cannot differ from them.

`python -m projections.reference` prints `docs/projections.md`.
"""

from __future__ import annotations

import re
import sys

import apsw

from projections import folding
from projections.catalogue import AREAS

_HEAD = """# What SQL sees

`pixelog sql "SELECT …"` reads these, as they are or, with `--at POINT`, as they were. They are tables and views in `pixelog.db`, beside the
log in `events`; any SQLite tool can read them while pixelog runs. Instants are µs since 1970 unless their name says `logtime`; durations are
seconds. Each is a fold of the log: never write to them.

Beside them lie each area's own tables, named `<area>_…`, and `projections`, which says up to where each area is folded. Their shape may
change; then they are made anew from the log.
"""


def columns(db: apsw.Connection, view: str) -> list[str]:
    """Column names of a view, in order."""
    return [str(row[1]) for row in db.execute(f"PRAGMA table_info({view})")]


def page() -> str:
    """The whole page."""
    db = apsw.Connection(":memory:")
    lines = [_HEAD]
    for area in AREAS:
        folding.create_area(db, area)
        charter = (sys.modules[area.fold.__module__].__doc__ or "").split("\n\n")[0].removeprefix(f"Area {area.name}: ")
        lines.append(f"## {area.name}\n\n{charter[0].upper()}{' '.join(charter[1:].split())}\n")
        for view in area.views:
            name = re.search(r"CREATE VIEW (\w+)", view)
            if name is not None:
                lines.append(f"- `{name[1]}({', '.join(columns(db, name[1]))})`")
        types = ", ".join(f"`{type}`" for type in area.events)
        lines.append(f"- made from {types}\n")
    db.close()
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
