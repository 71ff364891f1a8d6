"""Read slice settings: values and defaults, and the table that says what each may be."""

from __future__ import annotations

from typing import Any

import pytest

from projections import settings
from projections.settings import BY_NAME, SETTINGS, SettingChanged, problem


def test_every_default_is_right() -> None:
    """By its own rule; each says what it means."""
    assert [(setting.name, problem(setting, setting.default)) for setting in SETTINGS] == [(name, None) for name in BY_NAME]
    assert all(setting.meaning.endswith(".") for setting in SETTINGS)


def test_values_stand_beside_defaults(desk: Any) -> None:
    """What was never set is its default; the last value counts; the version is that of the stream."""
    here = desk(settings.AREA)
    assert settings.get(here.db) == {setting.name: setting.default for setting in SETTINGS}
    assert settings.version(here.db) == 0
    here.fold(SettingChanged("brightness", 5))
    here.fold(SettingChanged("brightness", 50))
    here.fold(SettingChanged("name", 'kitchen "1"'))
    here.fold(SettingChanged("defaultDuration", 2.5))
    assert settings.resources(here.db) == {
        "brightness": 50,
        "rotation": 0,
        "fit": "contain",
        "defaultDuration": 2.5,
        "timeZone": "UTC",
        "name": 'kitchen "1"',
    }
    assert settings.version(here.db) == 1


def test_sql_sees_plain_values(desk: Any) -> None:
    """Numbers as numbers, texts as texts; also a setting that this program does not know any more."""
    here = desk(settings.AREA)
    here.fold(SettingChanged("fit", "cover"))
    here.fold(SettingChanged("gone", 3))
    rows = dict(here.db.execute("SELECT name, value FROM settings").fetchall())
    assert rows == {
        "brightness": 100,
        "rotation": 0,
        "fit": "cover",
        "defaultDuration": 10,
        "timeZone": "UTC",
        "name": "pixelog",
        "gone": 3,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("brightness", 0),
        ("brightness", 100),
        ("rotation", 270),
        ("fit", "stretch"),
        ("defaultDuration", 0.1),
        ("defaultDuration", 86_400),
        ("timeZone", "America/Argentina/Buenos_Aires"),
        ("name", "x" * 100),
    ],
)
def test_the_bounds_are_inclusive(name: str, value: Any) -> None:
    """What is just right is right."""
    assert problem(BY_NAME[name], value) is None
