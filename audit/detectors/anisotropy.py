"""Asthana and Belagiannis' detector (arXiv 2601.20642): Wen's norm at high noise plus an angle at low noise.

Both are measured at x_T; for the angle the model is told that x_T is nearly free of noise. It lies between the
guidance vector ε(x_T, c) − ε(x_T, ∅) and the unconditional ε(x_T, ∅), which memorized prompts align. Its cosine is
taken over the channels of every pixel and averaged over pixels. Settings are those of their code, rohanasthana/
memorization-anisotropy: weights of 1 for the norm and 2 for the cosine, chosen for Stable Diffusion 1.4
(detect_eval.py; 1 and 0.1 for 2.0), and the third last of 50 DDIM steps as the low timestep (local_model/pipe.py),
which is 41 of 1,000. Where a model predicts something else than noise they compare raw outputs; we compare noises.

The norm grows with the number of values in the latents and the cosine does not, so the weights suit latents of
4 × 64 × 64. It costs 2 UE a seed, the empty prompt's halves being shared.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity

from audit.detectors import StepDetector
from audit.step import Step

NORM_WEIGHT = 1.0
COSINE_WEIGHT = 2.0
LOW_TIMESTEP = 41


def anisotropy(step: Step) -> Tensor:
    """Weighted sum of norm and mean cosine, 0 where the prompt changes nothing: [prompt, seed]."""
    norm: Tensor = (step.noise.float() - step.noise_uncond.float()).flatten(2).norm(dim=2)
    conditional = step.predict(step.latents, LOW_TIMESTEP, conditional=True).float()
    unconditional = step.seeds.unconditional(LOW_TIMESTEP).float().expand_as(conditional)
    cosine = cosine_similarity(conditional - unconditional, unconditional, dim=2)  # [prompt, seed, row, column]
    return NORM_WEIGHT * norm + COSINE_WEIGHT * cosine.mean(dim=(2, 3))


DETECTOR = StepDetector(
    name="anisotropy",
    source="Asthana and Belagiannis 2026, arXiv 2601.20642",
    evaluations_per_seed=2,
    measure=anisotropy,
)
