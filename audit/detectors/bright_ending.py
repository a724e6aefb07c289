"""Bright ending, by Chen et al. (2025, arXiv 2410.21665): Wen's norm, weighted by the attention to the end token.

In the last step of sampling, memorized regions attend to the prompt's end token. This attention map is the mask m.
Statistic: ‖(ε(x_t, c) − ε(x_t, ∅)) ∘ m‖₂ / mean(m), averaged over all steps of sampling (their code, chenchen-usyd/
BE-PRSS, detect_mem.py and local_sd_pipeline.py; restated by Jeon et al. 2412.04140, appendix D.1). They average m over
heads and over the two cross-attention layers of Stable Diffusion's down blocks that have the resolution of the latents.

This is an approximation, as it runs after sampling. If a model does not predict noise, its raw outputs are compared.
The image is encoded and noised again: to the last timestep for the mask, and to the middle of the noise schedule for
the difference. One timestep replaces the mean over steps. m is the mean over all layers of the finest resolution,
interpolated to the size of the latents.

Not compared with the output of their code, which needs every step of sampling.

Cost: 3 UE per image in addition to sampling: the prompt at the last timestep, the prompt and the empty prompt at the
middle one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from flashbulb.audit.detectors import ImageDetector
from flashbulb.audit.detectors.balanced_representation import noised_latents
from flashbulb.audit.detectors.views import SampledPrompt
from flashbulb.hooks import TokenClass
from flashbulb.hooks.attention import observe_attention


@torch.no_grad()
def bright_ending(sampled: SampledPrompt) -> float:
    """Return the masked norm of the noise difference, averaged over images; NaN if the prompt has no end token."""
    denoiser = sampled.denoiser
    middle = denoiser.n_timesteps // 2
    latents = noised_latents(sampled, middle)
    prompt = sampled.encoded.conditioning.repeat(len(latents))
    conditional = denoiser.predict(latents, middle, prompt).native.float()
    unconditional = denoiser.predict(latents, middle, denoiser.unconditional(len(latents))).native.float()
    return float(masked_norm(conditional - unconditional, end_token_mask(sampled)).mean())


def masked_norm(difference: Tensor, mask: Tensor) -> Tensor:
    """Return ‖difference ∘ mask‖₂ / mean(mask): [image, channel, row, column], [image, 1, row, column] -> [image]."""
    norm: Tensor = (difference * mask).flatten(1).norm(dim=1)
    return norm / mask.flatten(1).mean(dim=1)


@torch.no_grad()
def end_token_mask(sampled: SampledPrompt) -> Tensor:
    """Return the attention to the end token at the last timestep, in the latents' size: [image, 1, row, column]."""
    denoiser, is_end = sampled.denoiser, sampled.encoded.main_classes[0] == TokenClass.END
    latents = noised_latents(sampled, sampled.last_timestep)
    maps: list[Tensor] = []  # [image, pixel] per layer

    def keep(_layer: str, probabilities: Tensor) -> None:
        maps.append(probabilities[..., is_end.to(probabilities.device)].mean(dim=(1, 3)))

    with observe_attention(denoiser.attention_layers(), keep):
        denoiser.predict(latents, sampled.last_timestep, sampled.encoded.conditioning.repeat(len(latents)))
    n_pixels = max(attention.shape[1] for attention in maps)
    finest = torch.stack([attention for attention in maps if attention.shape[1] == n_pixels]).mean(dim=0)
    height, width = latents.shape[2:]
    n_rows = math.ceil(height / round(math.sqrt(height * width / n_pixels)))
    mask: Tensor = interpolate(finest.reshape(len(finest), 1, n_rows, -1), size=(height, width), mode="bilinear")
    return mask


DETECTOR = ImageDetector(
    name="bright_ending",
    source="Chen et al. 2025, arXiv 2410.21665",
    evaluations_per_image=3,
    measure=bright_ending,
    reads_attention=True,
)
