"""From a `Picture` (what is to be shown) to a frame for the panel. Pure; the same function draws live play and the past."""

from __future__ import annotations

from player.render import Overlay, View, screen
from projections.picture import Picture


def view(picture: Picture) -> View:
    """The picture in the renderer's terms."""
    return View(
        width=picture.width,
        height=picture.height,
        rotation=picture.rotation,
        brightness=picture.brightness,
        content=picture.content,
        title=picture.title,
        address=picture.address,
        note=picture.note,
        overlays=tuple(Overlay(text, priority) for text, priority in picture.overlays),
    )


def draw(picture: Picture, frame: bytes | None) -> bytes:
    """The panel's memory: width x height pixels in big-endian RGB565. `frame` is the pack's own; an item needs it (else ValueError)."""
    return screen(view(picture), frame)
