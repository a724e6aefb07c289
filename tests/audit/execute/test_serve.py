"""What a worker raises reaches the process that hands out the tasks, whatever kind of error it is."""

import logging
import os
import pickle
import threading
from collections.abc import Iterator

import pytest
import torch

from flashbulb.audit.execute.messages import Failed, Message
from flashbulb.audit.execute.serve import Place, UnreadableError, serve
from flashbulb.audit.execute.workers import Workers, open_workers
from tests.audit.execute.squares import Count, Square, Squares


class LockedError(RuntimeError):
    """Cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class TwoPartError(RuntimeError):
    """Is pickled, but not unpickled: one of its arguments is lost."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Raises(Squares):
    """Raises an error in place of every task."""

    def _square(self, task, advance):
        raise (LockedError if task.n == 1 else TwoPartError)(*((7, "no room") if task.n == 2 else ("no room",)))


@pytest.fixture
def unchanged() -> Iterator[None]:
    """Restore what a worker sets in its process."""
    handlers, level, threads, umask = logging.root.handlers[:], logging.root.level, torch.get_num_threads(), os.umask(0)
    os.umask(umask)
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    os.umask(umask)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("n", [1, 2])
def test_an_error_that_cannot_be_sent_is_told_in_words(n, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given, sent = iter([Raises(tmp_path), Square(n)]), list[Message]()
    serve(Place.of_this_process(1, 4), lambda: next(given), sent.append)
    assert isinstance(sent[-1], Failed)
    error = pickle.loads(pickle.dumps(sent[-1])).error
    assert type(error) is UnreadableError
    assert str(error) in ("LockedError: no room", "TwoPartError: no room")
    assert "in worker 4:\nTraceback" in error.__notes__[0]


def test_such_an_error_costs_one_worker(tmp_path):
    with (
        open_workers(Raises(tmp_path), Workers("local", 1, 300.0, None, {})) as coordinator,
        pytest.raises(UnreadableError, match="LockedError: no room"),
    ):
        list(coordinator.perform([Square(1)], Count()))
