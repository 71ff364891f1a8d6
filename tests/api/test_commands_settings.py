"""Commands settings: changing some, all or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from api.commands.catalogue import HANDLERS
from api.commands.deciding import Rejected
from api.commands.loop import NewEntry, ReplaceLoop
from api.commands.media import AddMedia, FinishPreparing
from api.commands.settings import ChangeSettings
from projections import plan, planning, settings
from projections.loop import When
from projections.media import Pack
from projections.plan import Turn
from projections.settings import SettingChanged

S = 1_000_000


def fill(bench: Any) -> int:
    """Two ready stills in the loop; the answer is when it began."""
    for slug in "ab":
        bench.do(AddMedia(f"{slug}.png", slug * 64, 1, "image/png", "image"))
        pack = Pack(f"p{slug}", 240, 320, 0, "contain", 1)
        bench.do(FinishPreparing(None, slug, slug * 64, "image", "image/png", 1, 1, 1, ((1, 0),), pack, None, "test"))
    now = bench.now_us
    bench.do(ReplaceLoop((NewEntry("a"), NewEntry("b"))))
    return now


def test_one_event_for_each_that_changes(bench: Any) -> None:
    """In the order asked; what is so already is left out; values that draw only carry no turn."""
    asked = ChangeSettings({"rotation": 90, "brightness": 100, "fit": "cover", "name": "Küche 🐈"})
    assert bench.do(asked) == [
        SettingChanged("rotation", 90),
        SettingChanged("fit", "cover"),
        SettingChanged("name", "Küche 🐈"),
    ]
    assert bench.do(asked) == []
    assert bench.do(ChangeSettings({})) == []
    assert bench.ask(settings.get) == {
        "brightness": 100,
        "rotation": 90,
        "fit": "cover",
        "defaultDuration": 10,
        "timeZone": "UTC",
        "name": "Küche 🐈",
    }
    assert bench.ask(settings.version) == 3


def test_a_shorter_length_of_stills_ends_the_one_on(bench: Any) -> None:
    """What changes lengths carries the turn, in the last event."""
    began = fill(bench)
    bench.clock.advance(4)
    assert bench.do(ChangeSettings({"defaultDuration": 6, "brightness": 50})) == [
        SettingChanged("defaultDuration", 6),
        SettingChanged("brightness", 50, Turn("a", began)),
    ]
    now = bench.now_us
    assert bench.do(ChangeSettings({"defaultDuration": 2.5})) == [SettingChanged("defaultDuration", 2.5, Turn("b", now, 1))]


def test_a_new_zone_begins_hours_that_open_with_it(bench: Any) -> None:
    """At 00:00 UTC it is 01:00 in Paris: an entry for that hour begins when the zone is set, at its first frame."""
    fill(bench)
    bench.do(ReplaceLoop((NewEntry("a", when=When((), "01:00", "02:00")),)))
    bench.clock.advance(10)  # what was on has ended; the hour is not yet
    assert bench.ask(lambda db: plan.at(planning.state(db, bench.now_us), bench.now_us)).slug is None
    bench.clock.advance(60)
    now = bench.now_us
    assert bench.do(ChangeSettings({"timeZone": "Europe/Paris"})) == [SettingChanged("timeZone", "Europe/Paris", Turn("a", now))]


@pytest.mark.parametrize(
    ("values", "pointers"),
    [
        ({"colour": "red"}, ["/colour"]),
        ({"brightness": -1}, ["/brightness"]),
        ({"brightness": 101}, ["/brightness"]),
        ({"brightness": 50.5}, ["/brightness"]),
        ({"brightness": True}, ["/brightness"]),
        ({"brightness": "50"}, ["/brightness"]),
        ({"brightness": None}, ["/brightness"]),
        ({"rotation": 45}, ["/rotation"]),
        ({"rotation": "90"}, ["/rotation"]),
        ({"fit": "zoom"}, ["/fit"]),
        ({"fit": ["contain"]}, ["/fit"]),
        ({"defaultDuration": 0.09}, ["/defaultDuration"]),
        ({"defaultDuration": 86_401}, ["/defaultDuration"]),
        ({"defaultDuration": float("nan")}, ["/defaultDuration"]),
        ({"defaultDuration": float("inf")}, ["/defaultDuration"]),
        ({"timeZone": "Paris"}, ["/timeZone"]),
        ({"timeZone": "../etc/passwd"}, ["/timeZone"]),
        ({"timeZone": ""}, ["/timeZone"]),
        ({"name": ""}, ["/name"]),
        ({"name": "x" * 101}, ["/name"]),
        ({"name": "a\nb"}, ["/name"]),
        ({"name": "\ud800"}, ["/name"]),
        ({"rotation": 90, "fit": "zoom", "x": 1}, ["/fit", "/x"]),
    ],
)
def test_one_bad_value_refuses_all(bench: Any, values: dict[str, Any], pointers: list[str]) -> None:
    """Every fault is named; nothing changes."""
    with pytest.raises(Rejected) as caught:
        bench.do(ChangeSettings(values))
    assert (caught.value.code, [fault.pointer for fault in caught.value.faults]) == ("invalid", pointers)
    assert bench.store.head().position == 0


def test_an_old_version_is_refused(bench: Any) -> None:
    """One version guards all settings."""
    bench.do(ChangeSettings({"rotation": 90, "fit": "cover"}, 0))
    with pytest.raises(Rejected) as caught:
        bench.do(ChangeSettings({"rotation": 0}, 1))
    assert caught.value.code == "stale"


def test_settings_are_durable() -> None:
    """A change is on the disk before it is answered."""
    assert HANDLERS[ChangeSettings].durable(ChangeSettings({}))
