"""What a command costs in `make bench-speed` is its own, and a command that fails is no measurement."""

import sys

import pytest

from tests.bench.speed.growth import cost_of_command


def test_a_peak_is_that_of_the_command_and_not_of_the_process_that_starts_it() -> None:
    held = bytearray(300 << 20)
    cost = cost_of_command(sys.executable, "-c", "pass")
    assert len(held) > cost.peak_mib * 2**20
    assert cost.peak_mib < 100
    large = cost_of_command(sys.executable, "-c", "held = b'x' * (200 << 20)")
    assert large.peak_mib > 200


def test_a_command_that_fails_is_refused_and_a_verdict_is_not() -> None:
    with pytest.raises(RuntimeError, match="ended with 1"):
        cost_of_command(sys.executable, "-c", "raise SystemExit(1)")
    assert cost_of_command(sys.executable, "-c", "raise SystemExit(1)", verdicts=(1, 3)).cpu_s > 0
