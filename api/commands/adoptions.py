"""Commands of area adoptions: take over records of an older installation.

Decided three ways: by what the source says, what it said the last time, and what is here. What the source has changed since comes; what was changed
here stays, and is told. Reading a source, and the files behind its records, is the business of `api/adopt`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import apsw
import msgspec

from api.commands import loop as loop_commands
from api.commands.deciding import Context, Handler
from api.commands.media import PREPARE, PREPARE_ATTEMPTS_MAX
from projections import active, adoptions, jobs, loop, plan, planning, settings
from projections.active import ActiveCleared, ActiveSet
from projections.adoptions import Adoption, AdoptionRecorded, Record
from projections.jobs import JobClaimed, JobCompleted, JobFailed, JobProgressed, JobQueued, Standing
from projections.loop import ENTRIES_MAX, Entry, LoopReordered
from projections.media import Kind, MediaAdded, MediaUpdated, Status
from projections.plan import Turn
from projections.settings import BY_NAME, SettingChanged, Value

CONVERT = "convert"
"""Kind of the jobs that are taken over: work of the older system, which no worker of ours takes up."""

RECORDS_BYTES_MAX = 400_000
"""About how much JSON one event names records with; an event may have 1 MiB."""

LOOP_BYTES_MAX = 900_000
"""The same for the entries of the loop, which are one event, too."""


class MediaRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An item of the older library. `content` identifies its file at the source (None: there is none), `sha256` names the blob made of it.
    `extra` is what has no field here."""

    slug: str
    filename: str
    kind: Kind
    type: str
    size: int
    status: Status
    error: str | None = None
    uploaded_at_us: int | None = None
    width: int | None = None
    height: int | None = None
    frame_count: int | None = None
    duration_us: int | None = None
    extra: dict[str, Any] | None = None
    content: str | None = None
    sha256: str | None = None

    @property
    def key(self) -> str:
        """Its key among the records of the source."""
        return f"media/{self.slug}"


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A job of the older system as it was found. `reported_at_us`: when it last said something."""

    id: str
    title: str
    status: Literal["running", "completed", "failed"]
    progress: float
    stage: str | None = None
    message: str | None = None
    created_at_us: int | None = None
    reported_at_us: int | None = None
    extra: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """Its key among the records of the source."""
        return f"jobs/{self.id}"


class StateRecord(msgspec.Struct, frozen=True):
    """What an older installation has once: `loop` and `settings` as far as they have a counterpart here, `active` unless the source says nothing of
    it (then None), and `rest`: what has no place here and is kept with the adoption. `items`: the slugs of its whole library, by which an entry that
    was taken out of its loop is told from one whose item is gone."""

    settings: Mapping[str, Value]
    loop: tuple[str, ...] | None = None
    active: ActiveRecord | None = None
    rest: Mapping[str, Any] = {}
    items: frozenset[str] = frozenset()


class ActiveRecord(msgspec.Struct, frozen=True):
    """The older installation's choice; None: nothing."""

    slug: str | None


class AdoptRecords(msgspec.Struct, frozen=True, kw_only=True):
    """Take over these records. Media come before the state that names them, in the same command or an earlier one."""

    system: str
    source: str
    media: tuple[MediaRecord, ...] = ()
    jobs: tuple[JobRecord, ...] = ()
    state: StateRecord | None = None


