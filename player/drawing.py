"""From a picture to a panel's pixels: the step that live play and replay share. Pure."""

from __future__ import annotations

from player import render
from player.render import Overlay, View
from projections.picture import Picture


def view(picture: Picture) -> View:
    """The picture in the renderer's terms."""
    return View(
        picture.width,
        picture.height,
        picture.rotation,
        picture.brightness,
        picture.content,
        picture.title,
        picture.address,
        picture.note,
        tuple(Overlay(text, priority) for text, priority in picture.overlays),
    )


def draw(picture: Picture, frame: bytes | None) -> bytes:
    """The panel's RAM for this picture: width × height big-endian RGB565. `frame` is the packed frame that the picture names."""
    return render.screen(view(picture), frame)
