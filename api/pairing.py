"""Offers to pair: making one, knowing its link, and keeping one open while nobody is paired and others than this machine can reach the service.

Commands and events are those of area access; this module gives them their secrets.
"""

from __future__ import annotations

import sys
import threading

import msgspec

from api import secrets
from api.commands.access import OFFER_TTL_US, OfferSession
from api.commands.deciding import Rejected
from api.data import DataDirectory
from api.service import StateService
from eventstore.errors import StoreError
from eventstore.record import Origin
from eventstore.store import EventStore
from projections import access

RENEW_US = 60 * 1_000_000
"""An open offer is followed by the next one this long before it ends: who scans it at the last moment still has time to be let in."""

LOOK_SECONDS = 10.0
"""How often the keeper looks; well within RENEW_US."""

OFFERS_MAX = 160
"""Offers that a keeper makes: about a day of them. A panel that nobody pairs with shows its address then, and the log does not grow for ever;
a restart, or `pixelog pair`, makes another."""


class Invitation(msgspec.Struct, frozen=True):
    """An open offer with its code. `expires_us` is logtime."""

    id: str
    code: str
    expires_us: int


def offer(service: StateService, actor: str) -> Invitation:
    """Make an offer. Raises what `Executor.execute` raises, and OSError when the key cannot be read or made."""
    id = secrets.new_id()
    code = secrets.code_of(secrets.pairing_key(service.data.secrets), id)
    outcome = service.executor.execute(OfferSession(id, secrets.code_hash(code) or ""), origin=Origin(actor))
    return Invitation(id, code, outcome.events[-1].logtime_us + OFFER_TTL_US)


def invitation(data: DataDirectory, store: EventStore) -> Invitation | None:
    """The offer that is open now, if its code can be had."""
    now_us = store.now_us()
    with store.snapshot() as db:
        found = access.last_offer(db)
    if found is None or found.expires_us <= now_us:
        return None
    code = secrets.codes_of(data.secrets)(found.id, found.code_hash)
    return None if code is None else Invitation(found.id, code, found.expires_us)


class Keeper:
    """Keeps an offer open while nobody is paired. `open` and `close` it."""

    def __init__(self, service: StateService, offers_max: int = OFFERS_MAX) -> None:
        self._service = service
        self._left = offers_max
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pixelog-pairing", daemon=True)
        self._complained = False

    def open(self) -> None:
        """See to it now, on the caller's thread, and from then on."""
        self.look()
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Make an offer if one is due."""
        if not self._left or not self._is_due():
            return
        try:
            offer(self._service, "pairing")
            self._left -= 1
        except (StoreError, Rejected, OSError) as error:
            if not self._complained:
                print(f"pixelog: no pairing link could be made: {error}", file=sys.stderr, flush=True)  # noqa: T201
            self._complained = True

    def _is_due(self) -> bool:
        store = self._service.store
        now_us = store.now_us()
        with store.snapshot() as db:
            if access.is_paired(db):
                return False
            last = access.last_offer(db)
        return last is None or last.expires_us - now_us <= RENEW_US

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()