class Held(msgspec.Struct, frozen=True):
    """What is here under a slug. `duration_us` is the owner's. `said`: what stands here by the word of whoever brought it, until the file itself was
    prepared; None afterwards: (kind, type, width, height, frame count, natural duration in µs)."""

    filename: str
    sha256: str | None
    tags: tuple[str, ...]
    duration_us: int | None
    uploaded_at_us: int
    extra: dict[str, Any] | None
    removed: bool
    said: tuple[Any, ...] | None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is here of what the command names, what was taken over before, and the plan. `known`: slugs that the library has; `moved`: those whose
    item came from this source, `removed`: those whose item came and was removed here. `told`: what jobs were queued with, title and input."""

    held: Mapping[str, Held]
    jobs: Mapping[str, Standing]
    adoptions: Mapping[str, Adoption]
    known: frozenset[str]
    moved: frozenset[str]
    removed: frozenset[str]
    told: Mapping[str, tuple[str, dict[str, Any] | None]]
    entries: tuple[Entry, ...]
    active: str | None
    settings: Mapping[str, Value]
    plan: plan.State


class Outcome(msgspec.Struct, frozen=True):
    """What becomes of one record. `rule` and `why` when there is something to tell. `told`
    counts no record: it tells of something that the source has no record of now, or of all of them together."""

    key: str
    how: Literal["imported", "merged", "skipped", "told"]
    rule: str | None = None
    why: str | None = None


class Judgement(msgspec.Struct, frozen=True):
    """The events of a command, and what they mean for each of its records. `known`: slugs that the source's loop and choice may name afterwards."""

    events: tuple[msgspec.Struct, ...]
    outcomes: tuple[Outcome, ...]
    known: frozenset[str]


