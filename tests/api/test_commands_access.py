"""Commands access: one-time offers, sessions and tokens, on a real log."""

from __future__ import annotations

from typing import Any

import pytest

from api.commands.access import OFFER_TTL_US, AddToken, CloseSession, OfferSession, OpenSession, RemoveToken
from api.commands.deciding import Rejected
from projections import access
from projections.access import SessionClosed, SessionOffered, SessionOpened, TokenAdded, TokenRemoved


def refusal(bench: Any, command: Any) -> str:
    """The code with which a command is refused."""
    with pytest.raises(Rejected) as caught:
        bench.run(command)
    return caught.value.code


def test_an_offer_signs_one_browser_in(bench: Any) -> None:
    """A code works once; the second browser that knows it is refused."""
    assert bench.do(OfferSession("o1", "hash")) == [SessionOffered("o1", "hash", OFFER_TTL_US)]
    assert bench.do(OpenSession("s1", "hash", "cookie", "Firefox")) == [SessionOpened("s1", "o1", "cookie", "Firefox")]
    assert refusal(bench, OpenSession("s2", "hash", "other")) == "not_found"
    assert bench.ask(lambda db: access.session_of(db, "cookie")) == "s1"
    assert [one.agent for one in bench.ask(access.sessions)] == ["Firefox"]


def test_an_offer_ends_after_ten_minutes(bench: Any) -> None:
    """Afterwards its code is worth nothing, and it is not the newest offer any more."""
    bench.run(OfferSession("o1", "hash"))
    assert bench.ask(lambda db: access.newest_offer(db, bench.now_us)) == "o1"
    bench.clock.advance(OFFER_TTL_US / 1_000_000 + 1)
    assert refusal(bench, OpenSession("s1", "hash", "cookie")) == "not_found"
    assert bench.ask(lambda db: access.newest_offer(db, bench.now_us)) is None


def test_a_session_ends(bench: Any) -> None:
    """Its cookie is not recognised any more, and it cannot end twice."""
    bench.run(OfferSession("o1", "hash"))
    bench.run(OpenSession("s1", "hash", "cookie"))
    assert bench.do(CloseSession("s1")) == [SessionClosed("s1")]
    assert bench.ask(lambda db: access.session_of(db, "cookie")) is None
    assert refusal(bench, CloseSession("s1")) == "not_found"


def test_tokens_come_and_go_by_name(bench: Any) -> None:
    """A name is taken once; what was removed is not recognised any more."""
    assert bench.do(AddToken("deploy", "h1")) == [TokenAdded("deploy", "h1")]
    assert refusal(bench, AddToken("deploy", "h2")) == "conflict"
    assert refusal(bench, AddToken("", "h2")) == "invalid"
    assert bench.ask(lambda db: access.token_of(db, "h1")) == "deploy"
    assert bench.do(RemoveToken("deploy")) == [TokenRemoved("deploy")]
    assert bench.ask(lambda db: access.token_of(db, "h1")) is None
    assert refusal(bench, RemoveToken("deploy")) == "not_found"
