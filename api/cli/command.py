"""What a command of the command line is made of, and how it speaks: to people in lines and tables, to programs in one JSON document."""

from __future__ import annotations

import argparse
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import msgspec


class Usage(Exception):
    """The command was used wrongly, or what it was given is not right: exit code 2. The message says what to do."""


class Out:
    """Where a command writes. Results go to stdout, everything else to stderr."""

    def __init__(self, json: bool, stdout: TextIO, stderr: TextIO) -> None:
        self.json = json
        self._stdout, self._stderr = stdout, stderr
        self._colour = not json and stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def document(self, value: Any) -> None:
        """The one JSON document of `--json`, or one line of JSON Lines."""
        # Bytes, because JSON is UTF-8 whatever the terminal's encoding is.
        self._stdout.flush()
        self._stdout.buffer.write(msgspec.json.encode(value) + b"\n")
        self._stdout.buffer.flush()

    def line(self, text: str = "") -> None:
        """A line for people; nothing with `--json`."""
        if not self.json:
            self._stdout.write(_printable(text) + "\n")

    def strong(self, text: str) -> None:
        """A line that stands out."""
        if not self.json:
            self._stdout.write(self._styled(_printable(text), "1") + "\n")

    def note(self, text: str) -> None:
        """A line beside the result, on stderr."""
        self._stdout.flush()
        self._stderr.write(f"pixelog: {_printable(text)}\n")
        self._stderr.flush()

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Aligned columns under their heads; cells that are None stay empty."""
        if self.json:
            return
        cells = [["" if cell is None else _printable(str(cell)) for cell in row] for row in rows]
        widths = [max(_width(row[place]) for row in [list(heads), *cells]) for place in range(len(heads))]
        self._stdout.write(self._styled(_aligned(heads, widths), "1") + "\n")
        for row in cells:
            self._stdout.write(_aligned(row, widths) + "\n")

    def fields(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Names and values below each other; those without a value are left out."""
        shown = [(name, value) for name, value in pairs if value is not None and value != "" and value != ()]
        width = max((_width(name) for name, _ in shown), default=0)
        for name, value in shown:
            self.line(f"{name}{' ' * (width - _width(name))}  {value}")

    def flush(self) -> None:
        """Bring everything out."""
        self._stdout.flush()

    def _styled(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def _printable(text: str) -> str:
    """Without control characters: a text from the log must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(" " if one in "\r\n\t" else "�" if unicodedata.category(one) in ("Cc", "Cs") else one for one in text)


def _width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)).rstrip()


def within(left_us: int) -> str:
    """How long something still holds, for people: whole minutes, below two of them seconds; never more than is left, to the second."""
    seconds = max(0, round(left_us / 1_000_000))
    return f"within {seconds // 60} minutes" if seconds >= 120 else f"within {seconds} seconds"


class Call(NamedTuple):
    """One use of a command: the data directory, the parsed options, and where to write."""

    data: Path
    options: argparse.Namespace
    out: Out


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """For commands that take none of their own."""


class Command(NamedTuple):
    """What a command does. `run(call)` returns the exit code; `points`: its arguments may be points such as -10m; `data`: what --data means to it,
    where that is not the usual."""

    run: Callable[[Call], int]
    arguments: Callable[[argparse.ArgumentParser], None] = no_arguments
    points: bool = False
    data: str | None = None


def standard_out(json: bool) -> Out:
    """The process's own streams."""
    return Out(json, sys.stdout, sys.stderr)