def fingerprint(value: Any) -> str:
    """A short hash of what a source says of a record."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:16]


def fingerprint_of(record: MediaRecord | JobRecord) -> str:
    """That of a record. A blob made here is not something that the source says."""
    if isinstance(record, MediaRecord) and record.content is not None:
        record = msgspec.structs.replace(record, sha256=None, size=0)
    return fingerprint(record)


# -- load ----------------------------------------------------------------------------------------------------------------------------


def load(db: apsw.Connection, command: AdoptRecords, now_us: int) -> State:
    """Rows of the records that the command names."""
    slugs = {record.slug for record in command.media}
    keys = [record.key for record in (*command.media, *command.jobs)]
    named = set[str]()
    if command.state is not None:
        keys += ["loop", "active", "rest", *(f"settings/{name}" for name in command.state.settings)]
        named.update(command.state.loop or ())
        if command.state.active is not None and command.state.active.slug is not None:
            named.add(command.state.active.slug)
    before = planning.playing(db)
    found = adoptions.find(db, command.source, keys)
    if command.state is not None and "loop" in found:
        named.update(found["loop"].kept or ())
    items = planning.items(db, slugs | named)
    came = {key.removeprefix("media/") for key in adoptions.find(db, command.source, (f"media/{slug}" for slug in slugs | named))}
    standing = {record.id: jobs.standing(db, record.id) for record in command.jobs}
    return State(
        held=_held(db, slugs),
        jobs={id: job for id, job in standing.items() if job is not None},
        adoptions=found,
        known=frozenset(items),
        moved=frozenset(came & items.keys()),
        removed=frozenset(came - items.keys()),
        told=_told(db, standing),
        entries=loop.entries(db),
        active=active.get(db)[0].slug,
        settings=settings.get(db),
        plan=msgspec.structs.replace(before, items={**items, **before.items}),
    )


def _told(db: apsw.Connection, ids: Iterable[str]) -> dict[str, tuple[str, dict[str, Any] | None]]:
    wanted = msgspec.json.encode(list(ids)).decode()
    rows: list[Any] = db.execute(
        "SELECT id, title, input FROM jobs_all WHERE id IN (SELECT value FROM json_each(?))", (wanted,)
    ).fetchall()
    return {id: (title, None if input is None else msgspec.json.decode(input)) for id, title, input in rows}


_tags = msgspec.json.Decoder(tuple[str, ...]).decode


def _held(db: apsw.Connection, slugs: Iterable[str]) -> dict[str, Held]:
    rows: list[Any] = db.execute(
        "SELECT slug, filename, sha256, tags, duration, uploaded_at, extra, removed_at IS NOT NULL, status, "
        "kind, type, width, height, frame_count, natural_duration FROM media_items "
        "WHERE slug IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(sorted(slugs)).decode(),),
    ).fetchall()
    return {
        slug: Held(
            filename,
            sha256,
            _tags(tags),
            duration,
            uploaded_at,
            None if extra is None else msgspec.json.decode(extra),
            bool(removed),
            tuple(said) if status in ("pending", "processing") else None,
        )
        for slug, filename, sha256, tags, duration, uploaded_at, extra, removed, status, *said in rows
    }


# -- decide --------------------------------------------------------------------------------------------------------------------------


def decide(command: AdoptRecords, state: State, context: Context) -> Sequence[msgspec.Struct]:
    """The events of `judge`."""
    return judge(command, state, context).events


def judge(command: AdoptRecords, state: State, context: Context) -> Judgement:
    """What taking these records over does, record by record. Pure."""
    desk = _Desk(state, context)
    for record in command.media:
        desk.take_media(record)
    for record in command.jobs:
        desk.take_job(record)
    if command.state is not None:
        desk.take_state(command.state)
    events = _with_turn(desk, context)
    chunks = (AdoptionRecorded(command.system, command.source, chunk) for chunk in _chunks(desk.records))
    return Judgement((*events, *chunks), tuple(desk.outcomes), frozenset(desk.known))


class _Desk:
    """Collects what the records of one command come to. `plan` is the plan's state as it will be."""

    def __init__(self, state: State, context: Context) -> None:
        self.state = state
        self.context = context
        self.events: list[msgspec.Struct] = []
        self.outcomes: list[Outcome] = []
        self.records: list[Record] = []
        self.plan = state.plan
        self.chosen: str | None = None
        self.cleared = False
        self.known = set(state.known & state.moved)

    def _note(self, outcome: Outcome, print: str | None = None, kept: Any = None) -> None:
        self.outcomes.append(outcome)
        if print is not None:
            self.records.append(Record(outcome.key, print, kept))

    # -- media

    def take_media(self, record: MediaRecord) -> None:
        """An item: new, known, changed, or in the way of another."""
        key, print = record.key, fingerprint_of(record)
        kept = {"filename": record.filename, "content": record.content}
        adoption, held = self.state.adoptions.get(key), self.state.held.get(record.slug)
        there = held if held is not None and not held.removed else None
        if adoption is not None:
            news = adoption.fingerprint != print
            before: Mapping[str, Any] = adoption.kept or {}
            changes = self._changes(record, there, before) if news and there is not None else []
            self.events += changes
            why = _kept_here(record, there, before)
            outcome = Outcome(key, "merged", None if why is None else "IR-0.3", why)
            if there is not None:
                self.known.add(record.slug)
            # What came for an item that was removed here is not taken yet: restored, the item gets it with the next move.
            self._note(outcome, print if news and there is not None else None, kept)
        elif there is None:
            self.events += self._added(record, (), None)
            self._note(Outcome(key, "imported"), print, kept)
        elif record.content is None or record.sha256 == there.sha256:
            self.known.add(record.slug)
            self._note(Outcome(key, "merged", "IR-0.3", "an item of this slug is here already, and stays as it is"), print, kept)
        else:
            self._note(Outcome(key, "skipped", "IR-0.3", "an item of this slug with another content is here already"))

    def _changes(self, record: MediaRecord, held: Held, before: Mapping[str, Any]) -> list[msgspec.Struct]:
        """What the source says anew. A name that was changed here stays."""
        if held.filename != before.get("filename", held.filename):
            record = msgspec.structs.replace(record, filename=held.filename)
        if record.content != before.get("content") and record.content is not None:
            return self._added(record, held.tags, held.duration_us)
        if held.sha256 is None:
            return self._added(record, held.tags, held.duration_us)
        said = (record.kind, record.type, record.width, record.height, record.frame_count, record.duration_us)
        if record.content is not None and held.said is not None and held.said != said:
            record = msgspec.structs.replace(record, sha256=held.sha256)
            return self._added(record, held.tags, held.duration_us, queued=True)
        update = MediaUpdated(
            record.slug,
            filename=None if record.filename == held.filename else record.filename,
            uploaded_at_us=None if record.uploaded_at_us == held.uploaded_at_us else record.uploaded_at_us,
            extra=None if (record.extra or None) == (held.extra or None) else record.extra or {},
        )
        return [] if update == MediaUpdated(record.slug) else [update]

    def _added(
        self, record: MediaRecord, tags: tuple[str, ...], duration_us: int | None, queued: bool = False
    ) -> list[msgspec.Struct]:
        """`queued`: the job that prepares this very file is waiting already."""
        events: list[msgspec.Struct] = [
            MediaAdded(
                record.slug, record.filename, record.kind, record.type, record.size, record.sha256, tags, record.status,
                record.uploaded_at_us, record.width, record.height, record.frame_count, record.duration_us, record.extra,
                error=record.error,
            )
        ]  # fmt: skip
        if duration_us is not None:
            events.append(MediaUpdated(record.slug, duration_us=duration_us))
        if record.sha256 is not None and not queued:
            events.append(
                JobQueued(
                    id=str(uuid.uuid5(uuid.UUID(self.context.id), record.slug)),
                    kind=PREPARE,
                    title=record.filename[:200],
                    input={"slug": record.slug, "sha256": record.sha256},
                    max_attempts=PREPARE_ATTEMPTS_MAX,
                )
            )
        self.known.add(record.slug)
        if self.plan.is_ready(record.slug):
            item = plan.Item(record.slug, record.sha256, False, ((1, 0),), duration_us)
            self.plan = msgspec.structs.replace(self.plan, items={**self.plan.items, record.slug: item})
        return events

    # -- jobs

    def take_job(self, record: JobRecord) -> None:
        """A job with its state as found; one that is finished here is final."""
        key, print = record.key, fingerprint_of(record)
        adoption, standing = self.state.adoptions.get(key), self.state.jobs.get(record.id)
        if adoption is not None and adoption.fingerprint == print:
            self._note(Outcome(key, "merged"))
        elif standing is None:
            self.events += [*_job_begun(record), *_job_news(record)]
            self._note(Outcome(key, "imported"), print)
        elif adoption is not None and not standing.finished:
            if self._begins_anew(record):
                self.events += _job_begun(record)
            self.events += _job_news(record)
            self._note(Outcome(key, "merged"), print)
        else:
            why = "a job of this id is here already" if adoption is None else "it is finished here, and that is final"
            self._note(Outcome(key, "merged", "IR-0.3", why), print)

    def _begins_anew(self, record: JobRecord) -> bool:
        """Whether the source says something else of what the job was begun with. When a running one last said something is told by its end, too."""
        title, before = self.state.told[record.id]
        now = record.extra or {}
        ended = record.status != "running"
        same = all(
            now.get(name) == (before or {}).get(name) for name in {*now, *(before or {})} if not (ended and name == "timestamp")
        )
        return title != record.title or not same

    # -- what there is once

    def take_state(self, record: StateRecord) -> None:
        """Settings, loop, choice, and what has no place here."""
        for name, value in record.settings.items():
            self._take_setting(name, value)
        if record.loop is not None:
            self._take_loop(record.loop, record.items)
        if record.active is not None:
            self._take_active(record.active.slug, record.items)
        rest = dict(record.rest)
        print = fingerprint(rest)
        adoption = self.state.adoptions.get("rest")
        if rest and (adoption is None or adoption.fingerprint != print):
            self.records.append(Record("rest", print, rest))

    def _take_setting(self, name: str, value: Value) -> None:
        key, print, here = f"settings/{name}", fingerprint(value), self.state.settings[name]
        adoption = self.state.adoptions.get(key)
        news = adoption is None or adoption.fingerprint != print
        untouched = here == (BY_NAME[name].default if adoption is None else adoption.kept)
        comes = news and untouched and here != value
        if comes:
            self.events.append(SettingChanged(name, value))
            if name == "defaultDuration":
                self.plan = msgspec.structs.replace(self.plan, default_duration_us=round(float(value) * 1_000_000))
        how = "imported" if adoption is None and (untouched or here == value) else "merged"
        why = None if comes or here == value else f"it was set here to {here!r}, and stays so"
        self._note(Outcome(key, how, None if why is None else "IR-0.3", why), print if news else None, value)

    def _take_loop(self, slugs: tuple[str, ...], items: frozenset[str]) -> None:
        """The source's loop, unless the owner has ordered it here: then only what is new there, and without what was taken out there."""
        print, adoption = fingerprint(slugs), self.state.adoptions.get("loop")
        if adoption is None and not slugs:
            return  # there never was a loop to move in
        before: list[str] = [] if adoption is None else msgspec.convert(adoption.kept or [], list[str])
        here = {entry.slug: entry for entry in self.state.entries}
        vanished = {slug for slug in before if slug not in items}
        # What was removed here stays in mind: brought back, it is not in the loop for that alone.
        mind = _with_vanished([slug for slug in slugs if slug in self.known or slug in self.state.removed], before, vanished)
        within = _within_bounds(mind)
        there = [slug for slug in within if slug not in self.state.removed]
        untouched = list(here) == [slug for slug in before if slug not in self.state.removed]
        wanted = there if untouched else _merged(list(here), before, there)
        order = _within_bounds(wanted)
        if order != list(here):
            entries = tuple(
                msgspec.structs.replace(here.get(slug, Entry(slug, 0)), rank=place * loop_commands.RANK_STEP)
                for place, slug in enumerate(order, 1)
            )
            self.events.append(LoopReordered(entries))
            self.plan = msgspec.structs.replace(self.plan, entries=loop.plan_entries(entries))
        placed, left_out = set(order), {*mind[len(within) :], *wanted[len(order) :]}
        self.outcomes += [self._of_entry(slug, slug in placed, slug in here, slug in left_out) for slug in slugs]
        self.outcomes += [
            Outcome(f"loop/{slug}", "told", "IR-0.3", "it was taken out of the loop at the source, and so it is here")
            for slug in here
            if slug not in placed
        ]
        if [slug for slug in there if slug in placed] != [slug for slug in order if slug in set(there)]:
            self.outcomes.append(
                Outcome("loop", "told", "IR-0.3", "its order was made here, and stays; what is new at the source comes last")
            )
        if adoption is None or adoption.fingerprint != print or order != list(here):
            self.records.append(Record("loop", print, [slug for slug in mind if slug not in left_out]))

    def _of_entry(self, slug: str, placed: bool, was_here: bool, left_out: bool) -> Outcome:
        key = f"loop/{slug}"
        if placed:
            return Outcome(key, "merged" if was_here else "imported")
        if slug not in self.known:
            return Outcome(key, "skipped", "IR-1.4", self._unknown(slug))
        if left_out:
            why = f"a loop has at most {ENTRIES_MAX} entries, and {LOOP_BYTES_MAX} bytes"
            return Outcome(key, "skipped", "IR-0.8", why)
        return Outcome(key, "merged", "IR-0.3", "it was taken out of the loop here, and stays out")

    def _unknown(self, slug: str) -> str:
        return "the item of this slug is another one here" if slug in self.state.known else "the library here has no such item"

    def _take_active(self, slug: str | None, items: frozenset[str]) -> None:
        print, adoption, here = fingerprint(slug), self.state.adoptions.get("active"), self.state.active
        if adoption is None and slug is None:
            return  # nothing was ever chosen there
        if slug is not None and slug not in self.known:
            self._note(Outcome("active", "skipped", "IR-1.5", f"{slug!r}: {self._unknown(slug)}"))
            return
        news = adoption is None or adoption.fingerprint != print
        untouched = here == (None if adoption is None else adoption.kept)
        vanished = untouched and slug is None and here is not None and here not in items
        comes = news and untouched and not vanished and here != slug
        if comes:
            self.plan = msgspec.structs.replace(self.plan, active=slug)
            self.chosen, self.cleared = slug, slug is None
            self.events.append(ActiveCleared(here) if slug is None else ActiveSet(slug))
        how = "imported" if adoption is None and (untouched or here == slug) else "merged"
        why = None
        if not comes and here != slug:
            why = f"{here!r} is no longer in the source, and stays chosen here" if vanished else _kept_choice(here)
        outcome = Outcome("active", how, None if why is None else "IR-0.3", why)
        self._note(outcome, print if news else None, here if vanished else slug)


