"""From a picture to a panel's pixels: the step that live play and replay share. Pure; an offer's code, which is not in the log, is handed in."""

from __future__ import annotations

from collections.abc import Callable

from player import render
from player.render import Overlay, View
from projections import access
from projections.picture import Picture

Codes = Callable[[str, str], str | None]
"""`codes(offer id, code hash)`: the code of an offer; None when the secret that it is made of is not there."""


def no_codes(offer: str, hash: str) -> str | None:
    """For those who have no secrets."""
    return None


def link(picture: Picture, codes: Codes) -> str | None:
    """The link that the picture's offer is drawn as; None without an offer, or without its code."""
    if picture.offer is None or picture.address is None:
        return None
    code = codes(picture.offer.id, picture.offer.code_hash)
    return None if code is None else access.link(picture.address, code)


def view(picture: Picture, codes: Codes = no_codes) -> View:
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
        link(picture, codes),
    )


def draw(picture: Picture, frame: bytes | None, codes: Codes = no_codes) -> bytes:
    """The panel's RAM for this picture: width × height big-endian RGB565. `frame` is the packed frame that the picture names."""
    return render.screen(view(picture, codes), frame)
