"""`pixelog up`, `serve`, `player`, `worker`: reads their options, then hands over to the parts and the supervisor."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import TYPE_CHECKING

from api import config
from api.cli.command import Call, Command, Usage, within
from api.cli.listening import LISTENER_VARIABLE, PARENT_VARIABLE, bind
from api.config import Config
from api.data import DataDirectory, ServiceLock
from eventstore.errors import Invalid, Refused, Unusable

if TYPE_CHECKING:
    from api.pairing import Invitation


AGAIN_EXIT = 75
"""How a part ends that wants another start: EX_TEMPFAIL of sysexits(3)."""


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
    try:
        return bind(settings.host, settings.port)
    except UnicodeError as error:  # no such name can be asked for
        raise Usage(_unknown_host(settings.host)) from error
    except OSError as error:
        if (error.errno or 0) < 0:  # what a name that nobody knows is refused with has numbers of its own, below those of errno
            raise Usage(_unknown_host(settings.host)) from error
        advice = _BIND_ADVICE.get(error.errno or 0, "choose another --host or --port")
        raise Usage(f"{error.strerror or error}; {advice}") from error


_MAY_COME = (errno.EADDRNOTAVAIL, socket.EAI_AGAIN)

_BIND_ADVICE = {
    errno.EADDRINUSE: "choose another --port, or stop what uses it",
    errno.EACCES: "ports below 1024 are for the service (sudo pixelog service install --port …) and for root; else choose another --port",
    errno.EADDRNOTAVAIL: "that is no address of this machine; choose another --host: 0.0.0.0 listens on all that it has, 127.0.0.1 for itself alone",
}


def _unknown_host(host: str) -> str:
    return f"no address is known for {host!r}; choose another --host: 0.0.0.0 listens on all addresses of this machine"


def address_of(host: str, port: int) -> str:
    """The URL under which a person reaches a service that listens here."""
    if host in ("0.0.0.0", "::"):
        host = _own_address() or socket.gethostname()
    place = f"[{host}]" if ":" in host else host
    return f"http://{place}" if port == 80 else f"http://{place}:{port}"


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
    from api.http.door import Limits
    from projections import access

    settings = _config(call)
    DataDirectory(call.data).check()
    inherited = os.environ.pop(LISTENER_VARIABLE, None)
    listener = _bind(settings) if inherited is None else socket.socket(fileno=int(inherited))

    page = address_of(settings.host, listener.getsockname()[1])

    def opened() -> None:
        if inherited is None:
            call.out.note(f"listening on {page}")

    def invited(made: Invitation | None, left_us: int) -> None:
        if inherited is not None:  # `pixelog up` says it
            return
        if made is None:
            call.out.note("pixelog pair lets another browser in")
        else:
            call.out.note(f"pair   {access.link(page, made.code)}     once, {within(left_us)}")

    limits = Limits(settings.upload_bytes_max, (settings.host, *settings.hosts))
    return _as_part(call, lambda: serve(call.data, listener, limits, opened, invited))


def _player(call: Call) -> int:
    from api.cli.parts import play
    from player.panels.bus import Wiring

    settings = _config(call)
    _check_display(call, settings)
    address = call.options.address or address_of(settings.host, settings.port)
    wiring = Wiring(**settings.wiring)
    return _as_part(call, lambda: play(call.data, call.options.display, _size(settings), address, settings.driver, wiring))


def _worker(call: Call) -> int:
    from api.cli.parts import work

    return _as_part(call, lambda: work(call.data))


def _as_part(call: Call, run: Callable[[], int]) -> int:
    """Run a part. Under `pixelog up`, what another start may well get over, such as a log that is held for a moment, ends this
    one so that it is made; alone, and for all else, it surfaces."""
    supervised = PARENT_VARIABLE in os.environ
    try:
        return run()
    except (Refused, Unusable) as error:
        if not supervised or isinstance(error, Invalid) or (isinstance(error, Unusable) and error.code != "locked"):
            raise
        call.out.note(str(error))
        return AGAIN_EXIT


def _up(call: Call) -> int:
    from api.cli.pulse import Pulse, Turns
    from api.cli.up import Part, Supervisor, answers
    from api.notify import Notifier
    from api.room import sweep_temporary
    from player.screen import ScreenReader

    notifier = Notifier.from_environment()
    settings = _config(call)
    _check_display(call, settings)
    data = DataDirectory(call.data)
    data.check()
    # What a killed writer left may be all the room that a full disk has. Root does not tidy up in a folder of somebody else's.
    if data.temporary.is_dir() and data.temporary.lstat().st_uid == os.geteuid():
        sweep_temporary(data.temporary, time.time())
    data.create()
    # Here, so that who is there already is said once and not by each part. Given back at once: the parts take them.
    for lock in (data.lock, data.player_lock):
        ServiceLock(lock).release()
    try:
        listener = _bind(settings)
    except Usage as error:
        # At boot the network may not have given this machine its address or its names yet.
        if not (notifier.listening and isinstance(error.__cause__, OSError) and error.__cause__.errno in _MAY_COME):
            raise
        call.out.note(str(error))
        return AGAIN_EXIT
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
        Part(
            "service",
            ["serve", *common, "--host", settings.host],
            [listener.fileno()],
            reading,
            {LISTENER_VARIABLE: str(listener.fileno())},
        ),
        Part("player", ["player", *common, *display], [], reading),
        Part("worker", ["worker", *common], [], reading),
    ]
    local = address_of("127.0.0.1" if settings.host == "0.0.0.0" else "::1" if settings.host == "::" else settings.host, port)

    def ready() -> None:
        if call.options.demo:
            # In a process of its own: drawing takes memory that this one would keep for as long as it lives.
            subprocess.run([sys.executable, "-m", "pixelog", "demo", "--json", *common], stdout=subprocess.DEVNULL, check=False)
        _announce(call, page, listener, data)

    def service_answers() -> bool:
        return answers(f"{local}/readyz")

    screen = ScreenReader(data.screen())
    turns = Turns(lambda: parts[1].process.pid if parts[1].process else None)
    pulse = Pulse(notifier, page, service_answers, lambda: screen.live_sequence() is not None, turns.go_on)
    try:
        return Supervisor(parts, service_answers, ready, pulse).run()
    finally:
        screen.close()
        os.close(writing)
        os.close(reading)
        listener.close()


def _announce(call: Call, page: str, listener: socket.socket, data: DataDirectory) -> None:
    """Say where the page is, how to sign in, and what to try; see `announcing`."""
    from api.cli.listening import is_open

    occasion = {
        "data": str(data.root),
        "page": page,
        "is_open": is_open(listener),
        "demo": call.options.demo,
        "json": call.out.json,
    }
    call.out.flush()
    subprocess.run([sys.executable, "-m", "api.cli.announcing", json.dumps(occasion)], check=False)


def _demo(call: Call) -> int:
    """Fill a library that never held anything with media of our own."""
    from api.service import StateService
    from player.demo import DEMO

    with StateService(call.data, actor="demo") as service:
        with service.store.reading() as db:
            untouched = not db.execute("SELECT count(*) FROM media_items").get
        for filename, make in DEMO if untouched else ():
            service.add_media(make(), filename=filename, add_to_loop=True)
    added = len(DEMO) if untouched else 0
    if call.out.json:
        call.out.document({"added": added})
    call.out.line(f"{added} items added" if untouched else "the library is not empty; nothing was added")
    return 0


UP = Command(_up, _up_arguments)
SERVE = Command(_serve, _network_arguments)
PLAYER = Command(_player, _player_arguments)
WORKER = Command(_worker)
DEMO = Command(_demo)
