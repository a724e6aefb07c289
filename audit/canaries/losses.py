"""Score pairs by how much their caption helps the model to denoise their image, which training on them raises.

The score is the conditional likelihood discrepancy of Zhai et al. (CLiD, arXiv 2405.14800): the loss under the empty
prompt minus that under the caption, here of the logarithm, so that every noise level counts alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.prediction import log_losses
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.run.progress import track

NOISED_AT, N_NOISES = (0.1, 0.3, 0.5, 0.7), 2
"""Shares of the noise schedule, and noises at each, at which every image is denoised."""

EVALUATIONS_PER_PAIR = 2 * len(NOISED_AT) * N_NOISES


@torch.no_grad()
def membership_scores(
    denoiser: Denoiser, images: RgbImages, captions: Sequence[str], *, run_seed: int, batch_size: int
) -> list[float]:
    """Return the score of each pair; the higher, the more it looks trained on. All pairs meet the same noises.

    Args:
        images: of the model's size, [pair, height, width, 3].
    """
    scores: list[float] = []
    noises = denoiser.noise([sample_generator(run_seed, "canaries", index) for index in range(N_NOISES)])
    with track("scoring canaries", len(captions), "pairs") as advance:
        for first in range(0, len(captions), batch_size):
            rows = slice(first, first + batch_size)
            latents = denoiser.encode_images(images[rows])
            own = denoiser.encode(captions[rows]).conditioning
            empty = denoiser.unconditional(len(latents))
            gain = _log_loss(denoiser, latents, empty, noises) - _log_loss(denoiser, latents, own, noises)
            scores += gain.tolist()
            advance(len(latents))
    return scores


def _log_loss(
    denoiser: Denoiser, latents: Tensor, conditioning: Conditioning, noises: Tensor
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the mean logarithm of the denoising error of each latent: [latent]."""
    logs = []
    for share in NOISED_AT:
        timestep = int(share * denoiser.n_timesteps)
        for noise in noises:
            expanded = noise.expand_as(latents)
            predicted = denoiser.predict(denoiser.noised(latents, expanded, timestep), timestep, conditioning)
            logs.append(log_losses(predicted.losses(expanded)))
    return torch.stack(logs).mean(dim=0).double().cpu().numpy()
