"""One write transaction of the log: what appends, conditions and idempotency keys do between BEGIN and COMMIT.

Clocks were read before, once; ids come from the randomness handed in. When to begin, commit or roll back is the writer's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, cast

import apsw
import msgspec

from eventstore import chain
from eventstore.clock import Reading, logtime_at, uuid7s
from eventstore.errors import ConditionFailed, Invalid, KeyReused, TooLarge, WrongVersion
from eventstore.reading import COLUMNS, read_head
from eventstore.record import (
    EVENT_BYTES_MAX,
    EVENTS_PER_BATCH_MAX,
    NAME_BYTES_MAX,
    NOBODY,
    TAGS_PER_EVENT_MAX,
    Condition,
    Expect,
    ExpectedVersion,
    Head,
    NewEvent,
    NoneSince,
    Origin,
    RecordedEvent,
    names,
)

KEY_BYTES_MAX = 128
"""Bytes of an idempotency key in UTF-8: room for a UUID with a prefix, and small enough to keep for ever."""

RELAXED_KEYS_KEPT_US = 24 * 3600 * 1_000_000
"""Idempotency keys of relaxed commands are kept for a day: a retry later than that is not a retry."""

VERSIONS_MAX = 1_024
"""Streams whose version is kept between transactions: the busy ones of a device, in about 100 kB."""

TYPES_PER_CONDITION_MAX = 1_000
"""Types that one condition may name: beyond it a question without types and a look at what comes is the better one."""

TAKEN_BACK = (
    "a work took back what it had appended, by rolling back to a savepoint of its own: call transaction.mark() before the savepoint, and "
    "transaction.reset(mark) after the rollback"
)

_INSERT = f"INSERT INTO events ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_SHORT_CHARACTERS = NAME_BYTES_MAX // 4
_encode_tags = msgspec.json.encode


class Remembered(msgspec.Struct, frozen=True):
    """The first answer to a request with an idempotency key. `status` and `answer` are the caller's own."""

    fingerprint: bytes
    position: int
    first: int
    count: int
    status: int
    answer: bytes


class Versions:
    """Stream versions as they were after a commit of this process, so that the next one need not ask for them. They hold as long as the head
    stands where that commit left it: nobody else has appended since."""

    __slots__ = ("_at", "_known", "begun")

    def __init__(self) -> None:
        self.begun = 0
        """Transactions begun over them; only the last can be open."""
        self._at = -1
        self._known: dict[str, int] = {}

    def at(self, position: int) -> dict[str, int]:
        """What is known of the log that ends at `position`."""
        return self._known if position == self._at else {}

    def keep(self, position: int, known: dict[str, int]) -> None:
        """The log ends at `position` now, and of it this is known."""
        self._at, self._known = position, known if len(known) <= VERSIONS_MAX else {}


