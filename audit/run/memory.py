"""Give freed memory back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def release_freed_memory() -> None:
    """Return the pages that nothing uses any more, if this C library can.

    It keeps them otherwise. They then lie between those in use, so that the peak grows with every kind of work.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
