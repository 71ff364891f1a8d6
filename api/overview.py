"""The dashboard: all that a page needs, in one consistent read. A query only; decides nothing."""

from __future__ import annotations

from collections.abc import Mapping

import apsw
import msgspec

from api import cursors
from eventstore.reading import read_head
from projections import active, device, display, jobs, loop, media, messages, playback, settings
from projections.device import Device, Storage
from projections.jobs import Job
from projections.loop import Loop
from projections.media import MediaPage
from projections.messages import Message
from projections.settings import Value
from projections.times import rfc3339

MEDIA_MAX = 50
"""Items on the dashboard: the first page of the list, which goes on from its cursor."""

MESSAGES_MAX = 20
"""More than a panel shows at once."""

JOBS_MAX = 100
"""More than a page shows; the list has the others."""


class Display(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The panel. Sizes in pixels, rotation in degrees clockwise, brightness in percent. `state`: none, attached or lost."""

    driver: str | None
    width: int | None
    height: int | None
    rotation: int
    brightness: int
    state: str
    fallback_from: str | None = None
    error: str | None = None
    address: str | None = None


class Player(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What the player recorded last: the item that came onto the panel, and the panel itself. Absent values are None."""

    playing: bool
    held: bool
    slug: str | None
    started_at: str | None
    fps: float | None = None
    loop_index: int | None
    next: str | None = None
    applied_position: int | None
    shown_position: int | None
    running: bool
    display: Display


class Dashboard(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The whole at `position`. `time` is that of the event there (None: the log is empty), `messages` come in drawing order. `device` and
    `storage` are None until something reports them."""

    log_id: str
    epoch: int
    position: int
    time: str | None
    active: str | None
    loop: Loop
    media: MediaPage
    jobs: list[Job]
    player: Player
    device: Device | None
    settings: Mapping[str, Value]
    messages: list[Message]
    storage: Storage | None


def player(db: apsw.Connection) -> Player:
    """The player as the log knows it."""
    state, seen, values = playback.get(db), display.get(db), settings.get(db)
    panel = seen.display
    return Player(
        playing=state.paused_at_us is None,
        held=state.held,
        slug=seen.slug,
        started_at=seen.started_at,
        loop_index=seen.loop_index,
        applied_position=seen.applied_position,
        shown_position=seen.shown_position,
        running=seen.running,
        display=Display(
            driver=panel.driver,
            width=panel.width,
            height=panel.height,
            rotation=int(values["rotation"]),
            brightness=int(values["brightness"]),
            state=panel.state,
            fallback_from=panel.fallback_from,
            error=panel.error,
            address=panel.address,
        ),
    )


def dashboard(db: apsw.Connection, log_id: str, now_us: int) -> Dashboard:
    """The dashboard as this connection's snapshot has it, with what is live at logtime `now_us`."""
    head = read_head(db)
    items, following, total = media.listing(db, limit=MEDIA_MAX)
    return Dashboard(
        log_id=log_id,
        epoch=head.epoch,
        position=head.position,
        time=rfc3339(head.time_us) if head.position else None,
        active=active.get(db)[0].slug,
        loop=loop.get(db),
        media=MediaPage(items, None if following is None else cursors.encode(following), total),
        jobs=jobs.recent(db, now_us, JOBS_MAX),
        player=player(db),
        device=device.get(db),
        settings=settings.get(db),
        messages=messages.live(db, now_us, MESSAGES_MAX)[0],
        storage=device.storage(db),
    )


def expiries(db: apsw.Connection, now_us: int) -> int:
    """The newest expiry that has passed (logtime µs; 0: none): beside the position, all that the dashboard depends on."""
    return max(messages.last_expiry(db, now_us), jobs.last_expiry(db, now_us))
