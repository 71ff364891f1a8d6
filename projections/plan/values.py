"""The values that the plan is asked with and answers with.

Here live shapes, and arithmetic that needs one value only (how long an entry plays, which frame is due). Anything
that needs an instant and a loop is in `turns`. All are frozen; what is derived from one is computed once and kept
with it (`dict=True` gives `cached_property` a place), so it lives exactly as long as the value it belongs to.
"""

from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from itertools import accumulate
from typing import Literal

from msgspec import Struct

from projections.plan.hours import Timetable, When

# No turn is shorter: a loop of zero-length entries would need endlessly many turns to pass an instant.
SHORTEST_TURN_US = 1_000

_RANK = {"critical": 0, "warning": 1, "info": 2}


class Turn(Struct, frozen=True, rename="camel", omit_defaults=True):
    """From this point of the log on, this plays, and since when. Carried inside events that change what plays.

    `Turn(None, now)` begins the loop at its first entry now.
    """

    slug: str | None
    """The item; None when nothing could play."""
    started_us: int
    """Log time at which the turn began. May lie in the past; a pause moves it forward."""
    ordinal: int = 0
    """Its place in the order of its cycle. Without a `slug` in the loop: the place that follows."""
    outside: bool = False
    """Played from outside the loop, so the first entry follows."""
    cycle: int = 0
    """Which time through the loop; it chooses the order when shuffled."""
    waiting: str | None = None
    """The active item that this turn stands in for because it is not ready; see `became_ready`."""


