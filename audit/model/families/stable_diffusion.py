"""Stable Diffusion 1.x and 2.x: a UNet with cross-attention to one text encoder.

A UNet distilled by latent consistency (LCM, arXiv 2310.04378) reads the guidance scale, and the empty prompt is never
evaluated. Its predictions are made at the pipeline's own scale; distillation draws scales from about 3 to 15, so a
scale of 1 would be outside.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from flashbulb.audit.model.calls import clip_skip_works, embeds_guidance
from flashbulb.audit.model.conditioning import Conditioning, Encoding
from flashbulb.audit.model.denoiser import FEWEST_STEPS, Denoiser
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.prediction import Levels, PredictionType
from flashbulb.audit.model.text_encoders import Tokens
from flashbulb.hooks import GuidanceLayout
from flashbulb.hooks.offload import bring_to_device

_ROUNDING = 0.01  # of a timestep
_SORTED_BATCHES = 16
"""Batches whose prompts are sorted by length together, so that prompts of one length share a batch."""


class StableDiffusion(Denoiser):
    """Pipelines of the shape of Stable Diffusion 1.x and 2.x.

    Raises:
        ModelError: the UNet, the text encoder or the scheduler is of another kind.
    """

    title = "Stable Diffusion 1/2"
    network = ("unet", "UNet2DConditionModel")
    required: ClassVar[tuple[str, ...]] = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    tokenizers: ClassVar[Mapping[str, str]] = {"text_encoder": "tokenizer"}
    classes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vae": ("AutoencoderKL", "AutoencoderTiny", "AsymmetricAutoencoderKL"),
        "text_encoder": (
            *("CLIPTextModel", "CLIPTextModelWithProjection", "ChineseCLIPTextModel", "BertModel", "DistilBertModel"),
            *("RobertaModel", "XLMRobertaModel", "T5EncoderModel", "UMT5EncoderModel"),
        ),
    }
    pipeline = "StableDiffusionPipeline"
    image_to_image = "StableDiffusionImg2ImgPipeline"
    keywords: ClassVar[Mapping[str, str]] = {"prompt_embeds": "encoder_hidden_states"}
    guidance = GuidanceLayout.UNCONDITIONAL_FIRST
    addition: ClassVar[str | None] = None
    """What the UNet reads beside latents, timestep and the text of each position, as `addition_embed_type`."""

    def __init__(self, pipe: Any, clip_skip: int | None = None) -> None:
        _check_unet(pipe.unet.config, self.addition, self.title)
        _check_text_encoder(pipe.text_encoder)
        _check_scheduler(pipe.scheduler)
        super().__init__(pipe, clip_skip)
        self._alphas_cumprod: Tensor = pipe.scheduler.alphas_cumprod.to(self.device)
        self._timestep_tensors: dict[int, Tensor] = {}  # on the device, which would wait for a number
        self._embedded_scale: Tensor | None = None  # [1, width]
        if embeds_guidance(pipe):
            self._embedded_scale = self.first_call([""], FEWEST_STEPS)["timestep_cond"]

    @property
    def plain_scale(self) -> float:
        if not embeds_guidance(self.pipe):
            return super().plain_scale
        return float(inspect.signature(type(self.pipe).__call__).parameters["guidance_scale"].default)

    def is_guided(self, guidance_scale: float) -> bool:
        return super().is_guided(guidance_scale) and not embeds_guidance(self.pipe)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        config = self.pipe.unet.config
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return config.in_channels, height, width

    @property
    def prediction_type(self) -> PredictionType:
        return PredictionType(self.pipe.scheduler.config.prediction_type)

    @property
    def n_timesteps(self) -> int:
        return len(self._alphas_cumprod)

    def first_timestep(self, num_inference_steps: int) -> int:
        timestep = _whole(self.pipe.scheduler, super().first_timestep(num_inference_steps))
        if self.prediction_type is PredictionType.EPSILON and not self._alphas_cumprod[timestep]:
            raise ModelError(
                "this model predicts noise, and its first step has no signal to tell noise from: every image is "
                "infinite; set prediction_type to v_prediction, or rescale_betas_zero_snr to false"
            )
        return timestep

    def last_timestep(self, num_inference_steps: int) -> int:
        return _whole(self.pipe.scheduler, super().last_timestep(num_inference_steps))

    def word_batches(self, prompts: Sequence[str], batch_size: int) -> Iterator[tuple[Sequence[int], Encoding]]:
        if not self.text.are_causal:  # a word reads the padding behind it
            yield from super().word_batches(prompts, batch_size)
            return
        for start in range(0, len(prompts), _SORTED_BATCHES * batch_size):
            tokens = self.text.tokenize(prompts[start : start + _SORTED_BATCHES * batch_size])
            order = tokens.longest_first()
            for first in range(0, len(order), batch_size):
                chosen = order[first : first + batch_size]
                yield [start + i for i in chosen], partial(self._encode_tokens, tokens.rows(chosen))

    @torch.no_grad()
    def _encode_tokens(self, tokens: Tokens) -> Conditioning:
        with self.text.tokenizing_as(tokens):
            return self._prepare(tokens.texts)

    def _prepare(self, prompts: Sequence[str]) -> Conditioning:
        return self._encode(prompts)

    @torch.no_grad()
    def unconditional(self, n: int) -> Conditioning:
        return self._encode([""], is_negative=True).repeat(n)

    def _encode(self, prompts: Sequence[str], is_negative: bool = False) -> Conditioning:
        """Encode prompts, or the side without a prompt, as the pipeline's call does before its other preparations."""
        with clip_skip_works(self.pipe):
            sides = self.pipe.encode_prompt(list(prompts), self.device, 1, is_negative, clip_skip=self._clip_skip)
        return Conditioning({"prompt_embeds": sides[is_negative]})

    def _evaluate(self, latents: Tensor, timestep: float | Tensor, conditioning: Conditioning) -> Tensor:
        scale = self._embedded_scale
        if isinstance(timestep, int):
            if timestep not in self._timestep_tensors:
                self._timestep_tensors[timestep] = torch.tensor(timestep, device=self.device)
            timestep = self._timestep_tensors[timestep]
        output: Tensor = self.pipe.unet(
            latents,
            timestep,
            encoder_hidden_states=conditioning.tensors["prompt_embeds"],
            timestep_cond=None if scale is None else scale.expand(len(latents), -1),
            added_cond_kwargs=self._added(conditioning),
        ).sample
        return output

    def _added(self, conditioning: Conditioning) -> dict[str, Tensor] | None:
        """Return what the UNet reads as `addition`."""
        return None

    def _levels(self, timestep: float | Tensor, like: Tensor) -> Levels:
        index = timestep if isinstance(timestep, Tensor) else int(timestep)
        alpha = self._alphas_cumprod.to(like)[index].reshape(-1, 1, 1, 1)
        return Levels(alpha.sqrt(), (1 - alpha).sqrt())

    def run_prompt_sites(self, sites: Any, conditioning: Conditioning) -> None:
        bring_to_device(self.pipe.unet)
        for module in self.modules(sites).values():
            module(conditioning.tensors["prompt_embeds"])

    def first_up_convolutions(self) -> dict[str, nn.Module]:
        return {str(i): block.conv2 for i, block in enumerate(self.pipe.unet.up_blocks[0].resnets)}


