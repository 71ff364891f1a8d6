"""The laws of the fold: live tables, a replay in any batching, a rebuild and a catch-up all give the same rows."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.commands.active import SetActive
from api.commands.deciding import Rejected
from api.commands.loop import AddLoopItem, NewEntry, RemoveLoopItem, ReplaceLoop
from api.commands.media import AddMedia, FinishPreparing, RemoveMedia, RestoreMedia, UpdateMedia
from api.commands.playback import Control, Jump
from api.commands.settings import ChangeSettings
from api.execution import Executor
from eventstore.clock import Reading
from eventstore.record import NewEvent
from eventstore.store import EventStore
from projections import catalogue, folding
from projections.catalogue import UnknownEvent
from projections.media import Pack
from projections.rows import FoldError, MemoryRows

SLUGS = ("a", "b", "c", "d")
slug = st.sampled_from(SLUGS)
commands = st.one_of(
    st.builds(
        lambda s, loop, on: AddMedia(f"{s}.gif", s * 64, 10, "image/gif", "animation", None, loop, on),
        slug,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        lambda s, n: FinishPreparing(
            None,
            s,
            s * 64,
            "animation",
            "image/gif",
            9,
            9,
            n,
            ((n, 40_000),),
            Pack("p" + s, 240, 320, 0, "contain", 5),
            "t",
            "test",
        ),
        slug,
        st.integers(1, 5),
    ),
    st.builds(RemoveMedia, slug),
    st.builds(RestoreMedia, slug, st.just(True)),
    st.builds(lambda s, d: UpdateMedia(s, duration=d), slug, st.sampled_from([1.0, 2.5])),
    st.builds(lambda order: ReplaceLoop(tuple(NewEntry(one) for one in order)), st.lists(slug, unique=True)),
    st.builds(lambda s, at: AddLoopItem(NewEntry(s), at), slug, st.one_of(st.none(), st.integers(0, 4))),
    st.builds(RemoveLoopItem, slug),
    st.builds(SetActive, st.one_of(st.none(), slug)),
    st.builds(Control, st.sampled_from(["play", "pause", "toggle", "next", "previous", "hold", "release"])),
    st.builds(Jump, slug),
    st.builds(ChangeSettings, st.fixed_dictionaries({"rotation": st.sampled_from([0, 90, 180, 270])})),
)


class Ticking:
    """Clocks that move 0.7 s with each reading."""

    def __init__(self, ticks: int = 0) -> None:
        self.ticks = ticks

    def read(self) -> Reading:
        self.ticks += 1
        return Reading(1_700_000_000_000_000 + self.ticks * 700_000, self.ticks * 700_000, "boot", True)


def a_log(asked: list[Any], path: str | Path = ":memory:") -> EventStore:
    """A log with what these commands gave; refused ones leave nothing."""
    store = EventStore.open(path, clock=Ticking())
    folding.prepare(store)
    executor = Executor(store)
    for command in asked:
        with suppress(Rejected):
            executor.execute(command)
    return store


def rows_of(db: apsw.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every projection table, in key order."""
    return {table.name: list(folding.table_rows(db, table)) for table in folding.all_tables()}


def folded(memory: MemoryRows) -> dict[str, list[tuple[Any, ...]]]:
    """The same of a fold in memory."""
    return {name: [tuple(rows[key]) for key in sorted(rows)] for name, rows in memory.rows.items()}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(commands, max_size=25), st.data())
def test_living_tables_equal_a_replay_in_any_batching(asked: list[Any], data: st.DataObject) -> None:
    """Folding the log at once, in two parts, or event by event as it happened gives the same rows."""
    with a_log(asked) as store, store.snapshot() as db:
        head = store.head().position
        live = rows_of(db)
        assert folded(folding.fold_to(db, head)) == live
        cut = data.draw(st.integers(0, head))
        part = folding.fold_to(db, cut)
        assert folded(folding.fold_to(db, head, rows=part, after=cut)) == live


