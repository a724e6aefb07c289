"""Recognize errors of the machine rather than of the audit: a disk that cannot be written, or too little memory."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_OUT_OF_MEMORY = (
    *("can't allocate memory", "cannot allocate memory", "out of memory"),
    *("can't start new thread", "failed to launch worker thread", "failed to map segment from shared object"),
)
"""Parts of the messages, in lower case, with which libraries and the operating system report too little memory.

Their types differ from library to library, and some are plain exceptions.
"""


_OF_ONEDNN = "could not create a primitive"
"""All that it says where it gets no memory for the code of a convolution; its other errors continue these words."""


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
    said = str(error).lower()
    return isinstance(error, MemoryError) or said == _OF_ONEDNN or any(part in said for part in _OUT_OF_MEMORY)


def free_memory() -> None:
    """Give back what a call that ran out of memory held on a GPU."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def with_smaller_batches(call: Callable[[], Result], batch_size: int, use: Callable[[int], None], what: str) -> Result:
    """Call until memory suffices, each time with batches half as large; raise what is raised at a batch of one.

    Args:
        use: takes the new size, for this call and those that follow.
        what: what is made again, for the log.
    """
    while True:
        try:
            return call()
        except Exception as error:
            if batch_size == 1 or not is_out_of_memory(error):
                raise
        batch_size //= 2
        free_memory()
        use(batch_size)
        logger.warning(
            "memory ran out: %s and what follows goes on with --batch-size %d; last bits can differ from a run with "
            "enough memory",
            what,
            batch_size,
        )


class ShrinkingBatches:
    """Calls in batches of one size, which is halved whenever memory runs out.

    Args:
        what: is made in batches, for the log.
    """

    def __init__(self, batch_size: int, what: str) -> None:
        self.size, self._what = batch_size, what

    def call(self, function: Callable[[int], Result]) -> Result:
        """Call a function with the size, again with a smaller one if memory runs out."""
        return with_smaller_batches(lambda: function(self.size), self.size, self._use, self._what)

    def _use(self, batch_size: int) -> None:
        self.size = batch_size
