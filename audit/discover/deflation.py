"""What was found, as directions of z-scores that are no longer climbed."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_NEW = 0.5
"""A direction is kept if at least this share of its length lies outside those kept already."""


def with_direction(found: Tensor, z: Tensor) -> Tensor:
    """Append the new part of z [neuron] to the orthonormal `found` [direction, neuron], if that part is long enough."""
    unit = z / z.norm().clamp_min(torch.finfo(z.dtype).tiny)
    rest = unit - (unit @ found.T) @ found
    if rest.norm() <= MIN_NEW:
        return found
    return torch.cat([found, (rest / rest.norm())[None]])
