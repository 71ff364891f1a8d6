"""A state machine against a model that is a list and a few dictionaries: append, keys of several actors, conditions, following in small pages,
failing works, works that take back a part, a second process, restart, reboot, days that pass."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventstore import reading, subscription
from eventstore.errors import ConditionFailed, KeyReused, WrongVersion
from eventstore.record import NewEvent, NoneSince, Origin
from eventstore.store import EventStore
from eventstore.subscription import Subscription
from eventstore.testing.clock import FakeClock
from eventstore.transaction import Transaction
from tests.eventstore.conftest import problems

STREAMS = st.sampled_from(["a", "b", "c/ü"])
TYPES = st.sampled_from(["t.x", "t.y", "u.x"])
TAGS = st.lists(st.sampled_from(["p", "q"]), unique=True).map(tuple)
EVENTS = st.lists(st.builds(NewEvent, TYPES, st.sampled_from(["{}", '{"n":1}', '"é"']), st.just(1), TAGS), max_size=4)
EXPECTED = st.one_of(st.just("any"), st.just("any"), st.integers(0, 6), st.sampled_from(["none", "exists"]))
KEYS = st.one_of(st.none(), st.sampled_from(["k1", "k2", "k3"]))
CONDITIONS = st.lists(
    st.builds(
        NoneSince,
        st.integers(0, 12),
        st.lists(TYPES, max_size=2).map(tuple),
        st.lists(st.sampled_from("pq"), max_size=1).map(tuple),
    ),
    max_size=1,
)

ACTORS = st.sampled_from([None, "ann"])
DAY_US = 24 * 3600 * 1_000_000
SMALL_PAGE = 3


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of three events and windows of five positions, so that a log of a few dozen has many borders of both."""
    page = EventStore.page
    monkeypatch.setattr(
        EventStore, "page", lambda self, after, limit=SMALL_PAGE, *more, **named: page(self, after, limit, *more, **named)
    )
    monkeypatch.setattr(subscription, "PAGE_EVENTS", SMALL_PAGE)
    monkeypatch.setattr(reading, "WINDOW_POSITIONS", 5)


class Failing(Exception):
    """A work's own error."""


