"""Chen et al.'s detector (arXiv 2410.21665): Wen's norm where the end token lights up at the end of sampling.

In the last step of sampling, memorized regions attend to the prompt's end token. That map is the mask m, and the
statistic ‖(ε(x_t, c) − ε(x_t, ∅)) ∘ m‖₂ / mean(m), averaged over all steps of sampling (their code, chenchen-usyd/
BE-PRSS, detect_mem.py and local_sd_pipeline.py; restated by Jeon et al. 2412.04140, appendix D.1). They average m
over heads and over the two cross-attention layers of Stable Diffusion's down blocks that see whole latents.

What is approximated: sampling is over, so the picture is encoded and noised again to the last timestep for the mask
and to the middle of the noise schedule for the difference, one point in place of the mean over steps. m is the mean
over all layers of the finest resolution, stretched to the latents where none sees them whole. It costs 3 UE a
picture: the prompt at the last timestep, the prompt and the empty prompt in the middle.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from audit.detectors import PictureDetector
from audit.detectors.balanced_representation import noised_latents
from audit.sampled_prompt import SampledPrompt
from hooks import TokenClass
from hooks.attention import cross_attention_layers, observe_attention


@torch.no_grad()
def bright_ending(sampled: SampledPrompt) -> float:
    """Masked norm of the noise difference, mean over pictures; NaN where the prompt has no end token."""
    denoiser = sampled.denoiser
    middle = denoiser.pipe.scheduler.config.num_train_timesteps // 2
    latents = noised_latents(sampled, middle)
    prompt_embeds = sampled.prompt_embeds.expand(len(latents), -1, -1)
    empty_embeds = denoiser.embed(denoiser.tokenize([""])).expand_as(prompt_embeds)
    conditional = denoiser.predict_noise(latents, middle, prompt_embeds).float()
    unconditional = denoiser.predict_noise(latents, middle, empty_embeds).float()
    return float(masked_norm(conditional - unconditional, end_token_mask(sampled)).mean())


def masked_norm(difference: Tensor, mask: Tensor) -> Tensor:
    """‖difference ∘ mask‖₂ / mean(mask) of [picture, channel, row, column] and [picture, 1, row, column]: [picture]."""
    norm: Tensor = (difference * mask).flatten(1).norm(dim=1)
    return norm / mask.flatten(1).mean(dim=1)


@torch.no_grad()
def end_token_mask(sampled: SampledPrompt) -> Tensor:
    """Attention to the end token at the last timestep, as large as the latents: [picture, 1, row, column]."""
    denoiser, is_end = sampled.denoiser, sampled.classes[0] == TokenClass.END
    latents = noised_latents(sampled, sampled.last_timestep)
    maps: list[Tensor] = []  # [picture, pixel] of each layer

    def keep(_layer: str, probabilities: Tensor) -> None:
        maps.append(probabilities[..., is_end.to(probabilities.device)].mean(dim=(1, 3)))

    with observe_attention(cross_attention_layers(denoiser.pipe.unet), keep):
        denoiser.predict_noise(latents, sampled.last_timestep, sampled.prompt_embeds.expand(len(latents), -1, -1))
    n_pixels = max(attention.shape[1] for attention in maps)
    finest = torch.stack([attention for attention in maps if attention.shape[1] == n_pixels]).mean(dim=0)
    height, width = latents.shape[2:]
    n_rows = math.ceil(height / round(math.sqrt(height * width / n_pixels)))
    mask: Tensor = interpolate(finest.reshape(len(finest), 1, n_rows, -1), size=(height, width), mode="bilinear")
    return mask


DETECTOR = PictureDetector(
    name="bright_ending",
    source="Chen et al. 2025, arXiv 2410.21665",
    evaluations_per_picture=3,
    measure=bright_ending,
)
