"""A state machine against a model that is a few dictionaries, which knows no fold: commands, events that nobody folded, rows edited behind the log's
back, rebuilds in small pages, restarts."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from api.commands.active import SetActive
from api.commands.heartbeats import RecordHeartbeat
from api.commands.media import AddMedia, RemoveMedia, UpdateMedia
from api.commands.messages import DismissMessage, PostMessage
from api.commands.settings import ChangeSettings
from api.execution import Executor
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from projections import catalogue, folding, rebuilding
from projections.catalogue import BY_NAME
from projections.settings import SettingChanged

AREAS = ("media", "active", "settings", "messages", "heartbeats")

FORGERIES = {
    "media": "UPDATE media_items SET filename = filename || '!'",
    "active": "UPDATE active_item SET version = version + 1",
    "settings": "INSERT INTO settings_values VALUES ('forged', '1', 1) ON CONFLICT DO UPDATE SET version = version + 1",
    "messages": "DELETE FROM messages_posted",
    "heartbeats": "UPDATE heartbeats_services SET seen_at = seen_at + 1",
}
"""By area, a change of its rows that no event made."""

NAMES = st.sampled_from(["a", "b", "c"])


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bound of a rebuild is met within a few dozen events and rows."""
    for module, name, value in (
        (folding, "PAGE_POSITIONS", 4),
        (rebuilding, "CATCH_UP_EVENTS", 3),
        (rebuilding, "ROWS_AT_FIRST", 2),
        (rebuilding, "ROWS_IN_MEMORY_MAX", 6),
        (rebuilding, "DROPPED_ROWS_MAX", 2),
        (rebuilding, "REST", 0),
    ):
        monkeypatch.setattr(module, name, value)


class TablesMachine(RuleBasedStateMachine):
    """Tables on disk beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.clock = FakeClock()
        self.media: dict[str, tuple[str, ...]] = {}
        self.removed: set[str] = set()
        self.active: str | None = None
        self.brightness = 100
        self.messages: dict[str, str] = {}
        self.beats: dict[str, int] = {}
        self.forged: set[str] = set()

    @initialize()
    def begin(self) -> None:
        self._open()

    def _open(self) -> None:
        self.store = EventStore.open(self.folder / "log.db", clock=self.clock)
        folding.prepare(self.store)
        self.executor = Executor(self.store)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    # Commands judge the rows as they are: none is given to an area whose rows are forged.

    @rule(name=NAMES, active=st.booleans())
    def add(self, name: str, active: bool) -> None:
        if not {"media", "active"} & self.forged and name not in self.media and name not in self.removed:
            self.executor.execute(AddMedia(f"{name}.gif", name * 64, 9, "image/gif", "animation", make_active=active))
            self.media[name] = ()
            self.active = name if active else self.active

    @rule(name=NAMES, tags=st.lists(st.sampled_from(["p", "q"]), unique=True).map(tuple))
    def tag(self, name: str, tags: tuple[str, ...]) -> None:
        if "media" not in self.forged and name in self.media:
            self.executor.execute(UpdateMedia(name, tags=tags))
            self.media[name] = tags

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        if not {"media", "active"} & self.forged and name in self.media:
            self.executor.execute(RemoveMedia(name))
            del self.media[name]
            self.removed.add(name)
            self.active = None if self.active == name else self.active

    @rule(name=st.one_of(st.none(), NAMES))
    def choose(self, name: str | None) -> None:
        if not {"media", "active"} & self.forged and (name is None or name in self.media):
            self.executor.execute(SetActive(name))
            self.active = name

    @rule(brightness=st.integers(1, 100))
    def dim(self, brightness: int) -> None:
        if "settings" not in self.forged:
            self.executor.execute(ChangeSettings({"brightness": brightness}))
            self.brightness = brightness

    @rule(text=st.sampled_from(["x", "é", "long " * 20]))
    def post(self, text: str) -> None:
        if "messages" not in self.forged:
            events = self.executor.execute(PostMessage(text)).events
            self.messages[events[-1].stream.removeprefix("messages/")] = text

    @rule(place=st.integers(0, 5))
    def dismiss(self, place: int) -> None:
        if "messages" not in self.forged and place < len(self.messages):
            id = sorted(self.messages)[place]
            self.executor.execute(DismissMessage(id))
            del self.messages[id]

    @rule(name=NAMES, number=st.integers(0, 9))
    def beat(self, name: str, number: int) -> None:
        if "heartbeats" not in self.forged:
            self.executor.execute(RecordHeartbeat(name, "ok", {"number": number}))
            self.beats[name] = number

    @rule(brightness=st.lists(st.integers(1, 100), min_size=1, max_size=9))
    def append_unfolded(self, brightness: list[int]) -> None:
        """As another program would: the tables lie behind until the next command, rebuild or start."""
        for one in brightness:
            self.store.append("settings", catalogue.encode(SettingChanged("brightness", one)))
        self.brightness = brightness[-1]
        rebuilding.catch_up(self.store)

    @rule(area=st.sampled_from(AREAS))
    def forge(self, area: str) -> None:
        """Edit rows behind the log's back, if there are any."""
        if area not in self.forged and self.store.transact(lambda t: t.db.execute(FORGERIES[area]) and t.db.changes()):
            self.forged.add(area)

    @rule(areas=st.sets(st.sampled_from(AREAS), min_size=1))
    def rebuild(self, areas: set[str]) -> None:
        """Exactly the forged ones among them differed; afterwards they are right."""
        chosen = [area for area in catalogue.AREAS if area.name in areas]
        rebuilt = rebuilding.rebuild(self.store, chosen)
        assert rebuilt.areas == tuple(area.name for area in chosen)
        assert set(rebuilt.differed or ()) == areas & self.forged
        assert rebuilt.stopped == {}
        assert rebuilt.position == self.store.head().position
        self.forged -= areas

    @rule(reboot=st.booleans())
    def restart(self, reboot: bool) -> None:
        self.store.close()
        if reboot:
            self.clock.reboot()
        self._open()

    @invariant()
    def the_tables_are_the_model(self) -> None:
        with self.store.snapshot() as db:
            seen: dict[str, Any] = {name: BY_NAME[name].resources(db) for name in AREAS}
            total = db.execute("SELECT total FROM media_count").get
        if "media" not in self.forged:
            assert {slug: tuple(one.tags) for slug, one in seen["media"].items()} == self.media
            assert total == len(self.media)
        if "active" not in self.forged:
            assert seen["active"]["active"].slug == self.active
        if "settings" not in self.forged:
            assert seen["settings"]["brightness"] == self.brightness
        if "messages" not in self.forged:
            assert {id: one.text for id, one in seen["messages"].items()} == self.messages
        if "heartbeats" not in self.forged:
            assert {name: one.details["number"] for name, one in seen["heartbeats"].items()} == self.beats


TablesMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
TestTables = TablesMachine.TestCase
