"""Counting what went wrong, by address, so that nobody can try codes for as long as it takes. Bounded in memory; forgotten with the process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

ATTEMPTS_MAX = 10
ATTEMPTS_SECONDS = 300.0
"""Bad codes or tokens from one address before it has to wait, and the stretch over which they are counted."""

ADDRESSES_MAX = 1_024
"""Addresses that are remembered; of more the oldest are forgotten, so that many addresses cost no memory."""


class Attempts:
    """Counts by address, over stretches of ATTEMPTS_SECONDS that begin with the first."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def wait_seconds(self, who: str) -> int:
        """How long this address has to wait before its next try; 0: it need not."""
        began, count = self._counts.get(who, (0.0, 0))
        left = began + ATTEMPTS_SECONDS - self._now()
        return int(left) + 1 if count >= ATTEMPTS_MAX and left > 0 else 0

    def count(self, who: str) -> None:
        """Another try."""
        now = self._now()
        began, count = self._counts.pop(who, (now, 0))
        if now - began >= ATTEMPTS_SECONDS:
            began, count = now, 0
        self._counts[who] = (began, count + 1)
        if len(self._counts) > ADDRESSES_MAX:
            self._counts.popitem(last=False)

    def forgive(self, who: str) -> None:
        """The last try was none to be counted."""
        began, count = self._counts.get(who, (0.0, 0))
        if count > 1:
            self._counts[who] = (began, count - 1)
        else:
            self._counts.pop(who, None)
