"""Making projections anew beside living ones: the same rows, whatever others do meanwhile and however it ends."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from api.commands.active import SetActive
from api.commands.heartbeats import RecordHeartbeat
from api.commands.jobs import QueueJob
from api.commands.media import AddMedia, RemoveMedia, UpdateMedia
from api.commands.messages import PostMessage
from api.commands.settings import ChangeSettings
from api.execution import Executor
from eventstore.errors import Busy, Unusable
from eventstore.store import EventStore
from projections import catalogue, folding, messages, rebuilding, rows
from projections.catalogue import AREAS
from projections.folding import AreaStopped
from projections.replay import digests
from projections.rows import FoldError


def fill(executor: Executor, rounds: int = 6) -> None:
    """Something in most areas."""
    for number in range(rounds):
        name = f"{number:x}" * 64
        executor.execute(AddMedia(f"m{number}.gif", name[:64], 9, "image/gif", "animation", add_to_loop=True))
        executor.execute(RecordHeartbeat(f"service-{number % 2}", "ok", {"number": number}))
        executor.execute(QueueJob(kind="prepare", title=f"job {number}"))
        executor.execute(PostMessage(f"message {number}"))
        executor.execute(UpdateMedia(f"m{number}", tags=("a", "b")))
    executor.execute(SetActive("m1"))
    executor.execute(RemoveMedia("m2"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    """An open log on disk with rows in most areas."""
    with EventStore.open(tmp_path) as one:
        folding.prepare(one)
        fill(Executor(one))
        yield one


def rows_of(store: EventStore) -> dict[str, list[Any]]:
    """Every row of every area, and the derived counters."""
    with store.snapshot() as db:
        rows: dict[str, list[Any]] = {table.name: list(folding.table_rows(db, table)) for table in folding.all_tables()}
        for name in ("media_count", "plays_count", "jobs_count", "messages_count"):
            rows[name] = db.execute(f"SELECT * FROM {name}").fetchall()
        rows["found"] = db.execute("SELECT count(*) FROM media_text WHERE media_text MATCH ?", ('"m1.gif"',)).fetchall()
        return rows


def schema_of(store: EventStore) -> set[tuple[str, str]]:
    """Tables and views, by name; indexes and triggers, by what they are on."""
    with store.reading() as db:
        rows: list[Any] = db.execute("SELECT type, iif(type IN ('table', 'view'), name, tbl_name) FROM sqlite_schema").fetchall()
        return set(rows)


def test_a_rebuild_changes_nothing_that_was_right(store: EventStore) -> None:
    """Rows, counters, full text, views: all as before; no table of the rebuild is left, and nothing differed."""
    before, schema = rows_of(store), schema_of(store)
    rebuilt = rebuilding.rebuild(store)
    assert rows_of(store) == before
    assert schema_of(store) == schema
    assert rebuilt.differed == ()
    assert rebuilt.areas == tuple(catalogue.BY_NAME)
    with store.snapshot() as db:
        assert digests.of_areas(db) == rebuilt.digests
        assert db.execute("SELECT slug FROM active").fetchall() == [("m1",)]
        assert db.execute("SELECT count(*) FROM media").get == 5
    assert rebuilding.rebuild(store).differed == ()


def test_what_was_wrong_is_named_and_mended(store: EventStore) -> None:
    """A row that was edited behind the log's back is right again afterwards, and its area is named."""
    before = rows_of(store)
    store.transact(lambda t: t.db.execute("UPDATE media_items SET filename = 'forged' WHERE slug = 'm1'") and None)
    assert rebuilding.rebuild(store, AREAS[:3]).differed == ("media",)
    assert rows_of(store) == before


def test_commands_work_after_a_rebuild(store: EventStore) -> None:
    """The triggers, indexes and prepared statements of the new tables are those of the living ones."""
    rebuilding.rebuild(store)
    executor = Executor(store)
    executor.execute(AddMedia("new.gif", "f" * 64, 9, "image/gif", "animation"))
    with store.snapshot() as db:
        assert db.execute("SELECT total FROM media_count").get == 6
        assert db.execute("SELECT count(*) FROM media_text WHERE media_text MATCH ?", ('"new.gif"',)).get == 1
        fresh = folding.fold_to(db, store.head().position)
        for table in folding.all_tables():
            assert list(folding.table_rows(db, table)) == [tuple(row) for row in fresh.in_order(table.name)]