def _check_unet(config: Any, addition: str | None, title: str) -> None:
    expected = {"addition_embed_type": addition, "encoder_hid_dim_type": None, "class_embed_type": None}
    for option, value in expected.items():
        if config.get(option) != value:
            raise ModelError(f"this UNet has {option} {config[option]!r}, those of {title} have {value!r}")
    if config.in_channels != config.out_channels:
        raise ModelError(
            f"this UNet takes {config.in_channels} channels and returns {config.out_channels}; "
            "inpainting, image-editing and depth models are not text-to-image models"
        )
    if config.sample_size is None:
        raise ModelError("this UNet's config has no sample_size, so the size of its latents is unknown; add it")


def _check_text_encoder(encoder: Any) -> None:
    name = type(encoder).__name__
    if name.endswith("WithProjection"):
        raise ModelError(
            f"{name} gives one vector per prompt, but the UNet reads one per token; use the class without projection"
        )


def _check_scheduler(scheduler: Any) -> None:
    name = type(scheduler).__name__
    if name.startswith("EDM"):
        raise ModelError(
            f"{name} scales latents and timesteps of its own (EDM), which Flashbulb cannot read; "
            "only models trained with a schedule of alphas_cumprod are audited"
        )
    if not hasattr(scheduler, "alphas_cumprod"):
        raise ModelError(f"{name} has no alphas_cumprod; give the pipeline a DDIMScheduler")
    prediction_type = scheduler.config.prediction_type
    known = [kind.value for kind in PredictionType if kind is not PredictionType.FLOW]
    if prediction_type not in known:
        raise ModelError(
            f"unknown prediction type {prediction_type!r}; the scheduler's config gives {', '.join(known)}"
        )


def _whole(scheduler: Any, timestep: float) -> int:
    """Return the timestep as an integer; schedulers that convert to sigmas and back return 980.9999."""
    if abs(timestep - round(timestep)) > _ROUNDING:
        raise ModelError(
            f"{type(scheduler).__name__} has a timestep of {timestep:.3f}; "
            "Flashbulb audits models with discrete timesteps, give the pipeline a DDIMScheduler"
        )
    return round(timestep)


FAMILY = StableDiffusion
