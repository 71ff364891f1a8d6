"""`at`: the plan's whole answer for one instant. Whose turn it is comes from `turns`; here it meets the frame
that is due, the messages over it, and the next instant at which any of it can differ.
"""

from projections.plan.turns import end_of, played_until, turn_after, turn_at
from projections.plan.values import Showing, State


def at(state: State, instant_us: int) -> Showing:
    """What the panel should show at the instant. Before the state's turn began: what it shows at its beginning."""
    turn = turn_at(state, instant_us)
    now_us = played_until(state, turn, instant_us)
    sha256, frame, end_us, next_slug = None, 0, None, None
    changes_us: list[int | None] = []
    if turn.slug is not None:
        item = state.items[turn.slug]
        sha256 = item.sha256
        frame, stays_us = item.frame_at(now_us - turn.started_us)
        end_us = end_of(state, turn)
        if end_us is not None:
            next_slug = turn_after(state, turn, end_us).slug
        changes_us = [end_us, None if stays_us is None else now_us + stays_us]
    elif state.hours is not None:
        changes_us = [state.hours.shut(now_us)[1]]

    paused_at_us = state.playback.paused_at_us
    if paused_at_us is not None:
        # What lies beyond the pause does not come by itself. Messages pass away meanwhile.
        end_us = None if end_us is None or end_us > paused_at_us else end_us
        changes_us = [us for us in changes_us if us is not None and us <= paused_at_us]
    messages, expiry_us = state.messages_at(instant_us)
    changes_us.append(expiry_us)

    return Showing(
        at_us=instant_us,
        slug=turn.slug,
        sha256=sha256,
        frame=frame,
        turn=turn,
        turn_ends_us=end_us,
        next_slug=next_slug,
        loop_index=None if turn.slug is None else state.indexes.get(turn.slug),
        paused=paused_at_us is not None,
        held=state.playback.held,
        messages=messages,
        next_change_us=min((us for us in changes_us if us is not None), default=None),
        off=state.unready + _outside_hours(state, instant_us),
        hours_ignored=state.hours is None and any(entry.when is not None for entry in state.entries),
    )


def _outside_hours(state: State, instant_us: int) -> tuple[tuple[str, str], ...]:
    if state.hours is None:
        return ()
    shut, _ = state.hours.shut(instant_us)
    return tuple((e.slug, "outside_hours") for e in state.entries if e.when in shut and state.is_ready(e.slug))
