"""The room where a command becomes facts: known key? → load → decide → append → fold → commit.

One call runs inside one write transaction. A known idempotency key gets its first answer before anything is decided, else a repeat would be judged
against its own effect. What the clock has to say (a new boot, a step) is appended before the command's own events, in the same transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Generic, TypeVar

import apsw
import msgspec

from api.commands.catalogue import AREA_OF, HANDLERS
from api.commands.deciding import Context, Handler
from eventstore.clock import WALL_STEP_US, Reading, random_bytes, uuid7
from eventstore.record import NOBODY, Origin, RecordedEvent
from eventstore.store import EventStore
from eventstore.transaction import Remembered, Transaction
from projections import catalogue, clock, folding, plan, planning, rebuilding
from projections.catalogue import AREAS
from projections.clock import ClockStepped, LogOpened
from projections.folding import CannotFold

T = TypeVar("T")

STANDING_DOUBTED_US = 10_000_000
"""How long another process's word on the wall clock's standing is left alone: twice the interval in which each asks the kernel."""


class Repeat(msgspec.Struct, frozen=True):
    """What makes a request recognisable: the caller's key, and the SHA-256 of the decoded request."""

    key: str
    fingerprint: bytes


class Stored(msgspec.Struct, frozen=True):
    """An answer in the form in which it is kept for a repeat: a status of the caller's own, and bytes."""

    status: int
    body: bytes


class Outcome(msgspec.Struct, Generic[T], frozen=True):
    """What became of a command. `position`: of the last event that it appended itself, else the head it was judged against (on a repeat,
    the first one). `answer` is what `respond` gave, or the first answer."""

    position: int
    answer: T
    events: tuple[RecordedEvent, ...]
    replayed: bool = False


Respond = Callable[[apsw.Connection, tuple[RecordedEvent, ...]], T]
"""Builds the answer from the tables as they are after the fold, inside the transaction; gets the command's own events."""


