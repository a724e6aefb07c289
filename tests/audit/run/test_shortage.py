"""Batches become half as large where memory runs out, and stay so."""

import pytest

from flashbulb.audit.run.shortage import ShrinkingBatches
from tests.audit.recordings import logged
from tests.audit.shortages import IN_ONEDNN, ON_CPU, ON_GPU


def takes_up_to(room: int, error: Exception):
    def call(size: int) -> int:
        if size > room:
            raise error
        return size

    return call


@pytest.mark.parametrize("error", [ON_CPU, IN_ONEDNN, ON_GPU, MemoryError()])
def test_a_size_that_fits_is_found_by_halving_and_kept(error):
    batches = ShrinkingBatches(32, "sampling")
    with logged() as log:
        assert batches.call(takes_up_to(9, error)) == 8
        assert batches.call(takes_up_to(32, error)) == 8
    assert [line.split(";")[0] for line in log] == [
        "memory ran out: sampling and what follows goes on with --batch-size 16",
        "memory ran out: sampling and what follows goes on with --batch-size 8",
    ]


def test_what_has_no_room_at_all_or_another_error_is_raised():
    with pytest.raises(MemoryError):
        ShrinkingBatches(4, "sampling").call(takes_up_to(0, MemoryError()))
    batches = ShrinkingBatches(4, "sampling")
    with pytest.raises(ValueError, match="shapes"):
        batches.call(takes_up_to(0, ValueError("shapes")))
    with pytest.raises(RuntimeError, match="descriptor"):
        batches.call(takes_up_to(0, RuntimeError(f"{IN_ONEDNN} descriptor for a matmul primitive")))
    assert batches.size == 4
