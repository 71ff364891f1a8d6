"""`pixelog up`, `serve`, `player`, `worker`: reads their options, then hands over to the parts and the supervisor."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from api import config
from api.cli.command import Call, Command, Usage
from api.config import Config
from api.data import DataDirectory

LISTENER_VARIABLE = "PIXELOG_LISTENER_FD"
"""Environment variable that names the listening socket inherited from `pixelog up`."""


def _network_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--host", help="where to listen (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="the port (default 8420; 0 takes any that is free)")


def _display_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--display", default="auto", help="auto, sim, sim:ili9341, sim:st7789, …, ili9341, …, fb, none (default auto)"
    )
    parser.add_argument("--size", metavar="WxH", help="the panel's pixels, such as 240x240")


def _up_arguments(parser: ArgumentParser) -> None:
    _network_arguments(parser)
    _display_arguments(parser)
    parser.add_argument("--demo", action="store_true", help="fill an empty data directory with media that pixelog draws itself")


def _player_arguments(parser: ArgumentParser) -> None:
    _display_arguments(parser)
    parser.add_argument("--address", help="what the panel tells people to open (default: host and port of the configuration)")


def _config(call: Call) -> Config:
    options = vars(call.options)
    flags = {"host": options.get("host"), "port": options.get("port"), "display.size": options.get("size")}
    return config.load(call.data, flags)


def _size(settings: Config) -> tuple[int, int] | None:
    return settings.size


def _check_display(call: Call, settings: Config) -> None:
    from player.panels.open import check_display

    check_display(call.options.display, _size(settings))


def _bind(settings: Config) -> socket.socket:
    from api.cli.parts import bind

    try:
        return bind(settings.host, settings.port)
    except OSError as error:
        raise Usage(f"{error.strerror}; choose another --port, or stop what uses it") from error


def address_of(host: str, port: int) -> str:
    """The URL under which a person reaches a service that listens here."""
    if host in ("0.0.0.0", "::"):
        host = _own_address() or socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _own_address() -> str | None:
    """This machine's address towards the network: asks the routing table, sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1 of RFC 5737: never a real destination
            return str(probe.getsockname()[0])
        except OSError:
            return None


def _serve(call: Call) -> int:
    from api.cli.parts import serve

    settings = _config(call)
    DataDirectory(call.data).check()
    inherited = os.environ.pop(LISTENER_VARIABLE, None)
    listener = _bind(settings) if inherited is None else socket.socket(fileno=int(inherited))
    if inherited is None:
        call.out.note(f"listening on {address_of(settings.host, listener.getsockname()[1])}")
    return serve(call.data, listener, settings.upload_bytes_max)


def _player(call: Call) -> int:
    from api.cli.parts import play
    from player.panels.bus import Wiring

    settings = _config(call)
    _check_display(call, settings)
    address = call.options.address or address_of(settings.host, settings.port)
    wiring = Wiring(**settings.wiring)
    return play(call.data, call.options.display, _size(settings), address, settings.driver, wiring)


def _worker(call: Call) -> int:
    from api.cli.parts import work

    return work(call.data)


def _up(call: Call) -> int:
    from api.cli.up import Part, Supervisor, answers

    settings = _config(call)
    _check_display(call, settings)
    data = DataDirectory(call.data)
    data.check()
    data.create()
    listener = _bind(settings)
    listener.set_inheritable(True)
    port = int(listener.getsockname()[1])
    page = address_of(settings.host, port)
    reading, writing = os.pipe()  # the children hold the reading end; only this process has the writing end
    common = ["--data", str(data.root)]
    display = [
        "--display",
        call.options.display,
        *(["--size", call.options.size] if call.options.size else []),
        "--address",
        page,
    ]
    parts = [
        Part("service", ["serve", *common], [listener.fileno()], reading, {LISTENER_VARIABLE: str(listener.fileno())}),
        Part("player", ["player", *common, *display], [], reading),
        Part("worker", ["worker", *common], [], reading),
    ]
    local = address_of("127.0.0.1" if settings.host == "0.0.0.0" else "::1" if settings.host == "::" else settings.host, port)

    def ready() -> None:
        items = _fill(data.root) if call.options.demo else None
        _announce(call, page, data.root, items)

    try:
        return Supervisor(parts, lambda: answers(f"{local}/readyz"), ready).run()
    finally:
        os.close(writing)
        os.close(reading)
        listener.close()


def _fill(root: Path) -> int:
    """Fill a library that never held anything with media of our own; returns how many items there are."""
    from api.service import StateService
    from player.demo import DEMO

    with StateService(root, actor="demo") as service:
        with service.store.reading() as db:
            untouched = not db.execute("SELECT count(*) FROM media_items").get
        if untouched:
            for filename, make in DEMO:
                service.add_media(make(), filename=filename, add_to_loop=True)
        with service.store.reading() as db:
            return db.execute("SELECT total FROM media_count").get


def _announce(call: Call, page: str, root: Path, items: int | None) -> None:
    from api.service import StateService

    with StateService(root, actor="cli") as service, service.store.reading() as db:
        from projections import display, media

        panel: Any = display.panel(db)
        total = items if items is not None else db.execute("SELECT total FROM media_count").get
        first = next(iter(media.listing(db, limit=50)[0]), None)
        names = {item.slug for item in media.listing(db, limit=50)[0]}
    if call.out.json:
        call.out.document({"page": page, "data": str(root), "display": panel.driver, "items": total})
        return
    size = "" if panel.width is None else f" {panel.width}×{panel.height}"
    kind = "demo items" if call.options.demo else "items"
    program = _program()
    data = "" if root == (Path.cwd() / "pixelog-data") and "PIXELOG_DATA" not in os.environ else f" --data {root}"
    call.out.line(f"page   {page}     panel {panel.driver or 'none'}{size}, {total} {kind}")
    if first is not None:
        call.out.line(f"try    {program} activate {'clock' if 'clock' in names else first.slug}{data}")
        call.out.line(f"       {program} replay screen --at -10s -o then.png{data}")
    call.out.flush()


def _program() -> str:
    """How this program was called, as short as it works from here."""
    found = shutil.which("pixelog")
    if found is not None:
        return "pixelog"
    here = Path(sys.executable).parent / "pixelog"
    if not here.is_file():
        return f"{sys.executable} -m pixelog"
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)


UP = Command(_up, _up_arguments)
SERVE = Command(_serve, _network_arguments)
PLAYER = Command(_player, _player_arguments)
WORKER = Command(_worker)
