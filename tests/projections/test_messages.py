"""Read slice messages: what is live, in which order, and what goes."""

from __future__ import annotations

from typing import Any

import pytest

from projections import messages
from projections.messages import Message, MessageDismissed, MessagePosted
from projections.rows import FoldError, Put

SECOND_US = 1_000_000


def test_a_message_is_live_from_its_event_until_its_time_is_over(desk: Any) -> None:
    """It is there until the instant of its expiry, exclusive, and says that instant in wall time."""
    here = desk(messages.AREA)
    at = here.fold(MessagePosted("m1", "hello", "info", 10 * SECOND_US))
    end_us = at.logtime_us + 10 * SECOND_US
    shown = Message("m1", "hello", "info", "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:10.000000Z")
    assert messages.live(here.db, end_us - 1) == ([shown], None, 1)
    assert messages.live(here.db, end_us) == ([], None, 0)
    assert messages.is_live(here.db, "m1", end_us - 1)
    assert not messages.is_live(here.db, "m1", end_us)
    assert messages.get(here.db, "m1") == shown


def test_the_drawing_order_is_priority_then_age(desk: Any) -> None:
    """Critical ones come before warnings before the rest; among equals the oldest."""
    here = desk(messages.AREA)
    for id, priority in (("a", "info"), ("b", "critical"), ("c", "warning"), ("d", "critical"), ("e", "info")):
        here.fold(MessagePosted(id, id, priority), 1)
    assert [message.id for message in messages.live(here.db, here.logtime_us)[0]] == ["b", "d", "c", "a", "e"]
    planned = messages.plan_messages(here.db, here.logtime_us, 3)
    assert [(one.id, one.priority, one.posted_at_us, one.expires_at_us, one.position) for one in planned] == [
        ("b", "critical", 1_000_002, None, 2),
        ("d", "critical", 1_000_004, None, 4),
        ("c", "warning", 1_000_003, None, 3),
    ]


def test_pages_join_without_gap_or_repeat(desk: Any) -> None:
    """Following the cursor gives each message once; the total stays that of all live ones."""
    here = desk(messages.AREA)
    for number in range(7):
        here.fold(MessagePosted(f"m{number}", "x", ("info", "warning", "critical")[number % 3]))
    seen, cursor, sizes = [], None, []
    while True:
        items, cursor, total = messages.live(here.db, here.logtime_us, 3, cursor)
        assert total == 7
        seen += [item.id for item in items]
        sizes.append(len(items))
        if cursor is None:
            break
    assert seen == ["m2", "m5", "m1", "m4", "m0", "m3", "m6"]
    assert sizes == [3, 3, 1]


def test_dismissed_and_swept_messages_leave_the_table(desk: Any) -> None:
    """A dismissal takes one row, a post the rows that it names; the count follows."""
    here = desk(messages.AREA)
    here.fold(MessagePosted("a", "x", "info", SECOND_US))
    here.fold(MessagePosted("b", "x", "info", 2 * SECOND_US))
    here.fold(MessagePosted("c", "x", "info"))
    here.fold(MessageDismissed("c"), 5 * SECOND_US)
    assert messages.expired(here.db, here.logtime_us, 10) == ("a", "b")
    here.fold(MessagePosted("d", "x", "info", None, ("a", "b")))
    assert list(messages.resources(here.db)) == ["d"]
    assert messages.live_count(here.db, here.logtime_us) == 1
    assert here.db.execute("SELECT total FROM messages_count").get == 1


def test_the_newest_expiry_that_passed_is_known(desk: Any) -> None:
    """It moves exactly when the answer of `live` does."""
    here = desk(messages.AREA)
    at = here.fold(MessagePosted("a", "x", "info", SECOND_US))
    assert messages.last_expiry(here.db, at.logtime_us + SECOND_US - 1) == 0
    assert messages.last_expiry(here.db, at.logtime_us + SECOND_US) == at.logtime_us + SECOND_US


def test_a_row_that_lacks_a_column_is_refused(desk: Any) -> None:
    """A write that does not fit the table is a fold error, not a half-written row."""
    here = desk(messages.AREA)
    with pytest.raises(FoldError, match="no column 'colour'"):
        here.memory.apply([Put(messages.POSTED, ("a",), {"colour": "red"})])


def test_a_hundred_thousand_live_messages_are_read_through_the_index(desk: Any) -> None:
    """The first page needs no sorting, and is right, however many messages are live or have expired in front of them."""
    here = desk(messages.AREA)
    row = {"text": "x", "posted_at": 0, "posted_logtime": 0}
    for number in range(100_000):
        info = number % 2
        expiry = {"expires_at": 5, "expires_logtime": 5} if info == 0 and number < 50_000 else {}
        fields = row | {"position": number, "rank": 2 if info else 0, "priority": "info" if info else "critical"} | expiry
        here.memory.apply([Put(messages.POSTED, (f"m{number}",), fields)])
    here.memory.write_to(here.db)
    items, following, total = messages.live(here.db, 5, 20)
    assert [item.id for item in items] == [f"m{number}" for number in range(50_000, 50_040, 2)]
    assert following == (0, 50_038)
    assert total == 75_000
    plan = here.db.execute(
        "EXPLAIN QUERY PLAN SELECT id FROM messages_posted INDEXED BY messages_in_order "
        "WHERE (expires_logtime IS NULL OR expires_logtime > 5) AND (rank, position) > (0, 9) ORDER BY rank, position LIMIT 20"
    ).fetchall()
    assert [step[3] for step in plan] == ["SEARCH messages_posted USING INDEX messages_in_order ((rank,position)>(?,?))"]


def test_the_view_names_what_callers_know(desk: Any) -> None:
    """SQL over `messages` sees the contract's columns."""
    here = desk(messages.AREA)
    here.fold(MessagePosted("a", "hi", "warning"))
    row = here.db.execute("SELECT id, text, priority, posted_at, expires_at FROM messages").fetchall()
    assert row == [("a", "hi", "warning", 1_767_225_600_000_000, None)]
