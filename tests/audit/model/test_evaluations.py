"""Evaluations are counted where they happen, and told to who waits for them."""

import pytest

from flashbulb.audit.model.evaluations import EvaluationCounter


def test_what_is_told_adds_up_to_what_is_counted_and_only_while_it_is_wanted() -> None:
    counter, told = EvaluationCounter(), list[int]()
    counter.count(5)
    with counter.telling(told.append), counter.counting_backward():
        counter.count(2)
    counter.count(1)
    assert told == [2, 4]
    assert counter.evaluations == 12


def test_nothing_is_told_after_an_error() -> None:
    counter, told = EvaluationCounter(), list[int]()
    with pytest.raises(KeyboardInterrupt), counter.telling(told.append):
        raise KeyboardInterrupt
    counter.count(1)
    assert told == []
