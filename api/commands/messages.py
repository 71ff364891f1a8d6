"""Commands of area messages: post one, dismiss one."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from api.commands import bounds
from api.commands.deciding import Context, Fault, Handler, Rejected
from projections import messages
from projections.messages import RANKS, MessageDismissed, MessagePosted, Priority

LIVE_MAX = 200_000
"""Messages that may be live: each is a row of the table and of two indexes; nobody reads them all."""

SWEPT_PER_POST = 2
"""Expired messages that go with each new one: the table shrinks again after a crowd, and no single post pays for all of it."""

TTL_SECONDS_MAX = 315_360_000
"""Ten years: beyond that the message is meant for good."""


class PostMessage(msgspec.Struct, frozen=True):
    """Draw a text over the media, for `ttl_seconds` or until it is dismissed."""

    text: str
    priority: Priority = "info"
    ttl_seconds: float | None = None


class DismissMessage(msgspec.Struct, frozen=True):
    """Take a live message away."""

    id: str


class State(msgspec.Struct, frozen=True):
    """How many messages are live, some that have expired, and whether the one that is meant is live."""

    live: int
    expired: tuple[str, ...]
    found: bool


Command = PostMessage | DismissMessage


def load(db: apsw.Connection, command: Command, now_us: int) -> State:
    """What posting, or dismissing, needs."""
    if isinstance(command, DismissMessage):
        return State(0, (), messages.is_live(db, command.id, now_us))
    return State(messages.live_count(db, now_us), messages.expired(db, now_us, SWEPT_PER_POST), found=False)


def decide(command: Command, state: State, context: Context) -> Sequence[msgspec.Struct]:
    """One event. An expired message cannot be dismissed: it is gone for those who look."""
    if isinstance(command, DismissMessage):
        if not state.found:
            raise Rejected("not_found", f"there is no message {command.id!r}, or it has expired")
        return [MessageDismissed(command.id)]
    bounds.refuse(_faults(command))
    if state.live >= LIVE_MAX:
        raise Rejected("too_many", f"{LIVE_MAX:,} messages are live; dismiss some first")
    ttl_us = None if command.ttl_seconds is None else max(1, round(command.ttl_seconds * 1_000_000))
    return [MessagePosted(context.id, command.text, command.priority, ttl_us, state.expired)]


def _faults(command: PostMessage) -> list[Fault]:
    faults = bounds.text("/text", command.text, characters_min=1)
    if command.priority not in RANKS:
        faults.append(Fault("/priority", f"must be one of {', '.join(reversed(RANKS))}"))
    if command.ttl_seconds is not None and not 0 < command.ttl_seconds <= TTL_SECONDS_MAX:
        faults.append(Fault("/ttlSeconds", f"must be more than 0 and at most {TTL_SECONDS_MAX:,} (ten years)"))
    return faults


HANDLERS = {PostMessage: Handler(load, decide), DismissMessage: Handler(load, decide)}
