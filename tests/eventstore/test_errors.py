"""Refusals as values: they go from one process to another."""

from __future__ import annotations

import pickle

import pytest

from eventstore import errors
from eventstore.errors import ConditionFailed, StoreError, Unusable, WrongVersion

PLAIN = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, StoreError) and one not in (WrongVersion, ConditionFailed, Unusable)
]
OURS: list[StoreError] = [
    WrongVersion("s", "1", 2),
    ConditionFailed("no more", 3),
    Unusable("newer", "update"),
    *(one("a message") for one in PLAIN),
]


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_every_error_survives_pickle(error: StoreError) -> None:
    """With its class, its message, its code and its fields."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.code, vars(again)) == (str(error), error.code, vars(error))
