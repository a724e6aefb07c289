"""Sample images with a pipeline, and state what sampling costs."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import diffusers
import torch
from PIL import Image
from torch import Tensor

from flashbulb.audit.images import autoencoder
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model import sampling
from flashbulb.audit.model.calls import check_clip_skip, first_call, planned_timesteps
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.network import Network, public_settings


class Sampler(Network, ABC):
    """Sample from prompts or from what they were encoded to; every evaluation is counted where it happens."""

    image_to_image: ClassVar[str]
    """Class of diffusers that noises an image and denoises it."""

    def __init__(self, pipe: Any, clip_skip: int | None = None) -> None:
        super().__init__(pipe)
        check_clip_skip(pipe, clip_skip)
        self._clip_skip = clip_skip
        self._timesteps: dict[int, tuple[float, ...]] = {}

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of one latent."""

    @property
    def schedule(self) -> dict[str, Any]:
        """Class and settings of the scheduler, without what the model predicts, which is a matter of its training."""
        scheduler = self.pipe.scheduler
        return {**public_settings(scheduler.config), "class": type(scheduler).__name__, "prediction_type": None}

    def timesteps(self, num_inference_steps: int) -> tuple[float, ...]:
        """Return the scheduler's timestep of every call that sampling makes to the denoiser."""
        if num_inference_steps not in self._timesteps:
            timesteps = planned_timesteps(self.pipe, num_inference_steps, **self._plain)
            self._timesteps[num_inference_steps] = timesteps
        return self._timesteps[num_inference_steps]

    def first_call(self, prompts: Sequence[str], num_inference_steps: int) -> Mapping[str, Any]:
        """Return the keywords that the pipeline's own call prepares for the denoiser, without guidance."""
        return first_call(
            self.pipe,
            prompt=list(prompts),
            num_inference_steps=num_inference_steps,
            output_type="latent",
            **self._plain,
        )

    @property
    def _plain(self) -> dict[str, Any]:
        """Arguments of a call without guidance that draws nothing from the global generator."""
        return {**self._always, "guidance_scale": self.plain_scale, "generator": torch.Generator("cpu")}

    @property
    def plain_scale(self) -> float:
        """Guidance scale of predictions and of samples without guidance."""
        return 1.0

    @property
    def _always(self) -> dict[str, int]:
        """Arguments of every call."""
        height, width = self.image_size
        skipped = {} if self._clip_skip is None else {"clip_skip": self._clip_skip}
        return {"height": height, "width": width, **skipped}

    def first_timestep(self, num_inference_steps: int) -> float:
        """Return the scheduler's timestep of x_T, the first of `num_inference_steps` steps of sampling."""
        return self.timesteps(num_inference_steps)[0]

    def last_timestep(self, num_inference_steps: int) -> float:
        """Return the scheduler's timestep of the last of `num_inference_steps` steps of sampling."""
        return self.timesteps(num_inference_steps)[-1]

    def is_guided(self, guidance_scale: float) -> bool:
        """Return whether sampling at this scale evaluates the empty prompt beside each prompt."""
        return guidance_scale > 1

    def encode_images(self, images: RgbImages) -> Tensor:
        """Encode images [image, height, width, 3]: scaled latents [image, channel, row, column]."""
        return autoencoder.encode_images(self.pipe.vae, images, self.device).to(self.device, self.dtype)

    def decode_latents(self, latents: Tensor) -> RgbImages:
        """Decode scaled latents [image, channel, row, column]: images [image, height, width, 3]."""
        return autoencoder.decode_latents(self.pipe.vae, latents, self.device)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the model's images in pixels."""
        height, width = (side * self.pipe.vae_scale_factor for side in self.latent_shape[1:])
        return height, width

    def sample_prompts(
        self,
        prompts: Sequence[str],
        image_indices: Sequence[int],
        *,
        run_seed: int,
        num_inference_steps: int,
        guidance_scale: float,
    ) -> RgbImages:
        """Sample an image for each pair of prompt and image index, as `sampling.sample_images`."""
        with self.counting():
            return sampling.sample_images(
                self.pipe,
                prompts,
                image_indices,
                run_seed=run_seed,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                **self._always,
            )

    def sample(
        self,
        conditioning: Conditioning,
        generators: Sequence[torch.Generator],
        *,
        num_inference_steps: int,
        guidance_scale: float,
        batch_size: int,
    ) -> RgbImages:
        """Sample an image for each row of `conditioning`; its CPU generator draws x_T.

        Returns:
            Images [image, height, width, 3].

        Raises:
            NonFiniteActivation: an image has a value that is not finite.
        """

        def call(rows: slice) -> Any:
            return self.pipe(
                **conditioning.rows(rows).to(self.device, self.dtype).tensors,
                **self._always,
                generator=list(generators[rows]),
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                output_type="np",
            )

        with self.counting():
            return sampling.in_batches(call, len(generators), batch_size, "start")

    def sample_latents(
        self, conditioning: Conditioning, generators: Sequence[torch.Generator], num_inference_steps: int
    ) -> Tensor:
        """Sample latents for each row of `conditioning`, without guidance: [row, channel, row, column]."""
        with self.counting():
            output = self.pipe(
                **conditioning.to(self.device, self.dtype).tensors,
                **self._always,
                generator=list(generators),
                num_inference_steps=num_inference_steps,
                guidance_scale=self.plain_scale,
                output_type="latent",
            )
        return self._unpacked(output.images)

    def _unpacked(self, latents: Tensor) -> Tensor:
        """Return latents as [latent, channel, row, column]."""
        return latents

    def renoise(
        self,
        images: RgbImages,
        conditioning: Conditioning,
        generators: Sequence[torch.Generator],
        *,
        num_inference_steps: int,
        strength: float,
        batch_size: int,
    ) -> RgbImages:
        """Add noise to each image [image, height, width, 3] and denoise it again without guidance.

        Args:
            strength: how much noise is added, in [0, 1]; 1 is pure noise.

        Raises:
            NonFiniteActivation: an image has a value that is not finite.
        """
        image_to_image = self._image_to_image()
        accepted = inspect.signature(image_to_image.__call__).parameters
        arguments = {name: value for name, value in self._always.items() if name in accepted}

        def call(rows: slice) -> Any:
            return image_to_image(
                **arguments,
                image=[Image.fromarray(image) for image in images[rows]],
                **conditioning.rows(rows).to(self.device, self.dtype).tensors,
                generator=list(generators[rows]),
                num_inference_steps=num_inference_steps,
                strength=strength,
                guidance_scale=self.plain_scale,
                output_type="np",
            )

        with self.counting():
            return sampling.in_batches(call, len(generators), batch_size, "image")

    def _image_to_image(self) -> Any:
        image_to_image = getattr(diffusers, self.image_to_image)
        accepted = inspect.signature(image_to_image.__init__).parameters
        parts = {name: part for name, part in self.pipe.components.items() if name in accepted}
        pipe = image_to_image(**parts, **{name: False for name in sampling.ALTERS_IMAGES if name in accepted})
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def evaluations_per_image(self, num_inference_steps: int, guidance_scale: float) -> int:
        """Return the UE of sampling one image: what the scheduler calls for, such as 19 for 10 steps of Heun."""
        return len(self.timesteps(num_inference_steps)) * (2 if self.is_guided(guidance_scale) else 1)

    def evaluations_per_renoising(self, num_inference_steps: int, strength: float) -> int:
        """Return the UE of noising and denoising one image."""
        planned_timesteps(self.pipe, num_inference_steps, **self._plain)  # sets the scheduler that both pipelines have
        timesteps, _ = self._image_to_image().get_timesteps(num_inference_steps, strength, self.device)
        return len(timesteps)
