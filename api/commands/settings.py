"""Commands of area settings: change some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import apsw
import msgspec

from api.commands.deciding import Context, Fault, Handler, Rejected, check_version
from projections import plan, planning, settings
from projections.settings import BY_NAME, SettingChanged, Value, problem

_PLANNED = {"defaultDuration", "timeZone"}


class ChangeSettings(msgspec.Struct, frozen=True):
    """Give these settings these values; the others stay. All or nothing."""

    values: Mapping[str, Any]
    expected_version: int | None = None


class State(msgspec.Struct, frozen=True):
    """The settings as they are, their version, and the plan where the command may change it."""

    values: Mapping[str, Value]
    version: int
    plan: plan.State | None


def load(db: apsw.Connection, command: ChangeSettings, now_us: int) -> State:
    """All settings; they are few."""
    planned = planning.playing(db) if command.values.keys() & _PLANNED else None
    return State(settings.get(db), settings.version(db), planned)


def decide(command: ChangeSettings, state: State, context: Context) -> Sequence[msgspec.Struct]:
    """One event for each setting that changes."""
    check_version(command.expected_version, state.version, "the settings")
    faults: list[Fault] = []
    for name, value in command.values.items():
        setting = BY_NAME.get(name)
        wrong = f"there is no setting {name!r}; there are {', '.join(BY_NAME)}" if setting is None else problem(setting, value)
        if wrong is not None:
            faults.append(Fault(f"/{name}", wrong))
    if faults:
        raise Rejected("invalid", "; ".join(fault.message for fault in faults), faults)
    changed = {name: value for name, value in command.values.items() if state.values[name] != value}
    turn = None
    if state.plan is not None and changed.keys() & _PLANNED:
        after = msgspec.structs.replace(
            state.plan,
            default_duration_us=round(changed.get("defaultDuration", state.values["defaultDuration"]) * 1_000_000),
            time_zone=changed.get("timeZone", state.values["timeZone"]),
        )
        turn = plan.carried(state.plan, after, context.now_us)
    last = len(changed) - 1
    return [SettingChanged(name, value, turn if place == last else None) for place, (name, value) in enumerate(changed.items())]


HANDLERS = {ChangeSettings: Handler(load, decide)}
