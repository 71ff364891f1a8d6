"""From the plan to what has to be drawn: which frame pack, which frame, which screen in its place, which texts over it. Pure reads.

Live play and replay ask the same function, so a picture of the past is chosen as it was then. Not here: pixels, files, and whether a pack
that the log names is still on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import apsw
import msgspec

from projections import display, media, settings
from projections.media import Pack
from projections.plan import Showing

Rotation = Literal[0, 90, 180, 270]
Priority = Literal["info", "warning", "critical"]


class Picture(msgspec.Struct, frozen=True):
    """What the panel should show, in a renderer's terms.

    `width` and `height` are the panel's memory in pixels, before rotation; `brightness` is percent. With content `item`, frame `frame` of the
    pack named `pack` is drawn; `preparing` stands for an item without a pack for this panel; `address` for nothing to play. `overlays` are
    (text, priority) in drawing order.
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


def picture(db: apsw.Connection, showing: Showing, size: tuple[int, int]) -> Picture:
    """What a panel of `size` (width, height) has to draw for `showing`. `db` holds the tables from which `showing` was planned."""
    values = settings.get(db)
    rotation = cast(Rotation, values["rotation"])
    pack, title, note = None, "", None
    if showing.slug is not None:
        files = media.files(db, showing.slug)
        pack = None if files is None else choose_pack(files.packs, size, rotation, str(values["fit"]))
        title = showing.slug if files is None else files.filename
    elif showing.turn.waiting is not None:
        waiting = media.files(db, showing.turn.waiting)
        note = f"Preparing {showing.turn.waiting if waiting is None else waiting.filename}"
    return Picture(
        width=size[0],
        height=size[1],
        rotation=rotation,
        brightness=int(values["brightness"]),
        content="address" if showing.slug is None else "preparing" if pack is None else "item",
        title=title,
        address=display.panel(db).address,
        note=note,
        overlays=tuple((message.text, message.priority) for message in showing.messages),
        pack=None if pack is None else pack.name,
        frame=showing.frame,
    )


def choose_pack(packs: Sequence[Pack], size: tuple[int, int], rotation: int, fit: str) -> Pack | None:
    """The pack for exactly this geometry, else the newest one that fills such a panel, else None. `packs` come oldest first."""
    of_size = [pack for pack in packs if (pack.width, pack.height) == size]
    exact = [pack for pack in of_size if (pack.rotation, pack.fit) == (rotation, fit)]
    return next(reversed(exact or of_size), None)
