"""Encode prompts, draw x_T and predict noise with UNet pipelines of the shape of Stable Diffusion 1.x and 2.x.

Prediction types and timesteps of this model family are known only here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from flashbulb.audit.model.loading import ModelError
from flashbulb.hooks.reduce import token_classes
from flashbulb.hooks.substitute import substitute

_ROUNDING = 0.01  # of a timestep


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokenized prompts, cut or padded to the full length of the text encoder."""

    input_ids: Tensor  # [prompt, position]
    attention_mask: Tensor | None  # [prompt, position], only for text encoders trained with a mask
    classes: Tensor  # [prompt, position], see hooks.TokenClass
    truncated: tuple[bool, ...]

    def rows(self, chosen: slice) -> Tokens:
        """Select some of the prompts."""
        mask = None if self.attention_mask is None else self.attention_mask[chosen]
        return Tokens(self.input_ids[chosen], mask, self.classes[chosen], self.truncated[chosen])


class Denoiser:
    """Evaluate the text encoder, the UNet and the VAE of a loaded pipeline, without guidance and without sampling.

    Raises:
        ModelError: the UNet or the scheduler is of another kind.
    """

    def __init__(self, pipe: Any) -> None:
        config = pipe.unet.config
        for option in ("addition_embed_type", "encoder_hid_dim_type", "class_embed_type", "time_cond_proj_dim"):
            if config.get(option) is not None:
                raise ModelError(
                    f"this UNet has {option} {config[option]!r}; Flashbulb audits Stable Diffusion 1.x/2.x-shaped UNets"
                )
        if config.in_channels != config.out_channels:
            raise ModelError(
                f"this UNet takes {config.in_channels} channels and returns {config.out_channels}; "
                "inpainting and depth models are not text-to-image models"
            )
        if config.sample_size is None:
            raise ModelError("this UNet's config has no sample_size, so the size of its latents is unknown; add it")
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
        """Return the scheduler's timestep of x_T, the first of `num_inference_steps` steps of sampling."""
        return self._timestep(num_inference_steps, 0)

    def last_timestep(self, num_inference_steps: int) -> int:
        """Return the scheduler's timestep of the last of `num_inference_steps` steps of sampling."""
        return self._timestep(num_inference_steps, -1)

    def _timestep(self, num_inference_steps: int, step: int) -> int:
        self.pipe.scheduler.set_timesteps(num_inference_steps)
        timestep = float(
            self.pipe.scheduler.timesteps[step]
        )  # schedulers that convert to sigmas and back return 980.9999
        if abs(timestep - round(timestep)) > _ROUNDING:
            raise ModelError(
                f"{type(self.pipe.scheduler).__name__} has a timestep of {timestep:.3f}; "
                "Flashbulb audits models with discrete timesteps, give the pipeline a DDIMScheduler"
            )
        return round(timestep)

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Tokenize as the pipeline does; prompts that exceed the text encoder's length are cut and marked."""
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
        """Run the text encoder: prompt_embeds [prompt, position, width], as the pipeline passes them to the UNet."""
        return self._encode(tokens)

    @torch.no_grad()
    def token_embeddings(self, tokens: Tokens) -> Tensor:
        """Return the text encoder's input, a vector per token without its position: [prompt, position, width]."""
        embeddings: Tensor = self._token_embedding(tokens.input_ids.to(self.device))
        return embeddings

    def embed_from(self, token_embeddings: Tensor, tokens: Tokens) -> Tensor:
        """Run the text encoder on given `token_embeddings`; as `embed`, but gradients flow back to them."""
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
                f"{type(self.pipe.text_encoder).__name__} gives one vector per prompt, "
                "but the UNet reads one per token; use the class without projection"
            )
        return embeds.to(self.dtype)

    def initial_latents(self, run_seed: int, seed_indices: Sequence[int]) -> Tensor:
        """Draw x_T for each seed index, Gaussian noise from its own CPU generator: [seed, channel, row, column]."""
        noise = []
        for index in seed_indices:
            generator = torch.Generator("cpu").manual_seed(run_seed * 1_000_003 + index)
            noise.append(torch.randn(self.latent_shape, generator=generator))
        return torch.stack(noise).to(self.device, self.dtype)

    def noise(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw unit Gaussian latents, one from each CPU generator: [latent, channel, row, column]."""
        drawn = [torch.randn(self.latent_shape, generator=generator) for generator in generators]
        return torch.stack(drawn).to(self.device, self.dtype)

    @property
    def n_timesteps(self) -> int:
        """Number of timesteps of training; the scheduler's timesteps are below it."""
        return len(self._alphas_cumprod)

    @torch.no_grad()
    def encode_images(self, images: npt.NDArray[np.uint8]) -> Tensor:
        """Encode images [image, height, width, 3] to the mode of the encoder's distribution.

        Returns:
            Scaled latents [image, channel, row, column].
        """
        vae = self.pipe.vae
        pixels = torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1  # [image, 3, height, width]
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode().float()
        latents = (latents - (vae.config.get("shift_factor") or 0.0)) * vae.config.scaling_factor
        return torch.as_tensor(latents).to(self.device, self.dtype)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        """Decode scaled latents [image, channel, row, column]: images [image, height, width, 3]."""
        vae = self.pipe.vae
        scaled = latents.float() / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0.0)
        pixels = vae.decode(scaled.to(vae.device, vae.dtype)).sample.float().clamp(-1, 1)
        return np.asarray(((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())

    def noised(self, latents: Tensor, noise: Tensor, timesteps: int | Tensor) -> Tensor:
        """Add noise [latent, channel, row, column] to latents at a timestep, one for all or one each."""
        alpha = self._alphas_cumprod.to(noise.device, torch.float32)[timesteps].reshape(-1, 1, 1, 1)
        return (alpha.sqrt() * latents.float() + (1 - alpha).sqrt() * noise.float()).to(self.dtype)

    def predict_noise(self, latents: Tensor, timestep: int | Tensor, prompt_embeds: Tensor) -> Tensor:
        """Predict the noise (epsilon, whatever the model was trained to predict), shaped like `latents`.

        Args:
            timestep: one for all latents, or one each, [latent].

        Raises:
            ModelError: the scheduler has an unknown prediction type.
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
