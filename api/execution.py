"""The room where a command becomes facts: known key? → load → decide → append → fold → commit.

One call runs inside one write transaction. A known idempotency key gets its first answer before anything is decided, else a repeat would be judged
against its own effect. What the clock has to say (a new boot, a step) is appended before the command's own events, in the same transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import apsw
import msgspec

from api.commands.catalogue import HANDLERS
from api.commands.deciding import Context
from eventstore.clock import WALL_STEP_US, Reading, random_bytes, uuid7
from eventstore.record import NOBODY, Origin, RecordedEvent
from eventstore.store import EventStore
from eventstore.transaction import Remembered, Transaction
from projections import catalogue, clock, folding, plan, planning
from projections.clock import ClockStepped, LogOpened

T = TypeVar("T")


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


class Executor:
    """Carries out commands on an open store whose projections are prepared."""

    def __init__(self, store: EventStore, randomness: Callable[[int], bytes] = random_bytes) -> None:
        self.store = store
        self._randomness = randomness
        self._synchronised: bool | None = None

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
                    answer: Any = Stored(known.status, known.answer)
                    return Outcome(known.position, answer, (), replayed=True)
            housekeeping = self._housekeeping(transaction)
            context = self._context(transaction, len(housekeeping), origin.actor)
            state = handler.load(transaction.db, command, context.now_us)
            decided = handler.decide(command, state, context)
            events: tuple[RecordedEvent, ...] = ()
            if decided:
                if housekeeping:
                    if isinstance(housekeeping[0], LogOpened) and not housekeeping[0].clean:
                        transaction.new_epoch()
                    self._append(transaction, housekeeping, NOBODY)
                events = self._append(transaction, decided, origin)
            outcome = Outcome(transaction.head.position, respond(transaction.db, events), events)
            if repeat is not None:
                self._remember(transaction, scope, repeat, outcome, durable)
            return outcome

        return self.store.transact(work, durable)

    def _context(self, transaction: Transaction, ahead: int, actor: str | None) -> Context:
        random = self._randomness(18)
        return Context(
            now_us=transaction.now_us + ahead,
            time_us=transaction.reading.wall_us,
            id=str(uuid.UUID(bytes=uuid7(transaction.reading.wall_us, random))),
            seed=int.from_bytes(random[10:17], "big"),
            actor=actor,
        )

    def _append(self, transaction: Transaction, structs: Sequence[msgspec.Struct], origin: Origin) -> tuple[RecordedEvent, ...]:
        pairs: list[tuple[RecordedEvent, Any]] = []
        for struct in structs:
            (event,) = transaction.append(catalogue.stream_of(struct), [catalogue.encode(struct)], origin=origin)
            pairs.append((event, struct))
        folding.apply(transaction.db, pairs)
        return tuple(event for event, _ in pairs)

    def _remember(self, transaction: Transaction, scope: str, repeat: Repeat, outcome: Outcome[Any], durable: bool) -> None:
        answer: Stored = outcome.answer
        first = outcome.events[0].position if outcome.events else 0
        kept = Remembered(repeat.fingerprint, outcome.position, first, len(outcome.events), answer.status, answer.body)
        transaction.remember(scope, repeat.key, kept, relaxed=not durable)

    def _housekeeping(self, transaction: Transaction) -> list[msgspec.Struct]:
        """What the log must note of its clocks before the next event."""
        reading, head = transaction.reading, transaction.head
        if reading.boot_id != head.boot_id:
            clean = not head.dirty
            # After a power cut readers may have seen relaxed events that are gone: a new epoch tells them.
            epoch = head.epoch if clean else head.epoch + 1
            return [LogOpened(reading.boot_id, reading.synchronised, clean, epoch, self._turn(transaction))]
        step_us = (reading.wall_us - transaction.now_us) - (head.time_us - head.logtime_us)
        if abs(step_us) <= WALL_STEP_US and not self._standing_changed(transaction, reading):
            return []
        return [ClockStepped(step_us, reading.synchronised, self._turn(transaction))]

    def _standing_changed(self, transaction: Transaction, reading: Reading) -> bool:
        """Whether the kernel's trust in the wall clock is another than the log knows. Asked of the tables only when it may have changed."""
        if reading.synchronised == self._synchronised:
            return False
        known = clock.get(transaction.db).trusted
        if known == reading.synchronised:
            self._synchronised = known
        return known != reading.synchronised

    def _turn(self, transaction: Transaction) -> plan.Turn | None:
        """What plays now; hours of the loop count from the clock that was believed so far."""
        if transaction.head.position == 0:
            return None
        now_us = transaction.now_us
        return plan.turn_at(planning.state(transaction.db, now_us), now_us)