class Transaction:
    """One write transaction. Valid only inside the work that it is handed to; what writes raises RuntimeError once it has ended."""

    def __init__(
        self, db: apsw.Connection, reading: Reading, randomness: Callable[[int], bytes], versions: Versions | None = None
    ) -> None:
        self.db = db
        self.reading = reading
        self._randomness = randomness
        self.head = read_head(db)
        self._base_us = logtime_at(self.head, reading)
        self._touched = False
        self._versions = versions or Versions()
        self._versions.begun += 1
        self._number = self._versions.begun
        self._known = self._versions.at(self.head.position)
        self._appended: dict[str, int] = {}

    @property
    def must_sync(self) -> bool:
        """Whether even a relaxed commit has to be synced now: the note that unsynced events may exist must be on the disk before the first of
        them, and a new epoch before anybody sees it."""
        return not self.head.dirty or self.reading.boot_id != self.head.boot_id

    @property
    def now_us(self) -> int:
        """Logtime of the next event to be appended here."""
        return max(self._base_us, self.head.logtime_us + 1)

    def _check_open(self) -> None:
        if self._number != self._versions.begun or not self.db.in_transaction:
            raise RuntimeError("this transaction has ended: it can be used only inside the work that it was handed to")

    def mark(self) -> tuple[Head, bool]:
        """What `reset` needs to forget everything that comes after."""
        return self.head, self._touched

    def reset(self, mark: tuple[Head, bool]) -> None:
        """Forget what was appended since the mark (the database is rolled back by the writer)."""
        self.head, self._touched = mark
        self._known, self._appended = {}, {}

    def append(
        self,
        stream: str,
        events: Iterable[NewEvent],
        expected_version: ExpectedVersion = "any",
        conditions: Iterable[Condition] = (),
        origin: Origin = NOBODY,
    ) -> tuple[RecordedEvent, ...]:
        """Append events to one stream. Raises WrongVersion, ConditionFailed, TooLarge, Invalid."""
        self._check_open()
        events = listed(events, "events")
        if expected_version != "any" or conditions:
            self.check((*short_form(stream, expected_version), *listed(conditions, "conditions")))
        if len(events) > EVENTS_PER_BATCH_MAX:
            raise TooLarge(f"{len(events)} events in one append; the limit is {EVENTS_PER_BATCH_MAX}")
        if not events:
            return ()
        # All are looked at before the first is written: a refused append has written nothing.
        bodies = _bodies(stream, events, origin)
        reading = self.reading
        if self.head.dirty and reading.boot_id != self.head.boot_id:
            self.new_epoch()
        head, wall_us = self.head, reading.wall_us
        actor, correlation_id, causation_id = origin.actor, origin.correlation_id, origin.causation_id
        position, version, chain_, logtime_us = head.position, self.version(stream), head.chain, self.now_us - 1
        ids = uuid7s(wall_us, len(events), self._randomness)
        rows: list[tuple[Any, ...]] = []
        recorded: list[RecordedEvent] = []
        for event, body, id in zip(events, bodies, ids, strict=True):
            position += 1
            version += 1
            logtime_us += 1
            type, schema_version, data, some, id = event.type, event.schema_version, event.data, event.tags, event.id or id
            tags = _encode_tags(some).decode() if some else None  # a JSON array of strings: `_body` saw to it
            header = chain.header(
                position, version, schema_version, logtime_us, wall_us, id,
                stream, type, actor, correlation_id, causation_id, tags,
            )  # fmt: skip
            chain_ = chain.link(chain_, header, sha256(body).digest())
            rows.append(
                (position, stream, version, type, schema_version, id, logtime_us, wall_us,
                 actor, correlation_id, causation_id, tags, data, chain_)
            )  # fmt: skip
            recorded.append(
                RecordedEvent(
                    position, stream, version, type, schema_version, id, logtime_us, wall_us,
                    actor, correlation_id, causation_id, tuple(some), data, chain_,
                )
            )  # fmt: skip
        self._insert(rows, recorded)
        self.head = Head(
            position, chain_, logtime_us, wall_us, reading.boot_id,
            reading.boottime_us + (logtime_us - self._base_us), head.epoch, head.dirty, head.synced_position,
        )  # fmt: skip
        self._appended[stream] = version
        self._touched = True
        return tuple(recorded)

    def _insert(self, rows: Sequence[tuple[Any, ...]], recorded: Sequence[RecordedEvent]) -> None:
        try:
            if len(rows) == 1:
                self.db.execute(_INSERT, rows[0])
            else:
                self.db.executemany(_INSERT, rows)
        except apsw.ConstraintError as error:
            if read_head(self.db).position < rows[0][0] - 1:
                raise RuntimeError(TAKEN_BACK) from error
            raise
        tags = [(tag, event.position) for event in recorded for tag in event.tags]
        if tags:
            self.db.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", tags)

    def version(self, stream: str) -> int:
        """Version of the stream's last event; 0 when it has none."""
        known = self._appended.get(stream) or self._known.get(stream)
        if known is not None:
            return known
        return self.db.execute("SELECT coalesce(max(version), 0) FROM events WHERE stream = ?", (stream,)).get

    def check(self, conditions: Iterable[Condition]) -> None:
        """Raise WrongVersion or ConditionFailed unless all conditions hold, Invalid for one that cannot be asked."""
        for condition in listed(conditions, "conditions"):
            _check_form(condition)
            if isinstance(condition, Expect):
                self._check_version(condition)
            else:
                self._check_none_since(condition)

    def _check_version(self, expect: Expect) -> None:
        actual = self.version(expect.stream)
        holds = {"exact": actual == expect.version, "exists": actual > 0, "none": actual == 0}[expect.kind]
        if not holds:
            wanted = str(expect.version) if expect.kind == "exact" else expect.kind
            raise WrongVersion(expect.stream, wanted, actual)

    def _check_none_since(self, condition: NoneSince) -> None:
        # The first tag's index leads; without a tag the events after the position are looked through one by one.
        first, *more = condition.tags or (None,)
        arguments: list[str | int] = [condition.after]
        query = "SELECT position FROM events WHERE position > ?"
        if first is not None:
            query = "SELECT tags.position FROM tags JOIN events USING (position) WHERE tags.tag = ? AND tags.position > ?"
            arguments.insert(0, first)
        if condition.types:
            query += f" AND type IN ({','.join('?' * len(condition.types))})"
            arguments.extend(condition.types)
        for tag in more:
            query += " AND EXISTS (SELECT 1 FROM tags AS other WHERE other.tag = ? AND other.position = events.position)"
            arguments.append(tag)
        found: int | None = self.db.execute(f"{query} ORDER BY 1 LIMIT 1", arguments).get
        if found is not None:
            raise ConditionFailed(f"event {found} came after {condition.after}; read it and decide anew", found)

    def recall(self, scope: str, key: str, fingerprint: bytes) -> Remembered | None:
        """The first answer under this key, or None; None after 24 hours for that of a relaxed work. Raises KeyReused when the key belongs to a
        different request."""
        _utf8("an idempotency key", key)
        _utf8("an actor", scope)
        row = self.db.execute(
            "SELECT fingerprint, position, first, count, status, answer, logtime, relaxed FROM requests WHERE scope = ? AND key = ?",
            (scope, key),
        ).fetchone()
        if row is None:
            return None
        kept, *values, logtime_us, relaxed = row
        if relaxed and logtime_us < self.now_us - RELAXED_KEYS_KEPT_US:
            return None
        remembered = Remembered(fingerprint, *values)
        if kept not in (fingerprint, fingerprint + _seal(scope, key, remembered, logtime_us, relaxed)):
            why = "is damaged, see pixelog verify" if kept.startswith(fingerprint) else "was used before for a different request"
            raise KeyReused(f"the key {key!r} {why}; use a new key for a new request")
        return remembered

    def remember(self, scope: str, key: str, answer: Remembered, relaxed: bool = False) -> None:
        """Keep an answer under a key (≤ 128 bytes), in this transaction. Keys of relaxed works are forgotten after 24 hours."""
        self._check_open()
        size_bytes = len(_utf8("an idempotency key", key))
        if size_bytes > KEY_BYTES_MAX:
            raise TooLarge(f"an idempotency key of {size_bytes} bytes; the limit is {KEY_BYTES_MAX}")
        now_us = self.now_us
        # One under this key whose day is over was not recalled, though nobody has come by yet to take it away.
        self.db.execute(
            "DELETE FROM requests WHERE scope = ? AND key = ? AND relaxed = 1 AND logtime < ?",
            (scope, key, now_us - RELAXED_KEYS_KEPT_US),
        )
        self.db.execute(
            "INSERT INTO requests VALUES (?,?,?,?,?,?,?,?,?,?)",
            (scope, key, answer.fingerprint + _seal(scope, key, answer, now_us, int(relaxed)), answer.position, answer.first,
             answer.count, answer.status, answer.answer, now_us, int(relaxed)),
        )  # fmt: skip
        if relaxed:
            # Two for each one kept: the table shrinks again after a busy day, and no single command pays for all of it.
            self.db.execute(
                "DELETE FROM requests WHERE (scope, key) IN (SELECT scope, key FROM requests WHERE relaxed = 1 AND logtime < ? LIMIT 2)",
                (now_us - RELAXED_KEYS_KEPT_US,),
            )

    def new_epoch(self) -> int:
        """Begin a new epoch: readers of unsynced events learn that some may be gone. Returns its number."""
        self._check_open()
        self.head = msgspec.structs.replace(self.head, epoch=self.head.epoch + 1, dirty=False)
        self._touched = True
        return self.head.epoch

    def mark_synced(self, clean: bool = False) -> None:
        """Note that all up to the head is on the disk once this (durable) transaction has committed. `clean`: and that nothing is under way,
        unless an earlier boot left it so and no event has begun a new epoch since."""
        self._check_open()
        if clean and self.reading.boot_id == self.head.boot_id:
            self.head = msgspec.structs.replace(self.head, dirty=False)
        self._touched = True

    def sync_up_to(self, position: int) -> None:
        """Let the commit of this durable transaction wait for the disk when an answer given before, which stands for the log up to `position`, was
        relaxed and may not be there yet; a commit that writes nothing would wait for nothing."""
        if position > self.head.synced_position:
            self.mark_synced()

    def committed(self) -> None:
        """Called after COMMIT: what it learned of streams holds for the next transaction."""
        if self._appended or self._known:
            self._known.update(self._appended)
            self._versions.keep(self.head.position, self._known)

    def finish(self, synced: bool, relaxed: bool) -> str | None:
        """Write the part of the head row that the trigger does not know. Called by the writer before COMMIT. `synced`: this commit waits for
        the disk. `relaxed`: some of it need not have, so that what follows may go unsynced.

        Returns why it must not be committed, when it must not."""
        if not self._touched:
            return None
        head = self.head
        self.head = head = Head(
            head.position, head.chain, head.logtime_us, head.time_us, head.boot_id, head.boottime_us, head.epoch,
            head.dirty or relaxed, head.position if synced else head.synced_position,
        )  # fmt: skip
        self.db.execute(
            "UPDATE head SET boot_id = ?, boottime = ?, epoch = ?, dirty = ?, synced_position = ? WHERE position = ?",
            (head.boot_id, head.boottime_us, head.epoch, int(head.dirty), head.synced_position, head.position),
        )
        return None if self.db.changes() else TAKEN_BACK


