"""States of the past, and what changed between them: against copies of the live tables taken at the time."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.commands.active import SetActive
from api.commands.deciding import Rejected
from api.commands.heartbeats import RecordHeartbeat
from api.commands.jobs import QueueJob
from api.commands.loop import NewEntry, ReplaceLoop
from api.commands.media import AddMedia, FinishPreparing, RemoveMedia, RestoreMedia, UpdateMedia
from api.commands.messages import PostMessage
from api.commands.playback import Control
from api.commands.settings import ChangeSettings
from api.execution import Executor
from eventstore.clock import Reading
from eventstore.store import EventStore
from projections import folding
from projections.catalogue import AREAS, BY_NAME
from projections.media import Pack
from projections.replay import changes, digests, state
from projections.replay.changes import Change

slug = st.sampled_from(("a", "b", "c"))
commands = st.one_of(
    st.builds(lambda s, on: AddMedia(f"{s}.gif", s * 64, 10, "image/gif", "animation", None, True, on), slug, st.booleans()),
    st.builds(
        lambda s: FinishPreparing(
            None, s, s * 64, "animation", "image/gif", 9, 9, 2, ((2, 40_000),), Pack("p", 240, 320, 0, "contain", 5), "t", "test"
        ),
        slug,
    ),
    st.builds(RemoveMedia, slug),
    st.builds(RestoreMedia, slug, st.just(True)),
    st.builds(lambda s, tag: UpdateMedia(s, tags=(tag,)), slug, st.sampled_from("xyz")),
    st.builds(lambda order: ReplaceLoop(tuple(NewEntry(one) for one in order)), st.lists(slug, unique=True)),
    st.builds(SetActive, st.one_of(st.none(), slug)),
    st.builds(Control, st.sampled_from(["pause", "play", "next", "hold", "release"])),
    st.builds(lambda value: ChangeSettings({"brightness": value}), st.integers(0, 100)),
    st.builds(PostMessage, st.sampled_from(["hello", "bye"])),
    st.builds(lambda n: QueueJob(kind="k", title="t", dedupe_key=str(n)), st.integers(0, 2)),
    st.builds(RecordHeartbeat, st.sampled_from(["player", "worker"])),
)


class TickingClock:
    """Each look at the clock comes a second after the one before."""

    def __init__(self) -> None:
        self.ticks = 0

    def read(self) -> Reading:
        self.ticks += 1
        us = self.ticks * 1_000_000
        return Reading(1_767_225_600_000_000 + us, us, "boot", True)


def lived(orders: list[Any]) -> tuple[EventStore, dict[int, dict[str, Any]]]:
    """A log in which these commands were carried out, and the resources of every area as they were live after each."""
    store = EventStore.open(":memory:", clock=TickingClock())
    folding.prepare(store)
    executor = Executor(store)
    copies: dict[int, dict[str, Any]] = {}
    for order in orders:
        with suppress(Rejected):
            executor.execute(order)
        with store.reading() as db:
            copies[store.head().position] = {area.name: state.plain(area, db) for area in AREAS}
    return store, copies


@settings(max_examples=40, deadline=None)
@given(st.lists(commands, min_size=1, max_size=12))
def test_the_state_at_every_position_is_what_was_live_then(orders: list[Any]) -> None:
    """Folding the log up to a position gives the resources that the live tables had at that position."""
    store, copies = lived(orders)
    with store, store.reading() as db:
        for position, live in copies.items():
            past = state.state(db, position)
            assert (past.position, past.areas) == (position, live)


@settings(max_examples=40, deadline=None)
@given(st.lists(commands, min_size=1, max_size=12), st.data())
def test_the_changes_between_two_states_turn_one_into_the_other(orders: list[Any], data: st.DataObject) -> None:
    """Applied to the first state, in either direction, the difference gives the second; every change names an event between them."""
    store, copies = lived(orders)
    with store, store.reading() as db:
        positions = st.sampled_from([0, *copies])
        start, end = data.draw(positions), data.draw(positions)
        difference = changes.difference(db, start, end)
        first, second = state.state(db, start).areas, state.state(db, end).areas
        for change in difference.changes:
            apply(first, change)
            assert min(start, end) < change.position <= max(start, end)
        assert shown(first) == shown(second)
        order = [(change.area, change.key, change.field or "") for change in difference.changes]
        assert order == sorted(order)


def apply(areas: dict[str, dict[str, Any]], change: Change) -> None:
    """Carry a change out on plain values."""
    rows = areas[change.area]
    if change.field is not None:
        rows[change.key][change.field] = change.after
    elif change.after is None:
        del rows[change.key]
    else:
        rows[change.key] = change.after


def shown(areas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The states without nulls: a field that is absent and one that is null mean the same."""
    return {
        (area, key): {name: value for name, value in row.items() if value is not None} if isinstance(row, dict) else row
        for area, rows in areas.items()
        for key, row in rows.items()
    }


