"""Whose turn it is, and which turn a command starts or carries on.

A turn is an item, the instant it began, and its place in the loop. When it ends, the next entry in the order
of its cycle that may play begins at that same instant; entries passed over take no time. Three things pass an
entry over: its item is unknown, its item is not ready, or its hours are shut at the instant it would begin.
What has begun plays to its end.

What it costs. Between two boundaries of the hours, each time through the loop lasts equally long, shuffled or
not, so whole cycles are skipped by division: a stretch takes O(entries), however many turns fit in it.
Without hours all of time is one stretch. With hours there are as many as their boundaries since the turn
began (two a day for one daily window); whoever asks often goes on from the turn of the last answer.

This module decides turns only; frames and messages are put beside them in `showing`.
"""

from msgspec.structs import replace

from projections.plan.order import order
from projections.plan.values import Entry, State, Turn

# Where a log begins that never started anything: at the first entry, at the origin of its time.
_NEVER = Turn(None, 0)


# -- The turn in force ---------------------------------------------------------------------------------------


def turn_at(state: State, instant_us: int) -> Turn:
    """The turn in force at the instant (not before the state's own turn began; the beginning counts then).

    Normalised: put into the state, it gives the same answers from this instant on.
    """
    anchor = state.turn or _NEVER
    now_us = played_until(state, anchor, instant_us)
    waiting = _waiting(state, anchor)
    begin_us = anchor.started_us
    if _may_play(state, anchor):
        end_us = end_of(state, anchor)
        if end_us is None or now_us < end_us:
            return _placed(state, anchor, waiting)
        begin_us = end_us
    return _turn_from(state, _place_after(state, anchor), anchor.cycle, begin_us, now_us, waiting)


def turn_after(state: State, turn: Turn, end_us: int) -> Turn:
    """The turn that begins at `end_us`, where `turn` ends; one without a slug if nothing may play then."""
    place = _place_after(state, turn)
    return _turn_from(state, place, turn.cycle, end_us, end_us, _waiting(state, turn))


def _turn_from(
    state: State,
    place: int,
    cycle: int,
    begin_us: int,
    now_us: int,
    waiting: str | None,
) -> Turn:
    """The turn in force at `now_us`, when the loop plays from `place` of `cycle` since `begin_us` <= `now_us`."""
    size = len(state.entries)
    idle_since_us: int | None = None
    while True:
        lengths_us, until_us = _lengths(state, begin_us)
        cycle_us = sum(lengths_us)
        if not cycle_us:
            idle_since_us = begin_us if idle_since_us is None else idle_since_us
            if until_us is None or until_us > now_us:
                return Turn(None, idle_since_us, place, cycle=cycle, waiting=waiting)
            begin_us = until_us
            continue
        idle_since_us = None
        if _is_endless(state):
            now_us = begin_us  # the first turn to begin is the last
        # The last instant at which a turn may begin that belongs to this stretch and matters to the question.
        last_us = now_us if until_us is None else min(now_us, until_us - 1)
        while begin_us <= last_us:
            if place >= size:
                place, cycle = 0, cycle + 1
            if place == 0:
                whole_cycles = (last_us - begin_us) // cycle_us
                begin_us += whole_cycles * cycle_us
                cycle += whole_cycles
            indexes = order(state.shuffle_seed, cycle, size)
            while place < size and begin_us <= last_us:
                index = indexes[place]
                length_us = lengths_us[index]
                # Here `length_us` 0 stands for an entry that is passed over.
                if length_us and begin_us + length_us > now_us:
                    return Turn(state.entries[index].slug, begin_us, place, cycle=cycle, waiting=waiting)
                begin_us += length_us
                place += 1


def played_until(state: State, turn: Turn, instant_us: int) -> int:
    """The instant up to which things have played: that of the pause while paused.

    A turn that began during the pause shows its first frame.
    """
    paused_at_us = state.playback.paused_at_us
    if paused_at_us is not None and paused_at_us < instant_us:
        instant_us = paused_at_us
    return max(instant_us, turn.started_us)


