"""`pixelog up` as a real process group over a temporary directory, and what tests need to talk to it, to look at its panel and to end it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
from PIL import Image

from api.data import DataDirectory
from player.screen import Screen, ScreenReader

T = TypeVar("T")

WAIT_SECONDS = 20.0
"""Patience with what has to happen soon; a machine under load is slow."""

STOP_SECONDS = 5.0
"""What `pixelog up` promises for an orderly end."""

ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], T], what: str = "it", seconds: float = WAIT_SECONDS) -> T:
    """The first true answer of `condition`; fails when the time is over."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.01)
    return answer


def environment() -> dict[str, str]:
    """This process's environment without pixelog's own variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PIXELOG_")}


def command(*arguments: str) -> list[str]:
    """The command line of `pixelog …`."""
    return [sys.executable, "-m", "pixelog", *arguments]


def run(*arguments: str, seconds: float = WAIT_SECONDS, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run `pixelog …` to its end."""
    return subprocess.run(
        [*prefix, *command(*arguments)], capture_output=True, text=True, timeout=seconds, cwd=ROOT, env=environment(), check=False
    )


def children(pid: int) -> list[int]:
    """The processes that this one started and that live."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found


def arguments_of(pid: int) -> list[str]:
    """The command line of a process; empty when it is gone or a corpse."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    except OSError:
        return []


def lives(pid: int) -> bool:
    """Whether the process runs, and is no corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def named(pid: int, part: str, data: Path) -> bool:
    """Whether this process is that part of pixelog over that data directory."""
    line = arguments_of(pid)
    return lives(pid) and "pixelog" in line and part in line and str(data) in line


def client(page: str) -> httpx.Client:
    """A client under the API's base. Without the certificates that it would load for nothing: that takes longer than a start."""
    return httpx.Client(base_url=f"{page}/api/v1", timeout=WAIT_SECONDS, verify=False)


class Pixelog:
    """One running `pixelog up`: `page` is its address, `http` a client under the API's base. Use it as a context manager."""

    def __init__(self, data: Path, *options: str, display: str = "sim", port: int = 0) -> None:
        self.data = data
        self._options = [*options, "--display", display, "--port", str(port)]
        self.process: subprocess.Popen[str] | None = None
        self.page = ""
        self.started_seconds = 0.0
        self.http = client("http://127.0.0.1")
        self._screen: ScreenReader | None = None
        self.announced: dict[str, Any] = {}

    # -- life ----------------------------------------------------------------------------------------------------------------------

    def start(self) -> Pixelog:
        """Start and wait until it says where its page is."""
        before = time.monotonic()
        self.data.parent.mkdir(parents=True, exist_ok=True)
        with open(self._error_file(), "a") as errors:
            self.process = subprocess.Popen(
                command("up", "--json", "--data", str(self.data), *self._options),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=environment(),
                start_new_session=True,
            )
        assert self.process.stdout is not None
        with _deadline(self.process.pid, WAIT_SECONDS):
            line = self.process.stdout.readline()
        if not line:
            self.kill_all()
            raise AssertionError(f"pixelog up did not start: {self.errors()}")
        self.started_seconds = time.monotonic() - before
        self.announced = json.loads(line)
        self.page = self.announced["page"]
        self.http = client(self.page)
        self._screen = ScreenReader(DataDirectory(self.data).screen())
        return self

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Ask the supervisor to end; it must, within STOP_SECONDS and with 0. Returns how long it took."""
        assert self.process is not None
        family = self.family()
        before = time.monotonic()
        os.kill(self.process.pid, number)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"pixelog up did not end within {STOP_SECONDS:g} s: {self.errors()}") from None
        took = time.monotonic() - before
        self._ended()
        assert code == 0, self.errors()
        assert not [pid for pid in family if lives(pid)]
        return took

    def kill_all(self) -> None:
        """SIGKILL to the whole group, and the end of everyone in it awaited."""
        process = self.process
        if process is None:
            return
        family = self.family()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_SECONDS)
        until(lambda: not [pid for pid in family if lives(pid)], "the end of every process")
        self._ended()

    def _ended(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        self.http.close()
        if self._screen is not None:
            self._screen.close()
            self._screen = None

    def errors(self) -> str:
        """What was written to stderr by all starts so far."""
        return self._error_file().read_text()

    def _error_file(self) -> Path:
        return self.data.parent / f"{self.data.name}.stderr"

    def family(self) -> list[int]:
        """The supervisor, its parts, and what they started."""
        assert self.process is not None
        found = [self.process.pid]
        for pid in found:
            found += children(pid)
        return found

    def part(self, name: str) -> int:
        """The process of the part "serve", "player" or "worker", once it is there."""
        assert self.process is not None
        supervisor = self.process.pid
        return until(lambda: next((pid for pid in children(supervisor) if named(pid, name, self.data)), 0), f"the {name}")

    def __enter__(self) -> Pixelog:
        return self if self.process is not None else self.start()

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """End what still runs, and remove what it shared in memory: a test leaves nothing behind."""
        if self.process is not None:
            self.kill_all()
        if self.data.is_dir():
            shutil.rmtree(DataDirectory(self.data).runtime(), ignore_errors=True)

    # -- talk ----------------------------------------------------------------------------------------------------------------------

    def get(self, path: str, **query: Any) -> Any:
        """GET, which must succeed."""
        answer = self.http.get(path, params=query)
        assert answer.is_success, answer.text
        return answer.json()

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """A mutation, which must succeed."""
        answer = self.http.request(
            method, path, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        assert answer.is_success, answer.text
        return answer

    def upload(self, filename: str, content: bytes, **fields: str) -> dict[str, Any]:
        """Take a file in; the item as it is right after."""
        answer = self.http.post("/media", files={"file": (filename, content)}, data=fields)
        assert answer.is_success, answer.text
        return answer.json()

    def item(self, slug: str) -> dict[str, Any]:
        """One item."""
        return self.get(f"/media/{slug}")

    def prepared(self, slug: str) -> dict[str, Any]:
        """The item, once the worker is done with it."""

        def done() -> dict[str, Any] | None:
            item = self.item(slug)
            return item if item["status"] in ("ready", "failed") else None

        return until(done, f"preparing {slug}")

    # -- look ----------------------------------------------------------------------------------------------------------------------

    def screen(self) -> Screen | None:
        """What the panel holds now, from shared memory; None: there is no player."""
        assert self._screen is not None
        return self._screen.read()

    def screen_sequence(self) -> int | None:
        """A number that rises with each picture; cheap to ask."""
        assert self._screen is not None
        return self._screen.live_sequence()

    def screen_png(self) -> tuple[Image.Image, str, int]:
        """/screen.png with its planned instant and position."""
        answer = self.http.get("/screen.png")
        assert answer.status_code == 200, answer.text
        image = Image.open(io.BytesIO(answer.content)).convert("RGB")
        return image, answer.headers["pixelog-screen-time"], int(answer.headers["pixelog-position"])

    def ready(self) -> bool:
        """Whether the service answers, and is ready."""
        try:
            return self.http.get(f"{self.page}/readyz").is_success
        except httpx.TransportError:
            return False

    def shows(self, slug: str | None) -> bool:
        """Whether the player says that this is on the panel."""
        answer = self.http.get("/player")
        return answer.is_success and answer.json().get("slug") == slug


@contextlib.contextmanager
def _deadline(pid: int, seconds: float) -> Iterator[None]:
    """End the process when the block takes longer, so that reading from it cannot wait for ever."""

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