def _kept_here(record: MediaRecord, there: Held | None, before: Mapping[str, Any]) -> str | None:
    """What the owner has made of an item that moved in, where the source says otherwise."""
    if there is None:
        return "it was removed here, and stays removed"
    if there.filename in (record.filename, before.get("filename", there.filename)):
        return None
    return f"it was named {there.filename!r} here, and stays so"


def _kept_choice(here: str | None) -> str:
    return "nothing was chosen here, and it stays so" if here is None else f"{here!r} was chosen here, and stays chosen"


def _job_begun(record: JobRecord) -> list[msgspec.Struct]:
    """The events of a job that somebody works on, without a lease: nobody here takes it away."""
    queued = JobQueued(record.id, CONVERT, record.title, record.extra, max_attempts=1, created_at_us=record.created_at_us)
    return [queued, JobClaimed(record.id, None, 1)]


def _job_news(record: JobRecord) -> list[msgspec.Struct]:
    """The event that makes a running job what was found."""
    match record.status:
        case "completed":
            return [JobCompleted(record.id, record.stage, record.message, finished_at_us=record.reported_at_us)]
        case "failed":
            error = record.message or "the older system gave no reason"
            return [JobFailed(record.id, error, record.progress, record.stage, record.message, record.reported_at_us)]
        case "running":
            return [JobProgressed(record.id, record.progress, record.stage, record.message)]