def end_of(state: State, turn: Turn) -> int | None:
    """When a turn that plays ends; None if it does not by itself: held, mode one, or nothing could follow."""
    if turn.slug is None or _is_endless(state):
        return None
    # The chosen item stays on when the loop has nothing to go on with: nobody means the address screen then.
    if turn.slug == state.active and not any(state.lengths_us):
        return None
    return turn.started_us + state.length_us(turn.slug, _entry_of(state, turn))


# -- Turns that commands start -------------------------------------------------------------------------------


def started(state: State, slug: str, instant_us: int) -> Turn:
    """The turn for making `slug` active, or jumping to it, now. An item that may not play yet is passed over
    by whoever asks the plan, and keeps its claim (see `became_ready`).
    """
    now = turn_at(state, instant_us)
    index = state.indexes.get(slug)
    if index is None:
        # The loop begins anew afterwards, in a new cycle: a shuffled one should not repeat what just played.
        return Turn(slug, instant_us, outside=True, cycle=now.cycle + 1)
    place = order(state.shuffle_seed, now.cycle, len(state.entries)).index(index)
    return Turn(slug, instant_us, place, cycle=now.cycle)


def next_turn(state: State, instant_us: int) -> Turn | None:
    """The turn that `next` starts now; None if no other entry may play."""
    now = turn_at(state, instant_us)
    return _neighbour(state, now, _place_after(state, now), 1, instant_us)


def previous_turn(state: State, instant_us: int) -> Turn | None:
    """The turn that `previous` starts now; None if no other entry may play. The first cycle wraps in itself."""
    now = turn_at(state, instant_us)
    place = _place(state, now)
    before = (_place_after(state, now) if place is None else place) - 1
    return _neighbour(state, now, min(before, len(state.entries) - 1), -1, instant_us)


def _neighbour(state: State, now: Turn, place: int, step: int, instant_us: int) -> Turn | None:
    lengths_us, _ = _lengths(state, instant_us)
    size, cycle = len(state.entries), now.cycle
    # The rest of this cycle and one more: shuffled, that is what it takes to meet every entry.
    for _ in range(2 * size):
        if place >= size:
            place, cycle = 0, cycle + 1
        elif place < 0:
            place, cycle = size - 1, max(0, cycle - 1)
        index = order(state.shuffle_seed, cycle, size)[place]
        slug = state.entries[index].slug
        if lengths_us[index] and slug != now.slug:
            return Turn(slug, instant_us, place, cycle=cycle)
        place += step
    return None


# -- Turns that go on ----------------------------------------------------------------------------------------


def carried(before: State, after: State, instant_us: int) -> Turn:
    """The turn in force at the instant in `before`, made to hold in `after`.

    It goes on, with the same beginning, if it may play in `after`: also when it was taken out of the loop,
    and when its length changed; after a hold or mode one it is `released`. It ends now, and the next in
    `after` begins, if it may not play any more or its new length is over. If nothing played, the first entry
    that may play in `after` begins now.
    """
    now = turn_at(before, instant_us)
    if now.slug is None:
        begin_us = played_until(after, now, instant_us)
        first = _turn_from(after, 0, now.cycle, begin_us, begin_us, _waiting(after, now))
        return now if first.slug is None else first
    if not _may_play(after, now):
        return turn_after(after, now, instant_us)
    end_us = end_of(after, now)
    if end_us is not None and end_of(before, now) is None:
        now = _caught_up(before, now, instant_us)
        end_us = end_of(after, now)
    if end_us is not None and end_us <= played_until(after, now, instant_us):
        return turn_after(after, now, instant_us)
    return _placed(after, now, _waiting(after, now))


def became_ready(before: State, after: State, slug: str, instant_us: int) -> Turn:
    """The turn in force once `slug` is ready: its own if it was made active and has been waited for, else as
    `carried`. Starting another item by hand (next, previous, jump) ends the wait.
    """
    if slug == after.active and turn_at(before, instant_us).waiting == slug and after.is_ready(slug):
        return started(after, slug, instant_us)
    return carried(before, after, instant_us)


