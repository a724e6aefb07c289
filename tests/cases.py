"""Cases that go through the same code as a quicker or another case, and run by `make test-slow` alone."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def slow_unless(is_quick: Callable[[Any], object], cases: Iterable[Any]) -> list[Any]:
    """Return all cases of a test, of which those that are not quick are marked slow."""
    return [case if is_quick(case) else pytest.param(*_values(case), marks=pytest.mark.slow) for case in cases]


def slow_unless_in(quick: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """Return all cases of a test, of which those other than the `quick` ones are marked slow."""
    chosen, cases = list(quick), list(cases)
    assert not [case for case in chosen if case not in cases], chosen
    return slow_unless(chosen.__contains__, cases)


def each_with_one(first: Iterable[Any], second: Iterable[Any]) -> list[Any]:
    """Return all pairs; those are not slow that give each of `first` one of `second`, in turn."""
    first, second = list(first), list(second)
    quick = [(case, second[number % len(second)]) for number, case in enumerate(first)]
    return slow_unless_in(quick, [(case, other) for case in first for other in second])


def _values(case: Any) -> tuple[Any, ...]:
    return case if type(case) is tuple else (case,)  # a named tuple is one value
