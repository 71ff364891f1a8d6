"""Commands of area loop: replace it, put an entry in, take one out, change how it is gone through."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import get_args

import apsw
import msgspec

from api.commands.deciding import Context, Fault, Handler, Rejected, check_version
from projections import loop, plan, planning
from projections.loop import ENTRIES_MAX, Entry, LoopItemAdded, LoopItemRemoved, LoopModeChanged, LoopReordered, Mode, When

RANK_STEP = 1 << 20
"""Distance of neighbours' ranks in a fresh order: room for twenty insertions at one spot before the order is written anew."""

DURATION_US_MIN, DURATION_US_MAX = 100_000, 86_400_000_000
"""0.1 s to a day: faster than a person can see, longer than a person waits."""

REPEAT_MAX = 1_000
"""Passes of one entry."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOUR = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


class NewEntry(msgspec.Struct, frozen=True):
    """An entry that is asked for; `duration` in seconds."""

    slug: str
    repeat: int | None = None
    duration: float | None = None
    when: When | None = None


class ReplaceLoop(msgspec.Struct, frozen=True):
    """Make the loop exactly these entries; `mode` and `shuffle` stay when None."""

    items: tuple[NewEntry, ...]
    mode: Mode | None = None
    shuffle: bool | None = None
    expected_version: int | None = None


class AddLoopItem(msgspec.Struct, frozen=True):
    """Put an item into the loop at place `at` (None: the end). An item that is in it already stays where it is, unless `at` says."""

    item: NewEntry
    at: int | None = None
    expected_version: int | None = None


class RemoveLoopItem(msgspec.Struct, frozen=True):
    """Take an item out of the loop."""

    slug: str
    expected_version: int | None = None


class State(msgspec.Struct, frozen=True):
    """The loop as it is, which of the asked-for items exist, and the plan."""

    entries: tuple[Entry, ...]
    mode: Mode
    shuffle: bool
    seed: int | None
    version: int
    known: frozenset[str]
    plan: plan.State


Command = ReplaceLoop | AddLoopItem | RemoveLoopItem


def load(db: apsw.Connection, command: Command, now_us: int) -> State:
    """The loop, the plan, and the items that the command names."""
    match command:
        case ReplaceLoop(items=items):
            slugs = {item.slug for item in items}
        case AddLoopItem(item=item):
            slugs = {item.slug}
        case RemoveLoopItem(slug=slug):
            slugs = {slug}
    mode, shuffle, seed, version = loop.mode(db)
    state = planning.playing(db)
    named = planning.items(db, slugs)
    state = msgspec.structs.replace(state, items={**named, **state.items})
    return State(loop.entries(db), mode, shuffle, seed, version, frozenset(named), state)


def decide(command: Command, state: State, context: Context) -> Sequence[msgspec.Struct]:
    """The loop's events, the last of them with the turn that holds from now on."""
    check_version(command.expected_version, state.version, "the loop")
    match command:
        case ReplaceLoop():
            return _replace(command, state, context)
        case AddLoopItem():
            return _add(command, state, context)
        case RemoveLoopItem():
            return _remove(command, state, context)


def _replace(command: ReplaceLoop, state: State, context: Context) -> Sequence[msgspec.Struct]:
    if len(command.items) > ENTRIES_MAX:
        raise Rejected("too_many", f"a loop has at most {ENTRIES_MAX} entries")
    _check(command.items, state.known, "/items/{}", command.mode)
    entries = tuple(entry(item, (place + 1) * RANK_STEP) for place, item in enumerate(command.items))
    mode = command.mode or state.mode
    shuffle = state.shuffle if command.shuffle is None else command.shuffle
    seed = (state.seed if state.shuffle else context.seed) if shuffle else None
    reordered = [_comparable(one) for one in entries] != [_comparable(one) for one in state.entries]
    changed = (mode, shuffle) != (state.mode, state.shuffle)
    turn = _turn(state, context, entries if reordered else state.entries, mode, seed)
    events: list[msgspec.Struct] = []
    if reordered:
        events.append(LoopReordered(entries, None if changed else turn))
    if changed:
        events.append(LoopModeChanged(mode, shuffle, seed, turn))
    return events