def _seal(scope: str, key: str, answer: Remembered, logtime_us: int, relaxed: int) -> bytes:
    return chain.seal(
        scope.encode(), key.encode(), answer.fingerprint, answer.position, answer.first, answer.count, answer.status, answer.answer,
        logtime_us, relaxed,
    )  # fmt: skip


def short_form(stream: str, expected: ExpectedVersion) -> tuple[Condition, ...]:
    """The conditions that an expected version stands for."""
    match expected:
        case "any":
            return ()
        case "none" | "exists":
            return (Expect(stream, expected),)
        case int():
            return (Expect(stream, "exact", expected),)
        case _:
            raise Invalid(f'expected_version is a number, "none", "exists" or "any", not {expected!r}')


def listed(given: Any, what: str) -> list[Any]:
    """The items of a list, tuple or generator, to be looked at more than once."""
    if type(given) is list or type(given) is tuple:  # as nearly all are: asking whether it is an Iterable costs a microsecond
        return list(cast("list[Any]", given))
    if isinstance(given, (str, bytes, NewEvent)) or not isinstance(given, Iterable):
        raise Invalid(f"{what} are given as a list, not as {given!r:.80}")
    return list(cast("Iterable[Any]", given))


def scope_of(origin: Any) -> str:
    """Whose keys those of this origin are."""
    if not isinstance(origin, Origin):
        raise Invalid(f"who is behind an append is said by an Origin, not by {origin!r:.80}")
    return origin.actor or ""


