"""Zhang et al.'s detector (arXiv 2512.20963): memorized pictures make a few channels of the UNet spike.

A picture is encoded, slightly noised and shown to the UNet with the empty prompt; the statistic is the standard
deviation over channels of the spatial maximum of an activation, higher for memorized pictures. From their code
(la0ka1/diffusion-gen-from-rep, 2-Application/rep_extraction_utils.py and SD_compare_reps.ipynb): timestep 10 of 1,000
(its default), population standard deviation, and what the last nonlinearity of residual blocks in the first two up
blocks gives. Which block the published rates are of could not be verified; here it is the mean over the residual
blocks of the first up block. They sample the encoder's distribution, we take its mode, so that noise is the only
chance. It costs 1 UE a picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audit.detectors import PictureDetector
from audit.sampled_prompt import SampledPrompt
from hooks.capture import capture

TIMESTEP = 10


@torch.no_grad()
def noised_latents(sampled: SampledPrompt, timestep: int) -> Tensor:
    """The pictures, encoded and noised to the scheduler's `timestep`: [picture, channel, row, column]."""
    denoiser = sampled.denoiser
    latents = denoiser.encode_pictures(sampled.pictures)
    generator = torch.Generator("cpu").manual_seed(sampled.generator_seed)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    return denoiser.noised(latents, noise, timestep)


@torch.no_grad()
def balanced_representation(sampled: SampledPrompt) -> float:
    """Standard deviation over channels of the activations' spatial maximum, mean over blocks and pictures."""
    denoiser = sampled.denoiser
    latents = noised_latents(sampled, TIMESTEP)
    empty_embeds = denoiser.embed(denoiser.tokenize([""])).expand(len(latents), -1, -1)
    blocks = {str(i): block.conv2 for i, block in enumerate(denoiser.pipe.unet.up_blocks[0].resnets)}
    with capture(blocks, "input") as activations:  # what the last nonlinearity of a block gives goes to conv2
        denoiser.predict_noise(latents, TIMESTEP, empty_embeds)
    spikes = [x.float().amax(dim=(2, 3)).std(dim=1, correction=0) for (x,) in activations.values()]  # [picture] each
    return float(torch.stack(spikes).mean())


DETECTOR = PictureDetector(
    name="balanced_representation",
    source="Zhang et al. 2026, arXiv 2512.20963",
    evaluations_per_picture=1,
    measure=balanced_representation,
)
