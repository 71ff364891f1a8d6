"""Area settings: the few values that the owner may set, each with its default, bounds, unit and meaning in one table."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any
from zoneinfo import available_timezones

import apsw
import msgspec

from projections.area import Area, At, turn_table, turn_writes
from projections.plan import Turn
from projections.rows import Put, Table, Write

Value = int | float | str | bool


class Setting(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a setting may be. `choices` is a closed set, `minimum` and `maximum` are inclusive, `unit` is for people."""

    name: str
    type: str
    default: Value
    meaning: str
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Value, ...] | None = None


SETTINGS = (
    Setting("brightness", "integer", 100, "How bright the picture is drawn.", "%", 0, 100),
    Setting("rotation", "integer", 0, "By how much the picture is turned clockwise.", "°", choices=(0, 90, 180, 270)),
    Setting(
        "fit",
        "string",
        "contain",
        "How a picture meets the panel: whole, cropped, or stretched.",
        choices=("contain", "cover", "stretch"),
    ),
    Setting("defaultDuration", "number", 10, "How long a still stays.", "s", 0.1, 86_400),
    Setting("timeZone", "string", "UTC", "The zone in which days and hours of the loop are meant, such as Europe/Paris."),
    Setting("name", "string", "pixelog", "What this display is called."),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}

NAME_CHARACTERS_MAX = 100
"""Characters of a text setting: fits on a panel and in a title."""


@cache
def _time_zones() -> frozenset[str]:
    """The zones that this machine knows: reading them all takes longer than a command may."""
    return frozenset(available_timezones())


def problem(setting: Setting, value: object) -> str | None:
    """What is wrong with a value for this setting, as a sentence, or None."""
    if setting.type == "string":
        if not isinstance(value, str):
            return f"{setting.name} is a text"
        if setting.choices is not None and value not in setting.choices:
            return f"{setting.name} is one of {', '.join(map(str, setting.choices))}"
        if setting.name == "timeZone" and value not in _time_zones():
            return f"{value!r} is not a time zone; write it like Europe/Paris"
        if not 0 < len(value) <= NAME_CHARACTERS_MAX:
            return f"{setting.name} has 1 to {NAME_CHARACTERS_MAX} characters"
        if any(unicodedata.category(one) in ("Cc", "Cs") for one in value):
            return f"{setting.name} has no control characters"
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (setting.type == "integer" and not isinstance(value, int))
    ):
        return f"{setting.name} is {'a whole' if setting.type == 'integer' else 'a'} number"
    if setting.choices is not None:
        return None if value in setting.choices else f"{setting.name} is one of {', '.join(map(str, setting.choices))}"
    if setting.minimum is not None and setting.maximum is not None and not setting.minimum <= value <= setting.maximum:
        return f"{setting.name} is {setting.minimum:g} to {setting.maximum:g}{' ' + setting.unit if setting.unit else ''}"
    return None


class SettingChanged(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A setting has this value now."""

    name: str
    value: Value
    turn: Turn | None = None


Event = SettingChanged
EVENTS: dict[str, type[msgspec.Struct]] = {"setting.changed": SettingChanged}

VALUES = Table(  # value: JSON; version: of the stream, when it was last set
    "settings_values", (("name", "TEXT", False), ("value", "TEXT", False), ("version", "INTEGER", False))
)
TURN = turn_table("settings")
TABLES = (VALUES, TURN)
_DEFAULTS = " UNION ALL ".join(
    f"SELECT '{setting.name}' AS name, '{msgspec.json.encode(setting.default).decode()}' AS value" for setting in SETTINGS
)
VIEWS = (
    f"""CREATE VIEW settings AS SELECT d.name AS name, coalesce(v.value, d.value) ->> '$' AS value
    FROM ({_DEFAULTS}) AS d LEFT JOIN settings_values AS v ON v.name = d.name
    UNION ALL SELECT name, value ->> '$' FROM settings_values
    WHERE name NOT IN ({", ".join(f"'{setting.name}'" for setting in SETTINGS)})""",
)


def stream(event: Event) -> str:
    """One stream for all, so that one version guards them together."""
    return "settings"


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    return (
        Put(VALUES, (event.name,), {"value": msgspec.json.encode(event.value).decode(), "version": at.version}),
        *turn_writes(TURN, event.turn, at),
    )


# -- queries -------------------------------------------------------------------------------------------------------------------------


def get(db: apsw.Connection) -> dict[str, Value]:
    """Every setting with its value or default."""
    values: dict[str, Value] = {setting.name: setting.default for setting in SETTINGS}
    rows: list[Any] = db.execute("SELECT name, value FROM settings_values").fetchall()
    return values | {name: msgspec.json.decode(value) for name, value in rows}


def version(db: apsw.Connection) -> int:
    """Version of the settings as a whole."""
    return db.execute("SELECT coalesce(max(version), 0) FROM settings_values").get


def resources(db: apsw.Connection) -> dict[str, Value]:
    """Every setting by name."""
    return get(db)


AREA = Area("settings", EVENTS, TABLES, fold, stream, resources, VIEWS)
