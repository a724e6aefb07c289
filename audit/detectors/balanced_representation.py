"""Balanced representation, by Zhang et al. (2026, arXiv 2512.20963): memorized images spike in a few UNet channels.

Statistic: encode an image, add a little noise, evaluate the UNet with the empty prompt, and take the standard deviation
over channels of an activation's spatial maximum. It is higher for memorized images.

Settings follow their code (la0ka1/diffusion-gen-from-rep, 2-Application/rep_extraction_utils.py and
SD_compare_reps.ipynb): timestep 10 of 1,000 (the default there), the population standard deviation, and the output of
the last nonlinearity of residual blocks in the first two up blocks. We could not verify which block the published rates
use; the mean over the residual blocks of the first up block is our choice. They sample from the encoder's distribution;
here its mode is taken, so the added noise is the only randomness.

Not compared with the output of their code; the tests hold it against the output of each block's last nonlinearity.

Cost: 1 UE per image, in addition to sampling.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashbulb.audit.detectors import ImageDetector
from flashbulb.audit.detectors.views import SampledPrompt
from flashbulb.hooks.capture import capture

TIMESTEP = 10


@torch.no_grad()
def noised_latents(sampled: SampledPrompt, timestep: float) -> Tensor:
    """Encode the images and add noise for the scheduler's `timestep`: [image, channel, row, column]."""
    denoiser = sampled.denoiser
    latents = denoiser.encode_images(sampled.images)
    generator = torch.Generator("cpu").manual_seed(sampled.generator_seed)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    return denoiser.noised(latents, noise, timestep)


@torch.no_grad()
def balanced_representation(sampled: SampledPrompt) -> float:
    """Return the standard deviation over channels of the spatial maximum, averaged over blocks and images."""
    denoiser = sampled.denoiser
    latents = noised_latents(sampled, TIMESTEP)
    blocks = denoiser.first_up_convolutions()
    with capture(blocks, "input") as activations:  # a block's last nonlinearity feeds its last convolution
        denoiser.predict(latents, TIMESTEP, denoiser.unconditional(len(latents)))
    spikes = [x.float().amax(dim=(2, 3)).std(dim=1, correction=0) for (x,) in activations.values()]  # [image] per block
    return float(torch.stack(spikes).mean())


DETECTOR = ImageDetector(
    name="balanced_representation",
    source="Zhang et al. 2026, arXiv 2512.20963",
    evaluations_per_image=1,
    measure=balanced_representation,
    reads_up_blocks=True,
)
