"""From a scene and an instant to a finished frame: asks the plan, opens the pack, lets it be drawn, finds what changed. Owns the open packs.

Reads files, so it is not pure; but what it gives depends on the scene, the instant and the packs alone. Sending and timing are `run.py`'s.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import msgspec

from player.drawing import Codes, draw, no_codes
from player.framepack import FramePack, PackDamaged
from player.pixels import Rect, changed_rects
from projections import picture, plan
from projections.picture import Picture, Scene

OPEN_PACKS_MAX = 8
"""Frame packs mapped at once: the item on, the next, and a few that come round again. A mapping costs address space, not memory."""


ASK_AGAIN_US = 60_000_000
"""A missing pack is asked for again after this long: whoever was asked may have been unable to, and asking with every frame would not help."""

ASKED_MAX = 64
"""Missing packs that are remembered as asked for; those of a loop that comes round within ASK_AGAIN_US."""


class Frame(msgspec.Struct, frozen=True):
    """A picture ready to be sent. `planned_us` is the instant it was planned for, `rects` what differs from the frame before; nothing drawn
    differs before `next_change_us` (None: not without an event)."""

    planned_us: int
    position: int
    showing: plan.Showing
    picture: Picture
    ram: bytes
    rects: tuple[Rect, ...]
    next_change_us: int | None


class Composer:
    """Composes frames. `missing(slug, pack)` is called, now and then, while a pack that the log names is not on the disk or damaged.
    Close it."""

    def __init__(self, packs: Path, missing: Callable[[str, str], None], codes: Codes = no_codes) -> None:
        self._folder = packs
        self._missing = missing
        self._codes = codes
        self._open: OrderedDict[str, FramePack] = OrderedDict()
        self._asked: OrderedDict[str, int] = OrderedDict()

    def frame(self, scene: Scene, instant_us: int, before: Frame | None) -> Frame:
        """The frame for `instant_us`, with its changes against `before` (None: everything)."""
        showing = plan.at(scene.state, instant_us)
        wanted = picture.picture(scene, showing)
        pixels = None
        if wanted.pack is not None:
            pixels = self._pixels(wanted.pack, wanted.frame)
            if pixels is None:
                self._ask(showing.slug or "", wanted.pack, instant_us)
                wanted = msgspec.structs.replace(wanted, content="preparing", pack=None, frame=0)
        ram = draw(wanted, pixels, self._codes)
        change_us = picture.next_change_us(scene, showing)
        return Frame(instant_us, scene.state.position, showing, wanted, ram, self._changes(before, wanted, ram), change_us)

    def _ask(self, slug: str, pack: str, instant_us: int) -> None:
        asked_us = self._asked.get(pack)
        if asked_us is not None and instant_us - asked_us < ASK_AGAIN_US:
            return
        self._asked[pack] = instant_us
        self._asked.move_to_end(pack)
        if len(self._asked) > ASKED_MAX:
            self._asked.popitem(last=False)
        self._missing(slug, pack)

    def _pixels(self, name: str, index: int) -> bytes | None:
        pack = self._open.get(name)
        if pack is None:
            try:
                pack = FramePack.open(self._folder / f"{name}.pack")
            except (OSError, PackDamaged):
                return None
            self._open[name] = pack
            if len(self._open) > OPEN_PACKS_MAX:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(name)
        try:
            return pack.frame(index)
        except (PackDamaged, IndexError):
            self._open.pop(name).close()
            return None

    def _changes(self, before: Frame | None, wanted: Picture, ram: bytes) -> tuple[Rect, ...]:
        if before is None or (before.picture.width, before.picture.height) != (wanted.width, wanted.height):
            return (Rect(0, 0, wanted.width, wanted.height),)
        if ram is before.ram or wanted == before.picture:
            return ()
        follows = (wanted.pack, wanted.frame) == (before.picture.pack, before.picture.frame + 1)
        if wanted.pack is not None and follows and _bare(wanted) and _bare(before.picture):
            # Found once, when the pack was made.
            return self._open[wanted.pack].changes(wanted.frame)
        return changed_rects(before.ram, ram, wanted.width, wanted.height)

    def close(self) -> None:
        """Unmap every pack."""
        while self._open:
            self._open.popitem()[1].close()


def _bare(one: Picture) -> bool:
    """Whether the panel shows the packed frame itself, with nothing over it."""
    return one.content == "item" and not one.overlays and one.brightness == 100
