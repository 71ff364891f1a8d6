"""Commands of time travel: `pixelog sql` and `pixelog replay …`. They read; the log stays as it is."""

from __future__ import annotations

import io
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec

from api import instants
from api.cli.command import Call, Command, Usage
from api.data import DataDirectory
from api.reading import open_for_reading
from eventstore.store import EventStore
from projections.envelope import cloud_event
from projections.replay import changes, points
from projections.replay import state as states
from projections.replay.changes import Change
from projections.replay.points import Instant
from projections.times import rfc3339

SQL_SECONDS_MAX = 30.0
"""A query for a person; one that runs longer is a mistake."""

BISECT_SECONDS_MAX = 600.0
"""A scan asks once after each event, some 50 µs each: enough for ten million."""

FIRST = "1"
"""The point of the first event."""

FILM_SUFFIXES = {".png": "PNG", ".webp": "WEBP", ".gif": "GIF"}


def resolved(call: Call, store: EventStore, db: apsw.Connection, point: str, through: int | None = None) -> Instant:
    """The instant that a point means; what is ambiguous about it is said on stderr."""
    instant = instants.resolve(store, db, point, through)
    for sentence in points.describe(instant):
        call.out.note(sentence)
    return instant


def opened(call: Call) -> EventStore:
    """The data directory, opened for looking."""
    return open_for_reading(DataDirectory(call.data))


