"""How far the spike scores of a set of prompts lie above those of clean prompts of their style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flashbulb.audit.detectors import Vector
from flashbulb.audit.statistics.baseline import MAD_TO_DEVIATION

TOP_QUANTILE = 0.99


class Excess(NamedTuple):
    """Excess of the median, and of the upper end: the 99th percentile."""

    median: float
    top: float


@dataclass(frozen=True, slots=True)
class StyledScores:
    """Spike scores, and the styles of their prompts: [prompt] each."""

    scores: Vector
    styles: npt.NDArray[np.int64]

    def of_style(self, style: int) -> Vector:
        """Return the scores of one style."""
        return np.asarray(self.scores[self.styles == style])


def measure_excess(candidates: StyledScores, reference: StyledScores) -> Excess | None:
    """Subtract the quantiles of the reference's scores from those of the candidates', in spreads of the reference.

    Scores are centred and scaled by the median and spread of the reference prompts of their style: clean styles differ
    in both. The spread is the median absolute deviation, scaled to the standard deviation of a normal distribution.
    Styles that only one set has are left out. A few copied captions among many leave the median where it is and lift
    the upper end.

    Returns:
        None if no style has candidates, a reference and a spread.
    """
    z_candidates, z_reference = [], []
    for style in np.unique(candidates.styles).tolist():
        clean = reference.of_style(style)
        if not len(clean):
            continue
        location = np.median(clean)
        spread = MAD_TO_DEVIATION * np.median(np.abs(clean - location))
        if spread > 0:
            z_candidates.append((candidates.of_style(style) - location) / spread)
            z_reference.append((clean - location) / spread)
    if not z_candidates:
        return None
    median, top = (
        float(np.quantile(np.concatenate(z_candidates), quantile) - np.quantile(np.concatenate(z_reference), quantile))
        for quantile in (0.5, TOP_QUANTILE)
    )
    return Excess(median, top)
