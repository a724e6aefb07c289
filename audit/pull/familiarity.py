"""How much better a model denoises an image than variants of it, without any prompt: the cheap first step of a pull.

A denoising loss alone ranks simple images first. The mirrored image, and the image with its colours exchanged, are as
simple as the image itself. A model that never saw the image denoises them about as well; one that memorized it does
not. A symmetric image says nothing by its mirror image, nor a grey one by its colours, so both are taken. A model that
was trained on mirrored images as well shows by the colours alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.prediction import finite_log_losses
from flashbulb.audit.model.sampling import sample_generator

_COLOUR_ORDERS = ([1, 2, 0], [2, 0, 1])
N_VARIANTS = 1 + len(_COLOUR_ORDERS)


@dataclass(frozen=True, slots=True)
class RankPlan:
    """How images are ranked.

    Args:
        share: of the noise schedule at which images are denoised, in (0, 1).
        n_noises: noises, the same for every image and variant.
    """

    run_seed: int
    share: float
    n_noises: int

    @property
    def evaluations(self) -> int:
        """UE of one image."""
        return (1 + N_VARIANTS) * self.n_noises


@torch.no_grad()
def familiarity(denoiser: Denoiser, images: RgbImages, plan: RankPlan) -> npt.NDArray[np.float64]:
    """Return by how much each image is denoised better than its variants, in units of the log loss: [image].

    It is the gain over the mirrored image, plus the mean gain over the images with exchanged colours.
    """
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    known = _log_losses(denoiser, images, plan)
    colours = [_log_losses(denoiser, images[..., order], plan) for order in _COLOUR_ORDERS]
    gains = _log_losses(denoiser, mirrored, plan) - known + torch.stack(colours).mean(dim=0) - known
    return np.asarray(gains.cpu().numpy(), dtype=np.float64)


def _log_losses(denoiser: Denoiser, images: RgbImages, plan: RankPlan) -> Tensor:
    """Return the log of each image's denoising loss with the empty prompt: [image]."""
    latents = denoiser.encode_images(images)
    empty = denoiser.unconditional(len(images)).to(denoiser.device, denoiser.dtype)
    timestep = int(plan.share * denoiser.n_timesteps)
    losses = torch.zeros(len(images), dtype=torch.float64)
    for i in range(plan.n_noises):
        noise = denoiser.noise([sample_generator(plan.run_seed, "familiarity", i)]).expand(latents.shape)
        predicted = denoiser.predict(denoiser.noised(latents, noise, timestep), timestep, empty)
        losses += predicted.losses(noise).double().cpu()
    return finite_log_losses(losses)
