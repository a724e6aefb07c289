"""Rows on the CPU stay as they are; what only a GPU does is measured by `make bench-device`."""

import torch

from flashbulb.hooks.overlap import begin_transfer, beside


def test_rows_on_the_cpu_are_not_rounded():
    rows = {"a": torch.tensor([[1e-9, 70000.0]]), "b": torch.tensor([[torch.nan]])}
    moved = begin_transfer(rows)()
    assert list(moved) == ["a", "b"]
    assert all(moved[name] is values for name, values in rows.items())
    assert begin_transfer({})() == {}


def test_without_a_stream_work_is_issued_as_ever():
    with beside(None):
        assert torch.ones(1).item() == 1
