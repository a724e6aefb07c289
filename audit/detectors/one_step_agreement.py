"""Agreement of seeds after one step, by Hintersdorf et al. (Finding NeMo, 2024, arXiv 2406.02366).

A memorized prompt pulls every seed towards one image, so the difference ε(x_T, c) − x_T is similar for every x_T.
Statistic: the similarity of the two seeds of the prompt that are most alike. They call a prompt memorized if it exceeds
0.428. As in their code (ml-research/localizing_memorization_in_diffusion_models, utils/activation_detection.py,
compute_noise_diff and calculate_max_pairwise_ssim), the prediction is that for x_T at timestep 961 of 1,000, the second
of 50 DDIM steps, and each channel of the difference is scaled to [0, 1]. The similarity is multi-scale SSIM as in
torchmetrics 1.3, which they pin: Gaussian windows of width 11 and standard deviation 1.5, three scales with the
exponent 0.33, and the data range of all pairs of a prompt, anew at every scale.

Our choices: latents smaller than 44 × 44, which their code refuses, are compared at the same scales in windows as wide
as fit. If a model does not predict noise, `Prediction.pull` replaces the difference.

Compared with their code, restated in the tests on latents of 64 × 64: equal. docs/published-detectors.md has what
each choice is worth on the planted models, whose latents are 8 × 8. There the scales decide: with one,
as Flashbulb had it, 0.538 of `gazette` is found at 1 % FPR, with three 0.846. On `catalogue`, which predicts v, the raw
output minus x_T, as their code would take it, has AUC 0.9639, the pull 0.9922.

Cost: 2 UE per prompt and seed; it needs two seeds.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from flashbulb.audit.detectors import StepDetector
from flashbulb.audit.detectors.views import Step

SECOND_TIMESTEP = 961
WINDOW = 11
WINDOW_STD = 1.5
N_SCALES = 3
EXPONENT = 0.33
LUMINANCE_FACTOR, CONTRAST_FACTOR = 0.01, 0.03
"""SSIM's K1 and K2, in units of the data range."""


def one_step_agreement(step: Step) -> Tensor:
    """Return the similarity of the two most similar seeds, in [0, 1], for each seed of a prompt: [prompt, seed].

    It is NaN if there is only one seed.
    """
    similarity = similarities(step.pull_at(SECOND_TIMESTEP))
    return similarity.amax(dim=(1, 2))[:, None].expand(-1, similarity.shape[1])


def similarities(pull: Tensor) -> Tensor:
    """Return the similarity of each seed to each other seed of its prompt: [prompt, seed, other seed].

    It is NaN, [prompt, 1, 1], if there is only one seed.

    Args:
        pull: [prompt, seed, channel, row, column].
    """
    n_prompts, n_seeds = pull.shape[:2]
    if n_seeds == 1:
        return pull.new_full((n_prompts, 1, 1), torch.nan, dtype=torch.float32)
    pull = pull.float()
    low, high = pull.amin(dim=(3, 4), keepdim=True), pull.amax(dim=(3, 4), keepdim=True)
    images = (pull - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)  # a constant channel is 0
    first, second = torch.triu_indices(n_seeds, n_seeds, offset=1, device=images.device)
    matrix = images.new_zeros(n_prompts, n_seeds, n_seeds)
    matrix[:, first, second] = matrix[:, second, first] = multi_scale_ssim(images[:, first], images[:, second])
    is_other = ~torch.eye(n_seeds, dtype=torch.bool, device=images.device)
    return matrix[:, is_other].reshape(n_prompts, n_seeds, n_seeds - 1)


def multi_scale_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the multi-scale SSIM of pairs of images, in [0, 1].

    Args:
        a, b: [..., pair, channel, row, column]; the pairs of the last axis share their data range.

    Returns:
        [..., pair].
    """
    n_scales = min(N_SCALES, min(a.shape[-2:]).bit_length())
    product = a.new_ones(a.shape[:-3])
    for scale in range(n_scales):
        if scale:
            a, b = _halved(a), _halved(b)
        luminance, contrast = _ssim_terms(a, b)
        term = contrast * luminance if scale == n_scales - 1 else contrast
        product = product * term.mean(dim=(-3, -2, -1)).clamp_min(0) ** EXPONENT
    return product


def _halved(images: Tensor) -> Tensor:
    halved = avg_pool2d(images.flatten(end_dim=-4), 2)
    return halved.reshape(*images.shape[:-3], *halved.shape[1:])


def _ssim_terms(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the luminance term, and the contrast-structure term, at every position where the window fits.

    Both are [..., pair, channel, row, column], smaller than `a` by one less than the window's width.
    """
    smallest = min(a.shape[-2:])
    window = min(WINDOW, smallest - 1 + smallest % 2)  # odd
    offsets = torch.arange(window, dtype=a.dtype, device=a.device) - window // 2
    weights = torch.exp(-((offsets / WINDOW_STD) ** 2) / 2)
    kernel = (torch.outer(weights, weights) / weights.sum() ** 2).expand(a.shape[-3], 1, -1, -1)

    def local_mean(x: Tensor) -> Tensor:
        means = conv2d(x.flatten(end_dim=-4), kernel, groups=len(kernel))
        return means.reshape(*x.shape[:-3], *means.shape[1:])

    data_range = torch.maximum(_range(a), _range(b)).clamp_min(torch.finfo(a.dtype).eps)
    luminance_floor, contrast_floor = (LUMINANCE_FACTOR * data_range) ** 2, (CONTRAST_FACTOR * data_range) ** 2
    mean_a, mean_b = local_mean(a), local_mean(b)
    variances = local_mean(a * a) - mean_a**2 + local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + luminance_floor) / (mean_a**2 + mean_b**2 + luminance_floor)
    return luminance, (2 * covariance + contrast_floor) / (variances + contrast_floor)


def _range(images: Tensor) -> Tensor:
    """Return the greatest less the least value of all pairs that share it: [..., 1, 1, 1, 1]."""
    pairs = (-4, -3, -2, -1)
    return images.amax(dim=pairs, keepdim=True) - images.amin(dim=pairs, keepdim=True)


DETECTOR = StepDetector(
    name="one_step_agreement",
    source="Hintersdorf et al. 2024, arXiv 2406.02366",
    evaluations_per_seed=2,
    measure=one_step_agreement,
)
