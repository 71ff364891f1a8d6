"""Runs the application under uvicorn on sockets that the caller has bound, until SIGTERM or SIGINT.

At the signal endless answers end at once, requests under way get their answers, then the process may go on to its own end.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Generator

import uvicorn

from api.http.app import App

GRACE_SECONDS = 2
"""How long requests under way may take after the signal; then their connections are cut."""

KEEP_ALIVE_SECONDS = 30
"""How long an idle connection is kept: longer than a page waits between two reads."""

BACKLOG = 2_048
"""Connections that may wait to be taken up."""


class Server:
    """One run of the application. `stop` ends it from any thread."""

    def __init__(self, app: App) -> None:
        self._runner = _Runner(app)

    def run(self, listeners: list[socket.socket]) -> None:
        """Serve on these listening sockets until SIGTERM or SIGINT (on the main thread) or `stop`; returns after the last answer. Closes the
        sockets."""
        self._runner.run(listeners)

    def stop(self) -> None:
        """End: no new connections, endless answers end, requests under way are answered."""
        self._runner.stop()


class _Runner(uvicorn.Server):
    """uvicorn, told what an orderly end means here."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._running: asyncio.AbstractEventLoop | None = None
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="on",
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

    def stop(self) -> None:
        """See `Server.stop`."""
        self.should_exit = True
        if self._running is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self._running.call_soon_threadsafe(self._app.begin_stop)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to end."""
        self._running = asyncio.get_running_loop()
        await super().serve(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """SIGTERM and SIGINT end the run in order, and are not raised again afterwards: an orderly end is a success."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for one in signals:
            loop.add_signal_handler(one, self.stop)
        try:
            yield
        finally:
            for one in signals:
                loop.remove_signal_handler(one)