def nothing(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> None:
    """For callers who need no answer."""


class _Behind(Exception):
    """The tables do not know the end of the log: another program has appended to it without folding. Folding on from there would leave a hole."""


_STANDING = "SELECT count(*) FILTER (WHERE position < ? AND stopped IS NULL), count(stopped) FROM projections"
"""How many areas lie behind the head, and how many are stopped."""


class Executor:
    """Carries out commands on an open store whose projections are prepared."""

    def __init__(self, store: EventStore, randomness: Callable[[int], bytes] = random_bytes) -> None:
        self.store = store
        self._randomness = randomness
        self._standing: bool | None = None
        self._doubted_since_us: int | None = None

    def execute(
        self,
        command: msgspec.Struct,
        respond: Respond[T] = nothing,
        *,
        origin: Origin = NOBODY,
        repeat: Repeat | None = None,
    ) -> Outcome[T]:
        """Carry out one command and return after the commit.

        With `repeat`, `respond` must give a `Stored`. Raises Rejected, and what `EventStore.transact` raises.
        """
        handler = HANDLERS[command.__class__]
        durable = handler.durable(command)

        def work(transaction: Transaction) -> Outcome[T]:
            scope = origin.actor or ""
            if repeat is not None:
                known = transaction.recall(scope, repeat.key, repeat.fingerprint)
                if known is not None:
                    if durable:
                        transaction.sync_up_to(known.position)
                    answer: Any = Stored(known.status, known.answer)
                    return Outcome(known.position, answer, (), replayed=True)
            if self._check_standing(transaction):
                # Also for a command that would change nothing: what it was judged against is not what the log says.
                folding.check_running(transaction.db, AREA_OF[command.__class__])
            events = self._carry_out(transaction, handler, command, origin)
            outcome = Outcome(transaction.head.position, respond(transaction.db, events), events)
            if repeat is not None:
                self._remember(transaction, scope, repeat, outcome, durable)
            return outcome

        return self._transact(work, durable)

    def _transact(self, work: Callable[[Transaction], T], durable: bool) -> T:
        """Run a work that raises _Behind while the tables do not know the end of the log; then they are brought there first."""
        try:
            return self.store.transact(work, durable)
        except _Behind:
            rebuilding.catch_up(self.store)

        def caught_up(transaction: Transaction) -> T:
            # Somebody may have appended again since; the little that is, is folded here.
            rebuilding.catch_up_in(transaction)
            return work(transaction)

        for _ in AREAS:  # each time round stops one
            try:
                return self.store.transact(caught_up, durable)
            except CannotFold as error:
                rebuilding.stop(self.store, error)
        return self.store.transact(caught_up, durable)

    def note(self, struct: msgspec.Struct, durable: bool = False) -> int:
        """Append an event by which the log speaks of itself; nobody's command. Returns its position. Raises as `EventStore.transact`."""

        def work(transaction: Transaction) -> int:
            self._check_standing(transaction)
            said = self._clocks(transaction)
            if isinstance(said, LogOpened) and not said.clean:
                transaction.new_epoch()
            self._append(transaction, [struct] if said is None else [said, struct], NOBODY)
            return transaction.head.position

        return self._transact(work, durable)

    @staticmethod
    def _check_standing(transaction: Transaction) -> bool:
        """Raise _Behind when an area does not know the end of the log. Whether one is stopped."""
        standing: Any = transaction.db.execute(_STANDING, (transaction.head.position,)).fetchone()
        behind, halted = standing
        if behind:
            raise _Behind
        return halted > 0

    def _carry_out(
        self, transaction: Transaction, handler: Handler, command: msgspec.Struct, origin: Origin
    ) -> tuple[RecordedEvent, ...]:
        """Load, decide, append and fold. What the clocks have to say stands before the command's events, and only if there are any; the
        decision is made with it."""
        said = self._clocks(transaction)
        if said is None:
            return self._decide(transaction, handler, command, origin)
        mark = transaction.mark()
        transaction.db.execute("SAVEPOINT clocks")
        if isinstance(said, LogOpened) and not said.clean:
            transaction.new_epoch()
        self._append(transaction, [said], NOBODY)
        events = self._decide(transaction, handler, command, origin)
        if not events:
            transaction.db.execute("ROLLBACK TO clocks")
            transaction.reset(mark)
        transaction.db.execute("RELEASE clocks")
        return events

    def _decide(
        self, transaction: Transaction, handler: Handler, command: msgspec.Struct, origin: Origin
    ) -> tuple[RecordedEvent, ...]:
        context = self._context(transaction, origin.actor)
        state = handler.load(transaction.db, command, context.now_us)
        return self._append(transaction, handler.decide(command, state, context), origin)

    def _context(self, transaction: Transaction, actor: str | None) -> Context:
        random = self._randomness(18)
        return Context(
            now_us=transaction.now_us,
            time_us=transaction.reading.wall_us,
            id=str(uuid.UUID(bytes=uuid7(transaction.reading.wall_us, random))),
            seed=int.from_bytes(random[10:17], "big"),
            actor=actor,
        )

    def _append(self, transaction: Transaction, structs: Sequence[msgspec.Struct], origin: Origin) -> tuple[RecordedEvent, ...]:
        pairs: list[tuple[RecordedEvent, Any]] = []
        for stream, group in groupby(structs, catalogue.stream_of):
            some = list(group)
            events = transaction.append(stream, [catalogue.encode(struct) for struct in some], origin=origin)
            pairs += zip(events, some, strict=True)
        folding.apply(transaction.db, pairs)
        return tuple(event for event, _ in pairs)

    def _remember(self, transaction: Transaction, scope: str, repeat: Repeat, outcome: Outcome[Any], durable: bool) -> None:
        answer: Stored = outcome.answer
        first = outcome.events[0].position if outcome.events else 0
        kept = Remembered(repeat.fingerprint, outcome.position, first, len(outcome.events), answer.status, answer.body)
        transaction.remember(scope, repeat.key, kept, relaxed=not durable)

    def _clocks(self, transaction: Transaction) -> LogOpened | ClockStepped | None:
        """What the log must note of its clocks before the next event."""
        reading, head = transaction.reading, transaction.head
        offset_us = reading.wall_us - transaction.now_us
        if reading.boot_id != head.boot_id:
            self._standing = reading.synchronised
            clean = not head.dirty
            # After a power cut readers may have seen relaxed events that are gone: a new epoch tells them.
            epoch = head.epoch if clean else head.epoch + 1
            return LogOpened(reading.boot_id, reading.synchronised, clean, epoch, self._turn(transaction, offset_us))
        known = clock.get(transaction.db)
        step_us = 0 if known.offset_us is None else offset_us - known.offset_us
        if abs(step_us) <= WALL_STEP_US and not self._standing_changed(known.trusted, reading):
            return None
        return ClockStepped(step_us, reading.synchronised, self._turn(transaction, offset_us))

    def _standing_changed(self, trusted: bool, reading: Reading) -> bool:
        """Whether the kernel's trust in the wall clock is another than the log knows. Processes learn of it seconds apart: one that has read
        nothing new itself lets the others' word stand for STANDING_DOUBTED_US, so that they do not contradict each other with each command."""
        if reading.synchronised == trusted:
            self._standing, self._doubted_since_us = trusted, None
            return False
        if reading.synchronised != self._standing:
            return True
        if self._doubted_since_us is None:
            self._doubted_since_us = reading.boottime_us
        return reading.boottime_us - self._doubted_since_us >= STANDING_DOUBTED_US

    def _turn(self, transaction: Transaction, offset_us: int) -> plan.Turn | None:
        """What plays now, made to hold with the clock as it is from now on: hours of the loop count from it."""
        if transaction.head.position == 0:
            return None
        now_us = transaction.now_us
        before = planning.playing(transaction.db)
        after = msgspec.structs.replace(before, clock=plan.Clock(offset_us, transaction.reading.synchronised))
        return plan.carried(before, after, now_us)