ORDERS = [
    AddMedia("cat.gif", "c" * 64, 10, "image/gif", "animation", None, True, False),
    UpdateMedia("cat", tags=("pet",)),
    UpdateMedia("cat", tags=("pet", "soft")),
    RemoveMedia("cat"),
]


def test_a_difference_names_the_event_that_wrote_each_field_last() -> None:
    """Two events wrote the tags; the later one is named. The row's version was written by it, too."""
    store, _ = lived(ORDERS)
    with store, store.reading() as db:
        found = changes.difference(db, 4, 6, (BY_NAME["media"],))
    assert found.changes == (
        Change("media", "cat", [], ["pet", "soft"], 6, "media.updated", "tags"),
        Change("media", "cat", 1, 3, 6, "media.updated", "version"),
    )


def test_a_row_that_vanishes_is_one_change_without_a_field() -> None:
    """Removing an item takes its row and its place in the loop away."""
    store, _ = lived(ORDERS)
    with store, store.reading() as db:
        found = changes.difference(db, 6, store.head().position)
    assert [(one.area, one.key, one.field, one.after) for one in found.changes] == [
        ("loop", "loop", "items", []),
        ("loop", "loop", "version", 2),
        ("media", "cat", None, None),
    ]
    assert found.changes[2].type == "media.removed"


def test_an_event_is_explained_by_the_rows_it_changed() -> None:
    """The explanation has the event itself and its changes, before and after."""
    store, _ = lived(ORDERS)
    with store, store.reading() as db:
        explained = changes.explain(db, 5)
    assert (explained.type, explained.stream, explained.version) == ("media.updated", "media/cat", 2)
    assert [(one.field, one.before, one.after) for one in explained.changes] == [("tags", [], ["pet"]), ("version", 1, 2)]


def test_the_history_of_a_row_says_who_wrote_each_field() -> None:
    """Every event of the row is listed; tags were written by the second update, the file name when it was added."""
    store, _ = lived(ORDERS[:3])
    with store, store.reading() as db:
        history = changes.history(db, BY_NAME["media"], "cat", store.head().position)
    assert [entry.type for entry in history.entries] == ["media.added", "media.updated", "media.updated"]
    assert (history.fields["tags"].position, history.fields["filename"].position) == (6, 2)


def test_the_first_event_that_made_something_true_is_found_by_scan_and_by_halving() -> None:
    """Both ways find the event that added the second tag, and None for what never was."""
    store, _ = lived(ORDERS[:3])
    where = "SELECT json_array_length(tags) = 2 FROM media"
    with store, store.reading() as db:
        for monotone in (False, True):
            found, _ = changes.first_true(db, where, 0, 6, monotone, lambda: False)
            assert found is not None
            assert found.position == 6
            assert changes.first_true(db, "SELECT 0", 0, 6, monotone, lambda: False)[0] is None
        assert changes.first_true(db, where, 0, 6, True, lambda: False)[1] < 6


