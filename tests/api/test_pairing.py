"""Offers to pair: their secrets, who keeps one open, and that a screen of the past shows the very symbol that the panel showed."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "e2e"))

import qr_reader

from api import pairing, past, secrets
from api.commands.access import OFFER_TTL_US, CloseSession, OpenSession
from api.commands.display import Attached, RecordFacts, Started
from api.pairing import Keeper
from api.service import StateService
from eventstore.clock import Reading
from player import qr
from player.compose import Composer
from player.pixels import unpack_rgb565
from projections import access, picture
from projections.replay.points import Instant

TIME_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
ADDRESS = "http://192.168.178.123:8420"
TTL_SECONDS = OFFER_TTL_US / 1_000_000


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.us = 0

    def read(self) -> Reading:
        return Reading(TIME_US + self.us, self.us, "boot-1", True)

    def advance(self, seconds: float) -> None:
        self.us += round(seconds * 1_000_000)


class House:
    """A data directory with a player on a panel that tells an address."""

    def __init__(self, root: Path, width: int = 240, height: int = 320) -> None:
        self.clock = HandClock()
        self.service = StateService(root, clock=self.clock)
        facts = (Started(pid=1, boot_id="boot-1"), Attached(driver="sim", width=width, height=height, address=ADDRESS))
        self.service.executor.execute(RecordFacts(facts))

    @property
    def folder(self) -> Path:
        return self.service.data.secrets

    def now(self) -> Instant:
        """The present instant."""
        return Instant(self.service.store.head().position, self.service.store.now_us(), TIME_US + self.clock.us)

    def live(self) -> tuple[bytes, Any]:
        """What the player draws now, and the frame."""
        composer = Composer(self.service.data.packs, lambda slug, pack: None, secrets.codes_of(self.folder))
        now_us = self.service.store.now_us()
        with self.service.store.snapshot() as db:
            frame = composer.frame(picture.scene(db, now_us), now_us, None)
        composer.close()
        return frame.ram, frame

    def seen(self, instant: Instant) -> past.PastScreen:
        """The screen of the past at that instant."""
        screen = past.screen(self.service.data, self.service.store, instant)
        assert screen is not None
        return screen

    def pair(self, code: str) -> None:
        """A browser takes the offer."""
        self.service.executor.execute(OpenSession(secrets.new_id(), secrets.code_hash(code) or "", "cookie"))

    def offers(self) -> int:
        """Offers made so far."""
        return sum(event.type == "session.offered" for event in self.service.store.read())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    one = House(tmp_path / "data")
    yield one
    one.service.close()


# -- the key and what is made of it -----------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """32 bytes in a file of mode 0600 in a folder of mode 0700; the second call gives the same, and nothing is left beside it."""
    with StateService(tmp_path / "data") as service:
        folder = service.data.secrets
        key = secrets.pairing_key(folder)
        assert (len(key), secrets.pairing_key(folder), secrets.existing_key(folder)) == (32, key, key)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "pairing.key").stat().st_mode) == 0o600
        assert os.listdir(folder) == ["pairing.key"]


def test_all_who_make_the_key_at_once_get_the_same(tmp_path: Path) -> None:
    """Whoever is first names it; the others read that one."""
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(secrets.pairing_key(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found)), os.listdir(tmp_path)) == (8, 1, ["pairing.key"])


def test_a_key_cut_short_is_replaced(tmp_path: Path) -> None:
    """It opens nothing, so nothing is lost with it."""
    (tmp_path / "pairing.key").write_bytes(b"short")
    assert secrets.existing_key(tmp_path) is None
    assert len(secrets.pairing_key(tmp_path)) == 32


def test_a_code_is_a_function_of_key_and_offer() -> None:
    """HMAC-SHA256 in Crockford's letters, in groups of four."""
    key = bytes(range(32))
    assert secrets.code_of(key, "o1") == "RHMQ-XVEP-F9WG"
    assert secrets.code_of(key, "o2") != secrets.code_of(key, "o1") != secrets.code_of(bytes(32), "o1")


