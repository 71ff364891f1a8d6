"""The configuration: one table of keys, read from `DIR/pixelog.toml`, overridden by the environment, overridden by flags.

An unknown key or a bad value is refused with the key, the value and what would be right. Not here: settings that the owner changes while
pixelog runs; those are events.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

PREFIX = "PIXELOG_"
"""Of environment variables: PIXELOG_PORT is `port`, PIXELOG_DISPLAY__SIZE is `display.size`."""

NOT_KEYS = {"PIXELOG_DATA", "PIXELOG_PARENT_FD", "PIXELOG_LISTENER_FD", "PIXELOG_MACHINE_ROOT"}
"""Variables with the prefix that are not configuration: where the data is, what `up` hands to its parts, what stands in for the machine."""

FILE_BYTES_MAX = 64 * 1024
"""Far more than all keys take; a larger file is not a configuration."""

Source = Literal["default", "file", "environment", "flag"]
Value = str | int | tuple[str, ...] | None


class BadConfig(ValueError):
    """A key is unknown or a value is bad; the message names the key, the value and what would be right."""


class Key(msgspec.Struct, frozen=True):
    """One key: its dotted name, default, what it means, what is right in words, and how a value is read (ValueError when it is bad)."""

    name: str
    default: Value
    meaning: str
    right: str
    read: Callable[[object], Value]


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


def _whole(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"\d{1,15}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value

    return read


def _texts(value: object) -> tuple[str, ...]:
    """A list, or one text with commas."""
    if isinstance(value, str):
        value = [part for part in (one.strip() for one in value.split(",")) if part]
    if not isinstance(value, list | tuple):
        raise ValueError
    parts: list[object] = [*value]
    return tuple(_text(part) for part in parts)


def _size(value: object) -> str:
    match = re.fullmatch(r"([1-9]\d{0,3})[xX]([1-9]\d{0,3})", _text(value))
    if match is None:
        raise ValueError
    return f"{match[1]}x{match[2]}"


def _pin(value: object) -> str | None:
    """A pin's name; `none` for no pin."""
    text = _text(value)
    return None if text.lower() == "none" else text


def _optional(read: Callable[[object], Value]) -> Callable[[object], Value]:
    """As `read`; None stays None."""
    return lambda value: None if value is None else read(value)


_PIN = "the name of a pin of this board, such as D25"
_PIN_OR_NONE = f"{_PIN}, or none"
_HOST = "an address or a name of this machine, such as 127.0.0.1 or 0.0.0.0"

KEYS: tuple[Key, ...] = (
    Key("host", "127.0.0.1", "Where the service listens.", _HOST, _text),
    Key("port", 8420, "The port on which it listens; 0 takes any that is free.", "a number from 0 to 65535", _whole(0, 65_535)),
    Key("http.hosts", (), "Further names under which the service may be called.", 'a list such as ["kiosk.example"]', _texts),
    Key(
        "upload.max_bytes",
        2 * 1024**3,
        "The largest file that is taken in, in bytes.",
        "a number from 1 to 1099511627776",
        _whole(1, 1024**4),
    ),
    Key("display.driver", None, "The panel's driver, tried first by --display auto.", "a name such as ili9341", _optional(_text)),
    Key("display.size", None, "The panel's pixels before rotation.", "WIDTHxHEIGHT such as 240x320", _optional(_size)),
    Key("display.clock", "SCK", "The pin of the bus clock.", _PIN, _text),
    Key("display.mosi", "MOSI", "The pin of the data line to the panel.", _PIN, _text),
    Key("display.dc", "D25", "The pin that tells data from commands.", _PIN, _text),
    Key("display.cs", None, "The chip-select pin; none: the kernel drives it.", _PIN_OR_NONE, _optional(_pin)),
    Key("display.reset", "D24", "The reset pin.", _PIN_OR_NONE, _optional(_pin)),
    Key("display.backlight", None, "The pin of the backlight.", _PIN_OR_NONE, _optional(_pin)),
    Key("display.hz", None, "The bus clock in Hz; the driver's own when left out.", "a number from 100000 to 200000000",
        _optional(_whole(100_000, 200_000_000))),
)  # fmt: skip
BY_NAME = {key.name: key for key in KEYS}
WIRING = ("clock", "mosi", "dc", "cs", "reset", "backlight", "hz")
"""The keys below `display.` that say which pins the panel hangs on."""


class Setting(msgspec.Struct, frozen=True):
    """The effective value of a key, and where it comes from."""

    value: Value
    source: Source


class Config(msgspec.Struct, frozen=True):
    """The effective configuration. `settings` has every key."""

    settings: Mapping[str, Setting]

    def get(self, name: str) -> Any:
        """The effective value of a key."""
        return self.settings[name].value

    @property
    def host(self) -> str:
        """Where the service listens."""
        return self.get("host")

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return self.get("port")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Further names under which the service may be called."""
        return self.get("http.hosts")

    @property
    def upload_bytes_max(self) -> int:
        """The largest file that is taken in."""
        return self.get("upload.max_bytes")

    @property
    def driver(self) -> str | None:
        """The configured driver of the panel."""
        return self.get("display.driver")

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the panel in pixels, when configured."""
        return size_of(self.get("display.size"))

    @property
    def wiring(self) -> dict[str, Any]:
        """The fields of the panel's wiring by name."""
        return {name: self.get(f"display.{name}") for name in WIRING}


def size_of(text: str | None) -> tuple[int, int] | None:
    """Width and height from `240x320`; None for None. Raises BadConfig."""
    if text is None:
        return None
    try:
        width, _, height = _size(text).partition("x")
    except ValueError as error:
        raise BadConfig(f"{text!r} is no size; write WIDTHxHEIGHT such as 240x320") from error
    return int(width), int(height)


def load(data: Path, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The effective configuration of a data directory. `flags` by key name; those that are None were not given. Raises BadConfig."""
    settings = {key.name: Setting(key.default, "default") for key in KEYS}
    file = data / "pixelog.toml"
    layers: tuple[tuple[Source, str, Mapping[str, object]], ...] = (
        ("file", str(file), _from_file(file)),
        ("environment", "the environment", _from_environment(environ)),
        ("flag", "the command line", {name: value for name, value in (flags or {}).items() if value is not None}),
    )
    for source, where, given in layers:
        for name, value in given.items():
            settings[name] = Setting(_read(name, value, where), source)
    return Config(settings)


def _read(name: str, value: object, where: str) -> Value:
    key = BY_NAME.get(name)
    if key is None:
        raise BadConfig(f"there is no key {name} (= {value!r}) for {where} to set; there are {', '.join(BY_NAME)}")
    try:
        return key.read(value)
    except ValueError as error:
        raise BadConfig(f"{name} = {value!r} in {where} is not right: {key.right}") from error


def _from_file(path: Path) -> dict[str, object]:
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise BadConfig(f"{path} cannot be read ({error.strerror}); check owner and permissions") from error
    if len(raw) > FILE_BYTES_MAX:
        raise BadConfig(f"{path} has {len(raw)} bytes; a configuration has at most {FILE_BYTES_MAX}")
    try:
        return _flat(tomllib.loads(raw.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not TOML: {error}") from error


def _flat(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Dotted names and values of nested tables."""
    flat: dict[str, object] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            inner: dict[str, object] = {**value}
            flat |= _flat(inner, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    return {
        name.removeprefix(PREFIX).lower().replace("__", "."): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in NOT_KEYS
    }