class LogMachine(RuleBasedStateMachine):
    """The store on disk beside the model."""

    def __init__(self) -> None:
        super().__init__()
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.folder = Path(tempfile.mkdtemp(dir=base))
        self.clock = FakeClock()
        self.store = EventStore.open(self.folder / "log.db", clock=self.clock)
        self.other = EventStore.open(self.folder / "log.db", clock=self.clock)
        self.log: list[tuple[str, NewEvent]] = []
        self.first_answers: dict[tuple[str | None, str], tuple[Any, list[int], int]] = {}
        """By actor and key: the request, and what was answered."""
        self.relaxed_until: dict[tuple[str | None, str], int] = {}
        """Until when the key of a relaxed request is certainly kept, in µs of time that passed."""
        self.passed_us = 0
        self.readers: list[tuple[Subscription, str | None, list[int]]] = []

    def teardown(self) -> None:
        assert problems(self.store) == []
        self.store.close()
        self.other.close()
        shutil.rmtree(self.folder)

    @initialize()
    def follow_from_the_start(self) -> None:
        self.readers.append((self.store.subscribe(0), None, []))

    def _version(self, stream: str) -> int:
        return sum(1 for name, _ in self.log if name == stream)

    def _refusal(self, parts: list[tuple[str, list[NewEvent], Any]], conditions: list[NoneSince]) -> type[Exception] | None:
        for condition in conditions:
            for _, new in self.log[condition.after :]:
                if (not condition.types or new.type in condition.types) and set(condition.tags) <= set(new.tags):
                    return ConditionFailed
        for stream, _, expected in parts:
            version = self._version(stream)
            holds = {"any": True, "none": version == 0, "exists": version > 0}.get(expected, expected == version)
            if not holds:
                return WrongVersion
        return None

    @rule(
        parts=st.lists(st.tuples(STREAMS, EVENTS, EXPECTED), min_size=1, max_size=3),
        conditions=CONDITIONS,
        key=KEYS,
        actor=ACTORS,
        durable=st.booleans(),
    )
    def append(
        self,
        parts: list[tuple[str, list[NewEvent], Any]],
        conditions: list[NoneSince],
        key: str | None,
        actor: str | None,
        durable: bool,
    ) -> None:
        request = (parts, conditions)
        scope = (actor, key or "")
        self._forget_if_gone(scope)
        known = self.first_answers.get(scope)
        expected: type[Exception] | None
        if known is not None:
            expected = None if known[0] == request else KeyReused
        else:
            expected = self._refusal(parts, conditions)
        try:
            answer = self.store.append_batch(
                parts, conditions=conditions, idempotency_key=key, origin=Origin(actor), durable=durable
            )
            refusal = None
        except (WrongVersion, ConditionFailed, KeyReused) as error:
            answer, refusal = None, type(error)
        assert refusal is expected
        if answer is None:
            return
        if known is not None:
            assert ([one.position for one in answer.events], answer.position, answer.repeated) == (*known[1:], True)
            return
        before = len(self.log)
        self.log.extend((stream, new) for stream, events, _ in parts for new in events)
        positions = list(range(before + 1, len(self.log) + 1))
        assert ([one.position for one in answer.events], answer.position, answer.repeated) == (positions, len(self.log), False)
        if key is not None:
            self.first_answers[scope] = (request, positions, len(self.log))
            if not durable:
                self.relaxed_until[scope] = self.passed_us + DAY_US

    def _forget_if_gone(self, scope: tuple[str | None, str]) -> None:
        """A relaxed key is kept for a day of logtime, which may be longer by the clock on the wall; the model asks whether it is over."""
        if self.passed_us < self.relaxed_until.get(scope, self.passed_us + 1):
            return
        actor, key = scope

        def is_over(transaction: Transaction) -> bool:
            kept: int | None = transaction.db.execute(
                "SELECT logtime FROM requests WHERE scope = ? AND key = ?", (actor or "", key)
            ).get
            return kept is None or kept < transaction.now_us - DAY_US

        if self.store.transact(is_over):
            del self.first_answers[scope], self.relaxed_until[scope]

    @precondition(lambda self: self.first_answers)
    @rule(key=st.sampled_from(["k1", "k2", "k3"]), actor=ACTORS, durable=st.booleans())
    def retry(self, key: str, actor: str | None, durable: bool) -> None:
        """The same request once more, whatever has come since."""
        scope = (actor, key)
        self._forget_if_gone(scope)
        if scope in self.first_answers:
            (parts, conditions), positions, position = self.first_answers[scope]
            answer = self.store.append_batch(
                parts, conditions=conditions, idempotency_key=key, origin=Origin(actor), durable=durable
            )
            assert ([one.position for one in answer.events], answer.position, answer.repeated) == (positions, position, True)

    @rule(after=st.integers(0, 30), stream=st.one_of(st.none(), STREAMS))
    @precondition(lambda self: len(self.readers) < 5)
    def subscribe(self, after: int, stream: str | None) -> None:
        after = min(after, len(self.log))
        pattern = [stream] if stream else []
        self.readers.append((self.store.subscribe(after, streams=pattern), stream, [after]))

    @rule()
    def deliver(self) -> None:
        """Each reader gets what it has not seen, once, in order; its cursor is at the head, whatever matched."""
        for reader, stream, place in self.readers:
            got = [one.event.position for one in reader.deliveries(timeout_seconds=0)]
            start = place[0] if place else 0
            matching = [n for n, (name, _) in enumerate(self.log, 1) if n > start and (stream is None or name == stream)]
            assert got == matching
            assert reader.cursor == len(self.log)
            place[:] = [len(self.log)]

    @rule(stream=STREAMS, events=EVENTS)
    def fail(self, stream: str, events: list[NewEvent]) -> None:
        """A work that fails after it appended leaves nothing, neither in the log nor in what is known of the streams."""

        def work(transaction: Transaction) -> None:
            transaction.append(stream, events)
            raise Failing

        with pytest.raises(Failing):
            self.store.transact(work)

    @rule(stream=STREAMS, taken_back=EVENTS, then=STREAMS, events=EVENTS)
    def change_its_mind(self, stream: str, taken_back: list[NewEvent], then: str, events: list[NewEvent]) -> None:
        """A work that takes back what it appended, and appends something else: as if the first had never been."""

        def work(transaction: Transaction) -> None:
            mark = transaction.mark()
            transaction.db.execute("SAVEPOINT first")
            transaction.append(stream, taken_back)
            transaction.db.execute("ROLLBACK TO first")
            transaction.reset(mark)
            transaction.db.execute("RELEASE first")
            assert transaction.version(stream) == self._version(stream)
            transaction.append(then, events)

        self.store.transact(work)
        self.log.extend((then, new) for new in events)

    @rule(stream=STREAMS, events=EVENTS)
    def another_appends(self, stream: str, events: list[NewEvent]) -> None:
        """As another process would, through a log of its own that knows nothing of this one's last commits."""
        self.other.append(stream, events, self._version(stream) or "none")
        self.log.extend((stream, new) for new in events)

    @rule(
        us=st.one_of(st.integers(0, 10**6), st.sampled_from([DAY_US // 2, DAY_US, 3 * DAY_US])), step=st.integers(-(10**9), 10**9)
    )
    def time_passes(self, us: int, step: int) -> None:
        """On both clocks; then somebody sets the wall clock by so many seconds."""
        self.passed_us += us
        self.clock.advance(us)
        self.clock.step_wall(step * 1_000_000)

    @rule(reboot=st.booleans())
    def restart(self, reboot: bool) -> None:
        """Readers come back with their cursor, as another process would."""
        self.store.close()
        if reboot:
            self.clock.reboot()
        self.store = EventStore.open(self.folder / "log.db", clock=self.clock)
        self.readers = [
            (self.store.subscribe(reader.cursor, streams=[stream] if stream else []), stream, place)
            for reader, stream, place in self.readers
        ]

    @invariant()
    def the_log_is_the_model(self) -> None:
        found = list(self.store.read())
        assert [(one.position, one.stream, one.type, one.data, one.tags) for one in found] == [
            (n, stream, new.type, new.data, new.tags) for n, (stream, new) in enumerate(self.log, 1)
        ]
        counts: dict[str, int] = {}
        for one in found:
            counts[one.stream] = counts.get(one.stream, 0) + 1
            assert one.version == counts[one.stream]
        times = [one.logtime_us for one in found]
        assert times == sorted(set(times))


LogMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
TestLog = LogMachine.TestCase
