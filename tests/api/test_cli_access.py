"""pair and token: what they print, once, and what a service makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import pixelog
from api import secrets
from api.cli.announcing import Occasion, announce
from api.cli.command import Out, standard_out
from api.cli.main import main
from api.commands.access import OpenSession
from api.commands.display import Attached, RecordFacts
from eventstore.clock import Reading, SystemClock
from projections import access

ADDRESS = "http://192.168.1.9:9000"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Runs a command over the data directory; `code` is the expected exit code. Gives stdout and stderr."""

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert main([*arguments, "--data", str(data)]) == code
        captured = capsys.readouterr()
        return captured.out, captured.err

    return run


def test_pair_prints_a_link_that_signs_in(run: Any, data: Path) -> None:
    """With the address that the panel tells, and the code for those who type it."""
    with pixelog.open(data) as state:
        state.executor.execute(RecordFacts((Attached("sim", 240, 240, ADDRESS),)))
    out, err = run("pair")
    link, line, _ = out.split("\n")
    assert link.startswith(f"{ADDRESS}/pair#")
    code = link.partition("#")[2]
    assert line == f"code {code}, good once and for 10 minutes"
    assert err == ""
    with pixelog.open(data) as state:
        state.executor.execute(OpenSession("s1", secrets.code_hash(code) or "", "hash"))


def test_pair_for_programs(run: Any) -> None:
    """Link, code, end and id."""
    document = json.loads(run("pair", "--json")[0])
    assert set(document) == {"link", "code", "expiresAt", "id"}
    assert document["link"].endswith(f"/pair#{document['code']}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_pair_says_when_nobody_else_can_come(run: Any, data: Path, host: str) -> None:
    """A service for this machine alone needs no pairing."""
    data.mkdir()
    (data / "pixelog.toml").write_text(f'host = "{host}"\n')
    assert "pixelog up --host 0.0.0.0" in run("pair")[1]


def test_a_token_is_printed_once(run: Any, data: Path) -> None:
    """Alone on stdout; listed by name; removed by name."""
    out, err = run("token", "add", "door bell")
    token = out.strip()
    assert out == f"{token}\n"
    assert token.startswith("pixelog_")
    assert "once" in err
    with pixelog.open(data) as state, state.store.reading() as db:
        assert access.token_of(db, secrets.hash_of(token)) == "door bell"
    assert token not in "".join(run("token", "ls"))
    assert "door bell" in run("token", "ls")[0]
    listed = json.loads(run("token", "ls", "--json")[0])
    assert [one["name"] for one in listed["items"]] == ["door bell"]
    assert "there is a token" in run("token", "add", "door bell", code=2)[1]
    assert run("token", "rm", "door bell")[0] == "door bell may not call any more\n"
    assert json.loads(run("token", "ls", "--json")[0])["total"] == 0
    assert "there is no token" in run("token", "rm", "door bell", code=2)[1]


def test_tokens_for_programs(run: Any) -> None:
    """The secret is in the one document that makes it."""
    made = json.loads(run("token", "add", "x", "--json")[0])
    assert set(made) == {"name", "token", "addedAt"}
    assert json.loads(run("token", "rm", "x", "--json")[0]) == {"name": "x", "removed": True}


def test_listing_tokens_makes_nothing(run: Any, data: Path) -> None:
    """Where there is no data directory there are no tokens."""
    assert "there are no tokens" in run("token", "ls")[0]
    assert not data.exists()


@pytest.mark.parametrize("arguments", [("token",), ("token", "add"), ("token", "rm"), ("token", "show", "x"), ("pair", "now")])
def test_wrong_usage_is_said(run: Any, arguments: tuple[str, ...]) -> None:
    """In one line, with exit code 2."""
    assert run(*arguments, code=2)[1].count("\n") == 1


def said(data: Path, capsys: pytest.CaptureFixture[str], is_open: bool, json: bool = False) -> str:
    """What `up` announces over this directory, without a player."""
    out: Out = standard_out(json)
    announce(Occasion(str(data), ADDRESS, is_open, demo=False, json=json), out)
    out.flush()
    return capsys.readouterr().out


def test_up_says_how_to_sign_in(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The open offer's link under the page; when somebody is paired, the command that makes another; nothing on a service for this machine alone."""
    monkeypatch.setattr("api.cli.announcing.PANEL_WAIT_SECONDS", 0.0)
    with pixelog.open(data):
        pass
    assert "pair " not in said(data, capsys, is_open=False)
    assert "pixelog pair" in said(data, capsys, is_open=True).replace(".venv/bin/", "")
    main(["pair", "--json", "--data", str(data)])
    code = json.loads(capsys.readouterr().out)["code"]
    page, pair = said(data, capsys, is_open=True).splitlines()
    assert page.startswith(f"page   {ADDRESS} ")
    assert pair.startswith(f"pair   {ADDRESS}/pair#{code} ")
    assert json.loads(said(data, capsys, is_open=True, json=True))["pairing"] == f"{ADDRESS}/pair#{code}"
    assert json.loads(said(data, capsys, is_open=False, json=True))["pairing"] is None


@pytest.mark.parametrize(
    ("passed_seconds", "left"),
    [(0, "within 10 minutes"), (61, "within 8 minutes"), (485, "within 115 seconds"), (597, "within 3 seconds")],
)
def test_an_offer_is_said_to_hold_for_as_long_as_it_does(
    passed_seconds: int, left: str, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was open already is not called a new one."""
    monkeypatch.setattr("api.cli.announcing.PANEL_WAIT_SECONDS", 0.0)
    main(["pair", "--data", str(data)])
    capsys.readouterr()
    then = SystemClock().read()

    def later(self: SystemClock) -> Reading:
        step_us = passed_seconds * 1_000_000
        return msgspec.structs.replace(then, wall_us=then.wall_us + step_us, boottime_us=then.boottime_us + step_us)

    monkeypatch.setattr(SystemClock, "read", later)
    assert said(data, capsys, is_open=True).splitlines()[1].endswith(f"     once, {left}; the panel shows the present one")
