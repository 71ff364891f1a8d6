"""Commands messages: post and dismiss, on a real log."""

from __future__ import annotations

from typing import Any

import pytest

from api.commands.deciding import Context, Rejected
from api.commands.messages import LIVE_MAX, DismissMessage, PostMessage, State, decide
from projections import messages
from projections.messages import MessageDismissed, MessagePosted

CONTEXT = Context(1, 1, "id", 1, None)


def test_a_post_becomes_a_live_message(bench: Any) -> None:
    """One durable event carries all of it, under a fresh id in a stream of its own."""
    outcome = bench.run(PostMessage("hello", "warning", 1.5))
    (recorded,) = outcome.events
    (message,), _, total = bench.ask(lambda db: messages.live(db, bench.now_us))
    assert recorded.type == "message.posted"
    assert recorded.stream == f"messages/{message.id}"
    assert (message.text, message.priority, total) == ("hello", "warning", 1)
    assert (message.posted_at, message.expires_at) == ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:01.500000Z")


def test_a_dismissal_ends_it(bench: Any) -> None:
    """It is gone, and a second dismissal finds nothing."""
    (posted,) = bench.do(PostMessage("hello"))
    assert bench.do(DismissMessage(posted.id)) == [MessageDismissed(posted.id)]
    assert bench.ask(lambda db: messages.live(db, bench.now_us)) == ([], None, 0)
    with pytest.raises(Rejected) as caught:
        bench.run(DismissMessage(posted.id))
    assert caught.value.code == "not_found"


def test_an_expired_message_is_gone_for_everybody(bench: Any) -> None:
    """It is neither listed nor to be dismissed, although nobody has swept it."""
    (posted,) = bench.do(PostMessage("hello", ttl_seconds=5))
    bench.clock.advance(6)
    assert bench.ask(lambda db: messages.live(db, bench.now_us)) == ([], None, 0)
    with pytest.raises(Rejected) as caught:
        bench.run(DismissMessage(posted.id))
    assert caught.value.code == "not_found"


def test_posts_sweep_what_has_expired(bench: Any) -> None:
    """Two expired messages go with each new one, so the table does not grow beyond the largest crowd."""
    first = [bench.do(PostMessage("x", ttl_seconds=1))[0].id for _ in range(3)]
    bench.clock.advance(2)
    assert bench.do(PostMessage("y"))[0].swept == tuple(first[:2])
    assert bench.do(PostMessage("z"))[0].swept == (first[2],)
    assert bench.do(PostMessage("z"))[0].swept == ()
    assert bench.ask(lambda db: db.execute("SELECT count(*) FROM messages_posted").get) == 3


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        (PostMessage(""), "/text"),
        (PostMessage("x" * 2001), "/text"),
        (PostMessage("a\0b"), "/text"),
        (PostMessage("\ud800"), "/text"),
        (PostMessage("x", "loud"), "/priority"),  # type: ignore[arg-type]
        (PostMessage("x", "info", 0), "/ttlSeconds"),
        (PostMessage("x", "info", -1), "/ttlSeconds"),
        (PostMessage("x", "info", 315_360_001), "/ttlSeconds"),
        (PostMessage("x", "info", float("nan")), "/ttlSeconds"),
    ],
)
def test_what_is_wrong_is_named(command: PostMessage, pointer: str) -> None:
    """Each bound is refused with the field that broke it."""
    with pytest.raises(Rejected) as caught:
        decide(command, State(0, (), found=False), CONTEXT)
    assert (caught.value.code, [fault.pointer for fault in caught.value.faults]) == ("invalid", [pointer])


def test_the_longest_text_and_life_are_right() -> None:
    """2,000 characters (whatever their bytes) for ten years; the shortest life is a microsecond."""
    empty = State(0, (), found=False)
    assert decide(PostMessage("😀" * 2000, "info", 315_360_000), empty, CONTEXT) == [
        MessagePosted("id", "😀" * 2000, "info", 315_360_000_000_000)
    ]
    assert decide(PostMessage("x", "info", 1e-9), empty, CONTEXT) == [MessagePosted("id", "x", "info", 1)]


def test_the_crowd_has_a_bound() -> None:
    """The last place is given away, one more is refused."""
    assert len(decide(PostMessage("x"), State(LIVE_MAX - 1, (), found=False), CONTEXT)) == 1
    with pytest.raises(Rejected) as caught:
        decide(PostMessage("x"), State(LIVE_MAX, (), found=False), CONTEXT)
    assert caught.value.code == "too_many"
