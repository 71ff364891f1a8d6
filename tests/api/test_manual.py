"""The manual of an evening, held to the code: each command that it shows is one, and each wire that it draws is the one that is driven."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from api import config
from api.cli.main import COMMANDS, _command, _common, _Parser, _points  # pyright: ignore[reportPrivateUsage]
from api.commands.access import OFFER_TTL_US
from api.pairing import OFFERS_MAX, RENEW_US
from player.panels.bus import Wiring

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("raspberry-pi.md", "from-loop.md")

HEADER = {
    1: "3.3 V", 6: "ground", 12: "GPIO 18", 17: "3.3 V", 18: "GPIO 24", 19: "GPIO 10", 21: "GPIO 9", 22: "GPIO 25", 23: "GPIO 11", 24: "GPIO 8",
}  # fmt: skip
"""What is on the pins of the 40-pin header that the page names, by Raspberry Pi's own drawing."""


def commands(page: str) -> list[list[str]]:
    """The calls of pixelog in a page: in blocks and between backticks, also behind sudo and within a chain."""
    text = (DOCS / page).read_text()
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)
    blocks = [block for language, block in fenced if language in ("", "sh")]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    found: list[list[str]] = []
    for line in [line for block in blocks for line in block.splitlines()] + spans:
        for part in re.split(r"&&|;|\|", line):
            match = re.search(r"^\s*(?:sudo (?:-u pixelog )?)?pixelog ([a-z][^#]*)", part.split("  #")[0])
            if match is not None:
                found.append(shlex.split(match[1]))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_manual_is_one(page: str) -> None:
    """With its options, as the parser takes them."""
    shown = commands(page)
    assert len(shown) >= 5
    for words in shown:
        name, rest = _command(words)
        assert name is not None, words
        module, attribute = COMMANDS[name].where.split(":")
        command = getattr(importlib.import_module(module), attribute)
        parser = _Parser(prog=name, description="", epilog="")
        command.arguments(parser)
        _common(parser)
        if rest or name in ("doctor", "pair"):  # a bare name between backticks speaks of the command
            parser.parse_args(_points(rest) if command.points else rest)


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_of_the_manual_is_one(page: str, tmp_path: Path) -> None:
    """Each block of pixelog.toml is taken as it stands."""
    blocks = re.findall(r"^```toml\n(.*?)^```", (DOCS / page).read_text(), re.S | re.M)
    assert blocks
    for block in blocks:
        (tmp_path / "pixelog.toml").write_text(block)
        settings = config.load(tmp_path, {}, {})
        for key, value in tomllib.loads(block)["display"].items():
            assert settings.get(f"display.{key}") == value


def test_how_long_the_panel_offers_to_pair() -> None:
    """The manual says a day; each code is followed by the next a little before it ends."""
    page = (DOCS / "raspberry-pi.md").read_text()
    hours = OFFERS_MAX * (OFFER_TTL_US - RENEW_US) / 3_600_000_000
    assert (hours, "for a day after each start of the service" in page) == (24.0, True)


@pytest.mark.parametrize("panel", ['2.4" ILI9341', '1.3" ST7789'])
def test_the_wires_are_those_that_are_driven(panel: str) -> None:
    """Pin and line of each row belong together, and DC, RESET, CS, MOSI and the clock are the defaults of the code."""
    table = (DOCS / "raspberry-pi.md").read_text().split(f"**{panel}")[1].split("\n\n")[1]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
    lines: dict[str, str] = {}
    for names, line, pin in (row for row in rows if len(row) == 3 and row[2]):
        assert line.startswith(HEADER[int(pin)]), (names, line, pin)
        lines[names] = line
    wiring = Wiring()
    driven = {"DC": f"GPIO {wiring.dc[1:]}", "RES": f"GPIO {(wiring.reset or '')[1:]}", "CS": "GPIO 8 (CE0)"}
    for name, line in driven.items():
        assert [found for names, found in lines.items() if names.startswith(name)] == [line]
    assert wiring.cs is None
    assert {"GPIO 10 (MOSI)", "GPIO 11 (SCLK)"} <= set(lines.values())
