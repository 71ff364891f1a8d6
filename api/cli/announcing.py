"""What `pixelog up` says once everything runs: where the page is, how to sign in from elsewhere, and what to try.

Read from the log and the published screen, in a process of its own: what it takes to read them, the supervisor would keep for as long as it lives.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from api.cli.command import Out, standard_out, within
from api.data import DataDirectory
from api.pairing import invitation
from api.reading import open_for_reading
from player.screen import ScreenReader
from projections import access, display, media

PANEL_WAIT_SECONDS = 3.0
"""How long the announcement waits for the panel: it is attached well within, or it is lost, which the announcement then says."""

NAMES_MAX = 200
"""Items among which one is looked for to try."""


class Occasion(msgspec.Struct, frozen=True):
    """What the supervisor knows. `is_open`: others than this machine can reach the service."""

    data: str
    page: str
    is_open: bool
    demo: bool
    json: bool


def announce(occasion: Occasion, out: Out) -> None:
    """Say it."""
    data = DataDirectory(occasion.data)
    panel = _panel(data)
    with open_for_reading(data) as store:
        with store.snapshot() as db:
            items, _, total = media.listing(db, limit=NAMES_MAX)
            panel = panel or msgspec.to_builtins(display.panel(db))
        made = invitation(data, store) if occasion.is_open else None
        left_us = 0 if made is None else made.expires_us - store.now_us()
    link = None if made is None else access.link(occasion.page, made.code)
    if out.json:
        out.document({"page": occasion.page, "data": occasion.data, "display": panel["driver"], "items": total, "pairing": link})
        return
    size = f" {panel['width']}×{panel['height']}" if panel.get("width") else ""
    kind = "demo items" if occasion.demo else "item" if total == 1 else "items"
    program, where = _program(), _data_option(data.root)
    out.line(f"page   {occasion.page}     panel {panel.get('driver') or 'none'}{size}, {total} {kind}")
    if link is not None:
        out.line(f"pair   {link}     once, {within(left_us)}; the panel shows the present one")
    elif occasion.is_open:
        out.line(f"pair   {program} pair{where}     lets another browser in")
    names = [item.slug for item in items]
    if names:
        out.line(f"try    {program} activate {'clock' if 'clock' in names else shlex.quote(names[0])}{where}")
        out.line(f"       {program} replay screen --at -10s -o then.png{where}")
    out.flush()


def _panel(data: DataDirectory) -> dict[str, Any] | None:
    """The panel as the player publishes it, once it is attached; None when it was not in time."""
    reader = ScreenReader(data.screen())
    deadline = time.monotonic() + PANEL_WAIT_SECONDS
    while (facts := reader.facts()) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    reader.close()
    return None if facts is None else msgspec.json.decode(facts)["display"]


def _data_option(root: Path) -> str:
    """The option that a command typed here needs to find the data."""
    usual = root == (Path.cwd() / "pixelog-data") and "PIXELOG_DATA" not in os.environ
    return "" if usual else f" --data {shlex.quote(str(root))}"


def _program() -> str:
    """How this program was called, as short as it works from here."""
    found = shutil.which("pixelog")
    if found is not None:
        return "pixelog"
    here = Path(sys.executable).parent / "pixelog"
    if not here.is_file():
        return f"{sys.executable} -m pixelog"
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)


def main(argument: str) -> None:
    """The process: an occasion as JSON, and nothing said when nobody listens or the supervisor is told to end."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    given = msgspec.json.decode(argument.encode(), type=Occasion)
    announce(given, standard_out(given.json))


if __name__ == "__main__":
    main(sys.argv[1])
