"""Spike scores: how far a prompt's neurons leave what reference prompts show, per kind of site.

Finding NeMo (arXiv 2406.02366) saw memorized prompts through single neurons of the cross-attention values whose z-score
stands out. Here every kind of site is scored alike, and the UNet's feed-forward neurons turn out the best witnesses.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SCORED_REDUCTIONS: dict[str, tuple[str, ...]] = {
    "text_mlp": ("prompt_mean", "end_mean"),
    "cross_k": ("prompt_mean", "end_mean"),
    "cross_v": ("prompt_mean", "end_mean"),
    "cross_out": ("mean",),
    "feed_forward": ("abs_max",),
}
GROUP_WEIGHTS = {"text_mlp": 0.0, "cross_k": 0.0, "cross_v": 0.0, "cross_out": 0.0, "feed_forward": 1.0}
SPIKE_Z = 3.0


def spike_scores(z: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Sum over neurons of |z| beyond 3: [prompt, neuron] -> [prompt]."""
    return np.asarray(np.maximum(np.abs(z) - SPIKE_Z, 0).sum(axis=1), dtype=np.float64)
