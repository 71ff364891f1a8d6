"""The plan: what the panel should show, as a pure function of the log and an instant.

Here lives the whole answer to "what plays?": whose turn it is, which frame, which messages over it, and when
that can differ next. Not here: reading tables (the areas' queries build a `State`), drawing (the renderer),
and the player's own facts, which never are input to the plan. No clock is read; an instant is always an
argument.

Instants are log time: whole microseconds, strictly increasing, never stepped. An event that changes what
plays carries the `Turn` in force from then on, and that turn is all the past the plan needs:

    at(state, b) == at(state with turn=at(state, a).turn, b)        for every a <= b

So the plan may start from the log's last turn, however old, or from the last answer, and say the same.

`values`   State, Turn, Showing and their kin; lengths and frames
`hours`    When, and its windows in local time
`order`    the order in which a cycle plays, shuffled or not
`turns`    the turn in force, and the turns that commands start or carry on
`showing`  `at`: all of it at one instant
"""

from projections.plan.hours import When
from projections.plan.showing import at
from projections.plan.turns import (
    became_ready,
    carried,
    next_turn,
    previous_turn,
    released,
    resumed,
    started,
    turn_at,
)
from projections.plan.values import Clock, Entry, Item, Message, Playback, Showing, State, Turn

__all__ = [
    "Clock",
    "Entry",
    "Item",
    "Message",
    "Playback",
    "Showing",
    "State",
    "Turn",
    "When",
    "at",
    "became_ready",
    "carried",
    "next_turn",
    "previous_turn",
    "released",
    "resumed",
    "started",
    "turn_at",
]
