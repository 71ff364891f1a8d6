"""Commands about what plays: activate, loop, next, previous, pause, resume, message, status. They work with or without a running service."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Callable, Iterator
from typing import Any

import apsw
import msgspec

from api import overview
from api.cli.command import Call, Command, Usage
from api.cli.library import PAGE_ITEMS, meant, naming, slug_argument, writing
from api.commands.deciding import Rejected
from api.commands.loop import AddLoopItem, NewEntry, RemoveLoopItem
from api.commands.playback import Action, Control
from api.data import DataDirectory
from api.reading import open_for_reading
from api.service import StateService
from eventstore.record import Origin
from projections import loop, messages, plan, planning
from projections.loop import Loop

CLI = Origin("cli")


def _activate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("slug", metavar="SLUG", nargs="?")
    parser.add_argument("--none", action="store_true", help="choose nothing: the loop plays from its first entry")


def _activate(call: Call) -> int:
    slug: str | None = call.options.slug
    if (slug is None) != call.options.none:
        raise Usage("name one item, or --none; see pixelog activate --help")
    with writing(call) as service, naming(service, *([slug] if slug is not None else [])):
        chosen = service.set_active(slug)
    if call.out.json:
        call.out.document(chosen)
    call.out.line("nothing is chosen; the loop plays" if slug is None else f"{slug} is on")
    return 0


def _loop(call: Call) -> int:
    with open_for_reading(DataDirectory(call.data)) as store, store.snapshot() as db:
        return _show_loop(call, loop.get(db))


def _show_loop(call: Call, it: Loop) -> int:
    if call.out.json:
        call.out.document(it)
        return 0
    if not it.items:
        call.out.line("the loop is empty; pixelog loop add SLUG puts an item in")
        return 0
    call.out.table(
        ("", "SLUG", "REPEAT", "LENGTH", "WHEN"),
        ((place, item.slug, item.repeat, _seconds(item.duration), _when(item)) for place, item in enumerate(it.items)),
    )
    call.out.line(f"mode {it.mode}{', shuffled' if it.shuffle else ''}")
    return 0


def _seconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:g} s"


def _when(item: loop.LoopItem) -> str | None:
    if item.when is None:
        return None
    raw: dict[str, Any] = msgspec.to_builtins(item.when)
    return " ".join(f"{name} {','.join(value) if isinstance(value, list) else value}" for name, value in raw.items() if value)  # type: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _set_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("slugs", metavar="SLUG", nargs="+")
    parser.add_argument("--mode", choices=("all", "one"))
    parser.add_argument("--shuffle", action=BooleanOptionalAction)


def _set(call: Call) -> int:
    with writing(call) as service, naming(service, *call.options.slugs):
        return _show_loop(call, service.reorder_loop(call.options.slugs, mode=call.options.mode, shuffle=call.options.shuffle))


def _clear(call: Call) -> int:
    with writing(call) as service:
        return _show_loop(call, service.reorder_loop([]))


def _loop_add_arguments(parser: ArgumentParser) -> None:
    slug_argument(parser)
    parser.add_argument("--at", type=int, metavar="PLACE", help="before which place, counted from 0 (default: at the end)")
    parser.add_argument("--repeat", type=int, metavar="N", help="how often it plays in its turn")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="how long one pass is")


def _loop_add(call: Call) -> int:
    options = call.options
    command = AddLoopItem(NewEntry(options.slug, options.repeat, options.duration), options.at)
    with writing(call) as service, naming(service, options.slug):
        return _show_loop(call, service.executor.execute(command, lambda db, _: loop.get(db), origin=CLI).answer)


def _loop_rm(call: Call) -> int:
    slug = call.options.slug
    with writing(call) as service:
        try:
            left = service.executor.execute(RemoveLoopItem(slug), lambda db, _: loop.get(db), origin=CLI).answer
        except Rejected as error:
            if error.code != "not_found":
                raise
            with service.store.snapshot() as db:
                known = [item.slug for item in loop.get(db).items]
            raise Usage(f"{error}; {meant(slug, known)}pixelog loop lists what is") from error
        return _show_loop(call, left)


def _button(action: Action, done: str, nothing: str) -> Callable[[Call], int]:
    def run(call: Call) -> int:
        with writing(call) as service:
            outcome = service.executor.execute(Control(action), origin=CLI)
            now_us = service.store.now_us()
            with service.store.snapshot() as db:
                slug = plan.at(planning.state(db, now_us), now_us).slug
        if call.out.json:
            call.out.document({"changed": bool(outcome.events), "slug": slug, "position": outcome.position})
        call.out.line(done.format(slug=slug) if outcome.events else nothing)
        return 0

    return run


def _message_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", nargs="*", help="none: list the messages that are shown")
    parser.add_argument("--priority", choices=("info", "warning", "critical"), help="which is drawn first (default: info)")
    parser.add_argument("--ttl", type=float, metavar="SECONDS", help="for how long it is shown (default: until it is dismissed)")
    parser.add_argument("--dismiss", metavar="ID", help="take this message away")
    parser.add_argument("--clear", action="store_true", help="take all messages away")


def _message(call: Call) -> int:
    options = call.options
    posting = bool(options.text) or options.priority is not None or options.ttl is not None
    if posting + (options.dismiss is not None) + options.clear > 1:
        raise Usage("either TEXT, or --dismiss ID, or --clear")
    if options.dismiss is not None:
        return _dismiss(call)
    if options.clear:
        return _clear_messages(call)
    if not posting:
        return _list_messages(call)
    if not options.text:
        raise Usage("a message needs its TEXT; see pixelog message --help")
    with writing(call) as service:
        posted = service.post_message(" ".join(options.text), priority=options.priority or "info", ttl_seconds=options.ttl)
    if call.out.json:
        call.out.document(posted)
    until = f"until {posted.expires_at[:19]}" if posted.expires_at else f"until pixelog message --dismiss {posted.id}"
    call.out.line(f"it is shown {until}")
    return 0


def _list_messages(call: Call) -> int:
    with open_for_reading(DataDirectory(call.data)) as store, store.snapshot() as db:
        items = list(_live(db, store.now_us()))
    if call.out.json:
        call.out.document({"items": items, "next": None, "total": len(items)})
        return 0
    if not items:
        call.out.line("there are no messages; pixelog message TEXT draws one over the media")
        return 0
    call.out.table(
        ("ID", "PRIORITY", "UNTIL", "TEXT"),
        ((one.id, one.priority, one.expires_at and one.expires_at[:19], one.text) for one in items),
    )
    return 0


def _live(db: apsw.Connection, now_us: int) -> Iterator[messages.Message]:
    cursor = None
    while True:
        items, cursor, _ = messages.live(db, now_us, PAGE_ITEMS, cursor)
        yield from items
        if cursor is None:
            return


def _dismiss(call: Call) -> int:
    id = call.options.dismiss
    with writing(call) as service:
        try:
            service.dismiss_message(id)
        except Rejected as error:
            if error.code != "not_found":
                raise
            raise Usage(f"{error}; pixelog message lists them") from error
    if call.out.json:
        call.out.document({"id": id, "removed": True})
    call.out.line("it is gone")
    return 0


def _clear_messages(call: Call) -> int:
    """Those that are shown now: who posts meanwhile is not cut off, and this comes to an end."""
    with writing(call) as service:
        with service.store.snapshot() as db:
            ids = [one.id for one in _live(db, service.store.now_us())]
        gone = sum(_dismissed(service, id) for id in ids)
    if call.out.json:
        call.out.document({"removed": gone})
    call.out.line("there was no message" if not gone else "1 message is gone" if gone == 1 else f"{gone} messages are gone")
    return 0


def _dismissed(service: StateService, id: str) -> bool:
    try:
        service.dismiss_message(id)
    except Rejected as error:
        if error.code != "not_found":
            raise
        return False  # it expired, or somebody was faster
    return True


def _status(call: Call) -> int:
    with open_for_reading(DataDirectory(call.data)) as store:
        now_us = store.now_us()
        with store.snapshot() as db:
            whole = overview.dashboard(db, store.log_id, now_us)
            showing = plan.at(planning.state(db, now_us), now_us)
    if call.out.json:
        planned = {"slug": showing.slug, "next": showing.next_slug, "paused": showing.paused, "held": showing.held}
        call.out.document({**msgspec.to_builtins(whole), "plan": planned})
        return 0
    display = whole.player.display
    panel = f"{display.driver or 'panel'} {display.width}x{display.height}, {display.state}" if display.state != "none" else None
    standing = " (paused)" if showing.paused else " (held)" if showing.held else ""
    call.out.strong(f"{showing.slug or 'nothing to show'}{standing}")
    call.out.fields(
        (
            ("next", showing.next_slug),
            ("chosen", whole.active),
            ("loop", f"{len(whole.loop.items)} items, mode {whole.loop.mode}{', shuffled' if whole.loop.shuffle else ''}"),
            ("passed over", ", ".join(f"{slug} ({why.replace('_', ' ')})" for slug, why in showing.off)),
            ("library", f"{whole.media.total} items"),
            ("messages", len(whole.messages) or None),
            ("jobs", ", ".join(f"{job.title} {job.status}" for job in whole.jobs)),
            ("panel", panel),
            ("player", "running, as far as the log knows" if whole.player.running else "not running"),
            ("position", whole.position),
        )
    )
    return 0


ACTIVATE = Command(_activate, _activate_arguments)
LOOP = Command(_loop)
LOOP_SET = Command(_set, _set_arguments)
LOOP_ADD = Command(_loop_add, _loop_add_arguments)
LOOP_RM = Command(_loop_rm, slug_argument)
LOOP_CLEAR = Command(_clear)
NEXT = Command(_button("next", "now {slug}", "there is nothing else to go on to"))
PREVIOUS = Command(_button("previous", "now {slug}", "there is nothing else to go back to"))
PAUSE = Command(_button("pause", "paused", "it was paused already"))
RESUME = Command(_button("play", "playing", "it was playing already"))
MESSAGE = Command(_message, _message_arguments)
STATUS = Command(_status)
