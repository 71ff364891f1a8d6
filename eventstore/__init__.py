"""An embedded, append-only event log on SQLite. No word of any domain lives here; payloads are text with a type tag.

What most programs need can be imported from here; it is loaded at its first use, so that a program which needs one module starts with that one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventstore.errors import (
        Busy,
        ConditionFailed,
        Invalid,
        KeyReused,
        OutOfSpace,
        Overloaded,
        ReadOnly,
        Refused,
        Stopped,
        StoreError,
        TooLarge,
        TooSlow,
        Unusable,
        WrongVersion,
    )
    from eventstore.record import (
        Appended,
        Batch,
        Condition,
        Expect,
        ExpectedVersion,
        Head,
        NewEvent,
        NoneSince,
        Origin,
        RecordedEvent,
    )
    from eventstore.store import EventStore
    from eventstore.subscription import Delivery, Subscription
    from eventstore.transaction import Transaction

__all__ = [
    "Appended",
    "Batch",
    "Busy",
    "Condition",
    "ConditionFailed",
    "Delivery",
    "EventStore",
    "Expect",
    "ExpectedVersion",
    "Head",
    "Invalid",
    "KeyReused",
    "NewEvent",
    "NoneSince",
    "Origin",
    "OutOfSpace",
    "Overloaded",
    "ReadOnly",
    "RecordedEvent",
    "Refused",
    "Stopped",
    "StoreError",
    "Subscription",
    "TooLarge",
    "TooSlow",
    "Transaction",
    "Unusable",
    "WrongVersion",
]

_MODULES = {
    "EventStore": "store",
    "Transaction": "transaction",
    **dict.fromkeys(("Delivery", "Subscription"), "subscription"),
    **dict.fromkeys(
        (
            "Appended",
            "Batch",
            "Condition",
            "Expect",
            "ExpectedVersion",
            "Head",
            "NewEvent",
            "NoneSince",
            "Origin",
            "RecordedEvent",
        ),
        "record",
    ),
}
"""Where a name lives; one that is not here is an error of `errors`."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    return value
