"""FLUX.1: a rectified-flow transformer over packed latents, with a CLIP's pooled text and T5.

The guidance scale is an input of the transformer where it was distilled (dev), so the empty prompt is never evaluated.
Predictions are made at a scale of 1.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families.rectified_flow import RectifiedFlow
from flashbulb.hooks import GuidanceLayout

_PATCH = 2  # rows and columns of latents in one token


class Flux(RectifiedFlow):
    """Pipelines of the shape of FLUX.1 dev and schnell."""

    title = "FLUX.1"
    network = ("transformer", "FluxTransformer2DModel")
    required = ("transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler")
    tokenizers: ClassVar[Mapping[str, str]] = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
    classes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vae": ("AutoencoderKL", "AutoencoderTiny"),
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("T5EncoderModel",),
    }
    pipeline = "FluxPipeline"
    image_to_image = "FluxImg2ImgPipeline"
    guidance = GuidanceLayout.SEPARATE_CALLS

    def __init__(self, pipe: Any, clip_skip: int | None = None) -> None:
        super().__init__(pipe, clip_skip)
        if "sigmas" not in inspect.signature(pipe.scheduler.set_timesteps).parameters:
            raise ModelError(
                f"{type(pipe.scheduler).__name__} takes no noise levels, which {self.pipeline} plans itself; give the "
                "pipeline a FlowMatchEulerDiscreteScheduler"
            )
        prepared = self.first_call([""], 1)
        self._positions = {name: prepared[name] for name in ("txt_ids", "img_ids")}
        self._scale: Tensor | None = prepared["guidance"]  # [1], None where the transformer reads none

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        config = self.pipe.vae.config
        side = config.sample_size // self.pipe.vae_scale_factor
        return config.latent_channels, side, side

    def is_guided(self, guidance_scale: float) -> bool:
        return False

    def _unpacked(self, latents: Tensor) -> Tensor:
        return _unpack(latents, *self.latent_shape[1:])

    def _evaluate(self, latents: Tensor, timestep: float | Tensor, conditioning: Conditioning) -> Tensor:
        n = len(latents)
        velocity = self.pipe.transformer(
            hidden_states=_pack(latents),
            timestep=self._times(timestep, n).to(latents.dtype) / self.n_timesteps,
            guidance=None if self._scale is None else self._scale.expand(n),
            encoder_hidden_states=conditioning.tensors["prompt_embeds"],
            pooled_projections=conditioning.tensors["pooled_prompt_embeds"],
            return_dict=False,
            **self._positions,
        )[0]
        return _unpack(velocity, *latents.shape[2:])


def _pack(latents: Tensor) -> Tensor:
    """Return tokens of 2 × 2 latents: [latent, channel, row, column] -> [latent, token, 4 × channel]."""
    return pixel_unshuffle(latents, _PATCH).flatten(2).transpose(1, 2)


def _unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Undo `_pack`."""
    grid = (len(tokens), -1, height // _PATCH, width // _PATCH)
    return pixel_shuffle(tokens.transpose(1, 2).reshape(grid), _PATCH)


FAMILY = Flux
