"""`pixelog …`: finds the command, reads its arguments, runs it, and turns every failure into one line and an exit code.

Exit codes: 0 done; 1 the answer is "no"; 2 wrong usage or bad input; 3 the data directory is unusable; 130 interrupted. The module of a command is
imported when the command is used, so that starting stays fast.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from api.cli.command import Call, Command, Usage, standard_out

DATA_DEFAULT = "pixelog-data"


class Entry(NamedTuple):
    """Where a command is (`module:NAME`), what it does in a few words, and an example of its use (without the program's name)."""

    where: str
    summary: str
    example: str


COMMANDS: dict[str, Entry] = {
    "up": Entry("api.cli.running:UP", "service, player and worker together, supervised", "up --demo"),
    "serve": Entry("api.cli.running:SERVE", "the service alone", "serve --port 8420"),
    "player": Entry("api.cli.running:PLAYER", "the player alone", "player --display sim:ili9341"),
    "worker": Entry("api.cli.running:WORKER", "the worker alone", "worker"),
    "demo": Entry("api.cli.running:DEMO", "fill an empty library with media that pixelog draws itself", "demo"),
    "add": Entry("api.cli.library:ADD", "take files into the library", "add cat.gif --loop"),
    "ls": Entry("api.cli.library:LS", "list the library", "ls"),
    "show": Entry("api.cli.library:SHOW", "show one item", "show cat"),
    "rm": Entry("api.cli.library:RM", "take an item out of the library", "rm cat"),
    "restore": Entry("api.cli.backup:RESTORE", "bring a removed item back, or a whole directory from a backup", "restore cat"),
    "backup": Entry("api.cli.backup:BACKUP", "everything in one file, while pixelog runs", "backup pixelog.tar"),
    "activate": Entry("api.cli.playing:ACTIVATE", "choose what is shown", "activate cat"),
    "loop": Entry("api.cli.playing:LOOP", "show the loop", "loop"),
    "loop set": Entry("api.cli.playing:LOOP_SET", "make the loop exactly these items", "loop set cat dog --mode all"),
    "loop add": Entry("api.cli.playing:LOOP_ADD", "put an item into the loop", "loop add cat --at 0"),
    "loop rm": Entry("api.cli.playing:LOOP_RM", "take an item out of the loop", "loop rm cat"),
    "loop clear": Entry("api.cli.playing:LOOP_CLEAR", "empty the loop", "loop clear"),
    "next": Entry("api.cli.playing:NEXT", "go on to the next item", "next"),
    "previous": Entry("api.cli.playing:PREVIOUS", "go back to the item before", "previous"),
    "pause": Entry("api.cli.playing:PAUSE", "let the picture stand still", "pause"),
    "resume": Entry("api.cli.playing:RESUME", "go on after a pause", "resume"),
    "message": Entry("api.cli.playing:MESSAGE", "draw a text over the media", 'message "Back in five minutes" --ttl 300'),
    "status": Entry("api.cli.playing:STATUS", "what is on, what comes next, how things are", "status"),
    "log": Entry("api.cli.log:LOG", "read the event log", "log --type 'media.*' --since -1h"),
    "verify": Entry("api.cli.checks:VERIFY", "check the log, the projections and the files", "verify"),
    "rebuild": Entry("api.cli.checks:REBUILD", "make projections anew from the log", "rebuild media loop"),
    "sql": Entry(
        "api.cli.replay:SQL", "read-only SQL over the projections, now or then", 'sql "SELECT slug FROM media" --at -10m'
    ),
    "replay state": Entry("api.cli.replay:STATE", "the state as it was", "replay state --at -10m --area loop"),
    "replay screen": Entry("api.cli.replay:SCREEN", "the pixels that the panel showed", "replay screen --at -10m -o then.png"),
    "replay diff": Entry("api.cli.replay:DIFF", "what changed between two points", "replay diff -1h head"),
    "replay explain": Entry("api.cli.replay:EXPLAIN", "one event and each row that it changed", "replay explain 1234"),
    "replay history": Entry("api.cli.replay:HISTORY", "every change of one row", "replay history media/cat"),
    "replay bisect": Entry(
        "api.cli.replay:BISECT",
        "the first position after which something is true",
        "replay bisect --where \"SELECT slug = 'cat' FROM active\"",
    ),
    "service install": Entry(
        "api.cli.installing:INSTALL", "run at boot under systemd", "service install --host 0.0.0.0 --display ili9341"
    ),
    "service uninstall": Entry("api.cli.installing:UNINSTALL", "run at boot no more; the data stays", "service uninstall"),
    "service status": Entry("api.cli.installing:STATUS", "is it installed, does it run, how did it end", "service status"),
    "doctor": Entry("api.cli.doctoring:DOCTOR", "what this machine lacks, each with the line that mends it", "doctor"),
    "adopt": Entry("api.cli.adopt:ADOPT", "move an older installation in", "adopt loop /home/pi/loop --dry-run"),
    "export": Entry("api.cli.adopt:EXPORT", "write the library as an older system had it", "export loop moved-out"),
    "pair": Entry("api.cli.access:PAIR", "a one-time link that signs a browser in", "pair"),
    "token add": Entry("api.cli.access:TOKEN_ADD", "let a program call; prints its token, once", "token add doorbell"),
    "token ls": Entry("api.cli.access:TOKEN_LS", "list the tokens of programs", "token ls"),
    "token rm": Entry("api.cli.access:TOKEN_RM", "take a program's token away", "token rm doorbell"),
    "config": Entry("api.cli.effective:CONFIG", "effective configuration, and where each value comes from", "config"),
}
READING = {"ls", "show", "status", "log", "verify", "sql", "plays", *(name for name in COMMANDS if name.startswith("replay "))}
"""Commands whose `--data` may name a backup instead of a directory."""

GROUPS = {name.split()[0] for name in COMMANDS if " " in name}

_RELATIVE = re.compile(r"-((?:\d+(?:\.\d+)?[smhd])+)")


# What the log has to say of slow statements is for the journal of a service, not for somebody who waits for one line.
logging.getLogger("eventstore").addHandler(logging.NullHandler())


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    debug = "--debug" in argv
    try:
        return _run(list(argv))
    except SystemExit as end:  # argparse, after --help
        return end.code if isinstance(end.code, int) else 0
    except BrokenPipeError:
        # Whoever read us has enough. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if debug:
            raise
        code, text = _explained(error)
        _complain(text)
        return code


def _run(argv: list[str]) -> int:
    name, rest = _command(argv)
    if name is None:
        return _overview(rest)
    entry = COMMANDS[name]
    module, attribute = entry.where.split(":")
    command: Command = getattr(importlib.import_module(module), attribute)
    parser = _Parser(prog=f"pixelog {name}", description=_sentence(entry.summary), epilog=f"example: pixelog {entry.example}")
    command.arguments(parser)
    _common(parser, command.data)
    options = parser.parse_args(_points(rest) if command.points else rest)
    out = standard_out(options.json)
    data = _data(options.data)
    try:
        code = command.run(Call(_source(name, data), options, out))
    except Exception as error:
        from api.cli.failures import failed

        found = failed(error, data)
        if found is None and isinstance(error, UnicodeEncodeError):
            _check_text(argv)
        if found is None:
            raise
        raise found from error
    out.flush()
    return code


def _check_text(argv: list[str]) -> None:
    """Refuse an argument that no UTF-8 stands behind. Only afterwards: the name of a file may be any bytes."""
    for one in argv:
        if any("\ud800" <= character <= "\udfff" for character in one):
            raise Usage(f"{one!r} is not text: it has bytes that are not UTF-8")


class _Parser(argparse.ArgumentParser):
    """Complains by exception, in one line."""

    def __init__(self, *, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        raise Usage(f"{message}; see {self.prog} --help")


def _common(parser: argparse.ArgumentParser, data: str | None = None) -> None:
    usual = f"the data directory (default: $PIXELOG_DATA, else ./{DATA_DEFAULT})"
    parser.add_argument("--data", metavar="DIR", help=data or usual)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a failure")


def _data(given: str | None) -> Path:
    if given is None:
        given = os.environ.get("PIXELOG_DATA") or DATA_DEFAULT
    if not given:
        raise Usage("--data needs a folder")
    return Path(given)


def _source(name: str, data: Path) -> Path:
    """The data directory; for a command that only reads, what is in a backup."""
    if name in READING and data.is_file():
        from api.backups import opened

        with open(data, "rb"):  # one that may not be read is no worse a backup
            pass
        return opened(data)
    return data


def _command(argv: list[str]) -> tuple[str | None, list[str]]:
    """The command's name and the arguments that are left; None when no command is named."""
    place = _word(argv, 0)
    if place is None:
        return None, argv
    name, rest = argv[place], argv[:place] + argv[place + 1 :]
    if name in GROUPS:
        second = _word(rest, place)
        if second is not None and f"{name} {rest[second]}" in COMMANDS:
            return f"{name} {rest[second]}", rest[:second] + rest[second + 1 :]
        if second is not None:
            raise Usage(f"no such command: {name} {rest[second]}; see pixelog --help")
        if name not in COMMANDS:
            if "--help" in rest or "-h" in rest:
                return None, [name, *rest]
            raise Usage(f"{name} needs one of: {', '.join(_of_group(name))}; see pixelog {name} --help")
    if name not in COMMANDS:
        raise Usage(f"no such command: {name}; see pixelog --help")
    return name, rest


def _word(argv: list[str], start: int) -> int | None:
    """Place of the first argument from `start` on that is no option of all commands."""
    place = start
    while place < len(argv):
        if argv[place] == "--data":
            place += 2
        elif argv[place].startswith("--data=") or argv[place] in ("--json", "--debug"):
            place += 1
        else:
            return None if argv[place].startswith("-") else place
    return None


def _of_group(name: str) -> list[str]:
    return [command.split()[1] for command in COMMANDS if command.startswith(f"{name} ")]


def _points(argv: list[str]) -> list[str]:
    """Write -10m as 10m-ago, which cannot be taken for an option."""
    return [f"{match[1]}-ago" if (match := _RELATIVE.fullmatch(one)) else one for one in argv]


def _overview(argv: list[str]) -> int:
    options = [one for one in argv if one.startswith("-")]
    if "--version" in options:
        from importlib.metadata import version

        print(f"pixelog {version('pixelog')}")
        return 0
    unknown = [one for one in options if one.split("=")[0] not in ("--help", "-h", "--data", "--json", "--debug")]
    if unknown:
        raise Usage(f"{unknown[0]} is no option here; see pixelog --help")
    if not any(one in ("--help", "-h") for one in options):
        raise Usage("which command? see pixelog --help")
    group = argv[0] if argv[0] in GROUPS else None
    names = [name for name in COMMANDS if group is None or name.split()[0] == group]
    width = max(len(name) for name in names)
    print(f"usage: pixelog {group or 'COMMAND'} … [--data DIR] [--json] [--debug] [--help]\n")
    print("A small display that remembers: everything that happens is an event in a log.\n" if group is None else "")
    for name in names:
        print(f"  {name:{width}}  {COMMANDS[name].summary}")
    print(f"\nexample: pixelog {COMMANDS[names[0]].example}\nmore:    pixelog COMMAND --help")
    return 0


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _explained(error: Exception) -> tuple[int, str]:
    """Exit code and line for a failure."""
    from api.cli.failures import Failed
    from api.commands.deciding import Rejected
    from api.config import BadConfig
    from eventstore.errors import Invalid, StoreError
    from player.panels.open import UnknownDisplay
    from projections.replay.changes import TooManyChanges
    from projections.replay.points import BadPoint
    from projections.replay.state import BadQuery, UnknownArea

    if isinstance(error, Failed):
        return error.code, str(error)
    if isinstance(
        error, Usage | Rejected | Invalid | BadConfig | BadPoint | BadQuery | TooManyChanges | UnknownArea | UnknownDisplay
    ):
        return 2, str(error)
    if isinstance(error, StoreError):
        return 3, str(error)
    return 3, f"this went wrong: {type(error).__name__}: {error}; run it with --debug to see where"


def _complain(text: str) -> None:
    sys.stderr.write("pixelog: " + " ".join(text.split()) + "\n")