def _with_vanished(now: list[str], before: list[str], vanished: set[str]) -> list[str]:
    """What the source has now, and what it has lost with the item: each behind the entry that it stood behind."""
    if not vanished:
        return now
    followers: dict[str | None, list[str]] = {}
    stays, last = set(now), None
    for slug in before:
        if slug in stays:
            last = slug
        elif slug in vanished:
            followers.setdefault(last, []).append(slug)
    order = followers.get(None, [])
    for slug in now:
        order += [slug, *followers.get(slug, ())]
    return order


def _merged(here: list[str], before: list[str], now: list[str]) -> list[str]:
    """The loop here, without what the source has taken out since, and with what it has put in at the end."""
    gone = set(before) - set(now)
    stays = [slug for slug in here if slug not in gone]
    known = {*before, *stays}
    return [*stays, *(slug for slug in now if slug not in known)]


def _within_bounds(order: list[str]) -> list[str]:
    """As many entries from the first as one loop may have, and one event can carry."""
    size_bytes = 0
    for place, slug in enumerate(order):
        size_bytes += len(msgspec.json.encode(slug)) + 40
        if place >= ENTRIES_MAX or size_bytes > LOOP_BYTES_MAX:
            return order[:place]
    return order


def _with_turn(desk: _Desk, context: Context) -> list[msgspec.Struct]:
    """The events, the last of those that can change what plays with the turn that holds from then on."""
    before, after, now_us = desk.state.plan, desk.plan, context.now_us
    if after is before:
        return desk.events
    if desk.chosen is not None:
        turn = plan.started(after, desk.chosen, now_us)
    elif desk.cleared:
        turn = Turn(None, now_us)
    else:
        turn = plan.carried(before, after, now_us)
    events = list(desk.events)
    places = [place for place, event in enumerate(events) if isinstance(event, _PLANNED)]
    last: Any = events[places[-1]]
    events[places[-1]] = msgspec.structs.replace(last, turn=turn)
    return events


_PLANNED = MediaAdded | LoopReordered | ActiveSet | ActiveCleared | SettingChanged


def _chunks(records: Sequence[Record]) -> Iterator[tuple[Record, ...]]:
    """The records in events of bounded size."""
    chunk: list[Record] = []
    size_bytes = 0
    for record in records:
        length = len(msgspec.json.encode(record))
        if chunk and size_bytes + length > RECORDS_BYTES_MAX:
            yield tuple(chunk)
            chunk, size_bytes = [], 0
        chunk.append(record)
        size_bytes += length
    if chunk:
        yield tuple(chunk)


HANDLERS = {AdoptRecords: Handler(load, decide)}
