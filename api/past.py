"""Screens of the past: what the panel showed at an instant, computed from the log as it was known then.

The same plan, the same choice of pack and the same renderer as live play; this module only puts them together over a past state, and says whether
the picture is what was seen. What can no longer be had is made again where that is possible, by a function handed in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import apsw
import msgspec

from api import secrets
from api.data import DataDirectory
from api.secrets import Codes
from eventstore.store import EventStore
from player.child import prepare_limited
from player.drawing import draw, link
from player.framepack import FramePack, PackDamaged
from player.media_error import MediaError
from player.pixels import png
from player.prepare import Geometry
from projections import catalogue, clock, picture, plan
from projections.media import Pack
from projections.picture import Picture, Scene
from projections.replay.past import Past
from projections.replay.points import Instant

Why = Literal["no_player", "facts_lost", "pack_remade", "blob_gone"]
"""no_player: no player with a panel was running then, as far as the log knows. facts_lost: the machine was off or lost its power then, and what the
player last said may be gone; or the secret that an offer to pair was drawn with is not there. pack_remade: the frame pack is gone and was made again,
with other bytes. blob_gone: the media file is gone too; a screen of our own stands in its place."""

Remake = Callable[[Path, Path, Pack], str | None]
"""`remake(media file, folder, pack)`: make a pack of the same geometry as `<name>.pack` in the folder. Returns its name; None when the
file cannot be shown any more."""

REMAKE_SECONDS_MAX = 120.0
"""Someone waits for the picture; what takes longer is shown without it."""

FILM_FRAMES_MAX = 600
"""Frames of one film: 20 s at 30 a second. They are held in memory until they are encoded, 150 kB each on a common panel."""

AREAS = tuple(catalogue.BY_NAME[name] for name in (*catalogue.PLAN_AREAS, "display", "access"))


class PastScreen(msgspec.Struct, frozen=True):
    """What the panel's memory held: RGB565, high byte first, row by row. `planned_us` is logtime, `time_us` what the wall clock showed,
    `position` the log that it was drawn from. `why` says why it is not exact."""

    width: int
    height: int
    ram: bytes
    planned_us: int
    time_us: int
    position: int
    slug: str | None
    exact: bool
    why: Why | None

    def png(self) -> bytes:
        """The picture as a PNG file."""
        return png(self.ram, self.width, self.height)


def make_again(source: Path, folder: Path, pack: Pack) -> str | None:
    """A `Remake`: prepares in a child with limits, as the worker does."""
    geometry = msgspec.convert({"width": pack.width, "height": pack.height, "rotation": pack.rotation, "fit": pack.fit}, Geometry)
    try:
        return prepare_limited(source, folder, geometry, lambda percent, stage: None, wall_seconds=REMAKE_SECONDS_MAX).pack
    except MediaError:
        return None


def screen(data: DataDirectory, store: EventStore, instant: Instant, remake: Remake = make_again) -> PastScreen | None:
    """The screen at `instant`; None when there was nothing yet. May take as long as `remake` does."""
    if instant.position == 0:
        return None
    with store.reading() as log, Past(log, instant.position, AREAS) as past, Packs(data, remake) as packs:
        scene = picture.scene(past.db, instant.logtime_us)
        return _draw(scene, instant, doubt(log, past.db, instant), packs, secrets.codes_of(data.secrets))


class TooLong(ValueError):
    """A film has more frames than can be held at once."""


def film(
    data: DataDirectory, store: EventStore, start: Instant, end: Instant, remake: Remake = make_again
) -> list[tuple[PastScreen, int]]:
    """What the panel showed from `start` until `end`: each screen with how long it stood, in µs. Empty when nothing was there yet.

    Raises TooLong beyond FILM_FRAMES_MAX screens.
    """
    shown: list[tuple[PastScreen, int]] = []
    with store.reading() as log, Past(log, start.position, AREAS) as past, Packs(data, remake) as packs:
        stretches, codes = _stretches(log, start, end), secrets.codes_of(data.secrets)
        for instant, until_us in stretches:
            past.forward(instant.position)
            if instant.position == 0:
                continue
            at_us = instant.logtime_us
            while at_us < until_us:
                now = msgspec.structs.replace(instant, logtime_us=at_us, time_us=instant.time_us + at_us - instant.logtime_us)
                scene = picture.scene(past.db, at_us)
                screen = _draw(scene, now, doubt(log, past.db, now), packs, codes)
                change_us = picture.next_change_us(scene, plan.at(scene.state, at_us))
                next_us = until_us if change_us is None else min(max(change_us, at_us + 1), until_us)
                _append(shown, screen, next_us - at_us)
                at_us = next_us
    return shown


def _stretches(log: apsw.Connection, start: Instant, end: Instant) -> Iterator[tuple[Instant, int]]:
    """From `start` to `end`, each event's stretch: its instant, and the logtime at which it ends."""
    rows: Any = log.execute(
        "SELECT position, logtime, time FROM events WHERE position > ? AND position <= ? ORDER BY position",
        (start.position, end.position),
    )
    current = start
    for position, logtime_us, time_us in rows:
        yield current, logtime_us
        current = Instant(position, logtime_us, time_us)
    yield current, max(end.logtime_us, current.logtime_us + 1)


