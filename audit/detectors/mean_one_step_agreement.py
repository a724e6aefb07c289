"""Mean agreement of seeds after one step, after Hintersdorf et al. (Finding NeMo, 2024, arXiv 2406.02366).

Statistic: the mean similarity of a seed's ε(x_T, c) − x_T to those of the prompt's other seeds, so that one chance
resemblance counts little. Images and similarity are those of `one_step_agreement`, which is theirs. The mean in the
place of the largest similarity, and the timestep of x_T in the place of the second one, are ours.

Compared with theirs on the planted models, four seeds, memorized captions against those never planted: the AUC is
higher on all four, by 0.0003 to 0.0101; the TPR at 1 % FPR, ours and theirs, is 0.855 and 0.855 on `embedded`, 1.000
and 0.920 on `catalogue`, 0.827 and 0.846 on `gazette`, 1.000 and 1.000 on `faint`. Ours costs half as much.

Cost: 1 UE per prompt and seed; it needs two seeds.
"""

from __future__ import annotations

from torch import Tensor

from flashbulb.audit.detectors import StepDetector
from flashbulb.audit.detectors.one_step_agreement import similarities
from flashbulb.audit.detectors.views import Step


def mean_one_step_agreement(step: Step) -> Tensor:
    """Return the mean similarity, in [0, 1], of each seed to the prompt's other seeds: [prompt, seed].

    It is NaN if there is only one seed.
    """
    return similarities(step.pull).mean(dim=2)


DETECTOR = StepDetector(
    name="mean_one_step_agreement",
    source="after Hintersdorf et al. 2024, arXiv 2406.02366; the mean over seeds is ours",
    evaluations_per_seed=1,
    measure=mean_one_step_agreement,
)