@settings(max_examples=20, deadline=None)
@given(st.lists(commands, min_size=5, max_size=20))
def test_a_rebuild_changes_nothing(asked: list[Any]) -> None:
    """Tables made anew hold what the living ones held, and the derived counters agree."""
    with a_log(asked) as store:
        with store.reading() as db:
            before, total = rows_of(db), db.execute("SELECT total FROM media_count").get
        folding.rebuild(store)
        with store.reading() as db:
            assert rows_of(db) == before
            assert db.execute("SELECT total FROM media_count").get == total
            assert total == db.execute("SELECT count(*) FROM media").get


@settings(max_examples=30, deadline=None)
@given(st.lists(commands, min_size=3, max_size=20), st.data())
def test_a_past_database_is_the_tables_of_that_time(asked: list[Any], data: st.DataObject) -> None:
    """A database of the past holds what the living tables held then."""
    states: dict[int, dict[str, list[tuple[Any, ...]]]] = {}
    with EventStore.open(":memory:", clock=Ticking()) as store:
        folding.prepare(store)
        executor = Executor(store)
        for command in asked:
            with suppress(Rejected):
                executor.execute(command)
            with store.reading() as db:
                states[store.head().position] = rows_of(db)
        position = data.draw(st.sampled_from(sorted(states)))
        with store.reading() as db:
            past = folding.database_at(db, position)
        assert rows_of(past) == states[position]
        past.close()


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A closed log on disk with two items."""
    a_log([AddMedia(f"{s}.gif", s * 64, 1, "image/gif", "animation", add_to_loop=True) for s in "ab"], tmp_path).close()
    return tmp_path


def test_tables_behind_the_log_catch_up(filled: Path) -> None:
    """Events that another program appended without folding are folded at the next start."""
    with EventStore.open(filled) as store:
        (recorded,) = [event for event in store.read() if event.type == "media.added"][:1]
        removed = catalogue.encode(catalogue.AREAS[0].events["media.removed"]("a", "a.gif"))  # type: ignore[call-arg]
        store.append(recorded.stream, removed)
        with store.reading() as db:
            assert folding.folded_to(db) == store.head().position - 1
        folding.prepare(store)
        with store.reading() as db:
            assert folding.folded_to(db) == store.head().position
            assert db.execute("SELECT slug FROM media").fetchall() == [("b",)]
            assert folded(folding.fold_to(db, store.head().position)) == rows_of(db)


def test_a_changed_fold_is_noticed_at_start(filled: Path) -> None:
    """An area whose recorded fingerprint is not that of this program is rebuilt, and only it."""
    with EventStore.open(filled) as store:
        store.transact(lambda t: t.db.execute("UPDATE projections SET fingerprint = 'old' WHERE area = 'loop'") and None)
        store.transact(lambda t: t.db.execute("DELETE FROM loop_items") and None)
        assert folding.prepare(store) == ["loop"]
        with store.reading() as db:
            assert db.execute("SELECT slug FROM loop").fetchall() == [("a",), ("b",)]
        assert folding.prepare(store) == []


def test_an_unknown_event_stops_the_fold(filled: Path) -> None:
    """An event of a newer program is not guessed at: the start says to update."""
    with EventStore.open(filled) as store:
        store.append("x", NewEvent("media.teleported"))
        with pytest.raises(UnknownEvent, match="update"):
            folding.prepare(store)


def test_a_fold_error_refuses_the_command(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is appended, no position is burnt, and the next command works."""
    with EventStore.open(filled, clock=Ticking(20)) as store:
        folding.prepare(store)
        executor, before = Executor(store), store.head()

        def broken(*_: object) -> None:
            raise FoldError("does not fit")

        with monkeypatch.context() as patched:
            patched.setattr(folding, "apply", broken)
            with pytest.raises(FoldError):
                executor.execute(SetActive("a"))
        assert msgspec.structs.replace(store.head(), dirty=before.dirty) == before
        assert executor.execute(SetActive("a")).position == before.position + 1


def test_digests_do_not_depend_on_the_hash_seed(filled: Path) -> None:
    """Rows are digested in key order as stored, so another process gives the same digest."""
    import subprocess
    import sys

    script = (
        "import sys; from eventstore.store import EventStore; from projections import folding\n"
        f"with EventStore.open({str(filled)!r}, read_only=True) as s, s.reading() as db:\n"
        "    print([folding.digest(folding.table_rows(db, t)) for t in folding.all_tables()])"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