def request_fingerprint(
    batch: Sequence[tuple[str, Sequence[NewEvent], ExpectedVersion]], conditions: Sequence[Condition], origin: Origin
) -> bytes:
    """What makes a request recognisable under its idempotency key. Raises Invalid and TooLarge as its append would."""
    for condition in conditions:
        _check_form(condition)
    for stream, events, expected in batch:
        short_form(stream, expected)
        if events:
            _bodies(stream, events, origin)
    request = [batch, [msgspec.structs.asdict(condition) for condition in conditions]]
    return sha256(
        msgspec.json.encode(request, enc_hook=str)
    ).digest()  # the hook: texts of a class of their own, members of an enumeration


def _check_form(condition: Any) -> None:
    """Raise Invalid for what is no condition, TooLarge for one that names too much."""
    match condition:
        case Expect(stream=stream, kind="exact" | "exists" | "none", version=int()):
            _utf8("a stream", stream)
        case NoneSince(after=int() as after) if -(1 << 63) <= after < 1 << 63:
            tags, types = names(condition.tags, "tags"), names(condition.types, "types")
            if len(tags) > TAGS_PER_EVENT_MAX or len(types) > TYPES_PER_CONDITION_MAX:
                raise TooLarge(
                    f"a condition of {len(tags)} tags and {len(types)} types; the limits are {TAGS_PER_EVENT_MAX} and {TYPES_PER_CONDITION_MAX}"
                )
        case _:
            raise Invalid(
                f"a condition is an Expect (exact, exists or none) or a NoneSince after a position of 64 bits, not {condition!r:.200}"
            )


