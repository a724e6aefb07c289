"""What was found is remembered as orthonormal directions, and only what is new of it."""

import torch

from flashbulb.audit.discover.deflation import MIN_NEW, with_direction

GENERATOR = torch.Generator().manual_seed(0)


def test_directions_stay_orthonormal_and_span_what_was_found():
    found, seen = torch.zeros(0, 50), []
    for _ in range(5):
        z = 30 * torch.randn(50, generator=GENERATOR)
        seen.append(z)
        before, found = found, with_direction(found, z)
        assert torch.equal(found[: len(before)], before)
    assert len(found) == 5
    torch.testing.assert_close(found @ found.T, torch.eye(5), rtol=0, atol=1e-5)
    left = torch.stack(seen) - (torch.stack(seen) @ found.T) @ found
    assert left.abs().max() < 1e-3


def test_what_is_not_new_enough_is_dropped():
    first, second = torch.eye(10)[:2]
    found = with_direction(torch.zeros(0, 10), 7 * first)
    for angle, is_new in ((MIN_NEW - 0.01, False), (MIN_NEW + 0.01, True)):
        z = 3 * (angle * second + (1 - angle**2) ** 0.5 * first)
        assert len(with_direction(found, z)) == 1 + is_new
        assert len(with_direction(found, -z)) == 1 + is_new
    assert torch.equal(with_direction(found, first), found)


def test_a_prompt_without_spikes_is_no_direction():
    found = with_direction(torch.zeros(0, 10), torch.zeros(10))
    assert found.shape == (0, 10)
