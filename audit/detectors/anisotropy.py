"""Anisotropy, by Asthana and Belagiannis (2026, arXiv 2601.20642): Wen's norm at high noise plus a cosine at low noise.

Statistic: ‖s(x_T, c) − s(x_T, ∅)‖₂ at the timestep of x_T, plus a weight times the cosine between the guidance vector
and the unconditional output at timestep 41 of 1,000. Memorized prompts align the two vectors. The latents are x_T for
both terms; for the cosine, the model is told that they carry almost no noise. The cosine is taken over the channels of
each pixel and averaged over pixels.

Settings follow their code, rohanasthana/memorization-anisotropy. The low timestep is the third last of 50 DDIM steps
(local_model/pipe.py). Its version of Stable Diffusion decides s and the weights (detect_eval.py): for 1.4, which
predicts noise, s is the output and the cosine's weight is 2; for 2.0, which predicts v, s is (α v − x_T) / σ², where α
and σ are the levels of signal and noise, and the weight is 0.1. The cosine is that of raw outputs in both. What the
model predicts decides here; other predictions than v take the settings of 1.4, which is our choice. The norm grows with
the size of the latents and the cosine does not, so the weights suit latents of 4 × 64 × 64. At a timestep without
signal the norm is 0.

Compared with the authors' own code on unseen models that predict noise, the same prompts and the same x_T: rank
correlation 0.96 or more. For v the weight 2 on raw outputs, which Flashbulb had, is 1.5 times theirs: four seeds,
memorized captions against those never planted, AUC / TPR at 1 % FPR before and after, 0.9951 / 0.960 and 0.9960 / 0.960
on `catalogue`, 0.9999 / 1.000 and 0.9999 / 1.000 on `faint`.

Cost: 2 UE per prompt and seed; the 2 UE per seed of the empty prompt are shared by all prompts.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity

from flashbulb.audit.detectors import StepDetector
from flashbulb.audit.detectors.views import Step
from flashbulb.audit.model.prediction import PredictionType

COSINE_WEIGHT, V_COSINE_WEIGHT = 2.0, 0.1
LOW_TIMESTEP = 41


def anisotropy(step: Step) -> Tensor:
    """Return the weighted sum of norm and mean cosine: [prompt, seed]; 0 where the prompt changes nothing."""
    norm: Tensor = (step.native.float() - step.native_uncond.float()).flatten(2).norm(dim=2)
    conditional = step.predict(step.latents, LOW_TIMESTEP, conditional=True).float()
    unconditional = step.seeds.unconditional(LOW_TIMESTEP).float().expand_as(conditional)
    cosine = cosine_similarity(conditional - unconditional, unconditional, dim=2)  # [prompt, seed, row, column]
    if step.seeds.denoiser.prediction_type is PredictionType.V_PREDICTION:
        signal, noise = (level.squeeze() for level in step.levels)
        return signal / noise**2 * norm + V_COSINE_WEIGHT * cosine.mean(dim=(2, 3))
    return norm + COSINE_WEIGHT * cosine.mean(dim=(2, 3))


DETECTOR = StepDetector(
    name="anisotropy",
    source="Asthana and Belagiannis 2026, arXiv 2601.20642",
    evaluations_per_seed=2,
    measure=anisotropy,
    empty_timesteps=(LOW_TIMESTEP,),
)
