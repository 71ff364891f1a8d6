"""A real server on a real port over a temporary directory, an HTTP client, and a reader of server-sent events."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from api.http.app import create_app
from api.http.door import Limits
from api.http.server import Server
from api.service import StateService
from player.screen import ScreenReader

WAIT_SECONDS = 10.0
"""Patience with what has to happen soon; a machine under load is slow."""

GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00"
    b"\x00\x02\x02D\x01\x00;"
)


class House(httpx.Client):
    """A client of a running service under the API's base, with the service itself beside it."""

    def __init__(self, url: str, service: StateService) -> None:
        super().__init__(base_url=url + "/api/v1", timeout=WAIT_SECONDS)
        self.url = url
        self.service = service

    def upload(self, name: str, content: bytes, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        """POST /media."""
        return self.post("/media", files={"file": (name, content)}, data=fields, headers=headers)

    def item(self, slug: str) -> str:
        """Upload something under this slug."""
        response = self.upload(f"{slug}.gif", GIF + slug.encode(), slug=slug)
        assert response.status_code == 201, response.text
        return slug

    def head_position(self) -> int:
        """The head of the log."""
        return self.service.store.head().position

    def types(self, after: int = 0) -> list[str]:
        """Types of the events after a position, without what the log notes of its clocks."""
        return [event.type for event in self.service.store.read(after) if event.type != "log.opened"]


@contextlib.contextmanager
def serve(folder: Path, limits: Limits | None = None, screen: Path | None = None) -> Iterator[House]:
    """Run the service until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    reader = None if screen is None else ScreenReader(screen)
    with StateService(folder) as service:
        server = Server(create_app(service, screen=reader, limits=limits))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            with House(url, service) as house:
                yield house
        finally:
            server.stop()
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()
            if reader is not None:
                reader.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A service over an empty directory."""
    with serve(tmp_path / "data") as one:
        yield one


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A service that the tests of a module share; what they find there is what others left."""
    with serve(tmp_path_factory.mktemp("shared") / "data") as one:
        yield one


@pytest.fixture
def serving() -> Any:
    """`serving(folder, limits, screen)`: a context manager, for tests that start a service themselves."""
    return serve


class Sse(msgspec.Struct, frozen=True):
    """One server-sent event; `event` is empty for an unnamed message."""

    event: str
    id: int | None
    data: Any


class SseReader:
    """Reads a stream on the calling thread, with a deadline for each event."""

    def __init__(self, house: House, path: str, headers: dict[str, str] | None = None) -> None:
        host, port = house.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), WAIT_SECONDS)
        lines = [f"GET /api/v1{path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value
        self._text = b""
        self.ended = False

    def lines(self) -> Iterator[str]:
        """Lines as they come, until the stream ends."""
        while True:
            while b"\n" in self._text:
                line, _, self._text = self._text.partition(b"\n")
                yield line.decode()
            size = int(self._file.readline() or b"0", 16)
            if not size:
                self.ended = True
                return
            self._text += self._file.read(size)
            self._file.readline()

    def events(self) -> Iterator[Sse]:
        """Events as they come."""
        fields: dict[str, str] = {}
        for line in self.lines():
            if line == "":
                if "data" in fields:
                    id = fields.get("id")
                    yield Sse(fields.get("event", ""), None if id is None else int(id), json.loads(fields["data"]))
                fields = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")

    def take(self, count: int) -> list[Sse]:
        """The next `count` events."""
        found: list[Sse] = []
        for event in self.events():
            found.append(event)
            if len(found) == count:
                break
        return found

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self.socket.close()


@pytest.fixture
def listen(shared: House) -> Iterator[Any]:
    """`listen(path, headers)`: a reader of a stream of the shared service."""
    readers: list[SseReader] = []

    def make(path: str, headers: dict[str, str] | None = None, house: House | None = None) -> SseReader:
        readers.append(SseReader(house or shared, path, headers))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


@pytest.fixture
def until() -> Any:
    """`until(condition)`: wait for a condition, with a deadline."""

    def wait(condition: Any) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)

    return wait
