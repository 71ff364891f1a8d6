"""Execution: what stands in the log beside a command's own events, what an answer carries, repeats, and refusals that leave nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from api.commands.active import SetActive
from api.commands.catalogue import HANDLERS
from api.commands.deciding import Rejected
from api.commands.display import RecordFacts, Shown
from api.commands.heartbeats import RecordHeartbeat
from api.commands.jobs import CancelJob, ClaimJob, QueueJob, UpdateJob
from api.commands.loop import ReplaceLoop
from api.commands.messages import DismissMessage, PostMessage
from api.commands.settings import ChangeSettings
from api.execution import Executor, Outcome, Repeat, Stored
from eventstore.clock import Reading
from eventstore.errors import KeyReused
from eventstore.record import Origin, RecordedEvent
from eventstore.store import EventStore
from projections import attesting, catalogue, folding, rebuilding
from projections.clock import ClockStepped, LogOpened
from projections.heartbeats import HeartbeatRecorded
from projections.rows import FoldError
from projections.settings import SettingChanged

S = 1_000_000
DAY = 24 * 3600


def brightness(value: int) -> ChangeSettings:
    """A command that is never empty when the value is new."""
    return ChangeSettings({"brightness": value})


def log_of(bench: Any, after: int = 0) -> list[Any]:
    """The structs of all events after a position."""
    return [catalogue.struct_of(event) for event in bench.store.read(after)]


def reopen(bench: Any, folder: Path, **changed: Any) -> None:
    """End the process in order and begin another, with these parts of the clock changed."""
    bench.store.close()
    start(bench, folder, **changed)


def start(bench: Any, folder: Path, **changed: Any) -> None:
    """Begin a process on the bench's log."""
    bench.clock.reading = msgspec.structs.replace(bench.clock.reading, **changed)
    bench.store = EventStore.open(folder / "pixelog.db", clock=bench.clock)
    folding.prepare(bench.store)
    bench.executor = Executor(bench.store)


# -- the clocks ----------------------------------------------------------------------------------------------------------------------


def test_the_first_event_of_a_boot_is_that_it_began(bench: Any, tmp_path: Path) -> None:
    """Once a boot, before the command's own, which alone are its answer; another process of the same boot says nothing."""
    outcome = bench.run(brightness(1))
    assert log_of(bench) == [LogOpened("boot-1", True, True, 0), SettingChanged("brightness", 1)]
    assert [event.position for event in outcome.events] == [outcome.position] == [2]
    bench.run(brightness(2))
    reopen(bench, tmp_path)
    bench.run(brightness(3))
    assert len(log_of(bench)) == 4
    reopen(bench, tmp_path, boot_id="boot-2", boottime_us=1)
    bench.run(brightness(4))
    opened, changed = log_of(bench, 4)
    assert (opened.boot_id, opened.clean, opened.epoch, changed) == ("boot-2", True, 0, SettingChanged("brightness", 4))
    assert bench.store.head().epoch == 0


def test_logtime_goes_on_over_boots_and_time_says_what_the_wall_clock_said(bench: Any, tmp_path: Path) -> None:
    """A boot that believes it is 1970 orders its events after those before."""
    bench.run(brightness(1))
    last = bench.store.head().logtime_us
    reopen(bench, tmp_path, boot_id="boot-2", boottime_us=1, wall_us=5, synchronised=False)
    bench.run(brightness(2))
    opened, changed = list(bench.store.read(2))
    assert [opened.logtime_us, changed.logtime_us] == [last + 1, last + 2]
    assert (opened.time_us, changed.time_us) == (5, 5)


def test_a_boot_after_a_power_cut_begins_an_epoch(bench: Any, tmp_path: Path) -> None:
    """Relaxed events may have been seen and lost: readers can tell by the epoch, once."""
    bench.run(RecordHeartbeat("camera", "ok"))
    assert bench.store.head().dirty
    bench.store.writer.close()  # a process that is gone without its orderly end; its readers go with the test
    start(bench, tmp_path, boot_id="boot-2", boottime_us=1)
    bench.run(brightness(1))
    assert log_of(bench, 2)[0] == LogOpened("boot-2", True, False, 1, log_of(bench, 2)[0].turn)
    assert bench.store.head().epoch == 1
    reopen(bench, tmp_path, boot_id="boot-3")
    bench.run(brightness(2))
    assert log_of(bench, 4)[0].clean
    assert bench.store.head().epoch == 1


