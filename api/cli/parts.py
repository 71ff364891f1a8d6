"""The parts of pixelog as processes of their own: service, player, worker. Each builds what it needs and runs until told to stop."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from api import secrets
from api.cli.listening import PARENT_VARIABLE, is_open
from api.cli.ports import UNREPORTED, LogSource, PrepareDesk, end_with_parent, reporter
from api.data import ServiceLock
from api.device.watching import DeviceWatch
from api.http.door import Limits
from api.pairing import Invitation, Keeper, invitation
from api.service import StateService
from player.panels.bus import Wiring
from player.panels.open import open_panel
from player.panels.panel import Panel
from player.run import Player, Ports
from player.screen import ScreenReader
from player.worker import Worker
from projections.display import PlayerStarted

FORCED_EXIT_SECONDS = 4.0
"""An orderly stop that takes longer is cut short: `pixelog up` promises an end within five."""


def _stop_on_signals(stop: Callable[[], None]) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        # Not in the handler itself: it may have interrupted a thread that holds the very lock that stopping needs.
        threading.Thread(target=stop, daemon=True).start()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def _awake(stop: Callable[[], None], service: StateService) -> Callable[[], None]:
    """`stop`, for a part that may be waiting for the log to move just then."""

    def stop_waiting() -> None:
        stop()
        service.store.watch.release()

    return stop_waiting


def _follow_parent(stop: Callable[[], None]) -> None:
    descriptor = os.environ.pop(PARENT_VARIABLE, None)
    if descriptor is None:
        return

    def end() -> None:
        stop()
        threading.Timer(FORCED_EXIT_SECONDS, os._exit, (0,)).start()

    end_with_parent(int(descriptor), end)


def serve(
    data: Path,
    listener: socket.socket,
    limits: Limits,
    opened: Callable[[], None],
    invited: Callable[[Invitation | None, int], None],
) -> int:
    """The service: HTTP over the data directory, until SIGTERM or SIGINT. `opened` is called once the directory is this service's, `invited` once
    others may come, with the offer to pair that is open then and the µs for which it still is."""
    from api.http.app import create_app
    from api.http.server import Server
    from api.upkeep import Upkeep

    with StateService(data, actor="http") as service:
        lock = ServiceLock(service.data.lock)
        try:
            opened()
            logging.getLogger("eventstore").addHandler(logging.StreamHandler())  # slow statements; see `main`
            screen = ScreenReader(service.data.screen())
            watch = DeviceWatch(service.executor, service.data.root)
            service.upkeep = upkeep = Upkeep(service.data, service.executor)
            server = Server(create_app(service, screen=screen, limits=limits))
            keeper = Keeper(service) if is_open(listener) else None
            _follow_parent(server.stop)
            watch.start()
            upkeep.start()
            if keeper is not None:
                keeper.open()
                made = invitation(service.data, service.store)
                invited(made, 0 if made is None else made.expires_us - service.store.now_us())
            server.run([listener])
            if keeper is not None:
                keeper.close()
            watch.stop()
            upkeep.stop()
            screen.close()
        finally:
            lock.release()
    return 0


def play(
    data: Path, display: str, size: tuple[int, int] | None, address: str | None, configured: str | None, wiring: Wiring | None
) -> int:
    """The player: the plan on a panel, until SIGTERM or SIGINT."""
    with StateService(data, actor="player") as service:
        lock = ServiceLock(service.data.player_lock)
        passed_over: list[tuple[str, str]] = []

        def open_it() -> tuple[Panel, tuple[str, str] | None]:
            passed_over.clear()
            panel = open_panel(
                display,
                size,
                configured=configured,
                wiring=wiring,
                on_unavailable=lambda name, error: passed_over.append((name, str(error))),
            )
            return panel, passed_over[0] if passed_over else None

        desk = PrepareDesk(service)
        ports = Ports(
            source=LogSource(service),
            open_panel=open_it,
            report=reporter(service),
            unreported=UNREPORTED,
            missing=desk.missing,
            packs=service.data.packs,
            screen=service.data.screen(),
            address=address,
            codes=secrets.codes_of(service.data.secrets),
            started=PlayerStarted(os.getpid(), service.store.clock.read().boot_id),
        )
        player = Player(ports)
        stop = _awake(player.stop, service)
        _stop_on_signals(stop)
        _follow_parent(stop)
        try:
            player.run()
        finally:
            lock.release()
    return 0


def work(data: Path) -> int:
    """The worker: prepares media, until SIGTERM or SIGINT."""
    with StateService(data, actor="worker") as service:
        worker = Worker(PrepareDesk(service), service.data.packs)
        stop = _awake(worker.stop, service)
        _stop_on_signals(stop)
        _follow_parent(stop)
        worker.run()
    return 0
