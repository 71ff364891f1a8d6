"""Commands that move an older installation in, and out again: adopt, export."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from api.adopt.documents import Unreadable
from api.adopt.findings import Finding
from api.adopt.loop import NoInstallation
from api.adopt.moving import Report, adopt_loop
from api.cli.command import Call, Command, Out, Usage
from api.data import DataDirectory

SYSTEMS = ("loop",)

SHOWN_MAX = 20
"""Findings of one kind that are shown to people; --json gives all."""


def _adopt_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("system", metavar="SYSTEM", choices=SYSTEMS, help=f"what it was: {', '.join(SYSTEMS)}")
    parser.add_argument("source", metavar="SOURCE", type=Path, help="the folder of the older installation; it is only read")
    parser.add_argument("--dry-run", action="store_true", help="say exactly what would be done, and write nothing")
    parser.add_argument("--verify", action="store_true", help="compare every record afterwards; 1 when something differs")
    parser.add_argument("--keep-going", action="store_true", help="take the other files when one cannot be read")
    parser.add_argument(
        "--as", dest="name", default="loop", metavar="NAME", help="tells several installations apart (default: loop)"
    )


def _adopt(call: Call) -> int:
    options = call.options
    try:
        report = adopt_loop(
            DataDirectory(call.data),
            options.source,
            name=options.name,
            dry_run=options.dry_run,
            verify=options.verify,
            keep_going=options.keep_going,
            progress=_progress(call.out),
        )
    except Unreadable as error:
        raise Usage(
            f"{error}; nothing was taken over. Mend the file or take it from a backup, or use --keep-going for the other files"
        ) from error
    except (NoInstallation, ValueError) as error:
        raise Usage(str(error)) from error
    if call.out.json:
        call.out.document(report)
    else:
        _show(call.out, report)
    unread = [one for one in report.skipped if one.rule == "IR-0.2"]
    for one in unread:
        call.out.note(f"{one.key} was passed over: {one.why}")
    if unread:
        return 2
    return 1 if report.differences else 0


def _progress(out: Out):
    """A line that counts, for people at a terminal."""
    shown = not out.json and sys.stderr.isatty()

    def progress(done: int, total: int) -> None:
        if shown:
            sys.stderr.write(f"\r{done} of {total} records" if done < total else "\r\x1b[K")
            sys.stderr.flush()

    return progress


def _show(out: Out, report: Report) -> None:
    out.table(
        ("RECORDS", "BROUGHT", "HERE ALREADY", "LEFT OUT"),
        ((kind, count.imported, count.merged, count.skipped) for kind, count in sorted(report.records.items())),
    )
    _list(out, "left out", report.skipped)
    _list(out, "kept, but not as found", report.warnings)
    out.line()
    out.line(f"{report.events} events {'would be' if report.dry_run else 'were'} appended")
    if report.differences is not None:
        out.line(f"{report.verified} records compared, {len(report.differences)} differences")
        for one in report.differences[:SHOWN_MAX]:
            out.line(f"  {one.key} {one.field}: {one.source!r} at the source, {one.here!r} here")


def _list(out: Out, title: str, findings: tuple[Finding, ...]) -> None:
    if not findings:
        return
    out.line()
    out.strong(f"{len(findings)} {title}")
    out.table(("RECORD", "RULE", "WHY"), ((one.key, one.rule, one.why) for one in findings[:SHOWN_MAX]))
    if len(findings) > SHOWN_MAX:
        out.line(f"… and {len(findings) - SHOWN_MAX} more; --json gives all")


def _export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("system", metavar="SYSTEM", choices=SYSTEMS, help=f"for which system: {', '.join(SYSTEMS)}")
    parser.add_argument("folder", metavar="DIR", type=Path, help="a new or empty folder")
    parser.add_argument("--no-frames", action="store_true", help="leave the frames for the panel to the older system")
    parser.add_argument("--secrets", action="store_true", help="put the passwords that moved in back into its settings")
    parser.add_argument(
        "--as", dest="name", default="loop", metavar="NAME", help="the name under which it moved in (default: loop)"
    )


def _export(call: Call) -> int:
    from api.adopt.loop_export import NotEmpty, export_loop

    options = call.options
    try:
        report = export_loop(
            DataDirectory(call.data), options.folder, frames=not options.no_frames, secrets=options.secrets, name=options.name
        )
    except NotEmpty as error:
        raise Usage(str(error)) from error
    if call.out.json:
        call.out.document(report)
        return 0
    call.out.line(
        f"{report.media} items ({report.files} with their files, {report.frames} with frames), {report.loop} in the loop, "
        f"{report.jobs} jobs: {options.folder}"
    )
    _list(call.out, "not as they are here", report.warnings)
    return 0


ADOPT = Command(_adopt, _adopt_arguments)
EXPORT = Command(_export, _export_arguments)