@pytest.mark.parametrize("typed", ["k7qf-93xm-ab1o", " K7QF93XMABLO ", "K7QF 93XM ABIO", "K-7-Q-F93XMAB10"])
def test_a_code_is_known_however_it_is_typed(typed: str) -> None:
    """Case, dashes and blanks do not matter, and letters that look like digits are those digits."""
    assert secrets.code_hash(typed) == secrets.hash_of("K7QF93XMAB10")


@pytest.mark.parametrize("typed", ["", "K7QF-93XM-AB1", "K7QF-93XM-AB1U", "K7QF-93XM-AB100", "-" * 65, "\u212a7QF-93XM-AB10"])
def test_what_cannot_be_a_code_has_no_hash(typed: str) -> None:
    """Too short, too long, or of other letters."""
    assert secrets.code_hash(typed) is None


def test_derived_secrets_depend_on_every_part() -> None:
    """The same purpose gives the same secret; parts cannot be shifted into each other."""
    key = bytes(32)
    made = {secrets.derived_secret(key, *purpose) for purpose in (("a", "b"), ("ab",), ("a", "b", ""), ("a\0b",), ("b", "a"))}
    assert len(made) == 5
    assert secrets.derived_secret(key, "a", "b") == secrets.derived_secret(key, "a", "b")
    assert len(secrets.new_secret()) == 43


# -- the symbol -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["L", "M"])
@pytest.mark.parametrize("version", range(1, 11))
def test_a_reader_by_the_standard_reads_each_symbol(version: int, level: qr.Level) -> None:
    """Every version, level and mask that we draw, full to the last byte."""
    text = ("http://pi.local/pair#ÄÖÜ" * 12).encode()[: qr.capacity(version, level)].decode(errors="ignore")
    for mask in range(8):
        symbol = qr.symbol_of(text.encode(), version, level, mask)
        assert qr_reader.text_of([list(row) for row in symbol]) == text


def test_the_reader_is_no_yes_man() -> None:
    """One module that is turned makes a block, or the format, wrong."""
    symbol = [list(row) for row in qr.symbol("http://192.168.178.123:8420/pair#K7QF-93XM-AB12")]
    for row, column in ((len(symbol) - 1, len(symbol) - 1), (20, 15), (8, 0), (8, len(symbol) - 1)):
        symbol[row][column] ^= 1
        with pytest.raises(qr_reader.Unread):
            qr_reader.text_of(symbol)
        symbol[row][column] ^= 1


@pytest.mark.parametrize(("width", "height"), [(240, 320), (320, 240), (240, 240), (128, 160), (480, 320)])
def test_a_panels_picture_can_be_scanned(tmp_path: Path, width: int, height: int) -> None:
    """The picture that the panel holds, on panels of each shape, with the light zone that scanners need: the link, to the letter."""
    house = House(tmp_path / "data", width, height)
    made = pairing.offer(house.service, "cli")
    ram, _ = house.live()
    assert qr_reader.read(unpack_rgb565(ram, width, height)) == access.link(ADDRESS, made.code)
    house.service.close()


# -- the screen ---------------------------------------------------------------------------------------------------------------------------


def test_the_panel_shows_the_offer_until_it_ends_or_is_taken(house: House) -> None:
    """With its symbol while it is open, without before, after its end and after it was taken; the player looks again at its end."""
    bare, _ = house.live()
    first = pairing.offer(house.service, "cli")
    with_code, frame = house.live()
    assert with_code != bare
    assert frame.next_change_us == first.expires_us
    house.clock.advance(TTL_SECONDS - 1)
    assert house.live()[0] == with_code
    house.clock.advance(1.1)
    over, frame = house.live()
    assert (over, frame.next_change_us) == (bare, None)
    second = pairing.offer(house.service, "cli")
    assert house.live()[0] not in (bare, with_code)
    house.pair(second.code)
    assert house.live()[0] == bare


