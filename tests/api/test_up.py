"""The supervisor of `pixelog up`: which end of a part is the end of everything, which is not, and what it says."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.cli import up
from api.cli.pulse import Pulse
from api.cli.up import Part, Supervisor
from api.notify import Notifier

SLEEPER = "import time; time.sleep(60)"


class Voice(Notifier):
    """Remembers instead of sending."""

    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.said: list[str] = []

    def _send(self, *lines: str) -> None:
        self.said += lines


class Script(Part):
    """A part that is a few lines of Python instead of a command of pixelog."""

    def __init__(self, name: str, source: str, parent_fd: int) -> None:
        super().__init__(name, [], [], parent_fd)
        self._arguments = [sys.executable, "-c", source]


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """What the supervisor does to this process's signals is undone."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGABRT)}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def pipe() -> Iterator[int]:
    """The pipe by which children notice the end of their parent; its reading end."""
    reading, writing = os.pipe()
    yield reading
    os.close(writing)
    os.close(reading)


def supervise(*parts: Part, starts: int = 0) -> tuple[int, list[str]]:
    """Run them until that is over, or the first has been started so often: the code, and what the service manager was told last."""
    voice = Voice()
    begun = 0
    start = parts[0].start

    def counted() -> None:
        nonlocal begun
        begun += 1
        start()
        if begun == starts:
            os.kill(os.getpid(), signal.SIGTERM)

    parts[0].start = counted  # type: ignore[method-assign]
    pulse = Pulse(voice, "http://pi", lambda: False, lambda: False, lambda: False)
    return Supervisor(parts, lambda: False, lambda: None, pulse).run(), voice.said


@pytest.mark.parametrize(("code", "advice"), [(2, "see pixelog config"), (3, "see pixelog doctor")])
def test_the_part_that_ends_everything_is_named(pipe: int, capfd: pytest.CaptureFixture[str], code: int, advice: str) -> None:
    """With what to do: on stderr, and to whoever asks the service manager."""
    end = Script("worker", f"import sys; print('why', file=sys.stderr); sys.exit({code})", pipe)
    answer, said = supervise(end, Script("player", SLEEPER, pipe))
    lines = capfd.readouterr().err.splitlines()
    assert (answer, lines[0], len(lines)) == (code, "why", 2)
    assert lines[1].startswith(f"pixelog: the worker ended at its start (exit code {code}), so everything ends: ")
    assert advice in lines[1]
    assert said == ["STOPPING=1", "STATUS=stopping", f"STATUS={lines[1].removeprefix('pixelog: ')}"]


def test_an_unusable_directory_ends_everything(pipe: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As a real part says so."""
    (tmp_path / "data").write_text("a file where the folder should be")
    code, _ = supervise(Part("worker", ["worker", "--data", str(tmp_path / "data")], [], pipe))
    assert code == 3
    assert "is a file, not a folder" in capfd.readouterr().err.splitlines()[0]


def test_a_part_that_had_run_steadily_is_started_again(
    pipe: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever it ended with; the others run on, and a signal still ends all with 0."""
    monkeypatch.setattr(up, "STEADY_SECONDS", 0.0)
    other = Script("player", SLEEPER, pipe)
    code, said = supervise(Script("worker", "import sys; sys.exit(3)", pipe), other, starts=3)
    assert (code, said) == (0, ["STOPPING=1", "STATUS=stopping"])
    assert capfd.readouterr().err.splitlines() == ["pixelog: the worker ended (exit code 3); starting it again"] * 2


def test_other_ends_are_not_the_end(pipe: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A part that ends in order, or is killed, is started again, also right after its start."""
    monkeypatch.setattr(up, "BACK_OFF_SECONDS", (0.0,))
    code, _ = supervise(Script("worker", "import os; os.kill(os.getpid(), 9)", pipe), starts=2)
    assert (code, capfd.readouterr().err) == (0, "pixelog: the worker ended (signal 9); starting it again\n")
    code, _ = supervise(Script("worker", "", pipe), starts=2)
    assert (code, capfd.readouterr().err) == (0, "pixelog: the worker ended (exit code 0); starting it again\n")
