"""Remember what was found, as directions of z-scores that a search no longer climbs."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_NEW = 0.5
"""A direction is remembered if at least this part of its length lies outside those remembered already."""


def with_direction(found: Tensor, z: Tensor) -> Tensor:
    """`found` [direction, neuron], orthonormal, and the part of z [neuron] that is new, if it is enough of it."""
    unit = z / z.norm().clamp_min(torch.finfo(z.dtype).tiny)
    rest = unit - (unit @ found.T) @ found
    if rest.norm() <= MIN_NEW:
        return found
    return torch.cat([found, (rest / rest.norm())[None]])
