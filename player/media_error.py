"""Why a media file cannot be shown: one exception with a code from a closed set and a sentence for its owner."""

from typing import Literal, get_args

MediaErrorCode = Literal[
    "empty",  # no bytes at all
    "not_media",  # no picture format at all
    "unsupported",  # a format we know by name but do not show
    "truncated",  # the end is missing
    "damaged",  # the bytes contradict themselves, or crashed the decoder
    "too_large",  # too many pixels
    "too_long",  # too many frames, or a frame pack that grows too big
    "out_of_memory",  # decoding needs more memory than it may have
    "timeout",  # decoding takes longer than it may
]

MEDIA_ERROR_CODES: frozenset[str] = frozenset(get_args(MediaErrorCode))


class MediaError(Exception):
    """The file was refused. `message` is one or two sentences: what is wrong, and what to do about it."""

    def __init__(self, code: MediaErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: MediaErrorCode = code
        self.message = message
