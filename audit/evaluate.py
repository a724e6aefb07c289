"""Judge a score by known labels: AUC, and the true-positive rate at a false-positive rate that is never exceeded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


def auc(positives: Vector, negatives: Vector) -> float:
    """Probability that a positive scores above a negative, ties counting one half."""
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left") + np.searchsorted(ordered, positives, side="right")
    return float(below.mean() / (2 * len(ordered)))


def tpr_at_fpr(positives: Vector, negatives: Vector, fpr: float) -> float:
    """Highest true-positive rate among thresholds whose false-positive rate is at most `fpr`."""
    ordered = np.sort(negatives)[::-1]
    n_allowed = int(np.floor(fpr * len(ordered) + 1e-9))
    threshold = ordered[n_allowed] if n_allowed < len(ordered) else -np.inf
    return float((positives > threshold).mean())
