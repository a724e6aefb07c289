"""Spike scores: how far a prompt's neurons leave what reference prompts show, per kind of site.

Finding NeMo (arXiv 2406.02366) saw memorized prompts through single neurons of the cross-attention values whose z-score
stands out. Here every kind of site is scored alike, and the UNet's feed-forward neurons turn out the best witnesses.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SOURCE = "Engram; after Hintersdorf et al. 2024, arXiv 2406.02366"
SCORED_REDUCTIONS: dict[str, tuple[str, ...]] = {
    "text_mlp": ("prompt_mean", "end_mean"),
    "cross_k": ("prompt_mean", "end_mean"),
    "cross_v": ("prompt_mean", "end_mean"),
    "cross_out": ("mean",),
    "feed_forward": ("abs_max",),
}
SPIKE_SCORE_KIND = "feed_forward"
"""The kind that makes the spike score; without it every recorded kind counts alike."""


def spike_scores(z: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Root mean square of z over neurons: [prompt, neuron] -> [prompt]; 1 is what a clean prompt shows."""
    return np.asarray(np.sqrt(np.square(z, dtype=np.float64).mean(axis=1)), dtype=np.float64)
