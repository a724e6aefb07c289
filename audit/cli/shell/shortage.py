"""Recognize errors of the machine rather than of the audit: a disk that cannot be written, or too little memory."""

from __future__ import annotations

import os

_OUT_OF_MEMORY = (
    *("can't allocate memory", "cannot allocate memory", "out of memory"),
    *("can't start new thread", "failed to launch worker thread", "failed to map segment from shared object"),
)
"""Parts of the messages, in lower case, with which libraries and the operating system report too little memory.

Their types differ from library to library, and some are plain exceptions.
"""


def describe_shortage(error: BaseException) -> str | None:
    """Return what the machine lacks and the way out; None if `error` is not of this kind."""
    if is_out_of_memory(error):
        return "not enough memory; give a smaller --batch-size or --shard-size, or free some"
    if not isinstance(error, OSError):
        return None
    reason = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return f"{error.filename}: {reason}" if error.filename else reason


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, of whichever library, means that memory ran out."""
    return isinstance(error, MemoryError) or any(part in str(error).lower() for part in _OUT_OF_MEMORY)
