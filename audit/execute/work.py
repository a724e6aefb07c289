"""The two things that workers are given, whatever they work on: what opens a model, and tasks for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from flashbulb.audit.run.progress import Advance


class Task(Protocol):
    """One piece of work, of plain values. Its result depends on it and its `Work` alone.

    The log names a task by `str`.
    """

    def discard(self) -> None:
        """Delete the unfinished files of a worker that was lost in the middle of the task."""


TaskT = TypeVar("TaskT", bound=Task)
ResultT = TypeVar("ResultT")
_Given = TypeVar("_Given", bound=Task, contravariant=True)
_Returned = TypeVar("_Returned", covariant=True)


class Work(Protocol[_Given, _Returned]):
    """What any process opens to perform tasks of one kind, as plain values."""

    @property
    def device(self) -> str: ...

    def opened(self) -> AbstractContextManager[Callable[[_Given, Advance], _Returned]]:
        """Load the model and yield what performs one task and returns a small plain result.

        Every call of `advance` is a sign of life, also one that counts nothing.
        """