def _add(command: AddLoopItem, state: State, context: Context) -> Sequence[msgspec.Struct]:
    _check((command.item,), state.known, "")
    others = [one for one in state.entries if one.slug != command.item.slug]
    present = next((one for one in state.entries if one.slug == command.item.slug), None)
    place = command.at
    if place is None:
        place = state.entries.index(present) if present is not None else len(others)
    if place < 0:
        raise Rejected("invalid", "at is a place in the loop, from 0", [Fault("/at", "must be 0 or more")])
    place = min(place, len(others))
    if len(others) >= ENTRIES_MAX:
        raise Rejected("too_many", f"a loop has at most {ENTRIES_MAX} entries")
    stays = present is not None and state.entries[place] is present
    if present is not None and stays:
        rank: int | None = present.rank
    else:
        rank = _rank_between(others[place - 1].rank if place else 0, others[place].rank if place < len(others) else None)
    added = entry(command.item, rank or 0)
    if stays and added == present:
        return []
    entries = (*others[:place], added, *others[place:])
    if rank is None:
        entries = tuple(msgspec.structs.replace(one, rank=(number + 1) * RANK_STEP) for number, one in enumerate(entries))
        return [LoopReordered(entries, _turn(state, context, entries, state.mode, state.seed))]
    return [LoopItemAdded(added.slug, place, added, _turn(state, context, entries, state.mode, state.seed))]


def _remove(command: RemoveLoopItem, state: State, context: Context) -> Sequence[msgspec.Struct]:
    entries = tuple(one for one in state.entries if one.slug != command.slug)
    if len(entries) == len(state.entries):
        raise Rejected("not_found", f"{command.slug!r} is not in the loop")
    return [LoopItemRemoved(command.slug, _turn(state, context, entries, state.mode, state.seed))]


def entry(item: NewEntry, rank: int) -> Entry:
    """An asked-for entry as the log has it."""
    duration_us = None if item.duration is None else round(item.duration * 1_000_000)
    return Entry(item.slug, rank, item.repeat or 1, duration_us, item.when)


def rank_at_end(entries: Sequence[Entry]) -> int:
    """The rank of an entry after all others."""
    return (entries[-1].rank if entries else 0) + RANK_STEP


def _rank_between(before: int, after: int | None) -> int | None:
    """A rank between two, or None when there is no room."""
    if after is None:
        return before + RANK_STEP
    middle = (before + after) // 2
    return middle if middle > before else None


def _comparable(one: Entry) -> Entry:
    return msgspec.structs.replace(one, rank=0)


def _check(items: Sequence[NewEntry], known: frozenset[str], place: str, mode: Mode | None = None) -> None:
    """Raise Rejected (invalid) naming everything that is wrong with these entries and the mode."""
    faults: list[Fault] = []
    if mode is not None and mode not in get_args(Mode):
        faults.append(Fault("/mode", f"mode is one of {', '.join(get_args(Mode))}"))
    seen: set[str] = set()
    for number, item in enumerate(items):
        where = place.format(number)
        if item.slug not in known:
            faults.append(Fault(f"{where}/slug", f"there is no item {item.slug!r}"))
        if item.slug in seen:
            faults.append(Fault(f"{where}/slug", f"{item.slug!r} is in the list more than once"))
        seen.add(item.slug)
        faults += _check_entry(item, where)
    if faults:
        raise Rejected("invalid", "; ".join(fault.message for fault in faults[:5]), faults)


def check_duration(seconds: float | None, pointer: str) -> list[Fault]:
    """What is wrong with a length; None is right, what is no number is not."""
    if seconds is None or DURATION_US_MIN <= seconds * 1_000_000 <= DURATION_US_MAX:
        return []
    return [Fault(pointer, "duration is 0.1 to 86400 seconds")]


def _check_entry(item: NewEntry, where: str) -> list[Fault]:
    faults: list[Fault] = []
    if item.repeat is not None and not 1 <= item.repeat <= REPEAT_MAX:
        faults.append(Fault(f"{where}/repeat", f"repeat is 1 to {REPEAT_MAX}"))
    faults += check_duration(item.duration, f"{where}/duration")
    if item.when is not None:
        for day in item.when.days:
            if day not in DAYS:
                faults.append(Fault(f"{where}/when/days", f"{day!r} is not one of {', '.join(DAYS)}"))
        for name, hour in (("from", item.when.from_), ("until", item.when.until)):
            if hour is not None and not _HOUR.fullmatch(hour) and not (name == "until" and hour == "24:00"):
                faults.append(Fault(f"{where}/when/{name}", f"{hour!r} is not a time of day such as 07:30"))
    return faults


def _turn(state: State, context: Context, entries: Sequence[Entry], mode: Mode, seed: int | None) -> plan.Turn:
    before = state.plan
    after = msgspec.structs.replace(before, entries=loop.plan_entries(tuple(entries)), mode=mode, shuffle_seed=seed)
    return plan.carried(before, after, context.now_us)


HANDLERS = {command: Handler(load, decide) for command in (ReplaceLoop, AddLoopItem, RemoveLoopItem)}
