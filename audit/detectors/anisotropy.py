"""Anisotropy, by Asthana and Belagiannis (2026, arXiv 2601.20642): Wen's norm at high noise plus a cosine at low noise.

Statistic: ‖ε(x_T, c) − ε(x_T, ∅)‖₂ at the timestep of x_T, plus 2 · the cosine between the guidance vector
ε(x_T, c) − ε(x_T, ∅) and the unconditional ε(x_T, ∅) at timestep 41 of 1,000. Memorized prompts align the two vectors.
The latents are x_T for both terms; for the cosine, the model is told that they carry almost no noise. The cosine is
taken over the channels of each pixel and averaged over pixels.

Settings follow their code, rohanasthana/memorization-anisotropy: the weights 1 and 2 were chosen for Stable Diffusion
1.4 (detect_eval.py; 1 and 0.1 for 2.0), and the low timestep is the third last of 50 DDIM steps (local_model/pipe.py).
If a model does not predict noise, its raw outputs are compared, as they do. The norm grows with the size of the latents
and the cosine does not, so the weights suit latents of 4 × 64 × 64.

Cost: 2 UE per prompt and seed; the 2 UE per seed of the empty prompt are shared by all prompts.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity

from flashbulb.audit.detectors import StepDetector
from flashbulb.audit.detectors.views import Step

NORM_WEIGHT = 1.0
COSINE_WEIGHT = 2.0
LOW_TIMESTEP = 41


def anisotropy(step: Step) -> Tensor:
    """Return the weighted sum of norm and mean cosine: [prompt, seed]; 0 where the prompt changes nothing."""
    norm: Tensor = (step.native.float() - step.native_uncond.float()).flatten(2).norm(dim=2)
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
