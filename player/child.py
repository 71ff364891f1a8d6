"""Preparation in a child process, so that a media file can cost no more than one refusal.

Decoders are large C libraries that read what strangers wrote. In a child they may run out of memory or
time, or crash, and the player goes on. Here live starting that child, reading what it says against a
deadline, and turning the ways it can end into `MediaError`; the work itself is player/prepare.py.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from player.layout import Geometry
from player.media_error import MediaError, MediaErrorCode
from player.prepare import Prepared, Progress, temporary_prefix

MEMORY_BYTES = 512 << 20
"""The largest accepted picture takes 200 MB decoded and its decoder up to as much again."""
CPU_SECONDS = 600
"""5,000 frames at 0.1 s each, which is slow even for the smallest Pi."""
WALL_SECONDS = 1800
"""Three times the CPU limit: the child has the lowest priority and may wait for everyone else."""

POLL_SECONDS = 0.1
"""How long a cancellation may go unnoticed."""
OUTPUT_BYTES_MAX = 1 << 20
"""The child says some 101 short lines; a child that says this much is not ours any more."""
COMPLAINT_BYTES_MAX = 4096
"""How much of the end of its stderr is kept, to explain a crash."""


class Cancelled(Exception):
    """The caller's `cancelled` said so; nothing was kept."""


def prepare_limited(
    source: Path,
    into: Path,
    geometry: Geometry,
    progress: Progress,
    *,
    memory_bytes: int = MEMORY_BYTES,
    cpu_seconds: int = CPU_SECONDS,
    wall_seconds: float = WALL_SECONDS,
    cancelled: Callable[[], bool] = lambda: False,
) -> Prepared:
    """`prepare` in a child with limits; same arguments, same result, same files.

    Blocks until the child has ended. `cancelled` is asked ten times a second. Raises MediaError (also
    "out_of_memory", "timeout", and "damaged" when the decoder crashed), Cancelled, or OSError when the child could
    not read or write. A child that is killed leaves nothing in `into`. When this process dies, so does
    the child.
    """
    command = [
        *(sys.executable, "-P", "-m", "player.prepare", str(source.absolute()), str(into.absolute())),
        *("--size", f"{geometry.width}x{geometry.height}"),
        *("--rotation", str(geometry.rotation), "--fit", geometry.fit, "--limited"),
        *("--memory-bytes", str(memory_bytes), "--cpu-seconds", str(cpu_seconds)),
    ]
    deadline = time.monotonic() + wall_seconds
    # Its own session: a signal to the player's group is for the player to act on, and the pipe tells the
    # child.
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # One arena: memory that threads of a decoder set aside for themselves would count against the limit.
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    ) as child:
        conversation = _Conversation(child, progress)
        try:
            while not conversation.ended:
                if cancelled():
                    raise Cancelled
                if time.monotonic() >= deadline:
                    raise _timeout()
                conversation.listen(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
            return _outcome(conversation, child.wait(max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired as error:
            raise _timeout() from error
        finally:
            conversation.close()
            child.kill()
            child.wait()
            for leftover in into.glob(f"{temporary_prefix(child.pid)}*"):
                leftover.unlink(missing_ok=True)


class _Conversation:
    """What the child has said so far. `answer` is its last line, once it has given one."""

    def __init__(self, child: subprocess.Popen[bytes], progress: Progress) -> None:
        self.ended = False
        self.answer: dict[str, Any] = {}
        self.complaint = b""
        self._progress = progress
        self._unread = b""
        self._heard_bytes = 0
        self._selector = selectors.DefaultSelector()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                self._selector.register(stream, selectors.EVENT_READ, stream is child.stdout)

    def listen(self, seconds: float) -> None:
        """Take in what is said within that time, at most one piece from each stream."""
        for key, _ in self._selector.select(seconds):
            data = os.read(key.fd, 65536)
            if not data:
                self._selector.unregister(key.fileobj)
                self.ended = not self._selector.get_map()
            elif key.data:
                self._take(data)
            else:
                self.complaint = (self.complaint + data)[-COMPLAINT_BYTES_MAX:]

    def close(self) -> None:
        self._selector.close()

    def _take(self, data: bytes) -> None:
        self._heard_bytes += len(data)
        if self._heard_bytes > OUTPUT_BYTES_MAX:
            raise _crashed("it said too much")
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            try:
                said = msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError as error:
                raise _crashed("it said something else than expected") from error
            if "progress" in said:
                self._progress(int(said["progress"]), str(said["stage"]))
            else:
                self.answer = said


def _outcome(conversation: _Conversation, code: int) -> Prepared:
    answer = conversation.answer
    if "prepared" in answer and code == 0:
        return msgspec.convert(answer["prepared"], Prepared)
    if "error" in answer:
        refused = msgspec.convert(answer["error"], _Refusal)
        raise MediaError(refused.code, refused.message)
    if "fault" in answer:
        raise OSError(answer["fault"]["errno"], answer["fault"]["message"])
    if code == -signal.SIGXCPU:
        raise _timeout()
    complaint = conversation.complaint.decode("utf-8", "backslashreplace")
    # Only the kernel kills a child of ours this way: it was the one to go when memory ran out. A library may
    # also give up by itself and say so.
    if code == -signal.SIGKILL or "MemoryError" in complaint:
        raise MediaError("out_of_memory", "This picture needs more memory than the device can spare. Make it smaller first.")
    raise _crashed(f"it ended with {code}: {complaint}")


class _Refusal(msgspec.Struct, frozen=True):
    code: MediaErrorCode
    message: str


def _timeout() -> MediaError:
    return MediaError("timeout", "Preparing this file took too long. Make it smaller or shorter first.")


def _crashed(how: str) -> MediaError:
    error = MediaError("damaged", "This file crashed its decoder. Save it again with another program.")
    error.add_note(f"the preparing child: {how}")
    return error