def _utf8(what: str, text: Any) -> bytes:
    """The bytes of a text. Raise Invalid for what is none."""
    if not isinstance(text, str):
        raise Invalid(f"{what} is text, not {text!r:.80}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{what} is not Unicode text (half of a surrogate pair at character {error.start})") from error


_NAMES_OF_ORIGIN = ("an actor", "a correlation id", "a causation id")


def _bodies(stream: Any, events: Sequence[Any], origin: Any) -> list[bytes]:
    """The bytes of the data of each event. Raise TooLarge beyond a limit, Invalid for what the chain could not take in or nobody could read again."""
    scope_of(origin)
    if origin is not NOBODY:
        for what, name in zip(_NAMES_OF_ORIGIN, (origin.actor, origin.correlation_id, origin.causation_id), strict=True):
            if name is not None:
                _check_name(what, name)
    if not stream:
        raise Invalid("an event needs a stream and a type")
    _check_name("a stream", stream)
    return [_body(event) for event in events]


def _body(event: Any) -> bytes:
    if not isinstance(event, NewEvent):
        raise Invalid(f"what is appended is a NewEvent, not {event!r:.80}")
    body = _utf8("an event's data", event.data)
    size_bytes = len(body)
    if size_bytes > EVENT_BYTES_MAX:
        raise TooLarge(
            f"an event of {size_bytes} bytes; the limit is {EVENT_BYTES_MAX}: put large content into a blob and name it"
        )
    if not event.type:
        raise Invalid("an event needs a stream and a type")
    _check_name("an event's type", event.type)
    if event.tags != ():
        for tag in names(event.tags, "tags"):
            _check_name("a tag", tag)
        if len(event.tags) > TAGS_PER_EVENT_MAX:
            raise TooLarge(f"an event of {len(event.tags)} tags; the limit is {TAGS_PER_EVENT_MAX}")
    id, version = cast("tuple[Any, Any]", (event.id, event.schema_version))
    if id is not None and (not isinstance(id, bytes) or len(id) != 16):
        raise Invalid(f"an event's id is a UUID of 16 bytes, not {id!r:.80}")
    if not isinstance(version, int) or not 0 <= version < 1 << 32:
        raise Invalid(f"schema_version {version!r:.80} is not a number of 32 bits")
    return body


def _check_name(what: str, name: Any) -> None:
    # A character takes at most 4 bytes: of those that are ASCII, only a long one is worth encoding to be sure.
    if isinstance(name, str) and name.isascii() and len(name) <= _SHORT_CHARACTERS:
        return
    size_bytes = len(_utf8(what, name))
    if size_bytes > NAME_BYTES_MAX:
        raise TooLarge(f"{what} of {size_bytes} bytes ({name[:40]!r}…); the limit is {NAME_BYTES_MAX}")
