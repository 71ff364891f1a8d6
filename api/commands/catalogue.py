"""Which commands there are, and who handles them. A new command is found through its area's module."""

from __future__ import annotations

from collections.abc import Mapping

from api.commands import (
    access,
    active,
    adoptions,
    device,
    display,
    heartbeats,
    jobs,
    loop,
    media,
    messages,
    playback,
    plays,
    settings,
)
from api.commands.deciding import Handler

_AREAS = (media, loop, active, playback, settings, messages, jobs, heartbeats, display, device, plays, access, adoptions)

HANDLERS: Mapping[type, Handler] = {command: handler for area in _AREAS for command, handler in area.HANDLERS.items()}

AREA_OF: Mapping[type, str] = {command: area.__name__.rpartition(".")[2] for area in _AREAS for command in area.HANDLERS}
"""The area of each command, by the name that its module shares with its projection."""
