"""Ctrl-C at a moment when it does no harm.

Python raises KeyboardInterrupt in the main thread between any two instructions, those of a `finally` too: no code in Python can then be sure to give
back what it holds, a lock or the lead of the writer, and others would wait for it for ever. So the main thread puts Ctrl-C off for the length of a
commit and hears of it at its end. A second one is not put off: a work that does not end can still be ended.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Any

_MAIN = threading.main_thread().ident

# What the functions of the module `signal` wrap: those make an enumeration of each answer, which takes ten times as long.
_direct: Any = import_module("_signal")
_set_handler: Callable[[int, Any], Any] = _direct.signal
_handler_of: Callable[[int], Any] = _direct.getsignal
_SIGINT = int(signal.SIGINT)


class PutOff:
    """What has to be told at the end."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            signal.default_int_handler(number, frame)
        self.asked = True


def put_off() -> PutOff | None:
    """From here until `end` Ctrl-C waits. None, and nothing is changed, in another thread than the main one, which never hears of it, and in a
    program that handles the signal itself."""
    if threading.get_ident() != _MAIN or _handler_of(_SIGINT) is not signal.default_int_handler:
        return None
    waiting = PutOff()
    _set_handler(_SIGINT, waiting)
    return waiting


def end(waiting: PutOff | None) -> None:
    """Handle Ctrl-C as before. Raises KeyboardInterrupt if it came meanwhile."""
    if waiting is not None:
        _set_handler(_SIGINT, signal.default_int_handler)
        if waiting.asked:
            raise KeyboardInterrupt