def _append(shown: list[tuple[PastScreen, int]], screen: PastScreen, lasts_us: int) -> None:
    """Add a screen, or let the one before stand longer when it looks the same."""
    if shown:
        before, before_us = shown[-1]
        if (before.ram, before.width, before.exact) == (screen.ram, screen.width, screen.exact):
            shown[-1] = (before, before_us + lasts_us)
            return
    if len(shown) == FILM_FRAMES_MAX:
        raise TooLong(f"more than {FILM_FRAMES_MAX} frames; ask for a shorter stretch")
    shown.append((screen, lasts_us))


def _draw(scene: Scene, instant: Instant, doubt: Why | None, packs: Packs, codes: Codes) -> PastScreen:
    showing = plan.at(scene.state, instant.logtime_us)
    wanted = picture.picture(scene, showing)
    frame, why = None, doubt
    if wanted.pack is not None:
        frame, loss = packs.frame(scene, wanted, showing)
        why = loss or why
        if frame is None:
            wanted = msgspec.structs.replace(wanted, content="preparing", pack=None, frame=0)
    if wanted.offer is not None and link(wanted, codes) is None:
        why = why or "facts_lost"
    return PastScreen(
        width=wanted.width,
        height=wanted.height,
        ram=draw(wanted, frame, codes),
        planned_us=instant.logtime_us,
        time_us=instant.time_us,
        position=scene.state.position,
        slug=showing.slug,
        exact=why is None,
        why=why,
    )


def doubt(log: apsw.Connection, past: apsw.Connection, instant: Instant) -> Why | None:
    """Why the panel may have shown something else than the plan at this instant; None when there is no reason to think so."""
    untold = False
    if instant.skipped:
        row: Any = log.execute("SELECT type, data FROM events WHERE position = ?", (instant.position + 1,)).fetchone()
        untold = row is None  # the machine was started again since, and nothing was recorded yet
        if row is not None and row[0] == "log.opened":
            return "no_player" if msgspec.json.decode(row[1])["clean"] else "facts_lost"
    row = past.execute("SELECT running, boot_id, (SELECT state FROM display_panel) FROM display_player").fetchone()
    running, boot_id, panel = row
    # A player that lost its power said nothing; one of an earlier boot is not running any more.
    same_boot = boot_id is None or boot_id == clock.boot_id(past)
    if not (running and same_boot and panel == "attached"):
        return "no_player"
    return "facts_lost" if untold else None


class Packs:
    """Frame packs as the log names them: from the disk, else made again in a folder that is gone afterwards. Close it."""

    def __init__(self, data: DataDirectory, remake: Remake) -> None:
        self._data = data
        self._remake = remake
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._open: dict[str, tuple[FramePack | None, Why | None]] = {}

    def frame(self, scene: Scene, wanted: Picture, showing: plan.Showing) -> tuple[bytes | None, Why | None]:
        """The frame's pixels, and what was lost of them; no pixels when nothing can be had."""
        name = wanted.pack or ""
        if name not in self._open:
            self._open[name] = self._find(scene, name, showing)
        pack, loss = self._open[name]
        try:
            return (None if pack is None else pack.frame(wanted.frame)), loss
        except (PackDamaged, IndexError):
            if pack is not None:
                pack.close()
            self._open[name] = self._made_again(scene, name, showing)
            pack, loss = self._open[name]
            return (None if pack is None else pack.frame(wanted.frame)), loss

    def _find(self, scene: Scene, name: str, showing: plan.Showing) -> tuple[FramePack | None, Why | None]:
        try:
            return FramePack.open(self._data.pack(name)), None
        except (OSError, PackDamaged):
            return self._made_again(scene, name, showing)

    def _made_again(self, scene: Scene, name: str, showing: plan.Showing) -> tuple[FramePack | None, Why | None]:
        blob = None if showing.sha256 is None else self._data.blobs / showing.sha256[:2] / showing.sha256
        if blob is None or not blob.is_file():
            return None, "blob_gone"
        _, packs = scene.files[showing.slug or ""]
        geometry = next(pack for pack in packs if pack.name == name)
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="pixelog-past-")
        folder = Path(self._folder.name)
        made = self._remake(blob, folder, geometry)
        if made is None:
            return None, "pack_remade"
        return FramePack.open(folder / f"{made}.pack"), None if made == name else "pack_remade"

    def close(self) -> None:
        """Unmap the packs and remove what was made."""
        for pack, _ in self._open.values():
            if pack is not None:
                pack.close()
        self._open.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Packs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
