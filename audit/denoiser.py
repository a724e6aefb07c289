"""Speak to one model family: encode prompts, draw x_T, predict noise. The only place that knows guidance order,
prediction type and timesteps. Here: Stable Diffusion 1.x/2.x-shaped UNet pipelines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from audit.loading import ModelError
from hooks.reduce import token_classes
from hooks.substitute import substitute

_ROUNDING = 0.01  # of a timestep


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokenized prompts, cut or padded to the text encoder's full length."""

    input_ids: Tensor  # [prompt, position]
    attention_mask: Tensor | None  # given to encoders that were trained with one
    classes: Tensor  # [prompt, position], see hooks.TokenClass
    truncated: tuple[bool, ...]

    def rows(self, chosen: slice) -> Tokens:
        """Some of the prompts."""
        mask = None if self.attention_mask is None else self.attention_mask[chosen]
        return Tokens(self.input_ids[chosen], mask, self.classes[chosen], self.truncated[chosen])


class Denoiser:
    """Evaluate the text encoder and the UNet of a loaded pipeline, without guidance and without sampling."""

    def __init__(self, pipe: Any) -> None:
        config = pipe.unet.config
        for option in ("addition_embed_type", "encoder_hid_dim_type", "class_embed_type", "time_cond_proj_dim"):
            if config.get(option) is not None:
                raise ModelError(
                    f"this UNet has {option} {config[option]!r}; Engram audits Stable Diffusion 1.x/2.x-shaped UNets"
                )
        if config.in_channels != config.out_channels:
            raise ModelError(
                f"this UNet takes {config.in_channels} channels and gives {config.out_channels}; "
                "inpainting and depth models are not text-to-image models"
            )
        if config.sample_size is None:
            raise ModelError("this UNet's config states no sample_size, so the size of its latents is unknown; add it")
        if not hasattr(pipe.scheduler, "alphas_cumprod"):
            raise ModelError(
                f"{type(pipe.scheduler).__name__} has no alphas_cumprod; give the pipeline a DDIMScheduler"
            )
        self.pipe = pipe
        self.device: torch.device = pipe.unet.device
        self.dtype: torch.dtype = pipe.unet.dtype
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        self.latent_shape: tuple[int, int, int] = (config.in_channels, height, width)
        self._alphas_cumprod: Tensor = pipe.scheduler.alphas_cumprod
        self.evaluations = 0
        """UNet evaluations of one latent (UE) so far."""

    def first_timestep(self, num_inference_steps: int) -> int:
        """The scheduler's timestep of x_T, the first of a sampling of `num_inference_steps` steps."""
        return self._timestep(num_inference_steps, 0)

    def last_timestep(self, num_inference_steps: int) -> int:
        """The scheduler's timestep of the last of `num_inference_steps` steps of sampling."""
        return self._timestep(num_inference_steps, -1)

    def _timestep(self, num_inference_steps: int, step: int) -> int:
        self.pipe.scheduler.set_timesteps(num_inference_steps)
        timestep = float(self.pipe.scheduler.timesteps[step])  # some go through sigmas and come back at 980.9999
        if abs(timestep - round(timestep)) > _ROUNDING:
            raise ModelError(
                f"{type(self.pipe.scheduler).__name__} has a timestep of {timestep:.3f}; "
                "Engram audits models with discrete timesteps, give the pipeline a DDIMScheduler"
            )
        return round(timestep)

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Tokenize as the pipeline does; prompts longer than the encoder reads are cut and marked."""
        tokenizer = self.pipe.tokenizer
        n_positions = tokenizer.model_max_length
        padded = tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=n_positions, return_tensors="pt"
        )
        lengths = [len(ids) for ids in tokenizer(list(prompts)).input_ids]
        uses_mask = bool(getattr(self.pipe.text_encoder.config, "use_attention_mask", False))
        classes = token_classes(padded.input_ids, tokenizer.eos_token_id, tokenizer.bos_token_id)
        mask = padded.attention_mask if uses_mask else None
        return Tokens(padded.input_ids, mask, classes, tuple(n > n_positions for n in lengths))

    @torch.no_grad()
    def embed(self, tokens: Tokens) -> Tensor:
        """Run the text encoder: prompt_embeds [prompt, position, width], as the pipeline hands them to the UNet."""
        return self._encode(tokens)

    @torch.no_grad()
    def token_embeddings(self, tokens: Tokens) -> Tensor:
        """What the text encoder reads, one vector a token, positions not added: [prompt, position, width]."""
        embeddings: Tensor = self._token_embedding(tokens.input_ids.to(self.device))
        return embeddings

    def embed_from(self, token_embeddings: Tensor, tokens: Tokens) -> Tensor:
        """prompt_embeds as from `embed`, of changed `token_embeddings`, to which gradients flow back."""
        with substitute(self._token_embedding, token_embeddings):
            return self._encode(tokens)

    @property
    def _token_embedding(self) -> nn.Module:
        module: nn.Module = self.pipe.text_encoder.get_input_embeddings()
        return module

    def _encode(self, tokens: Tokens) -> Tensor:
        mask = None if tokens.attention_mask is None else tokens.attention_mask.to(self.device)
        embeds: Tensor = self.pipe.text_encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0]
        if embeds.ndim != 3:
            raise ModelError(
                f"{type(self.pipe.text_encoder).__name__} gives one vector a prompt, but the UNet reads one a token; "
                "use the class without projection"
            )
        return embeds.to(self.dtype)

    def initial_latents(self, run_seed: int, seed_indices: Sequence[int]) -> Tensor:
        """x_T for each seed index, unit Gaussian noise from its own CPU generator: [seed, channel, row, column]."""
        noise = []
        for index in seed_indices:
            generator = torch.Generator("cpu").manual_seed(run_seed * 1_000_003 + index)
            noise.append(torch.randn(self.latent_shape, generator=generator))
        return torch.stack(noise).to(self.device, self.dtype)

    def noise(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Unit Gaussian latents, one from each CPU generator: [latent, channel, row, column]."""
        drawn = [torch.randn(self.latent_shape, generator=generator) for generator in generators]
        return torch.stack(drawn).to(self.device, self.dtype)

    @property
    def n_timesteps(self) -> int:
        """Timesteps of training, the scheduler's t being below it."""
        return len(self._alphas_cumprod)

    @torch.no_grad()
    def encode_pictures(self, pictures: npt.NDArray[np.uint8]) -> Tensor:
        """Latents of pictures [picture, height, width, 3], the mode of the encoder's distribution: [picture, channel,
        row, column]."""
        vae = self.pipe.vae
        pixels = torch.tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1  # [picture, 3, height, width]
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode().float()
        latents = (latents - (vae.config.get("shift_factor") or 0.0)) * vae.config.scaling_factor
        return torch.as_tensor(latents).to(self.device, self.dtype)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        """Pictures of latents: [picture, height, width, 3]."""
        vae = self.pipe.vae
        scaled = latents.float() / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0.0)
        pixels = vae.decode(scaled.to(vae.device, vae.dtype)).sample.float().clamp(-1, 1)
        return np.asarray(((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())

    def noised(self, latents: Tensor, noise: Tensor, timesteps: int | Tensor) -> Tensor:
        """Latents with noise [latent, channel, row, column] at one timestep, or at one each: like `noise`."""
        alpha = self._alphas_cumprod.to(noise.device, torch.float32)[timesteps].reshape(-1, 1, 1, 1)
        return (alpha.sqrt() * latents.float() + (1 - alpha).sqrt() * noise.float()).to(self.dtype)

    def predict_noise(self, latents: Tensor, timestep: int | Tensor, prompt_embeds: Tensor) -> Tensor:
        """The model's noise prediction (epsilon, whatever it was trained to predict), shaped like `latents`.

        Args:
            timestep: one for all latents, or one each, [latent].
        """
        self.evaluations += len(latents)
        output: Tensor = self.pipe.unet(latents, timestep, encoder_hidden_states=prompt_embeds).sample
        prediction_type = self.pipe.scheduler.config.prediction_type
        if prediction_type == "epsilon":
            return output
        alpha = self._alphas_cumprod.to(latents)[timestep].reshape(-1, 1, 1, 1)
        if prediction_type == "v_prediction":
            return alpha.sqrt() * output + (1 - alpha).sqrt() * latents
        if prediction_type == "sample":
            return (latents - alpha.sqrt() * output) / (1 - alpha).sqrt()
        raise ModelError(f"unknown prediction type {prediction_type!r}")