def test_only_the_areas_that_are_asked_for_are_shown() -> None:
    """An area by name; one that is not there is refused with those that are."""
    store, _ = lived(ORDERS)
    with store, store.reading() as db:
        assert state.state(db, 2, state.areas_named(["loop"])).areas == {
            "loop": {"loop": {"items": [], "mode": "all", "shuffle": False, "version": 0}}
        }
    with pytest.raises(state.UnknownArea, match="no area 'lop'; there are media, loop"):
        state.areas_named(["lop"])


def test_digests_depend_on_the_rows_alone() -> None:
    """The live tables and a database folded afresh have one digest; another state has another."""
    store, _ = lived(ORDERS)
    with store, store.reading() as db:
        head = store.head().position
        live = digests.overall(digests.of_areas(db))
        fresh, before = folding.database_at(db, head), folding.database_at(db, head - 1)
        assert digests.overall(digests.of_areas(fresh)) == live
        assert digests.overall(digests.of_areas(before)) != live


def never() -> bool:
    """A query that may run for ever."""
    return False


@pytest.fixture
def empty() -> Any:
    """The tables of an empty log."""
    with EventStore.open(":memory:") as store:
        folding.prepare(store)
        with store.reading() as db:
            yield db


def test_a_query_sees_the_areas_as_tables(empty: apsw.Connection) -> None:
    """Settings by name with their values; a column that comes twice keeps both."""
    answer = state.query(empty, "SELECT name, value FROM settings WHERE name = 'fit'", never)
    assert (answer.columns, answer.rows) == (("name", "value"), [("fit", "contain")])
    assert state.query(empty, "SELECT 1 AS a, 2 AS a, x'00ff' AS b", never).objects() == [{"a": 1, "a:1": 2, "b": "00ff"}]
    assert state.query(empty, "SELECT slug FROM media", never).columns == ("slug",)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT 1; SELECT 2", "one statement"),
        ("DELETE FROM media_items", "only reading"),
        ("INSERT INTO events DEFAULT VALUES", "only reading"),
        ("CREATE TABLE x (y)", "only reading"),
        ("ATTACH ':memory:' AS x", "only reading"),
        ("BEGIN", "only reading"),
        ("PRAGMA query_only = 0", "only reading"),
        ("SELECT answer FROM requests", "only reading"),
        ("SELECT load_extension('x')", "not authorized"),
        ("", "no statement"),
        ("-- nothing", "no statement"),
        ("SELEC", "syntax error"),
        ("SELECT * FROM nowhere", "no such table"),
    ],
)
def test_a_query_only_reads_and_only_the_projections(empty: apsw.Connection, sql: str, why: str) -> None:
    """What would write, run twice, or read what is nobody's business is refused with its reason."""
    with pytest.raises(state.BadQuery, match=why):
        state.query(empty, sql, never)
    assert state.query(empty, "SELECT count(*) FROM media", never).rows == [(0,)]


def test_a_query_that_takes_too_long_is_ended(empty: apsw.Connection) -> None:
    """The caller's stop is asked again and again, and ends an endless query."""
    looks: list[int] = []

    def stop() -> bool:
        looks.append(1)
        return len(looks) > 5

    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t"
    with pytest.raises(state.BadQuery, match="takes too long"):
        state.query(empty, endless, stop)
    assert len(looks) == 6


def test_a_query_over_the_past_sees_the_past() -> None:
    """The same query gives other rows at other positions."""
    store, _ = lived(ORDERS)

    def tags(position: int) -> list[tuple[Any, ...]]:
        with store.reading() as db:
            return state.query_at(db, "SELECT tags FROM media", position, never).rows

    with store:
        assert [tags(1), tags(2), tags(5), tags(6), tags(9)] == [[], [("[]",)], [('["pet"]',)], [('["pet","soft"]',)], []]
