"""The configuration: file, environment and flags, in this order, and every mistake named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api import config
from api.cli.main import main
from api.config import BadConfig


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    """Every key has a value, from the table."""
    loaded = config.load(tmp_path, environ={})
    assert (loaded.host, loaded.port, loaded.hosts, loaded.driver, loaded.size) == ("127.0.0.1", 8420, (), None, None)
    assert loaded.wiring == {
        "clock": "SCK", "mosi": "MOSI", "dc": "D25", "cs": None, "reset": "D24", "backlight": None, "hz": None,
    }  # fmt: skip
    assert {one.source for one in loaded.settings.values()} == {"default"}


def test_environment_beats_file_and_flags_beat_both(tmp_path: Path) -> None:
    """Each key by itself; nested keys are written with two underscores."""
    (tmp_path / "pixelog.toml").write_text(
        'host = "0.0.0.0"\nport = 1\n[display]\nsize = "320x480"\ndriver = "hx8357"\nreset = "none"\n[http]\nhosts = ["a.example"]\n'
    )
    environment = {
        "PIXELOG_PORT": "2",
        "PIXELOG_DISPLAY__SIZE": "128X128",
        "PIXELOG_DATA": "x",
        "PIXELOG_PARENT_FD": "7",
        "PATH": "y",
    }
    loaded = config.load(tmp_path, {"port": 3, "host": None}, environment)
    assert (loaded.host, loaded.port, loaded.size, loaded.driver) == ("0.0.0.0", 3, (128, 128), "hx8357")
    assert loaded.hosts == ("a.example",)
    assert loaded.wiring["reset"] is None
    sources = {name: loaded.settings[name].source for name in ("host", "port", "display.size", "display.dc")}
    assert sources == {"host": "file", "port": "flag", "display.size": "environment", "display.dc": "default"}
    assert config.load(tmp_path, environ={"PIXELOG_HTTP__HOSTS": "b.example, c.example"}).hosts == ("b.example", "c.example")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "there is no key prot (= 1)"),
        ('[display]\ndriver = { x = 1 }', "there is no key display.driver.x (= 1)"),
        ("port = 70000", "port = 70000 in {file} is not right: a number from 0 to 65535"),
        ("port = true", "port = True in {file} is not right"),
        ('port = "http"', "port = 'http' in {file} is not right"),
        ("host = 7", "host = 7 in {file} is not right: an address"),
        ('host = ""', "host = '' in {file} is not right"),
        ('[display]\nsize = "240"', "display.size = '240' in {file} is not right: WIDTHxHEIGHT such as 240x320"),
        ("[display]\nhz = 10", "display.hz = 10 in {file} is not right: a number from 100000 to 200000000"),
        ("[http]\nhosts = 7", "http.hosts = 7 in {file} is not right: a list"),
        ("port 1", "is not TOML"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key, the value and what would be right; exit code 2 and one line."""
    file = tmp_path / "pixelog.toml"
    file.write_text(text)
    with pytest.raises(BadConfig) as caught:
        config.load(tmp_path, environ={})
    assert said.format(file=file) in str(caught.value)
    assert main(["config", "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PIXELOG_PORT", "eight", "port = 'eight' in the environment is not right"),
        ("PIXELOG_PROT", "1", "there is no key prot (= '1')"),
    ],
)
def test_a_mistake_in_the_environment_is_named(name: str, value: str, said: str, tmp_path: Path) -> None:
    """As in the file."""
    with pytest.raises(BadConfig) as caught:
        config.load(tmp_path, environ={name: value})
    assert said in str(caught.value)


def test_config_shows_every_value_and_where_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For programs by key, for people as a table."""
    monkeypatch.setenv("PIXELOG_PORT", "9000")
    assert main(["config", "--json", "--data", str(tmp_path)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["port"] == {"value": 9000, "source": "environment"}
    assert shown.keys() == {key.name for key in config.KEYS}
    assert main(["config", "--data", str(tmp_path)]) == 0
    assert "port               9000        environment  The port on which it listens" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["240", "0x10", "ax b", "240x320x3", "99999x1"])
def test_a_size_is_two_numbers(text: str) -> None:
    """What is none is refused with an example."""
    assert config.size_of("240x320") == (240, 320)
    assert config.size_of(None) is None
    with pytest.raises(BadConfig, match="WIDTHxHEIGHT"):
        config.size_of(text)
