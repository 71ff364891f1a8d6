"""Routes of the past: what is still to come is nobody's past, and a clock that is a little ahead means the present."""

from __future__ import annotations

from typing import Any

import pytest

from projections.times import rfc3339


def ahead(house: Any, seconds: float) -> str:
    """A time by the service's clock."""
    return rfc3339(house.service.store.clock.read().wall_us + round(seconds * 1_000_000))


@pytest.mark.parametrize("path", ["/history/screen.png", "/history/state"])
def test_an_instant_that_is_still_to_come_is_refused(path: str, house: Any) -> None:
    """For the screen and for the state, with what the clock shows here; also while nothing but the log's own event is there."""
    for at in ("2099-01-01T00:00:00Z", ahead(house, 10)):
        response = house.get(path, params={"at": at})
        assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid")
        assert [fault["pointer"] for fault in response.json()["errors"]] == ["?at"]
        assert "is still to come: it is 20" in response.json()["detail"]


def test_a_clock_that_is_a_little_ahead_means_the_present(house: Any) -> None:
    """The page asks by the service's time as it knows it, which may be off by the way of an answer."""
    house.item("cat")
    before_us = house.service.store.clock.read().wall_us
    state = house.get("/history/state", params={"at": ahead(house, 3)})
    assert (state.status_code, state.json()["position"]) == (200, house.head_position())
    screen = house.get("/history/screen.png", params={"at": ahead(house, 3)})
    assert screen.status_code == 200
    assert rfc3339(before_us) <= screen.headers["Pixelog-Screen-Time"] <= ahead(house, 0)


def test_instants_until_now_are_answered(house: Any) -> None:
    """A moment ago, a position, and the head."""
    house.item("cat")
    for at in (ahead(house, 0), "1", "head"):
        assert house.get("/history/state", params={"at": at}).status_code == 200
