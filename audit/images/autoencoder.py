"""The autoencoder of a pipeline, which turns images into latents and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.hooks.recorder import require_finite


@torch.no_grad()
def encode_images(vae: Any, images: RgbImages, device: torch.device) -> Tensor:
    """Encode images [image, height, width, 3] to the mode of the encoder's distribution.

    Returns:
        Scaled float32 latents [image, channel, row, column].

    Raises:
        NonFiniteActivation: a latent has a value that is not finite.
    """
    pixels = torch.tensor(images).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1  # [image, 3, height, width]
    encoded = vae.encode(pixels.to(device, vae.dtype))
    # a tiny autoencoder returns latents, the others a distribution
    latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
    require_finite("encoded images", latents)
    return torch.as_tensor((latents.float() - _shift(vae)) * vae.config.scaling_factor)


@torch.no_grad()
def decode_latents(vae: Any, latents: Tensor, device: torch.device) -> RgbImages:
    """Decode scaled latents [image, channel, row, column]: images [image, height, width, 3].

    Raises:
        NonFiniteActivation: an image has a value that is not finite.
    """
    scaled = latents.float() / vae.config.scaling_factor + _shift(vae)
    pixels = vae.decode(scaled.to(device, vae.dtype)).sample.float()
    require_finite("decoded images", pixels)
    levels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    return np.ascontiguousarray(levels.cpu().numpy())  # as it is read back: last bits depend on the layout


def _shift(vae: Any) -> float:
    return float(vae.config.get("shift_factor") or 0.0)
