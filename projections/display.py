"""Area display: the player's facts about itself and its panel. Nothing here is input to the plan."""

from __future__ import annotations

from typing import Any, Literal

import apsw
import msgspec

from projections.area import Area, At
from projections.rows import Patch, Table, Write
from projections.times import rfc3339

PanelState = Literal["none", "attached", "lost"]


class PlayerStarted(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A player began its work, as this process in this boot."""

    pid: int | None = None
    boot_id: str | None = None


class PlayerStopped(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The player ended in order. One that was killed or lost its power says nothing."""

    why: str | None = None


class PlayerShown(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Another item (None: the address screen) came onto the panel.

    `planned_us` and `turn_started_us` are logtimes of the plan; `applied_position` is the log position from which it was planned.
    """

    slug: str | None
    turn_started_us: int
    planned_us: int
    applied_position: int
    sha256: str | None = None
    loop_index: int | None = None


class DisplayAttached(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A panel of width × height pixels (as the driver has it, before rotation) takes pictures. `address` is what a person is told to open."""

    driver: str
    width: int
    height: int
    address: str | None = None
    fallback_from: str | None = None


class DisplayLost(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The panel takes no more pictures; `error` is a sentence for a person."""

    driver: str
    error: str


class DisplayFallback(msgspec.Struct, frozen=True, rename={"from_": "from"}, omit_defaults=True, forbid_unknown_fields=True):
    """The wanted driver `from_` could not be had, another is used in its place."""

    from_: str
    to: str
    why: str


Event = PlayerStarted | PlayerStopped | PlayerShown | DisplayAttached | DisplayLost | DisplayFallback
EVENTS: dict[str, type[msgspec.Struct]] = {
    "player.started": PlayerStarted,
    "player.stopped": PlayerStopped,
    "player.shown": PlayerShown,
    "display.attached": DisplayAttached,
    "display.lost": DisplayLost,
    "display.fallback": DisplayFallback,
}

PANEL = Table(
    "display_panel",
    (
        ("only", "INTEGER", False),
        ("state", "TEXT", False),
        ("driver", "TEXT", True),
        ("width", "INTEGER", True),
        ("height", "INTEGER", True),
        ("address", "TEXT", True),
        ("fallback_from", "TEXT", True),
        ("error", "TEXT", True),  # why it was lost, or why the fallback
        ("changed_at", "INTEGER", True),  # µs
        ("position", "INTEGER", False),
    ),
    seed=((1, "none", None, None, None, None, None, None, None, 0),),
)
PLAYER = Table(
    "display_player",
    (
        ("only", "INTEGER", False),
        ("running", "INTEGER", False),
        ("pid", "INTEGER", True),
        ("boot_id", "TEXT", True),
        ("started_at", "INTEGER", True),  # µs
        ("stopped_at", "INTEGER", True),  # µs
        ("slug", "TEXT", True),
        ("sha256", "TEXT", True),
        ("loop_index", "INTEGER", True),
        ("turn_started_at", "INTEGER", True),  # µs
        ("shown_at", "INTEGER", True),  # µs: the planned instant
        ("shown_position", "INTEGER", True),  # of the log from which it was planned
    ),
    seed=((1, 0, None, None, None, None, None, None, None, None, None, None),),
)
TABLES = (PANEL, PLAYER)
VIEWS = (
    """CREATE VIEW display AS SELECT state, driver, width, height, address, fallback_from, error, changed_at,
    running AS player_running, slug AS shown_slug, shown_at, shown_position FROM display_panel, display_player""",
)


def stream(event: Event) -> str:
    """There is one player and one panel."""
    return "player" if isinstance(event, PlayerStarted | PlayerStopped | PlayerShown) else "display"


def fold(event: Event, at: At) -> tuple[Write, ...]:
    """The rows that change."""
    table, change = PLAYER, dict[str, Any]()
    match event:
        case PlayerStarted():
            change = {"running": 1, "pid": event.pid, "boot_id": event.boot_id, "started_at": at.time_us, "stopped_at": None}
        case PlayerStopped():
            change = {"running": 0, "stopped_at": at.time_us}
        case PlayerShown():
            wall_us = at.time_us - at.logtime_us
            change = {
                "slug": event.slug,
                "sha256": event.sha256,
                "loop_index": event.loop_index,
                "turn_started_at": event.turn_started_us + wall_us,
                "shown_at": event.planned_us + wall_us,
                "shown_position": event.applied_position,
            }
        case DisplayAttached():
            table = PANEL
            change = {
                "state": "attached",
                "driver": event.driver,
                "width": event.width,
                "height": event.height,
                "address": event.address,
                "fallback_from": event.fallback_from,
            }
            if event.fallback_from is None:
                change["error"] = None
        case DisplayLost():
            table, change = PANEL, {"state": "lost", "driver": event.driver, "error": event.error}
        case DisplayFallback():
            table, change = PANEL, {"fallback_from": event.from_, "error": event.why}
    if table is PANEL:
        change |= {"changed_at": at.time_us, "position": at.position}
    return (Patch(table, (1,), change),)


# -- queries -------------------------------------------------------------------------------------------------------------------------


class Panel(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The panel as last recorded; sizes in pixels."""

    state: PanelState
    driver: str | None
    width: int | None
    height: int | None
    address: str | None = None
    fallback_from: str | None = None
    error: str | None = None


class Player(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the player last said was on the panel. `started_at` is when the item's turn began; `display` is the panel.

    Both positions are that of the log from which the picture was planned: what the player applied since is known to the live player only.
    `running` is what was last heard: a player that was killed did not say so.
    """

    running: bool
    slug: str | None
    started_at: str | None
    loop_index: int | None
    shown_at: str | None
    applied_position: int | None
    shown_position: int | None
    display: Panel
    sha256: str | None = None


def panel(db: apsw.Connection) -> Panel:
    """The panel as last recorded."""
    row: Any = db.execute("SELECT state, driver, width, height, address, fallback_from, error FROM display_panel").fetchone()
    return Panel(*row)


def get(db: apsw.Connection) -> Player:
    """The player as last recorded, with its panel."""
    row: Any = db.execute(
        "SELECT running, slug, turn_started_at, loop_index, shown_at, shown_position, sha256 FROM display_player"
    ).fetchone()
    running, slug, started_at, loop_index, shown_at, shown_position, sha256 = row
    return Player(
        running=bool(running),
        slug=slug,
        started_at=None if started_at is None else rfc3339(started_at),
        loop_index=loop_index,
        shown_at=None if shown_at is None else rfc3339(shown_at),
        applied_position=shown_position,
        shown_position=shown_position,
        display=panel(db),
        sha256=sha256,
    )


def geometry(db: apsw.Connection) -> tuple[int, int] | None:
    """Width and height of the panel that was attached last, also when it is lost since; None when there never was one."""
    row: Any = db.execute("SELECT width, height FROM display_panel WHERE width IS NOT NULL").fetchone()
    return row


def resources(db: apsw.Connection) -> dict[str, Panel | Player]:
    """The panel and the player, each under its one key."""
    return {"display": panel(db), "player": get(db)}


AREA = Area("display", EVENTS, TABLES, fold, stream, resources, VIEWS, overwriting={"player.shown": "player"})
