"""Text-conditional noise, by Wen et al. (2024, arXiv 2407.21720): how far a prompt moves the first prediction.

Statistic: ‖ε(x_T, c) − ε(x_T, ∅)‖₂ averaged over seeds, where ε(x_T, c) is the prediction at x_T for the prompt and
ε(x_T, ∅) that for the empty prompt. If a model does not predict noise, its raw outputs are compared, as they do.

Compared with the authors' own code (YuxinWenRick/diffusion_memorization) on unseen models, the same prompts and the
same x_T: rank correlation 0.96 or more.

Cost: 1 UE per prompt and seed, as the 1 UE per seed of the empty prompt is shared by all prompts; 2 if it is not.
"""

from __future__ import annotations

from torch import Tensor

from flashbulb.audit.detectors import StepDetector
from flashbulb.audit.detectors.views import Step


def text_conditional_noise(step: Step) -> Tensor:
    """Return ‖ε(x_T, c) − ε(x_T, ∅)‖₂: [prompt, seed]."""
    difference = step.native.float() - step.native_uncond.float()  # [prompt, seed, channel, row, column]
    norms: Tensor = difference.flatten(2).norm(dim=2)
    return norms


DETECTOR = StepDetector(
    name="text_conditional_noise",
    source="Wen et al. 2024, arXiv 2407.21720",
    evaluations_per_seed=1,
    measure=text_conditional_noise,
)
