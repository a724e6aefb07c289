"""Score pairs by how much their caption helps the model to denoise their image, which training on them raises.

The score is the conditional likelihood discrepancy of Zhai et al. (CLiD, arXiv 2405.14800): the loss under the empty
prompt minus that under the caption, here of the logarithm, so that every noise level counts alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.prediction import finite_log_losses
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.recover.climbing import Recovery
from flashbulb.audit.recover.tasks import Performer
from flashbulb.audit.run.progress import Advance, track

NOISED_AT, N_NOISES = (0.1, 0.3, 0.5, 0.7), 2
"""Shares of the noise schedule, and noises at each, at which every image is denoised."""

EVALUATIONS_PER_PAIR = 2 * len(NOISED_AT) * N_NOISES


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTask:
    """Pairs to score in one batch.

    Args:
        run: whose recovery scores them.
        first: number of the first of them among all.
    """

    run: Path
    first: int
    images: RgbImages
    captions: tuple[str, ...]

    def __str__(self) -> str:
        return f"scoring {len(self.captions)} canaries from number {self.first}"

    def discard(self) -> None:
        """Nothing is written."""

    def perform(self, recovery: Recovery, advance: Advance) -> list[float]:
        """Return the scores, in smaller batches where the recovery's are."""
        scores: list[float] = []
        for first in range(0, len(self.captions), recovery.batch_size):
            rows = slice(first, first + recovery.batch_size)
            scores += score_pairs(recovery.denoiser, self.images[rows], self.captions[rows], recovery.plan.run_seed)
        advance(len(scores))
        return scores


def membership_scores(
    recovery: Recovery, performer: Performer, images: RgbImages, captions: Sequence[str]
) -> list[float]:
    """Return the score of each pair; the higher, the more it looks trained on.

    Args:
        images: of the model's size, [pair, height, width, 3].
    """
    scores, size = [0.0] * len(captions), recovery.batch_size
    tasks = [
        ScoreTask(recovery.run, first, images[first : first + size], tuple(captions[first : first + size]))
        for first in range(0, len(captions), size)
    ]
    with track("scoring canaries", len(captions), "pairs") as advance:
        for task, found in performer.perform(tasks, advance):
            scores[task.first : task.first + len(found)] = found
    return scores


@torch.no_grad()
def score_pairs(denoiser: Denoiser, images: RgbImages, captions: Sequence[str], run_seed: int) -> list[float]:
    """Return the score of each pair, in one batch. All pairs meet the same noises.

    Args:
        images: of the model's size, [pair, height, width, 3].
    """
    noises = denoiser.noise([sample_generator(run_seed, "canaries", index) for index in range(N_NOISES)])
    latents = denoiser.encode_images(images)
    own, empty = denoiser.encode(captions).conditioning, denoiser.unconditional(len(latents))
    gain = _log_loss(denoiser, latents, empty, noises) - _log_loss(denoiser, latents, own, noises)
    return [float(score) for score in gain]


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
            logs.append(finite_log_losses(predicted.losses(expanded)))
    return torch.stack(logs).mean(dim=0).double().cpu().numpy()