def test_rebuilding_an_empty_log(tmp_path: Path) -> None:
    """There is nothing to fold, and the seeds are there."""
    with EventStore.open(tmp_path) as store:
        folding.prepare(store)
        before = rows_of(store)
        assert rebuilding.rebuild(store).position == 0
        assert rows_of(store) == before


def test_a_log_in_memory_can_be_rebuilt() -> None:
    """The same code, without a file."""
    with EventStore.open(":memory:") as store:
        folding.prepare(store)
        fill(Executor(store))
        before = rows_of(store)
        assert rebuilding.rebuild(store).differed == ()
        assert rows_of(store) == before


@pytest.mark.parametrize("indexed_after", [-1, 3, 1_000])
@pytest.mark.parametrize("in_statement", [1, 4])
def test_rows_go_in_together_and_indexes_before_or_after(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, indexed_after: int, in_statement: int
) -> None:
    """However many rows a statement puts and whenever the indexes are made: each row is there, in every index, counted and found once."""
    monkeypatch.setattr(rebuilding, "INDEXED_AFTER_ROWS_MAX", indexed_after)
    monkeypatch.setattr(rows, "ROWS_IN_STATEMENT", in_statement)
    before, schema = rows_of(store), schema_of(store)
    assert rebuilding.rebuild(store).differed == ()
    assert rows_of(store) == before
    assert schema_of(store) == schema
    with store.reading() as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_indexes_are_made_first_while_others_write(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of a full table takes longer than a command likes to wait; that of an empty one takes no time."""
    executor = Executor(store)
    rows_at: dict[str, list[int]] = {}
    index = rebuilding._Rebuild._index  # type: ignore[reportPrivateUsage]  # when it is called is what this is about

    def looked_at(self: Any, table: Any) -> None:
        with store.reading() as db:
            rows_at.setdefault(table.name, []).append(db.execute(f"SELECT count(*) FROM {table.name}{self._suffix}").get)
        index(self, table)

    monkeypatch.setattr(rebuilding._Rebuild, "_index", looked_at)  # type: ignore[reportPrivateUsage]

    rebuilding.rebuild(store)
    assert rows_at["media_items"] == [6]

    rows_at.clear()

    def others_write() -> bool:
        executor.execute(PostMessage("meanwhile"))
        return False

    rebuilding.rebuild(store, cancelled=others_write)
    assert rows_at["media_items"] == [0, 6]


@pytest.mark.parametrize("rows", [0, 3, 7])
def test_old_tables_of_any_size_make_way(store: EventStore, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Small ones are dropped in the swap, large ones afterwards, in any mixture within an area; nothing of them is left."""
    monkeypatch.setattr(rebuilding, "DROPPED_ROWS_MAX", rows)
    before, schema = rows_of(store), schema_of(store)
    for _ in range(2):
        assert rebuilding.rebuild(store).differed == ()
        assert rows_of(store) == before
        assert schema_of(store) == schema
        Executor(store).execute(SetActive("m1"))


def test_more_rows_than_memory_may_hold(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that went to the shadow tables early are found there when a later event changes or deletes them."""
    monkeypatch.setattr(rebuilding, "ROWS_IN_MEMORY_MAX", 5)
    monkeypatch.setattr(folding, "PAGE_POSITIONS", 2)
    before = rows_of(store)
    assert rebuilding.rebuild(store).differed == ()
    assert rows_of(store) == before


def test_events_that_are_overwritten_may_be_passed_over(store: EventStore) -> None:
    """Folding only the last of each service's beats gives what folding all gives, up to any position and from any."""
    executor = Executor(store)
    for number in range(5):
        executor.execute(RecordHeartbeat(f"service-{number % 3}", "degraded", {"again": number}))
    with store.reading() as db:
        head = store.head().position
        for until in range(head - 8, head + 1):
            assert folding.fold_to(db, until, every=False).rows == folding.fold_to(db, until).rows
            part = folding.fold_to(db, until - 3, every=False)
            assert folding.fold_to(db, until, rows=part, after=until - 3, every=False).rows == folding.fold_to(db, until).rows


WRITER = """
import sys
from api.commands.heartbeats import RecordHeartbeat
from api.commands.media import AddMedia
from api.service import StateService
with StateService(sys.argv[1]) as service:
    print("ready", flush=True)
    for number in range(400):
        service.executor.execute(RecordHeartbeat("busy", "ok", {"number": number}))
        if number % 4 == 0:
            service.executor.execute(AddMedia(f"w{number}.gif", f"e{number:063x}", 9, "image/gif", "animation", add_to_loop=True))
            assert service.get_media(f"w{number}") is not None
        if number % 10 == 0:
            service.list_media()
"""


def test_others_write_and_read_on_during_a_rebuild(store: EventStore) -> None:
    """Another process and another thread append all the time, through several rebuilds; in the end the rows are those of a fresh fold."""
    assert store.path is not None
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(store.path.parent)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    stop, executor = threading.Event(), Executor(store)

    def write() -> None:
        number = 0
        while not stop.wait(0.002):
            number += 1
            executor.execute(PostMessage(f"thread {number}"))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        rounds = 0
        while writer.poll() is None or rounds == 0:
            rebuilt = rebuilding.rebuild(store)
            assert rebuilt.differed in ((), None)
            rounds += 1
    finally:
        stop.set()
        thread.join()
        writer.stdout.close()
        assert writer.wait(30) == 0
    with store.snapshot() as db:
        head: int = db.execute("SELECT position FROM head").get
        assert folding.folded_to(db) == head
        fresh = folding.fold_to(db, head)
        for table in folding.all_tables():
            assert list(folding.table_rows(db, table)) == [tuple(row) for row in fresh.in_order(table.name)], table.name
        assert db.execute("SELECT count(*) FROM media WHERE slug LIKE 'w%'").get == 100


@pytest.mark.parametrize("stage", ["fold", "write", "compare", "swap"])
def test_a_cancelled_rebuild_leaves_everything_as_it_was(store: EventStore, stage: str) -> None:
    """Whenever it is told to stop before the swap; nothing of it remains."""
    before, schema, reached = rows_of(store), schema_of(store), [""]
    with pytest.raises(rebuilding.Cancelled):
        rebuilding.rebuild(store, cancelled=lambda: reached[0] == stage, progress=lambda now: reached.__setitem__(0, now))
    assert rows_of(store) == before
    assert schema_of(store) == schema


@pytest.mark.parametrize("stage", ["write", "compare", "swap"])
def test_a_killed_rebuild_leaves_the_living_tables_alone(store: EventStore, stage: str) -> None:
    """The process dies at once in the middle; the next rebuild clears away what is left and succeeds."""
    assert store.path is not None
    before, schema = rows_of(store), schema_of(store)
    script = (
        "import os, sys; from eventstore.store import EventStore; from projections import rebuilding\n"
        "store = EventStore.open(sys.argv[1])\n"
        "rebuilding.rebuild(store, progress=lambda now: os._exit(9) if now == sys.argv[2] else None)"
    )
    died = subprocess.run([sys.executable, "-c", script, str(store.path), stage], check=False, timeout=60)
    assert died.returncode == 9
    assert schema_of(store) > schema
    assert rows_of(store) == before
    rebuilding.rebuild(store)
    assert rows_of(store) == before
    assert schema_of(store) == schema


def test_two_rebuilds_at_once_are_refused(store: EventStore) -> None:
    """The second is told to wait."""

    def second(stage: str) -> None:
        if stage == "compare":
            with pytest.raises(Busy, match="another rebuild"):
                rebuilding.rebuild(store)

    assert rebuilding.rebuild(store, progress=second).differed == ()


@pytest.mark.parametrize("kind", ["pipe", "link", "dangling link", "folder", "socket"])
def test_what_is_no_file_in_the_place_of_the_lock_is_named(store: EventStore, tmp_path: Path, kind: str) -> None:
    """Neither waited for nor followed: the message says what to do, after which it goes on."""
    assert store.path is not None
    lock = store.path.with_name(f"{store.path.name}.rebuild")
    lock.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    elif kind == "socket":
        os.mknod(lock, stat.S_IFSOCK | 0o600)
    else:
        if kind == "link":
            (tmp_path / "elsewhere").write_text("")
        lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unusable, match=f"{re.escape(str(lock))} is not a regular file.*; move it away") as caught:
        rebuilding.rebuild(store)
    assert caught.value.code == "not_writable"
    assert (tmp_path / "elsewhere").exists() == (kind == "link")
    lock.rename(tmp_path / "away")
    assert rebuilding.rebuild(store).differed == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_lock_with_a_second_name_stays_roots(store: EventStore, tmp_path: Path) -> None:
    """The other name may be that of any file of root's."""
    assert store.path is not None
    lock = store.path.with_name(f"{store.path.name}.rebuild")
    lock.unlink(missing_ok=True)
    (tmp_path / "shadow").write_text("root's")
    os.link(tmp_path / "shadow", lock)
    os.chown(lock.parent, 54_321, 54_321)
    assert rebuilding.rebuild(store).differed == ()
    assert lock.stat().st_uid == 0
    (tmp_path / "shadow").unlink()
    assert rebuilding.rebuild(store).differed == ()
    assert lock.stat().st_uid == 54_321


def test_parts_that_start_together_after_an_update_wait_for_one_rebuild(store: EventStore) -> None:
    """One makes the tables anew; the others find nothing left to do, and none of them fails."""
    assert store.path is not None
    before = rows_of(store)
    store.transact(lambda transaction: transaction.db.execute("UPDATE projections SET fingerprint = 'older'").fetchall())
    script = (
        "import sys; from eventstore.store import EventStore; from projections import rebuilding\n"
        "with EventStore.open(sys.argv[1]) as store: print(len(rebuilding.prepare(store)))"
    )
    parts = [
        subprocess.Popen([sys.executable, "-c", script, str(store.path)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [part.communicate(timeout=60)[0].strip() for part in parts]
    assert [part.returncode for part in parts] == [0, 0, 0]
    assert str(len(catalogue.AREAS)) in said
    assert rows_of(store) == before


@pytest.fixture
def broken_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A loop area whose fold fails at the third item."""
    area = catalogue.BY_NAME["loop"]

    def fold(event: Any, at: Any) -> Any:
        if getattr(event, "slug", "") == "m2":
            raise FoldError("m2 does not fit")
        return area.fold(event, at)

    import msgspec

    broken = msgspec.structs.replace(area, fold=fold)
    areas = tuple(broken if one is area else one for one in AREAS)
    for module in (folding, rebuilding, catalogue):
        monkeypatch.setattr(module, "AREAS", areas)
    monkeypatch.setitem(catalogue.BY_NAME, "loop", broken)
    for type in area.events:
        monkeypatch.setitem(catalogue.AREA_OF_TYPE, type, broken)
    yield
    monkeypatch.undo()


def test_a_fold_error_stops_its_area_only(store: EventStore, broken_loop: None) -> None:
    """In a rebuild: the area keeps its tables and refuses commands with the reason; all others are made anew and work."""
    before = rows_of(store)
    rebuilt = rebuilding.rebuild(store, tuple(catalogue.BY_NAME.values()))
    assert list(rebuilt.stopped) == ["loop"]
    assert "m2 does not fit" in rebuilt.stopped["loop"]
    assert "loop" not in rebuilt.areas
    assert rows_of(store) == before
    executor, head = Executor(store), store.head().position
    with pytest.raises(AreaStopped, match="m2 does not fit"):
        executor.execute(AddMedia("x.gif", "9" * 64, 9, "image/gif", "animation", add_to_loop=True))
    assert store.head().position == head
    assert executor.execute(PostMessage("the rest works")).position == head + 1
    with store.reading() as db:
        assert folding.stopped(db).keys() == {"loop"}


def test_a_stopped_area_goes_on_when_its_fold_is_right_again(store: EventStore) -> None:
    """The next start rebuilds it; what others appended meanwhile is in it."""
    rebuilding.stop(store, folding.CannotFold("loop", 3, "loop.item_added", FoldError("no")))
    with pytest.raises(AreaStopped):
        Executor(store).execute(AddMedia("x.gif", "9" * 64, 9, "image/gif", "animation", add_to_loop=True))
    assert rebuilding.prepare(store) == ["loop"]
    Executor(store).execute(AddMedia("x.gif", "9" * 64, 9, "image/gif", "animation", add_to_loop=True))
    with store.reading() as db:
        assert folding.stopped(db) == {}


def test_a_stopped_area_refuses_what_would_change_nothing(store: EventStore) -> None:
    """What the command is judged against is not what the log says; the refusal names the area and the mend."""
    executor, head = Executor(store), store.head().position
    assert executor.execute(ChangeSettings({"brightness": 100})).events == ()
    rebuilding.stop(store, folding.CannotFold("settings", 3, "setting.changed", FoldError("no")))
    with pytest.raises(AreaStopped, match=r"settings is stopped: .* pixelog rebuild settings"):
        executor.execute(ChangeSettings({"brightness": 100}))
    assert store.head().position == head


def test_catching_up_stops_at_what_does_not_fit(tmp_path: Path, broken_loop: None) -> None:
    """Events appended without folding: the area stops before the one that fails, the others go to the end."""
    with EventStore.open(tmp_path) as store:
        for event in (
            catalogue.BY_NAME["media"].events["media.added"]("m2", "m2.gif", "image", "image/gif", 1, None),  # type: ignore[call-arg]
            catalogue.BY_NAME["active"].events["active.set"]("m2"),  # type: ignore[call-arg]
        ):
            store.append(catalogue.stream_of(event), catalogue.encode(event))
        store.append("loop", catalogue.NewEvent("loop.item_removed", '{"slug":"m2"}'))
        folding.prepare(store)
        with store.reading() as db:
            assert folding.stopped(db).keys() == {"loop"}
            positions: dict[Any, Any] = dict(db.execute("SELECT area, position FROM projections").fetchall())  # type: ignore[arg-type]
        assert positions.pop("loop") < 3
        assert set(positions.values()) == {3}


def test_a_table_that_cannot_be_read_is_made_anew(store: EventStore) -> None:
    """A rebuild needs nothing of the table that it replaces."""
    before = rows_of(store)
    store.transact(lambda t: t.db.execute("ALTER TABLE loop_items DROP COLUMN hours") and None)
    with store.reading() as db, pytest.raises(apsw.SQLError):
        list(folding.table_rows(db, catalogue.BY_NAME["loop"].tables[0]))
    assert rebuilding.rebuild(store, [catalogue.BY_NAME["loop"]]).differed == ("loop",)
    assert rows_of(store) == before


def test_queries_find_their_index_whatever_it_is_called(store: EventStore) -> None:
    """A rebuilt table's indexes have other names, so no query may name one; those that used to need it still pass by the wrong one."""
    from eventstore.store import __file__ as anywhere

    root = Path(anywhere).parent.parent
    assert [path.name for path in root.glob("projections/**/*.py") if "INDEXED BY" in path.read_text()] == []
    for _ in range(2):
        with store.reading() as db:
            live = f"SELECT id FROM messages_posted WHERE {messages._LIVE} ORDER BY rank, position LIMIT 20"  # pyright: ignore[reportPrivateUsage]
            plan = db.execute(f"EXPLAIN QUERY PLAN {live}", (1,)).fetchall()
            assert "messages_in_order" in str(plan)
            leased = "SELECT id FROM jobs_all WHERE lease_logtime <= 5 AND +kind IN (SELECT value FROM json_each('[]'))"
            assert "jobs_leased" in str(db.execute(f"EXPLAIN QUERY PLAN {leased}").fetchall())
        rebuilding.rebuild(store)


def test_areas_ahead_of_the_log_are_made_anew(store: EventStore) -> None:
    """Nothing loops for ever: catching up leaves them, a start rebuilds them from what the log has."""
    right = rows_of(store)
    head = store.head().position
    store.transact(lambda transaction: transaction.db.execute("UPDATE projections SET position = position + 1") and None)
    store.transact(lambda transaction: transaction.db.execute(f"DELETE FROM {messages.AREA.tables[0].name}") and None)
    rebuilding.catch_up(store)
    assert sorted(rebuilding.prepare(store)) == sorted(area.name for area in AREAS)
    with store.reading() as db:
        assert set(db.execute("SELECT position FROM projections")) == {(head,)}
        assert rebuilding.ahead(db) == {}
    assert rows_of(store) == right


def test_one_area_ahead_of_the_log_is_made_anew_alone(store: EventStore) -> None:
    """The others are current and stay as they are."""
    store.transact(
        lambda transaction: transaction.db.execute("UPDATE projections SET position = position + 1 WHERE area = 'jobs'") and None
    )
    assert rebuilding.prepare(store) == ["jobs"]
    assert rebuilding.prepare(store) == []
