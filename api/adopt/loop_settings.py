"""LOOP's settings in: which of its keys have a counterpart here, which it knew at all and of what kind, and which are secrets.

Nothing of the file is dropped: what has no counterpart is kept as it was found, unknown keys too, and what is of another kind than LOOP's is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from api.adopt import hiding, values
from api.adopt.documents import Unreadable, read_json
from api.adopt.findings import Findings, kind_of, quoted
from projections.settings import BY_NAME, Value, problem

_TEXT, _NUMBER, _FLAG, _LIST = "a text", "a number", "true or false", "a list"

KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "device": {_TEXT: ("name", "version")},
    "display": {
        _TEXT: ("type",),
        _NUMBER: (
            "width", "height", "rotation", "framerate", "spi_bus", "spi_device", "spi_speed_hz", "spi_chunk_size", "dc_pin", "rst_pin", "bl_pin",
            "brightness", "backlight_freq", "progress_color", "gamma",
        ),
        _FLAG: ("show_progress", "vsync_enabled", "double_buffer", "anti_tearing"),
    },
    "wifi": {
        _TEXT: ("ssid", "password", "hotspot_ssid", "hotspot_password"),
        _NUMBER: ("hotspot_channel", "timeout"),
        _FLAG: ("hotspot_enabled",),
    },
    "encoder": {_NUMBER: ("pin_a", "pin_b", "button_pin", "debounce_ms")},
    "media": {
        _TEXT: ("active_media",),
        _NUMBER: ("max_file_size_mb", "loop_count", "static_image_duration_sec"),
        _FLAG: ("auto_advance_enabled",),
    },
    "sync": {_TEXT: ("server_url",), _NUMBER: ("interval_minutes",), _FLAG: ("enabled",)},
    "processing": {_NUMBER: ("progress_update_interval_ms", "job_cleanup_hours", "max_concurrent_jobs")},
    "web": {
        _TEXT: ("host",),
        _NUMBER: ("port", "max_concurrent_requests", "request_timeout_seconds"),
        _FLAG: ("debug",),
        _LIST: ("allowed_origins",),
    },
}  # fmt: skip
"""Every key that some release of LOOP had, by section and kind. `sync.last_sync` may be anything: nothing ever wrote it."""

SHORT_LIVED = frozenset({"display.gamma", "display.vsync_enabled", "display.double_buffer", "display.anti_tearing"})
"""Keys that the last release no longer knew. Its loader stopped at a key that it did not know."""

_SETTINGS = (
    ("display", "brightness", "brightness"),
    ("display", "rotation", "rotation"),
    ("media", "static_image_duration_sec", "defaultDuration"),
    ("device", "name", "name"),
)
"""Section and key of LOOP's settings that have a counterpart here, and its name."""


class Settings(NamedTuple):
    """`here`: those with a counterpart, by its name. `rest`: what has none, under the key `config`. `secrets` by their dotted paths."""

    here: dict[str, Value]
    rest: dict[str, Any]
    secrets: dict[str, Any]


def read(path: Path | None, name: str, findings: Findings, keep_going: bool) -> Settings:
    """The settings in a file; None: there is none. Raises Unreadable unless `keep_going`."""
    if path is None:
        return Settings({}, {}, {})
    try:
        config = read_json(path, name, findings)
    except Unreadable as error:
        if not keep_going:
            raise
        findings.skip(error.file, "IR-0.2", error.why)
        return Settings({}, {}, {})
    kept, secrets = hiding.without_secrets(values.mended(config, name, findings), "config.")
    here: dict[str, Value] = {}
    for section, key, ours in _SETTINGS:
        keys = _object(kept.get(section))
        if keys is None or keys.get(key) is None:
            continue
        value = _setting(ours, keys[key], f"config/{section}.{key}", findings)
        if value is not None:
            here[ours] = value
            del keys[key]
    _tell_kinds(kept, findings)
    return Settings(here, {"config": {section: keys for section, keys in kept.items() if keys != {}}}, secrets)


def _setting(name: str, found: Any, key: str, findings: Findings) -> Value | None:
    """The value for our setting, or None when it cannot be one."""
    value = found
    if name in ("brightness", "rotation", "defaultDuration"):
        exact = values.number(found)
        if exact is None:
            findings.skip(key, "IR-0.6", f"{quoted(found)} is no number; the setting here stays")
            return None
        value = int(exact) if exact == int(exact) else exact
        if name == "brightness":
            value = round(min(100.0, max(0.0, exact)))
        if value != exact:
            findings.warn(key, "IR-0.6", f"{quoted(found)} is taken as {value}")
    wrong = problem(BY_NAME[name], value)
    if wrong is not None:
        findings.skip(key, "IR-0.6", f"{wrong}; the setting here stays")
        return None
    if isinstance(found, str) and not isinstance(value, str) and value == values.number(found):
        findings.warn(key, "IR-0.8", f"it is {kind_of(found)}, not {_NUMBER}; taken as {value}")
    return value


def _tell_kinds(config: dict[str, Any], findings: Findings) -> None:
    """What is of another kind than LOOP's. Those with a counterpart here were told already."""
    told = {(section, key) for section, key, _ in _SETTINGS}
    for section, found in config.items():
        keys = _object(found)
        if keys is None:
            findings.warn(f"config/{section}", "IR-0.7", f"this section is {kind_of(found)}, not an object; kept as it is")
            continue
        for kind, names in KEYS.get(section, {}).items():
            for name in names:
                value = keys.get(name)
                if value is not None and kind_of(value) != kind and (section, name) not in told:
                    findings.warn(f"config/{section}.{name}", "IR-0.8", f"it is {kind_of(value)}, not {kind}; kept as it is")


def unknown(config: dict[str, Any]) -> list[str]:
    """The keys, dotted, at which the loader of LOOP's last release would stop."""
    found: list[str] = []
    for section, inner in config.items():
        keys = _object(inner)
        if keys is None or section not in KEYS:
            found.append(section)
            continue
        known = {name for names in KEYS[section].values() for name in names} | {"last_sync"}
        found += [f"{section}.{name}" for name in keys if name not in known or f"{section}.{name}" in SHORT_LIVED]
    return found


def _object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None  # type: ignore[reportUnknownVariableType]
