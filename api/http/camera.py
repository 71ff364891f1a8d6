"""Pictures of the panel as files: PNG and JPEG of what the player published last, each made once however many want it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable

import msgspec

from player.pixels import png, unpack_rgb565
from player.screen import Screen, ScreenReader

VIEWERS_MAX = 8
"""Moving pictures sent at once: each costs a copy of every frame."""

JPEG_QUALITY = 85
"""Fine enough to judge a small panel by."""


class Shot(msgspec.Struct, frozen=True):
    """A picture as a file, with the instant (logtime µs) and the position in the log that it was drawn from."""

    sequence: int
    planned_us: int
    position: int
    file: bytes


class Camera:
    """Lives on the event loop; encoding happens on a thread."""

    def __init__(self, screen: ScreenReader | None) -> None:
        """`screen` reads what the player publishes; None: there is no player. The caller closes it."""
        self._screen = screen
        self._png: Shot | None = None
        self._jpeg: Shot | None = None
        self._making = asyncio.Lock()
        self.viewers = 0

    def facts(self) -> bytes | None:
        """What the live player says of itself as JSON; None: there is none."""
        return None if self._screen is None else self._screen.facts()

    def sequence(self) -> int | None:
        """The number of the newest picture; None: no live player."""
        return None if self._screen is None else self._screen.live_sequence()

    async def png(self) -> Shot | None:
        """The newest picture, exact. None: no live player."""
        async with self._making:
            self._png = await self._shot(self._png, lambda picture: png(picture.ram, picture.width, picture.height))
            return self._png

    async def jpeg(self) -> Shot | None:
        """The newest picture, small. None: no live player."""
        async with self._making:
            self._jpeg = await self._shot(self._jpeg, _jpeg)
            return self._jpeg

    async def _shot(self, last: Shot | None, encode: Callable[[Screen], bytes]) -> Shot | None:
        if last is not None and self.sequence() == last.sequence:
            return last
        picture = None if self._screen is None else self._screen.read()
        if picture is None:
            return None
        file = await asyncio.to_thread(encode, picture)
        return Shot(picture.sequence, picture.planned_us, picture.position, file)


def _jpeg(picture: Screen) -> bytes:
    file = io.BytesIO()
    unpack_rgb565(picture.ram, picture.width, picture.height).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
