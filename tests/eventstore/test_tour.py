"""The tour of the event store runs as it is written, and the tools for tests do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

from eventstore.testing.clock import TIME_US, FakeClock
from eventstore.testing.deciders import Case
from eventstore.testing.faults import Fault, FaultyVFS

PAGE = Path(__file__).parent.parent.parent / "docs" / "eventstore.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_every_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one folder, each building on those before."""
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 10
    names: dict[str, object] = {}
    for number, block in enumerate(BLOCKS, 1):
        exec(compile(block, f"{PAGE.name}, example {number}", "exec"), names)


class Rejected(Exception):
    """A refusal with a code."""

    def __init__(self, code: str) -> None:
        self.code = code


def decide(command: str, state: int, at_us: int) -> list[object]:
    if command == "refuse":
        raise Rejected("no")
    return [] if command == "nothing" else [(command, state, at_us)]


CASE = Case(fold=len, decide=decide, refusal=Rejected, code_of=lambda error: error.code)


def test_given_when_then_compares_exactly() -> None:
    """Order, number, type and every field count; a refusal is not nothing, and nothing is not a refusal."""
    CASE.given("a", "b").when("do", at_us=5).then(("do", 2, 5))
    CASE.given().when("nothing").then_nothing()
    CASE.given().when("refuse").then_rejected("no")
    for wrong in (
        lambda: CASE.given("a").when("do", at_us=5).then(("do", 2, 5)),
        lambda: CASE.given().when("do").then(("do", 0, 0.0), ("do", 0, 0)),
        lambda: CASE.given().when("do").then(["do", 0, 0]),
        lambda: CASE.given().when("do").then_nothing(),
        lambda: CASE.given().when("do").then_rejected("no"),
        lambda: CASE.given().when("refuse").then_rejected("other"),
        lambda: CASE.given().when("refuse").then_nothing(),
        lambda: CASE.given().when("nothing").then_rejected("no"),
    ):
        with pytest.raises(AssertionError):
            wrong()


def test_other_exceptions_of_a_decider_surface() -> None:
    """Only the refusals of the domain are answers."""
    with pytest.raises(ZeroDivisionError):
        Case(fold=len, decide=lambda *_: [1 // 0], refusal=Rejected, code_of=str).given().when("x")


def test_the_fake_clock() -> None:
    """Time passes on both clocks, a step moves one, a reboot begins the other anew."""
    clock = FakeClock()
    before = clock.read()
    clock.advance(10)
    clock.step_wall(-3)
    after = clock.read()
    assert (before.wall_us, after.wall_us - before.wall_us, after.boottime_us - before.boottime_us) == (TIME_US, 7, 10)
    clock.reboot(wall_us=0)
    again = clock.read()
    assert (again.wall_us, again.boottime_us < after.boottime_us, again.boot_id != after.boot_id) == (0, True, True)
    assert (after.synchronised, again.synchronised) == (True, False)
    clock.synchronise()
    assert clock.read().synchronised


def test_a_planted_fault_fires_once_or_for_good(tmp_path: Path) -> None:
    """The chosen call of the chosen kinds, counted from when it was planted; half of a short write reaches the file."""
    with FaultyVFS("planted") as vfs:
        db = apsw.Connection(str(tmp_path / "x.db"), vfs=vfs.name)
        db.execute("CREATE TABLE t (x)")
        vfs.plant(Fault("eio", 1, ("sync",)))
        with pytest.raises(apsw.IOError, match="planted: eio at sync"):
            db.execute("INSERT INTO t VALUES (1)")
        db.execute("INSERT INTO t VALUES (2)")
        assert vfs.fired == 1
        vfs.plant(Fault("enospc", 2, ("write",), for_good=True))
        for _ in range(2):
            with pytest.raises(apsw.FullError):
                db.execute("INSERT INTO t VALUES (3)")
        assert vfs.fired >= 2
        vfs.plant(None)
        assert (vfs.fired, db.execute("SELECT x FROM t").fetchall()) == (0, [(2,)])
        assert {call.file for call in vfs.calls} == {"db", "journal"}
        db.close()
    assert "planted" not in apsw.vfs_names()
