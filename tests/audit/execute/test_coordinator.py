"""A coordinator hands out tasks and returns results, whatever the tasks are and however messages travel."""

from collections import deque

import pytest

from flashbulb.audit.execute.coordinator import MAX_LOSSES, Coordinator, WorkersLost
from flashbulb.audit.execute.messages import Advanced, Done, Ended, Failed, Message, Placed, Ready
from tests.audit.execute.squares import Count, Square


class InMemory:
    """A transport without processes, whose workers end when a task is one of `fatal`, once for each mention."""

    def __init__(self, fatal: tuple[int, ...] = (), n_places: int = 9) -> None:
        self._fatal, self._n_places = list(fatal), n_places
        self._messages: deque[tuple[int, Message]] = deque()
        self.working: set[int] = set()
        self.most_working = 0

    def start(self, number: int) -> None:
        self.working.add(number)
        self.most_working = max(self.most_working, len(self.working))
        if number < self._n_places:
            self._messages += [(number, Placed()), (number, Ready())]

    def give(self, number: int, task: Square) -> None:
        self._messages.append((number, Advanced(1, "")))
        if task.n in self._fatal:
            self._fatal.remove(task.n)
            self.working.remove(number)
            self._messages.append((number, Ended("was killed by signal 9")))
        else:
            self._messages.append((number, Done(task.n**2)))

    def received(self, seconds: float) -> list[tuple[int, Message]]:
        messages, self._messages = list(self._messages), deque()
        return messages

    def end(self, number: int) -> None:
        self.working.remove(number)

    def close(self) -> None:
        self.working.clear()


@pytest.mark.parametrize("n_workers", [1, 2, 5])
@pytest.mark.parametrize("fatal", [(), (3,), (0, 3, 3, 5)])
def test_every_task_yields_its_result_once_whatever_is_lost(n_workers, fatal):
    transport, count = InMemory(fatal), Count()
    tasks = [Square(n) for n in range(7)]
    results = list(Coordinator(transport, n_workers, timeout=60).perform(tasks, count))
    assert sorted((task.n, result) for task, result in results) == [(n, n * n) for n in range(7)]
    assert count.n == len(tasks)  # what a lost worker had done is taken back
    assert transport.most_working == n_workers
    assert sorted(n for task in tasks for n in task.discarded) == sorted(fatal)


def test_no_more_workers_start_than_there_are_tasks():
    transport = InMemory()
    list(Coordinator(transport, 5, timeout=60).perform([Square(1), Square(2)], Count()))
    assert transport.most_working == 2


def test_a_task_that_loses_every_worker_is_named():
    doomed = Coordinator(InMemory((4,) * MAX_LOSSES), 2, timeout=60).perform([Square(4), Square(5)], Count())
    with pytest.raises(WorkersLost, match=f"^square 4 lost {MAX_LOSSES} workers, the last one was killed by signal 9"):
        list(doomed)


def test_workers_that_find_no_place_hold_nobody_up():
    results = list(Coordinator(InMemory(n_places=1), 3, timeout=60).perform([Square(n) for n in range(4)], Count()))
    assert len(results) == 4


def test_workers_of_which_none_finds_a_place_are_given_up():
    with pytest.raises(WorkersLost, match="starting lost"):
        list(Coordinator(InMemory(n_places=0), 2, timeout=0.01).perform([Square(1)], Count()))


def test_workers_that_were_suspended_with_the_command_are_not_lost(monkeypatch):
    """A scheduler that suspends a job stops all of its processes, for hours, and its clock goes on."""

    class Suspended(InMemory):
        now, n_looks = 0.0, 0

        def received(self, seconds: float) -> list[tuple[int, Message]]:
            self.n_looks += 1
            self.now += 10_000.0 if self.n_looks == 3 else seconds
            return [] if 1 < self.n_looks < 5 else super().received(seconds)

    transport, square = Suspended(), Square(2)
    monkeypatch.setattr("flashbulb.audit.execute.coordinator.time.monotonic", lambda: transport.now)
    assert [result for _, result in Coordinator(transport, 1, timeout=60).perform([square], Count())] == [4]
    assert transport.most_working == 1
    assert square.discarded == []


def test_an_error_that_every_worker_would_meet_is_raised_at_once():
    class Failing(InMemory):
        def give(self, number: int, task: Square) -> None:
            self._messages.append((number, Failed(OSError("No space left on device"))))

    with pytest.raises(OSError, match="No space left"):
        list(Coordinator(Failing(), 2, timeout=60).perform([Square(1), Square(2)], Count()))
