"""From the plan's answer to what has to be drawn: which pack and frame, which screen, which texts over it, on which panel.

`scene` reads, once per state of the log; `picture` is pure. The live player and the screens of the past use these same two, so both draw the same.
Drawing itself is the renderer's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, cast

import apsw
import msgspec

from projections import access, folding, plan, planning, settings
from projections.access import Offer
from projections.catalogue import PLAN_AREAS
from projections.loop import ENTRIES_MAX
from projections.media import Pack
from projections.plan import Turn

DEFAULT_WIDTH, DEFAULT_HEIGHT = 240, 320
"""The panel that is assumed until one was attached."""


Rotation = Literal[0, 90, 180, 270]
Priority = Literal["info", "warning", "critical"]


class Panel(msgspec.Struct, frozen=True):
    """What the log knows of the panel: its size in pixels as the driver has it, and the address that a person is told to open."""

    width: int = DEFAULT_WIDTH
    height: int = DEFAULT_HEIGHT
    address: str | None = None


class Scene(msgspec.Struct, frozen=True):
    """One state of the log, with all that drawing its pictures needs. `files`: slug -> (file name, packs). `offer` is the last one to pair,
    which may be over at the instant that is drawn."""

    state: plan.State
    files: Mapping[str, tuple[str, tuple[Pack, ...]]]
    panel: Panel
    rotation: Rotation
    fit: str
    brightness: int
    offer: Offer | None = None


class Picture(msgspec.Struct, frozen=True):
    """What to draw. For content "item", `frame` of the frame pack named `pack`; else a screen of our own with `title` or `address`.

    `overlays` are (text, priority) in drawing order. `offer` stands beside the address; its code is not in the log.
    """

    width: int
    height: int
    rotation: Rotation
    brightness: int
    content: Literal["item", "preparing", "address"]
    title: str = ""
    address: str | None = None
    note: str | None = None
    overlays: tuple[tuple[str, Priority], ...] = ()
    pack: str | None = None
    frame: int = 0
    offer: Offer | None = None


_packs = lru_cache(maxsize=ENTRIES_MAX)(msgspec.json.Decoder(tuple[Pack, ...]).decode)


def panel(db: apsw.Connection) -> Panel:
    """The panel that was attached last, or the assumed one."""
    row: Any = db.execute("SELECT width, height, address FROM display_panel").fetchone()
    width, height, address = row
    return Panel(width or DEFAULT_WIDTH, height or DEFAULT_HEIGHT, address)


def changed_at(db: apsw.Connection) -> int:
    """Position of the last event that a scene depends on: what plays, and which panel there is. Not what the player said of its playing."""
    panel_at: int = db.execute("SELECT position FROM display_panel").get
    return max(folding.changed_at(db, *PLAN_AREAS, "access"), panel_at)


def scene(db: apsw.Connection, instant_us: int, turn: Turn | None = None, fallback: Panel | None = None) -> Scene:
    """The scene after the last event that this connection sees. `turn`: see `planning.state`. `fallback` stands in for a panel that
    the log does not know yet."""
    state = planning.state(db, instant_us, turn)
    rows: list[Any] = db.execute(
        "SELECT slug, filename, packs FROM media_items WHERE slug IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(sorted(state.items)).decode(),),
    ).fetchall()
    values: Any = settings.get(db)
    return Scene(
        state,
        {slug: (filename, _packs(packs)) for slug, filename, packs in rows},
        fallback or panel(db),
        cast(Rotation, values["rotation"]),
        values["fit"],
        values["brightness"],
        access.last_offer(db),
    )


def picture(scene: Scene, showing: plan.Showing) -> Picture:
    """What to draw for this answer of the plan."""
    overlays: tuple[tuple[str, Priority], ...] = tuple((message.text, message.priority) for message in showing.messages)
    width, height = scene.panel.width, scene.panel.height

    def drawn(content: Literal["item", "preparing", "address"], **rest: Any) -> Picture:
        return Picture(width, height, scene.rotation, scene.brightness, content, overlays=overlays, **rest)

    if showing.slug is None:
        waiting = showing.turn.waiting
        note = None if waiting is None else f"Preparing {scene.files.get(waiting, (waiting,))[0]}"
        return drawn("address", address=scene.panel.address, note=note, offer=_open_offer(scene, showing))
    filename, packs = scene.files.get(showing.slug, (showing.slug, ()))
    pack = choose_pack(packs, (width, height), scene.rotation, scene.fit)
    if pack is None:
        return drawn("preparing", title=filename)
    return drawn("item", title=filename, pack=pack.name, frame=showing.frame)


def next_change_us(scene: Scene, showing: plan.Showing) -> int | None:
    """Nothing drawn differs before this logtime; None: not without an event. As the plan says, or when an offer on the screen ends."""
    offer = None if showing.slug is not None else _open_offer(scene, showing)
    ends = (showing.next_change_us, None if offer is None else offer.expires_us)
    return min((us for us in ends if us is not None), default=None)


def _open_offer(scene: Scene, showing: plan.Showing) -> Offer | None:
    offer = scene.offer
    return None if offer is None or scene.panel.address is None or offer.expires_us <= showing.at_us else offer


def choose_pack(packs: Sequence[Pack], size: tuple[int, int], rotation: int, fit: str) -> Pack | None:
    """The pack for exactly this geometry, else the newest one that fills such a panel, else None. `packs` come oldest first."""
    of_size = [pack for pack in packs if (pack.width, pack.height) == size]
    exact = [pack for pack in of_size if (pack.rotation, pack.fit) == (rotation, fit)]
    return next(reversed(exact or of_size), None)
