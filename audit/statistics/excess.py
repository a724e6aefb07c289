"""How far the spike scores of a set of prompts lie above those of clean prompts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flashbulb.audit.detectors import Vector

TOP_QUANTILE = 0.99
_NORMAL_MAD = 1.4826  # standard deviations of a normal distribution in its median absolute deviation


class Excess(NamedTuple):
    """Excess of the median, and of the upper end: the 99th percentile."""

    median: float
    top: float


def measure_excess(candidates: Vector, reference: Vector) -> Excess | None:
    """Subtract the quantiles of the reference's scores from those of the candidates', in spreads of the reference.

    The spread is the median absolute deviation, scaled to the standard deviation of a normal distribution. A few copied
    captions among many leave the median where it is and lift the upper end.

    Args:
        candidates, reference: spike scores: [prompt] each.

    Returns:
        None without candidates or a reference, or if the reference has no spread.
    """
    if not len(candidates) or not len(reference):
        return None
    spread = _NORMAL_MAD * float(np.median(np.abs(reference - np.median(reference))))
    if not spread > 0:
        return None
    median, top = (
        float(np.quantile(candidates, quantile) - np.quantile(reference, quantile)) / spread
        for quantile in (0.5, TOP_QUANTILE)
    )
    return Excess(median, top)