def deadline(seconds: float) -> Callable[[], bool]:
    """A function that says whether so many seconds have passed."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _answers(instant: Instant) -> dict[str, Any]:
    """What a document says of a time that had several answers; nothing otherwise."""
    if not instant.answers:
        return {}
    return {"answers": [{"position": one.position, "logtime": str(one.logtime_us)} for one in instant.answers]}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# -- sql, state ----------------------------------------------------------------------------------------------------------------------


def _sql_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("sql", metavar="SELECT")
    parser.add_argument("--at", metavar="POINT", help="over the projections as they were then")


def _sql(call: Call) -> int:
    options = call.options
    stop = deadline(SQL_SECONDS_MAX)
    with opened(call) as store:
        if options.at is None:
            with store.snapshot() as db:
                answer = states.query(db, options.sql, stop)
        else:
            with store.reading() as db:
                answer = states.query_at(db, options.sql, resolved(call, store, db, options.at).position, stop)
    if call.out.json:
        call.out.document(answer.objects())
        return 0
    call.out.table(answer.columns, answer.rows)
    return 0


def _state_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--at", metavar="POINT", required=True)
    parser.add_argument("--area", metavar="AREA", action="append", default=[], help="only this area")


def _state(call: Call) -> int:
    areas = states.areas_named(call.options.area)
    with opened(call) as store, store.reading() as db:
        instant = resolved(call, store, db, call.options.at)
        past = states.state(db, instant.position, areas)
    if call.out.json:
        call.out.document({**msgspec.to_builtins(past), **_answers(instant)})
        return 0
    call.out.strong(f"position {past.position}" + (f", {past.time}" if past.time else ""))
    for area, rows in past.areas.items():
        call.out.line()
        call.out.strong(f"{area} ({len(rows)})")
        call.out.fields((f"  {key}", _text(row)) for key, row in rows.items())
    return 0


# -- what changed --------------------------------------------------------------------------------------------------------------------


def _diff_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("start", metavar="FROM")
    parser.add_argument("end", metavar="TO")
    parser.add_argument("--area", metavar="AREA", action="append", default=[], help="only this area")


def _diff(call: Call) -> int:
    areas = states.areas_named(call.options.area)
    with opened(call) as store, store.reading() as db:
        start, end = resolved(call, store, db, call.options.start), resolved(call, store, db, call.options.end)
        difference = changes.difference(db, start.position, end.position, areas)
    if call.out.json:
        call.out.document(difference)
        return 0
    call.out.strong(f"from position {difference.from_} to {difference.to}: {len(difference.changes)} changes")
    for change in difference.changes:
        call.out.line(_sentence(change))
    return 0


def _sentence(change: Change) -> str:
    place = f"{change.area}/{change.key}" + (f" {change.field}" if change.field else "")
    if change.before is None:
        what = f"+ {place}: {_text(change.after)}"
    elif change.after is None:
        what = f"- {place}: {_text(change.before)}"
    else:
        what = f"~ {place}: {_text(change.before)} → {_text(change.after)}"
    return f"{what}  ({change.position} {change.type})"


def _explain_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("position", metavar="POSITION", type=int)


def _explain(call: Call) -> int:
    position = call.options.position
    with opened(call) as store, store.reading() as db:
        head: int = db.execute("SELECT position FROM head").get
        if not 1 <= position <= head:
            raise Usage(f"there is no event {position}; the log's last is {head}")
        explained = changes.explain(db, position)
    if call.out.json:
        call.out.document(explained)
        return 0
    call.out.strong(f"{explained.position} {explained.type}")
    call.out.fields(
        (
            ("time", explained.time),
            ("stream", f"{explained.stream} (version {explained.version})"),
            ("actor", explained.actor),
            ("correlation", explained.correlation_id),
            ("cause", explained.causation_id),
            ("data", bytes(explained.data).decode()),
        )
    )
    for change in explained.changes:
        call.out.line(_sentence(change))
    return 0


def _history_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("row", metavar="AREA/KEY")


def _history(call: Call) -> int:
    name, _, key = call.options.row.partition("/")
    (area,) = states.areas_named([name])
    with opened(call) as store, store.reading() as db:
        history = changes.history(db, area, key or name, db.execute("SELECT position FROM head").get)
    if not history.entries:
        if not key:
            raise Usage(f"which row of {name}? write {name}/KEY, such as media/cat")
        raise Usage(f"there never was a row {key!r} in {name}; pixelog replay state --at head --area {name} lists those that are")
    if call.out.json:
        call.out.document(history)
        return 0
    for entry in history.entries:
        call.out.strong(f"{entry.position} {entry.type}  {entry.time}  {entry.actor or ''}")
        for change in entry.changes:
            call.out.line(f"  {_sentence(change)}")
    return 0


def _bisect_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--where", metavar="SQL", required=True, help="a SELECT, or an expression; its first value counts")
    parser.add_argument("--from", dest="start", metavar="P", default=FIRST, help="the first position that is looked at")
    parser.add_argument("--to", dest="end", metavar="P", default="head", help="the last")
    parser.add_argument(
        "--monotone", action="store_true", help="on your word: once true it stays true; halves instead of scanning"
    )


def _bisect(call: Call) -> int:
    options = call.options
    where = (
        options.where if options.where.lstrip().lower().startswith(("select", "with", "values")) else f"SELECT ({options.where})"
    )
    with opened(call) as store, store.reading() as db:
        start, end = (
            resolved(call, store, db, options.start).position if store.head().position else 0,
            resolved(call, store, db, options.end).position,
        )
        if end < start and options.start != FIRST:
            raise Usage("--to lies before --from")
        found, asked = changes.first_true(db, where, max(0, start - 1), end, options.monotone, deadline(BISECT_SECONDS_MAX))
    method = "halving, on the word that it is monotone" if options.monotone else "scan"
    if call.out.json:
        event = None if found is None else cloud_event(found, store.log_id)
        position = None if found is None else found.position
        call.out.document({"position": position, "event": event, "method": "monotone" if options.monotone else "scan"})
    elif found is None:
        call.out.line(f"never true up to position {end} ({method}, asked {asked} times)")
    else:
        call.out.strong(f"first true after position {found.position}: {found.type}")
        call.out.fields((("time", rfc3339(found.time_us)), ("stream", found.stream), ("actor", found.actor), ("method", method)))
    return 1 if found is None else 0


# -- pixels --------------------------------------------------------------------------------------------------------------------------


def _screen_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--at", metavar="POINT", help="one picture, of this instant")
    parser.add_argument("--from", dest="start", metavar="POINT", help="a film, from here")
    parser.add_argument("--to", dest="end", metavar="POINT", help="… to here")
    parser.add_argument("--through", type=int, metavar="POSITION", help="as the log was known up to this position")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="a .png; a film also .webp or .gif")


def _screen(call: Call) -> int:
    options = call.options
    # One more than is needed is refused, too: it would be ignored, and what came out would not be what was asked for.
    if [options.at is None, options.start is None, options.end is None] not in ([False, True, True], [True, False, False]):
        raise Usage("either --at POINT, or --from POINT --to POINT")
    suffix = options.output.suffix.lower()
    if suffix not in (FILM_SUFFIXES if options.at is None else {".png"}):
        raise Usage(f"{options.output}: a picture is a .png, a film a .png, .webp or .gif")
    if not options.output.absolute().parent.is_dir():
        raise Usage(f"{options.output.absolute().parent} is no folder; create it first")
    with opened(call) as store:
        return _picture(call, store) if options.at is not None else _film(call, store)


def _picture(call: Call, store: EventStore) -> int:
    from api import past

    with store.reading() as db:
        instant = resolved(call, store, db, call.options.at, call.options.through)
    screen = past.screen(DataDirectory(call.data), store, instant)
    if screen is None:
        return _nothing(call)
    _write(call.options.output, screen.png())
    if call.out.json:
        call.out.document(
            {
                "file": str(call.options.output),
                "width": screen.width,
                "height": screen.height,
                "position": screen.position,
                "time": rfc3339(screen.time_us),
                "logtime": str(screen.planned_us),
                "slug": screen.slug,
                "exact": screen.exact,
                "why": screen.why,
                **_answers(instant),
            }
        )
        return 0
    call.out.line(
        f"{call.options.output}: {screen.width}x{screen.height}, {screen.slug or 'no item'}, position {screen.position}"
    )
    if not screen.exact:
        call.out.line(f"not exact: {_WHY[screen.why or 'no_player']}")
    return 0


def _film(call: Call, store: EventStore) -> int:
    from api import past
    from player.pixels import unpack_rgb565

    options = call.options
    with store.reading() as db:
        start = resolved(call, store, db, options.start, options.through)
        end = resolved(call, store, db, options.end, options.through)
    if end.logtime_us < start.logtime_us:
        raise Usage("--to lies before --from")
    try:
        shown = past.film(DataDirectory(call.data), store, start, end)
    except past.TooLong as error:
        raise Usage(str(error)) from error
    if not shown:
        return _nothing(call)
    frames = [unpack_rgb565(screen.ram, screen.width, screen.height) for screen, _ in shown]
    file = io.BytesIO()
    format = FILM_SUFFIXES[options.output.suffix.lower()]
    lasts_ms = [max(1, round(lasts_us / 1000)) for _, lasts_us in shown]
    frames[0].save(file, format, save_all=True, append_images=frames[1:], duration=lasts_ms, loop=0, lossless=True)
    _write(options.output, file.getvalue())
    exact = format != "GIF" and all(screen.exact for screen, _ in shown)
    why = next((screen.why for screen, _ in shown if screen.why), None)
    if call.out.json:
        call.out.document(
            {"file": str(options.output), "frames": len(shown), "from": start.position, "to": end.position, "exact": exact, "why": why,
             "quantised": format == "GIF"}
        )  # fmt: skip
        return 0
    call.out.line(f"{options.output}: {len(shown)} frames, {sum(lasts_ms) / 1000:g} s")
    if format == "GIF":
        call.out.line("not exact: a GIF has 256 colours; write a .png or .webp for the very pixels")
    if why is not None:
        call.out.line(f"not exact: {_WHY[why]}")
    return 0


_WHY = {
    "no_player": "as far as the log knows no player was showing anything then; this is what it would have shown",
    "facts_lost": "the machine lost its power about then; this is what the player should have shown",
    "pack_remade": "the frames had to be made again and came out differently",
    "blob_gone": "the media file is gone; a screen of our own stands in its place",
}


def _nothing(call: Call) -> int:
    call.out.note("there was nothing to show yet")
    if call.out.json:
        call.out.document({"file": None})
    return 1


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise Usage(f"{path} cannot be written: {error.strerror}") from error


SQL = Command(_sql, _sql_arguments, points=True)
STATE = Command(_state, _state_arguments, points=True)
SCREEN = Command(_screen, _screen_arguments, points=True)
DIFF = Command(_diff, _diff_arguments, points=True)
EXPLAIN = Command(_explain, _explain_arguments)
HISTORY = Command(_history, _history_arguments)
BISECT = Command(_bisect, _bisect_arguments, points=True)