def test_a_screen_of_the_past_shows_the_same_symbol(house: House) -> None:
    """Pixel for pixel and said to be exact, also after the offer was taken and another made."""
    moments: list[tuple[Instant, bytes]] = []

    def note() -> None:
        moments.append((house.now(), house.live()[0]))
        house.clock.advance(30)

    note()
    first = pairing.offer(house.service, "cli")
    note()
    house.clock.advance(TTL_SECONDS)
    note()
    second = pairing.offer(house.service, "cli")
    note()
    house.pair(second.code)
    note()
    assert first.code != second.code
    assert len({ram for _, ram in moments}) == 3
    for instant, ram in moments:
        screen = house.seen(instant)
        assert (screen.ram == ram, screen.exact, screen.why) == (True, True, None)


def test_a_film_sees_an_offer_end(house: House) -> None:
    """Without an event: bare, symbol for ten minutes, bare again."""
    start = house.now()
    house.clock.advance(5)
    pairing.offer(house.service, "cli")
    house.clock.advance(TTL_SECONDS + 5)
    film = past.film(house.service.data, house.service.store, start, house.now())
    assert [round(us / 1_000_000) for _, us in film] == [5, 600, 5]
    assert film[0][0].ram == film[2][0].ram != film[1][0].ram
    assert all(screen.exact for screen, _ in film)


@pytest.mark.parametrize("other_key", [False, True])
def test_without_the_secret_the_symbol_is_left_out_and_that_is_said(house: House, other_key: bool) -> None:
    """Neither a missing key nor another one makes up a code; screens without an offer stay exact."""
    bare, _ = house.live()
    before = house.now()
    pairing.offer(house.service, "cli")
    offered = house.now()
    (house.folder / "pairing.key").unlink()
    if other_key:
        secrets.pairing_key(house.folder)
    screen = house.seen(offered)
    assert (screen.ram, screen.exact, screen.why) == (bare, False, "facts_lost")
    assert house.seen(before).exact
    assert pairing.invitation(house.service.data, house.service.store) is None


def test_an_offer_matters_only_where_it_is_drawn(house: House) -> None:
    """While an item is on, neither the picture nor the next change knows of it."""
    pairing.offer(house.service, "cli")
    item = house.service.add_media(b"no picture at all", filename="x.bin", add_to_loop=True, make_active=True)
    _, frame = house.live()
    assert frame.showing.slug in (item.slug, None)
    assert (frame.picture.offer is None) == (frame.showing.slug is not None)


# -- who keeps an offer open ----------------------------------------------------------------------------------------------------------------


def test_an_offer_is_kept_open_while_nobody_is_paired(house: House) -> None:
    """Made at once, renewed a minute before its end, not while somebody is paired, and again when the last one is signed out."""
    keeper = Keeper(house.service)
    keeper.look()
    keeper.look()
    assert house.offers() == 1
    house.clock.advance(TTL_SECONDS - 61)
    keeper.look()
    assert house.offers() == 1
    house.clock.advance(2)
    keeper.look()
    assert house.offers() == 2
    made = pairing.invitation(house.service.data, house.service.store)
    assert made is not None
    house.pair(made.code)
    house.clock.advance(3 * TTL_SECONDS)
    keeper.look()
    assert house.offers() == 2
    with house.service.store.reading() as db:
        (session,) = access.sessions(db)
    house.service.executor.execute(CloseSession(session.id))
    keeper.look()
    assert house.offers() == 3


def test_a_restart_keeps_the_open_offer(house: House) -> None:
    """What is on the panel stays good."""
    Keeper(house.service).look()
    Keeper(house.service).look()
    assert house.offers() == 1


def test_a_keeper_gives_up_after_its_bound(house: House) -> None:
    """The log of a panel that nobody pairs with does not grow for ever."""
    keeper = Keeper(house.service, offers_max=2)
    for _ in range(5):
        keeper.look()
        house.clock.advance(TTL_SECONDS)
    assert house.offers() == 2


def test_a_key_that_cannot_be_made_is_said_once(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """The service goes on without an offer."""
    house.folder.rmdir()
    keeper = Keeper(house.service)
    keeper.look()
    keeper.look()
    assert house.offers() == 0
    assert capsys.readouterr().err.count("no pairing link could be made") == 1
    house.folder.mkdir(mode=0o700)


def test_a_keeper_opens_and_closes(house: House) -> None:
    """The first look is over when `open` returns."""
    keeper = Keeper(house.service)
    keeper.open()
    assert house.offers() == 1
    keeper.close()
