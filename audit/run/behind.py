"""Finish one piece of work in another thread while the next is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def one_behind() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Yield a function that hands a call to another thread, after it has waited for the call before.

    So at most one runs behind. Its error is raised at the next call or when the context is left, where the last call
    is waited for whatever happens.
    """
    last: Future[object] | None = None

    def hand_over(call: Callable[[], object]) -> None:
        nonlocal last
        if last is not None:
            last.result()
        last = thread.submit(call)

    with ThreadPoolExecutor(max_workers=1) as thread:
        yield hand_over
        if last is not None:
            last.result()
