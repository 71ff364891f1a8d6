"""`pixelog config`: the effective configuration, and where each value comes from."""

from __future__ import annotations

from api import config
from api.cli.command import Call, Command


def _config(call: Call) -> int:
    loaded = config.load(call.data)
    if call.out.json:
        call.out.document({name: {"value": one.value, "source": one.source} for name, one in loaded.settings.items()})
        return 0
    call.out.table(
        ("KEY", "VALUE", "FROM", "MEANING"),
        (
            (key.name, _shown(loaded.settings[key.name].value), loaded.settings[key.name].source, key.meaning)
            for key in config.KEYS
        ),
    )
    return 0


def _shown(value: config.Value) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return "" if value is None else str(value)


CONFIG = Command(_config)
