"""Verify what prompt_embeds give: sample them at seeds no ascent used, disturb the sampling, and measure the signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, RgbImages, agrees, medoid, seed_agreement
from flashbulb.audit.model.sampling import sample_embeds, sample_generator
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.recover.signs import Signs, signs_of

WORTH_A_LOOK = 0.5
GUIDED_DISTANCE, UNGUIDED_DISTANCE = AGREEMENT_DISTANCE, 2 * AGREEMENT_DISTANCE
"""More is spent on a prompt only if this share of its samples lies this near to one of them. Samples without guidance
are soft, and those of one memory lie farther apart than guided ones; the signs decide whether it is a memory."""

N_DENOISED, DENOISED_AT = 2, (0.3, 0.5, 0.7)
"""Noises, and shares of the noise schedule, at which an image is denoised."""


@dataclass(frozen=True, slots=True)
class VerifyPlan:
    """How prompts are sampled to verify them.

    Args:
        n_samples: unguided samples of a prompt.
        batch_size: images in one call of the pipeline.
    """

    run_seed: int
    n_samples: int
    num_inference_steps: int
    batch_size: int


@dataclass(frozen=True, slots=True)
class Looked:
    """What one prompt gives: images [seed, height, width, 3], their signs if enough of them agree, and the UE spent."""

    images: RgbImages
    signs: Signs | None
    evaluations: int


class Verifier:
    """Sample and disturb prompts of one model."""

    def __init__(self, denoiser: Denoiser, plan: VerifyPlan) -> None:
        self._denoiser, self.plan = denoiser, plan

    @property
    def settings(self) -> dict[str, object]:
        """The plan under the names that an image's metadata give it."""
        return {f"sampling_{name}": value for name, value in asdict(self.plan).items()}

    def look(
        self, prompt_embeds: Tensor, keys: Sequence[str], is_known: Callable[[RgbImages], bool] | None = None
    ) -> list[Looked]:
        """Sample each row of prompt_embeds [prompt, position, width] unguided, and measure signs where samples agree.

        Args:
            keys: seeds of each row's noise.
            is_known: returns True for images that need no signs.
        """
        images = list(self.sample(prompt_embeds, keys))
        return self._look_closer(prompt_embeds, keys, images, images, self._cost_of_samples, is_known)

    def look_at(self, prompt_embeds: Tensor, keys: Sequence[str], unguided: Sequence[RgbImages]) -> list[Looked]:
        """Measure the signs of prompts whose unguided images exist already."""
        return self._look_closer(prompt_embeds, keys, unguided, unguided, 0)

    def look_at_guided(self, prompt_embeds: Tensor, keys: Sequence[str], guided: Sequence[RgbImages]) -> list[Looked]:
        """Measure the signs of prompts whose guided images exist; these count if they survive without guidance."""
        return self._look_closer(prompt_embeds, keys, guided, None, 0)

    def _look_closer(
        self,
        prompt_embeds: Tensor,
        keys: Sequence[str],
        images: Sequence[RgbImages],
        unguided: Sequence[RgbImages] | None,
        spent: int,
        is_known: Callable[[RgbImages], bool] | None = None,
    ) -> list[Looked]:
        """Measure the signs of the rows whose images agree; unguided images that are not given are sampled."""
        limit = GUIDED_DISTANCE if unguided is None else UNGUIDED_DISTANCE
        shares = [seed_agreement(samples, limit) for samples in images]
        agreeing = [i for i, share in enumerate(shares) if agrees(share, len(images[i]), WORTH_A_LOOK)]
        chosen = [i for i in agreeing if is_known is None or not is_known(images[i])]
        signs: list[Signs] = []
        if chosen:
            embeds, names = prompt_embeds[chosen], [keys[i] for i in chosen]
            plain = [unguided[i] for i in chosen] if unguided is not None else list(self.sample(embeds, names))
            signs = self._signs(embeds, names, [images[i] for i in chosen], plain)
        cost = self._cost_of_signs + (self._cost_of_samples if unguided is None else 0)
        by_row = dict(zip(chosen, signs, strict=True))
        return [
            Looked(samples, by_row.get(i), spent + (cost if i in by_row else 0)) for i, samples in enumerate(images)
        ]

    def _signs(
        self, prompt_embeds: Tensor, keys: Sequence[str], images: Sequence[RgbImages], unguided: Sequence[RgbImages]
    ) -> list[Signs]:
        centres = np.stack([samples[medoid(samples)] for samples in images])
        generators = self._generators(keys, "denoising", 1)
        denoised: list[float] = []
        autoencoded: list[float] = []
        for first in range(0, len(centres), self.plan.batch_size):
            rows = slice(first, first + self.plan.batch_size)
            latents = self._denoiser.encode_images(centres[rows])
            denoised += self._denoising_errors(latents, prompt_embeds[rows], generators[rows])
            autoencoded += self._autoencoding_errors(latents, centres[rows])
        rows_of_signs = zip(images, unguided, centres, denoised, autoencoded, strict=True)
        return [signs_of(*row) for row in rows_of_signs]

    @torch.no_grad()
    def _denoising_errors(
        self, latents: Tensor, prompt_embeds: Tensor, generators: Sequence[torch.Generator]
    ) -> list[float]:
        denoiser = self._denoiser
        embeds = prompt_embeds.to(denoiser.device, denoiser.dtype)
        logs = []
        for share in DENOISED_AT:
            timestep = int(share * denoiser.n_timesteps)
            squared = latents.new_zeros(len(latents), dtype=torch.float32)
            for _ in range(N_DENOISED):
                noise = denoiser.noise(generators)
                predicted = denoiser.predict_noise(denoiser.noised(latents, noise, timestep), timestep, embeds)
                squared += (predicted.float() - noise.float()).square().mean(dim=(1, 2, 3)) / N_DENOISED
            logs.append(squared.clamp_min(1e-12).log())
        return [float(error) for error in torch.stack(logs).mean(dim=0)]

    def _autoencoding_errors(self, latents: Tensor, images: RgbImages) -> list[float]:
        difference = (self._denoiser.decode_latents(latents).astype(np.float64) - images) / 127.5
        errors = np.sqrt(np.square(difference).mean(axis=(1, 2, 3))) + 1e-3
        return [float(error) for error in np.log(errors)]

    def sample(self, prompt_embeds: Tensor, keys: Sequence[str]) -> RgbImages:
        """Sample each row unguided: [prompt, sample, height, width, 3]."""
        n = self.plan.n_samples
        images = sample_embeds(
            self._denoiser.pipe,
            prompt_embeds.repeat_interleave(n, dim=0),
            self._generators(keys, "sample", n),
            num_inference_steps=self.plan.num_inference_steps,
            guidance_scale=1.0,
            batch_size=self.plan.batch_size,
        )
        return images.reshape(len(keys), n, *images.shape[1:])

    @property
    def most_evaluations(self) -> int:
        """UE of one row of prompt_embeds whose signs are measured."""
        return self._cost_of_samples + self._cost_of_signs

    @property
    def _cost_of_samples(self) -> int:
        return self.plan.n_samples * self.plan.num_inference_steps

    @property
    def _cost_of_signs(self) -> int:
        return len(DENOISED_AT) * N_DENOISED

    def _generators(self, keys: Sequence[str], purpose: str, n: int) -> list[torch.Generator]:
        return [sample_generator(self.plan.run_seed, f"{purpose}\n{key}", i) for key in keys for i in range(n)]
