"""Agreement of seeds after one step, by Hintersdorf et al. (Finding NeMo, 2024, arXiv 2406.02366).

A memorized prompt pulls every seed towards one image, so the difference ε(x_T, c) − x_T is similar for every x_T.
Statistic: the mean similarity of a seed's difference to those of the prompt's other seeds. As in their code
(ml-research/localizing_memorization_in_diffusion_models, utils/activation_detection.py), each channel of the difference
is scaled to [0, 1]. The similarity is multi-scale SSIM with Gaussian windows of width 11 and standard deviation 1.5,
and three scales with equal exponents (0.33 there, a third here).

Our choices: small latents use as many of the three scales, and as wide a window, as fit. The data range is 1 at every
scale. If a model does not predict noise, `Prediction.pull` replaces the difference. The similarity is averaged over the
other seeds, so one chance resemblance counts little; they flag a seed whose most similar other seed exceeds 0.428. The
timestep is that of x_T; their code uses the second timestep of sampling.

Cost: 1 UE per prompt and seed; it needs two seeds.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from flashbulb.audit.detectors import StepDetector
from flashbulb.audit.detectors.views import Step

WINDOW = 11
WINDOW_STD = 1.5
N_SCALES = 3
LUMINANCE_FLOOR, CONTRAST_FLOOR = 0.01**2, 0.03**2
"""SSIM's constants C1 and C2 for values in [0, 1]."""


def one_step_agreement(step: Step) -> Tensor:
    """Return the mean similarity, in [0, 1], of each seed to the prompt's other seeds: [prompt, seed].

    It is NaN if there is only one seed.
    """
    pull = step.pull.float()  # [prompt, seed, channel, row, column]
    low, high = pull.amin(dim=(3, 4), keepdim=True), pull.amax(dim=(3, 4), keepdim=True)
    images = (pull - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)  # a constant channel is 0
    return torch.stack([_similarity_to_others(seeds) for seeds in images])


def _similarity_to_others(images: Tensor) -> Tensor:
    """Return the mean similarity of each image to the others: [seed, channel, row, column] -> [seed]."""
    n_seeds = len(images)
    if n_seeds == 1:
        return images.new_full((1,), torch.nan)
    first, second = torch.triu_indices(n_seeds, n_seeds, offset=1, device=images.device)
    similarity = multi_scale_ssim(images[first], images[second])  # [pair]
    total = images.new_zeros(n_seeds).index_add(0, first, similarity).index_add(0, second, similarity)
    return total / (n_seeds - 1)


def multi_scale_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the multi-scale SSIM of pairs of images, in [0, 1]: two [pair, channel, row, column] -> [pair].

    The values of the images are in [0, 1].
    """
    smallest = min(a.shape[2:])
    window = min(WINDOW, smallest - 1 + smallest % 2)  # odd
    n_scales = max(1, sum(smallest >> scale >= window for scale in range(N_SCALES)))
    product = a.new_ones(len(a))
    for scale in range(n_scales):
        luminance, contrast = _ssim_terms(a, b, window)
        term = contrast * luminance if scale == n_scales - 1 else contrast
        product = product * term.mean(dim=(1, 2, 3)).clamp_min(0) ** (1 / n_scales)
        a, b = avg_pool2d(a, 2), avg_pool2d(b, 2)
    return product


def _ssim_terms(a: Tensor, b: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return the luminance term, and the contrast-structure term, at every position where the window fits.

    Both are [pair, channel, row, column], smaller than `a` by `window` − 1 rows and columns.
    """
    offsets = torch.arange(window, dtype=a.dtype, device=a.device) - window // 2
    weights = torch.exp(-((offsets / WINDOW_STD) ** 2) / 2)
    kernel = torch.outer(weights, weights) / weights.sum() ** 2

    def local_mean(x: Tensor) -> Tensor:
        return conv2d(x, kernel.expand(x.shape[1], 1, -1, -1), groups=x.shape[1])

    mean_a, mean_b = local_mean(a), local_mean(b)
    variances = local_mean(a * a) - mean_a**2 + local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + LUMINANCE_FLOOR) / (mean_a**2 + mean_b**2 + LUMINANCE_FLOOR)
    return luminance, (2 * covariance + CONTRAST_FLOOR) / (variances + CONTRAST_FLOOR)


DETECTOR = StepDetector(
    name="one_step_agreement",
    source="Hintersdorf et al. 2024, arXiv 2406.02366",
    evaluations_per_seed=1,
    measure=one_step_agreement,
)
