"""Finding NeMo's neurons (arXiv 2406.02366) as a detector: how far a prompt's cross-attention values are from usual.

As in their code (ml-research/localizing_memorization_in_diffusion_models, 1_compute_activations_statistics.py and
utils/activation_detection.py) an activation a is the mean of |to_v(prompt_embeds)| over all token positions, padding
included, μ and σ are its mean and sample standard deviation over reference prompts, and z = |a − μ| / σ. They read
the seven layers of the down and middle blocks; a block's place means nothing in another UNet, so here all layers
count. They use z to choose neurons, not to detect: the mean of the 20 largest z is our choice. It costs no UE.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from audit.detectors import Matrix, NeuronDetector, Vector

N_LARGEST = 20


def fit_nemo(reference: Matrix) -> Callable[[Matrix], Vector]:
    """Learn μ and σ from the reference's activations; the result scores activations [prompt, neuron]: [prompt].

    A neuron that is constant over the reference has no scale: its z is 0. Fewer than 20 neurons count all.

    Raises:
        ValueError: there are fewer than two reference prompts.
    """
    if len(reference) < 2:
        raise ValueError(f"a standard deviation needs two reference prompts, got {len(reference)}; give more")
    mean = reference.mean(axis=0, dtype=np.float64)  # [neuron]
    std = reference.std(axis=0, dtype=np.float64, ddof=1)

    def score(activations: Matrix) -> Vector:
        distance = np.abs(activations - mean)  # [prompt, neuron]
        z = np.divide(distance, std, out=np.zeros_like(distance), where=std > 0)
        return np.asarray(np.sort(z, axis=1)[:, -N_LARGEST:].mean(axis=1), dtype=np.float64)

    return score


DETECTOR = NeuronDetector(
    name="nemo",
    source="Hintersdorf et al. 2024, arXiv 2406.02366",
    kind="cross_v",
    reduction="all_mean",
    evaluations_per_seed=0,
    fit=fit_nemo,
)
