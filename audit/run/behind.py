"""Finish pieces of work in other threads while the next ones are computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def behind(n: int) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Yield a function that hands a call to another thread, after it has waited until fewer than `n` are behind.

    Its error is raised at a later call or when the context is left, where all are waited for whatever happens. With an
    `n` of 0, calls run at once.
    """
    running: deque[Future[object]] = deque()

    def hand_over(call: Callable[[], object]) -> None:
        if n == 0:
            call()
            return
        if len(running) == n:
            running.popleft().result()
        running.append(threads.submit(call))

    with ThreadPoolExecutor(max_workers=max(1, n)) as threads:
        yield hand_over
        for call in running:
            call.result()