def test_a_step_of_the_wall_clock_is_noted_before_the_next_event(bench: Any) -> None:
    """With its length, whichever way; up to a second is none; time that passes is none."""
    bench.run(brightness(1))
    bench.clock.advance(5000)
    reading = bench.clock.reading
    bench.clock.reading = msgspec.structs.replace(reading, wall_us=reading.wall_us + S - 100)
    bench.run(brightness(2))
    assert len(log_of(bench)) == 3
    bench.clock.reading = msgspec.structs.replace(reading, wall_us=reading.wall_us - 7 * S)
    bench.run(brightness(3))
    (stepped, _) = log_of(bench, 3)
    assert isinstance(stepped, ClockStepped)
    assert abs(stepped.step_us + 7 * S) < 100
    bench.run(brightness(4))
    assert len(log_of(bench)) == 6


def test_small_steps_add_up(bench: Any) -> None:
    """Against what the log says of the clock, not against the event before: half a second three times is noted."""
    for number in range(4):
        reading = bench.clock.reading
        bench.run(brightness(number))
        bench.clock.reading = msgspec.structs.replace(reading, wall_us=reading.wall_us + S // 2)
    steps = [event.step_us for event in log_of(bench) if isinstance(event, ClockStepped)]
    assert len(steps) == 1
    assert abs(steps[0] - 3 * S // 2) < 100


def test_a_new_standing_of_the_clock_is_noted(bench: Any) -> None:
    """The kernel begins to trust the wall clock, or ceases to: without a step, that alone."""
    bench.clock.reading = msgspec.structs.replace(bench.clock.reading, synchronised=False)
    bench.run(brightness(1))
    bench.clock.reading = msgspec.structs.replace(bench.clock.reading, synchronised=True)
    bench.run(brightness(2))
    stepped = log_of(bench, 2)[0]
    assert (stepped.synchronised, abs(stepped.step_us) < 100) == (True, True)


def test_processes_that_learn_of_it_at_different_times_do_not_contradict_each_other(bench: Any) -> None:
    """One that has seen nothing new itself lets the other's word stand for some seconds, then says what it sees."""
    old = bench.clock.reading = msgspec.structs.replace(bench.clock.reading, synchronised=False)
    bench.run(brightness(1))
    bench.clock.reading = msgspec.structs.replace(old, synchronised=True)
    Executor(bench.store).execute(brightness(2))
    bench.clock.reading = old
    head = bench.store.head().position
    for value in range(3, 6):
        bench.clock.advance(3)
        bench.run(brightness(value))
    assert [type(event) for event in log_of(bench, head)] == [SettingChanged] * 3
    bench.clock.advance(11)
    bench.run(brightness(7))
    assert [type(event) for event in log_of(bench, head + 3)] == [ClockStepped, SettingChanged]


def test_a_command_that_changes_nothing_leaves_the_clock_unsaid(bench: Any, tmp_path: Path) -> None:
    """It appends nothing at all, and answers with the head it was judged against."""
    bench.run(brightness(1))
    reopen(bench, tmp_path, boot_id="boot-2")
    head = bench.store.head()
    outcome = bench.run(brightness(1))
    assert (outcome.events, outcome.position) == ((), head.position)
    assert bench.store.head() == head
    with pytest.raises(Rejected):
        bench.run(SetActive("nobody"))
    assert bench.store.head() == head
    bench.run(brightness(2))
    assert [type(event) for event in log_of(bench, 2)] == [LogOpened, SettingChanged]


# -- answers -------------------------------------------------------------------------------------------------------------------------


def test_an_answer_carries_its_own_position(bench: Any) -> None:
    """Of the last event that it appended itself; with none, of the head; on an empty log, 0."""
    assert bench.run(ChangeSettings({})).position == 0
    assert bench.run(ChangeSettings({"brightness": 1, "rotation": 90})).position == 3
    assert bench.run(RecordFacts(())).position == 3


def test_neighbours_in_one_commit_keep_their_own_positions(bench: Any) -> None:
    """Many at once: each answer's position is that of its own event, and no other has it."""
    bench.run(brightness(1))
    results: list[Outcome[Any]] = []

    def post(number: int) -> None:
        for count in range(20):
            results.append(bench.run(PostMessage(f"{number}/{count}", "info", None)))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.position for result in results) == list(range(3, 163))
    assert all([event.position for event in result.events] == [result.position] for result in results)


def test_an_answer_is_built_from_the_tables_after_the_fold(bench: Any) -> None:
    """Inside the transaction, with the command's own events."""

    def answer(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> tuple[Any, list[str]]:
        return db.execute("SELECT value FROM settings WHERE name = 'brightness'").get, [event.type for event in events]

    assert bench.executor.execute(brightness(7), answer).answer == (7, ["setting.changed"])


def test_events_carry_who_asked(bench: Any) -> None:
    """Actor, correlation and causation of the origin; what the clock says has nobody."""
    bench.executor.execute(brightness(7), origin=Origin("anna", "c", "b"))
    opened, changed = list(bench.store.read())
    assert (opened.actor, opened.correlation_id) == (None, None)
    assert (changed.actor, changed.correlation_id, changed.causation_id) == ("anna", "c", "b")


# -- repeats -------------------------------------------------------------------------------------------------------------------------


def stored(body: bytes) -> Any:
    """A `respond` that answers with these bytes."""
    return lambda db, events: Stored(201, body)


def repeat(
    bench: Any, command: Any, key: str, body: bytes = b"", fingerprint: bytes = b"f", actor: str = "anna"
) -> Outcome[Stored]:
    """Carry a command out under a key."""
    return bench.executor.execute(command, stored(body), origin=Origin(actor), repeat=Repeat(key, fingerprint))


def test_a_repeat_gets_the_first_answer(bench: Any, tmp_path: Path) -> None:
    """Same position, same bytes, marked as replayed, nothing appended; after other commands, and after a restart in another boot."""
    first = repeat(bench, brightness(1), "k", b"first")
    bench.run(brightness(2))
    for _ in range(2):
        again = repeat(bench, brightness(1), "k", b"second")
        assert (again.position, again.answer, again.events, again.replayed) == (first.position, Stored(201, b"first"), (), True)
        reopen(bench, tmp_path, boot_id="boot-2", boottime_us=1)
    assert len(log_of(bench)) == 3


def test_a_key_belongs_to_its_actor_and_its_request(bench: Any) -> None:
    """Another actor may use the same key; another request under it is refused."""
    repeat(bench, brightness(1), "k")
    assert not repeat(bench, brightness(2), "k", actor="bert").replayed
    with pytest.raises(KeyReused):
        repeat(bench, brightness(3), "k", fingerprint=b"g")


def test_what_changed_nothing_is_remembered_too(bench: Any) -> None:
    """Its repeat changes nothing even when by now it would."""
    bench.run(brightness(1))
    first = repeat(bench, brightness(1), "k", b"no-op")
    bench.run(brightness(2))
    again = repeat(bench, brightness(1), "k")
    assert (again.replayed, again.position, again.answer.body) == (True, first.position, b"no-op")
    assert bench.ask(lambda db: db.execute("SELECT value FROM settings WHERE name = 'brightness'").get) == 2


def test_refusals_are_not_kept(bench: Any) -> None:
    """The key is free afterwards."""
    with pytest.raises(Rejected):
        repeat(bench, SetActive("nobody"), "k")
    assert not repeat(bench, brightness(1), "k").replayed


def test_keys_of_relaxed_commands_are_kept_a_day(bench: Any) -> None:
    """At least; afterwards they go, a few with each new one. Those of durable commands stay."""
    beat = RecordHeartbeat("camera", "ok")
    repeat(bench, beat, "relaxed")
    repeat(bench, brightness(1), "durable")
    bench.clock.advance(DAY - 1)
    assert repeat(bench, beat, "relaxed").replayed
    bench.clock.advance(2)
    repeat(bench, beat, "other")
    assert not repeat(bench, beat, "relaxed").replayed
    bench.clock.advance(400 * DAY)
    repeat(bench, beat, "third")
    assert repeat(bench, brightness(1), "durable").replayed


# -- refusals ------------------------------------------------------------------------------------------------------------------------


def test_a_refusal_leaves_nothing(bench: Any) -> None:
    """No event, no row, no position burnt; the next command has the next one."""
    position = bench.run(brightness(1)).position
    before = bench.store.head()
    with pytest.raises(Rejected):
        bench.run(ChangeSettings({"rotation": 90, "fit": "zoom"}))
    assert bench.store.head() == before
    assert bench.run(brightness(2)).position == position + 1


def test_a_fold_error_in_the_middle_of_a_batch_leaves_nothing(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first event's rows go with the second's."""
    bench.run(brightness(1))
    before = bench.store.head()
    area = catalogue.BY_NAME["settings"]

    def fold(event: SettingChanged, at: Any) -> Any:
        if event.name == "fit":
            raise FoldError("does not fit")
        return area.fold(event, at)

    with monkeypatch.context() as patched:
        patched.setitem(folding.AREA_OF_TYPE, "setting.changed", msgspec.structs.replace(area, fold=fold))
        with pytest.raises(FoldError):
            bench.run(ChangeSettings({"rotation": 90, "fit": "cover"}))
    assert bench.store.head() == before
    assert bench.ask(lambda db: db.execute("SELECT count(*) FROM settings_values").get) == 1


def test_a_failing_answer_leaves_nothing(bench: Any) -> None:
    """Whoever gets no answer may be sure that nothing happened."""

    def broken(*_: object) -> None:
        raise LookupError("not there")

    with pytest.raises(LookupError):
        bench.executor.execute(brightness(1), broken)
    assert bench.store.head().position == 0


# -- durability, and several processes -----------------------------------------------------------------------------------------------

RELAXED = [
    RecordHeartbeat("camera", "ok"),
    RecordFacts((Shown("cat", 1, 2, 3),)),
    UpdateJob(id="j", progress=3),
]


@pytest.mark.parametrize("command", RELAXED, ids=lambda command: type(command).__name__)
def test_only_these_are_relaxed(command: Any) -> None:
    """Heartbeats, what was shown and played, and mere progress."""
    assert not HANDLERS[type(command)].durable(command)


@pytest.mark.parametrize(
    "command",
    [
        UpdateJob(id="j", status="completed"),
        UpdateJob(id="j", error="x", status="failed"),
        QueueJob(kind="a", title="b"),
        ClaimJob(("a",), "w", 1),
        CancelJob("j"),
        PostMessage("a", "info", None),
        DismissMessage("a"),
        brightness(1),
        SetActive(None),
    ],
    ids=lambda command: type(command).__name__,
)
def test_all_else_is_durable(command: Any) -> None:
    """An answer means that it is on the disk."""
    assert HANDLERS[type(command)].durable(command)


def test_a_durable_command_syncs_and_a_relaxed_one_says_that_it_did_not(bench: Any) -> None:
    """The head tells up to where the disk has the log, and whether anything is under way."""
    bench.run(brightness(1))
    head = bench.store.head()
    assert (head.synced_position, head.dirty) == (head.position, False)
    bench.run(RecordHeartbeat("camera", "ok"))
    bench.run(RecordHeartbeat("camera", "ok"))
    head = bench.store.head()
    assert head.dirty
    assert head.synced_position < head.position
    bench.run(brightness(2))
    head = bench.store.head()
    assert head.synced_position == head.position


POSTER = """
import sys
from api.commands.messages import PostMessage
from api.execution import Executor
from eventstore.store import EventStore
from projections import folding
with EventStore.open(sys.argv[1]) as store:
    folding.prepare(store)
    executor = Executor(store)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(100):
        executor.execute(PostMessage(f"{sys.argv[2]} {number}", "info", None))
"""


def test_two_processes_at_once(tmp_path: Path) -> None:
    """Both write to one log: no position twice, none left out, each one's events in its order, the tables those of the whole log."""
    path = tmp_path / "pixelog.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(POSTER), str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with EventStore.open(path) as store:
        events = [catalogue.struct_of(event) for event in store.read() if event.type == "message.posted"]
        for name in ("one", "two"):
            assert [event.text for event in events if event.text.startswith(name)] == [f"{name} {n}" for n in range(100)]
        assert [type(event).__name__ for event in map(catalogue.struct_of, store.read())].count("LogOpened") == 1
        assert store.verify() == []
        assert folding.prepare(store) == []
        with store.snapshot() as db:
            assert db.execute("SELECT count(*) FROM messages").get == 200


def test_events_that_nobody_folded_are_folded_before_the_next_command(bench: Any) -> None:
    """Another program may append with the bare event store: the command is judged after its events, and no hole is left in the tables."""
    bench.run(brightness(1))
    bench.store.append("settings", catalogue.encode(SettingChanged("brightness", 2)))
    bench.store.append("settings", catalogue.encode(SettingChanged("fit", "cover")))
    assert bench.run(ChangeSettings({"brightness": 2, "fit": "cover"})).events == ()
    assert bench.run(ChangeSettings({"brightness": 2, "rotation": 90})).position == 5
    assert bench.ask(folding.folded_to) == 5


def test_what_the_log_says_of_itself_leaves_no_hole(bench: Any) -> None:
    """An event that nobody folded stands before the one that is noted: it is folded first."""
    beat = HeartbeatRecorded("camera", "ok", {})
    bench.store.append(catalogue.stream_of(beat), catalogue.encode(beat))
    with bench.store.snapshot() as db:
        said = attesting.attest(db)
    assert said is not None
    position = bench.executor.note(said)
    with bench.store.reading() as db:
        assert folding.folded_to(db) == position
        assert db.execute("SELECT service FROM heartbeats").fetchall() == [("camera",)]


def test_an_area_that_cannot_take_what_nobody_folded_stops(tmp_path: Path) -> None:
    """Such an event, appended by another program, stops its area; commands of the others go on."""
    with EventStore.open(tmp_path / "pixelog.db") as store:
        folding.prepare(store)
        executor = Executor(store)
        head = store.append("loop", catalogue.NewEvent("loop.item_removed", '{"wrong":1}')).position
        assert executor.execute(brightness(30)).position > head
        with pytest.raises(folding.AreaStopped, match="area loop is stopped"):
            executor.execute(ReplaceLoop((), mode="one"))
        with store.reading() as db:
            assert folding.stopped(db).keys() == {"loop"}


def test_commands_go_on_while_another_program_appends_without_folding(bench: Any) -> None:
    """Whatever comes in between is folded in the command's own transaction: nobody is refused."""
    catch_up, left = rebuilding.catch_up, 5

    def disturbed(store: EventStore) -> None:
        nonlocal left
        catch_up(store)
        left -= 1
        beat = HeartbeatRecorded("camera", "ok", {"left": left})
        store.append(catalogue.stream_of(beat), catalogue.encode(beat))

    disturbed(bench.store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuilding, "catch_up", disturbed)
        bench.executor.execute(brightness(30))
    with bench.store.reading() as db:
        assert folding.folded_to(db) == bench.store.head().position
        assert left == 3


def test_what_another_process_committed_is_judged(tmp_path: Path) -> None:
    """State is read inside the transaction: a second process never decides on what was."""
    clock = type("Still", (), {"read": lambda self: Reading(S, S, "boot", True)})()
    with (
        EventStore.open(tmp_path / "pixelog.db", clock=clock) as one,
        EventStore.open(tmp_path / "pixelog.db", clock=clock) as two,
    ):
        folding.prepare(one)
        first, second = Executor(one), Executor(two)
        first.execute(brightness(1))
        assert second.execute(brightness(1)).events == ()
        second.execute(ChangeSettings({"brightness": 2}, 1))
        with pytest.raises(Rejected) as caught:
            first.execute(ChangeSettings({"brightness": 3}, 1))
        assert caught.value.code == "stale"
