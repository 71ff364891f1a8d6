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

HANDLERS: Mapping[type, Handler] = {
    command: handler
    for area in (media, loop, active, playback, settings, messages, jobs, heartbeats, display, device, plays, access, adoptions)
    for command, handler in area.HANDLERS.items()
}