class Entry(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One place in the loop. Lengths in microseconds; `duration_us` is that of one pass, `repeat` >= 1 passes."""

    slug: str
    repeat: int = 1
    duration_us: int | None = None
    when: When | None = None


class Item(Struct, frozen=True, dict=True):
    """A medium as far as the plan needs it."""

    slug: str
    sha256: str | None
    ready: bool
    delays: tuple[tuple[int, int], ...]
    """The frames, run-length: (how many, microseconds each). A still has ((1, 0),)."""
    duration_us: int | None = None
    """Set by the owner: replaces the natural length."""

    @cached_property
    def _runs(self) -> tuple[list[int], list[int]]:
        """Where each run of equal delays ends, in microseconds and in frames."""
        ends_us = list(accumulate(count * delay for count, delay in self.delays))
        ends_frame = list(accumulate(count for count, _ in self.delays))
        return ends_us, ends_frame

    @cached_property
    def natural_us(self) -> int:
        """Length of one pass through the frames; 0 for a still."""
        frames = sum(count for count, _ in self.delays)
        return sum(count * delay for count, delay in self.delays) if frames > 1 else 0

    def frame_at(self, offset_us: int) -> tuple[int, int | None]:
        """Index of the frame due `offset_us` (>= 0) into a turn, and how long it stays; None: for good."""
        if not self.natural_us:
            return 0, None
        ends_us, ends_frame = self._runs
        offset_us %= self.natural_us
        run = bisect_right(ends_us, offset_us)
        count, delay_us = self.delays[run]
        into_run_us = offset_us - (ends_us[run] - count * delay_us)
        index, into_frame_us = divmod(into_run_us, delay_us)
        return ends_frame[run] - count + index, delay_us - into_frame_us


class Message(Struct, frozen=True):
    """A text drawn over the media from `posted_at_us` until `expires_at_us` (exclusive; None: until dismissed)."""

    id: str
    text: str
    priority: Literal["info", "warning", "critical"]
    posted_at_us: int
    expires_at_us: int | None
    position: int


class Playback(Struct, frozen=True):
    """`paused_at_us`: frames and turns stand still since then. `held`: the turn does not end by itself."""

    paused_at_us: int | None = None
    held: bool = False


class Clock(Struct, frozen=True):
    """Wall clock = log time + `offset_us`, worth believing when `trusted`."""

    offset_us: int | None
    trusted: bool


class State(Struct, frozen=True, dict=True):
    """All that decides what plays, as of `position`. `items` holds those that entries, turn and active name."""

    position: int
    turn: Turn | None
    entries: tuple[Entry, ...]
    mode: Literal["all", "one"]
    shuffle_seed: int | None
    active: str | None
    items: Mapping[str, Item]
    playback: Playback
    default_duration_us: int
    time_zone: str
    clock: Clock
    messages: tuple[Message, ...]

    def is_ready(self, slug: str | None) -> bool:
        """Whether the item is known and prepared."""
        item = self.items.get(slug) if slug is not None else None
        return item is not None and item.ready

    def length_us(self, slug: str, entry: Entry | None) -> int:
        """Length of a turn of a known item: its passes, each of the length set for it, else its natural one."""
        item = self.items[slug]
        pass_us = entry.duration_us if entry is not None else None
        if pass_us is None:
            pass_us = item.duration_us
        if pass_us is None:
            pass_us = item.natural_us or self.default_duration_us
        return max(SHORTEST_TURN_US, pass_us * (entry.repeat if entry is not None else 1))

    @cached_property
    def lengths_us(self) -> tuple[int, ...]:
        """Turn length of each loop entry; 0 for one whose item is unknown or not ready."""
        return tuple(self.length_us(e.slug, e) if self.is_ready(e.slug) else 0 for e in self.entries)

    @cached_property
    def hours(self) -> Timetable | None:
        """The hours that the loop keeps; None if no entry has any or the clock is not to be trusted with them."""
        if not (self.clock.trusted and self.clock.offset_us is not None):
            return None
        whens = [entry.when for entry in self.entries if entry.when is not None]
        return Timetable(whens, self.time_zone, self.clock.offset_us) if whens else None

    @cached_property
    def indexes(self) -> dict[str, int]:
        """Where each slug stands in the loop."""
        return {entry.slug: index for index, entry in enumerate(self.entries)}

    @cached_property
    def unready(self) -> tuple[tuple[str, str], ...]:
        """(slug, why) of the loop entries that are passed over at any hour."""
        return tuple(
            (entry.slug, "not_ready" if entry.slug in self.items else "unknown")
            for entry in self.entries
            if not self.is_ready(entry.slug)
        )

    @cached_property
    def _drawing_order(self) -> tuple[Message, ...]:
        return tuple(sorted(self.messages, key=lambda m: (_RANK[m.priority], m.position)))

    @cached_property
    def _expiries_us(self) -> list[int]:
        return sorted(m.expires_at_us for m in self.messages if m.expires_at_us is not None)

    def messages_at(self, instant_us: int) -> tuple[tuple[Message, ...], int | None]:
        """The messages to draw, the most urgent first and then the oldest, and when the next one expires.

        The log allows a great many messages: as long as none has expired, this does not look at each of them.
        """
        gone = bisect_right(self._expiries_us, instant_us)
        next_expiry_us = self._expiries_us[gone] if gone < len(self._expiries_us) else None
        if not gone:
            return self._drawing_order, next_expiry_us
        live = (m for m in self._drawing_order if m.expires_at_us is None or m.expires_at_us > instant_us)
        return tuple(live), next_expiry_us


class Showing(Struct, frozen=True):
    """What the panel should show at an instant, and until when."""

    at_us: int
    slug: str | None
    """None: nothing to play, the address screen."""
    sha256: str | None
    frame: int
    turn: Turn
    """The turn in force. The state with this turn gives the same answers from `at_us` on."""
    turn_ends_us: int | None
    """None while the turn ends by no passing of time: held, paused, mode one, nothing on."""
    next_slug: str | None
    """What follows when this turn has ended; None when nothing does or it would not end by itself."""
    loop_index: int | None
    paused: bool
    held: bool
    messages: tuple[Message, ...]
    """In drawing order: critical, warning, info, and the oldest first among equals."""
    next_change_us: int | None
    """Nothing shown differs before this instant; None: not without an event."""
    off: tuple[tuple[str, str], ...]
    """(slug, not_ready | unknown | outside_hours) of the loop entries that would be passed over now."""
    hours_ignored: bool
    """Some entry has hours, but the clock cannot be trusted to keep them."""
