"""Finding NeMo's neurons, by Hintersdorf et al. (2024, arXiv 2406.02366), used as a detector.

Statistic: the mean of a prompt's 20 largest z = |a − μ| / σ. The activation a of a neuron is the mean of
|to_v(prompt_embeds)| over all token positions, including padding; μ and σ are its mean and sample standard deviation
over reference prompts. This z follows their code (ml-research/localizing_memorization_in_diffusion_models,
1_compute_activations_statistics.py and utils/activation_detection.py). They use it to choose neurons, not to detect
prompts; the mean of the 20 largest is our choice. They read the seven layers of the down and middle blocks. A block's
position has no meaning in another UNet, so all layers count here.

Compared with the authors' own code on unseen models: z has a rank correlation of 0.96 or more. The mean of the 20
largest has nothing of theirs to be compared with.

Cost: 0 UE.
"""

from __future__ import annotations

import numpy as np

from flashbulb.audit.detectors import Learnt, Matrix, NeuronDetector, Vector

N_LARGEST = 20


def fit_nemo(reference: Matrix) -> Learnt:
    """Return μ and σ of the reference's activations, [prompt, neuron] -> [neuron] each.

    Raises:
        ValueError: there are fewer than two reference prompts.
    """
    if len(reference) < 2:
        raise ValueError(f"a standard deviation needs two reference prompts, got {len(reference)}; give more")
    mean = reference.mean(axis=0, dtype=np.float64)
    return {"mean": mean, "std": reference.std(axis=0, dtype=np.float64, ddof=1)}


def score_nemo(learnt: Learnt, activations: Matrix) -> Vector:
    """Score activations: [prompt, neuron] -> [prompt].

    A neuron that is constant over the reference has σ = 0, and its z counts as 0. With fewer than 20 neurons, the mean
    is over all of them.
    """
    std = learnt["std"]
    distance = np.abs(activations - learnt["mean"])  # [prompt, neuron]
    z = np.divide(distance, std, out=np.zeros_like(distance), where=std > 0)
    return np.asarray(np.sort(z, axis=1)[:, -N_LARGEST:].mean(axis=1), dtype=np.float64)


DETECTOR = NeuronDetector(
    name="nemo",
    source="Hintersdorf et al. 2024, arXiv 2406.02366",
    kind="cross_v",
    reduction="all_mean",
    evaluations_per_seed=0,
    fit=fit_nemo,
    score=score_nemo,
)