def released(state: State, instant_us: int) -> Turn:
    """The turn in force once a hold, or mode one, ends now: begun later by the whole lengths that it has played,
    so that the one under way is played to its end. `state` still has the hold.
    """
    return _caught_up(state, turn_at(state, instant_us), instant_us)


def resumed(state: State, instant_us: int) -> Turn:
    """The turn in force once a pause ends now: begun later by its length. `state` is still paused."""
    now = turn_at(state, instant_us)
    if state.playback.paused_at_us is None:
        return now
    if now.slug is None:
        return replace(now, started_us=instant_us)
    pause_us = max(0, instant_us - played_until(state, now, instant_us))
    return _begun_at(state, now, now.started_us + pause_us, instant_us)


def _caught_up(state: State, now: Turn, instant_us: int) -> Turn:
    """The turn, begun later by as many whole lengths as it has played."""
    if now.slug is None:
        return now
    length_us = state.length_us(now.slug, _entry_of(state, now))
    lengths = (played_until(state, now, instant_us) - now.started_us) // length_us
    return _begun_at(state, now, now.started_us + lengths * length_us, instant_us)


def _begun_at(state: State, now: Turn, started_us: int, instant_us: int) -> Turn:
    """The turn with a later beginning. If its hours are shut by then, it ends now: what follows begins at the
    instant itself, not somewhere in its middle.
    """
    moved = replace(now, started_us=started_us)
    return moved if _may_play(state, moved) else replace(now, started_us=instant_us)


# -- Places --------------------------------------------------------------------------------------------------


def _place(state: State, turn: Turn) -> int | None:
    """Where the turn's item stands in the order of its cycle; None if it is not in the loop."""
    if turn.slug is None:
        return None
    indexes = order(state.shuffle_seed, turn.cycle, len(state.entries))
    if 0 <= turn.ordinal < len(indexes) and state.entries[indexes[turn.ordinal]].slug == turn.slug:
        return turn.ordinal
    index = state.indexes.get(turn.slug)
    return None if index is None else indexes.index(index)


def _place_after(state: State, turn: Turn) -> int:
    """The place that follows; one past the last means the first of the next cycle."""
    place = _place(state, turn)
    if place is not None:
        return place + 1
    return 0 if turn.outside else turn.ordinal


def _placed(state: State, turn: Turn, waiting: str | None) -> Turn:
    """The turn with the place that its item has in this loop. Out of the loop it keeps the last one it had."""
    place = _place(state, turn)
    if place is None:
        return turn if turn.waiting == waiting else replace(turn, waiting=waiting)
    if place == turn.ordinal and not turn.outside and turn.waiting == waiting:
        return turn
    return replace(turn, ordinal=place, outside=False, waiting=waiting)


def _entry_of(state: State, turn: Turn) -> Entry | None:
    place = _place(state, turn)
    if place is None:
        return None
    return state.entries[order(state.shuffle_seed, turn.cycle, len(state.entries))[place]]


# -- What may play -------------------------------------------------------------------------------------------


def _may_play(state: State, turn: Turn) -> bool:
    """Whether a turn's item is ready, and its hours were open when it began."""
    if not state.is_ready(turn.slug):
        return False
    entry = _entry_of(state, turn)
    if state.hours is None or entry is None or entry.when is None:
        return True
    return state.hours.stretch(entry.when, turn.started_us)[0]


def _lengths(state: State, instant_us: int) -> tuple[tuple[int, ...], int | None]:
    """Turn lengths of the entries, 0 for those passed over at the instant, and until when they are so."""
    if state.hours is None:
        return state.lengths_us, None
    shut, until_us = state.hours.shut(instant_us)
    if not shut:
        return state.lengths_us, until_us
    entries = zip(state.entries, state.lengths_us, strict=True)
    return tuple(0 if entry.when in shut else length_us for entry, length_us in entries), until_us


def _is_endless(state: State) -> bool:
    return state.playback.held or state.mode == "one"


def _waiting(state: State, turn: Turn) -> str | None:
    """The active item, if this turn is or stands in for its turn and it is known but not ready."""
    slug = state.active
    if slug is None or slug not in (turn.slug, turn.waiting) or state.is_ready(slug):
        return None
    return slug
