"""Take memory from the system before it is needed, and give freed memory back."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from functools import cache

_BUFFER = 48 << 20
"""Bytes that no buffer of a BLAS library exceeds; OpenBLAS takes 32 MiB and a page."""


@cache  # a process keeps its buffers: it asks for them once, and again only after a refusal
def reserve_blas_buffers() -> None:
    """Let the BLAS libraries of NumPy and SciPy take their buffers, while too little memory can still be reported.

    OpenBLAS takes one at the first larger product, and keeps it. Where it gets none, it ends the process, or asks
    without end.

    Raises:
        OSError: memory does not suffice for them.
    """
    import numpy as np
    from scipy.linalg.blas import dgemm

    mmap.mmap(-1, 2 * _BUFFER).close()
    square = np.ones((256, 256))  # smaller products need no buffer
    dgemm(1.0, square @ square, square)


def release_freed_memory() -> None:
    """Return the pages that nothing uses any more, if this C library can.

    It keeps them otherwise. They then lie between those in use, so that the peak grows with every kind of work.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
