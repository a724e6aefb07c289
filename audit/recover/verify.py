"""Verify what encoded prompts give: sample them at seeds no ascent used, disturb the sampling, measure the signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, RgbImages, agrees, medoid, seed_agreement
from flashbulb.audit.images.fixed_part import Masks
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.prediction import finite_log_losses
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.recover.signs import Signs, signs_of

VERIFY_SAMPLES, VERIFY_STEPS = 4, 20
"""Unguided samples of an attempt in an audit, and their denoising steps: no user sets them, experiments on the planted
models settled them (docs/recovery-tried.md)."""

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
    """What one prompt gives.

    Args:
        images: [seed, height, width, 3].
        signs: None if too few of the images agree.
        evaluations: UE spent.
        unguided: the samples without guidance behind the signs; None without signs.
        part_confidence: see `parts`; None where no part was looked at.
    """

    images: RgbImages
    signs: Signs | None
    evaluations: int
    unguided: RgbImages | None = None
    part_confidence: float | None = None


def are_worth_a_look(images: RgbImages, limit: float = UNGUIDED_DISTANCE) -> bool:
    """Return whether enough of a prompt's samples agree that more is spent on it."""
    return agrees(seed_agreement(images, limit), len(images), WORTH_A_LOOK)


class Verifier:
    """Sample and disturb prompts of one model."""

    def __init__(self, denoiser: Denoiser, plan: VerifyPlan) -> None:
        self._denoiser, self.plan = denoiser, plan

    @property
    def settings(self) -> dict[str, object]:
        """The plan under the names that an image's metadata give it."""
        return {f"sampling_{name}": value for name, value in asdict(self.plan).items()}

    def look(
        self, conditioning: Conditioning, keys: Sequence[str], is_known: Callable[[RgbImages], bool] | None = None
    ) -> list[Looked]:
        """Sample each row of `conditioning` unguided, and measure signs where samples agree.

        Args:
            keys: seeds of each row's noise.
            is_known: returns True for images that need no signs.
        """
        images = list(self.sample(conditioning, keys))
        return self._look_closer(conditioning, keys, images, images, self.cost_of_samples, is_known)

    def look_at(self, conditioning: Conditioning, keys: Sequence[str], unguided: Sequence[RgbImages]) -> list[Looked]:
        """Measure the signs of prompts whose unguided images exist already."""
        return self._look_closer(conditioning, keys, unguided, unguided, 0)

    def look_at_guided(
        self, conditioning: Conditioning, keys: Sequence[str], guided: Sequence[RgbImages]
    ) -> list[Looked]:
        """Measure the signs of prompts whose guided images exist; these count if they survive without guidance."""
        return self._look_closer(conditioning, keys, guided, None, 0)

    def _look_closer(
        self,
        conditioning: Conditioning,
        keys: Sequence[str],
        images: Sequence[RgbImages],
        unguided: Sequence[RgbImages] | None,
        spent: int,
        is_known: Callable[[RgbImages], bool] | None = None,
    ) -> list[Looked]:
        """Measure the signs of the rows whose images agree; unguided images that are not given are sampled."""
        limit = GUIDED_DISTANCE if unguided is None else UNGUIDED_DISTANCE
        agreeing = [i for i, samples in enumerate(images) if are_worth_a_look(samples, limit)]
        chosen = [i for i in agreeing if is_known is None or not is_known(images[i])]
        signs: list[Signs] = []
        plain: list[RgbImages] = []
        if chosen:
            rows, names = conditioning.rows(chosen), [keys[i] for i in chosen]
            plain = [unguided[i] for i in chosen] if unguided is not None else list(self.sample(rows, names))
            signs = self._signs(rows, names, [images[i] for i in chosen], plain)
        cost = self.cost_of_signs + (self.cost_of_samples if unguided is None else 0)
        looked = [Looked(samples, None, spent) for samples in images]
        for i, found, samples in zip(chosen, signs, plain, strict=True):
            looked[i] = Looked(images[i], found, spent + cost, samples)
        return looked

    def _signs(
        self,
        conditioning: Conditioning,
        keys: Sequence[str],
        images: Sequence[RgbImages],
        unguided: Sequence[RgbImages],
    ) -> list[Signs]:
        centres = np.stack([samples[medoid(samples)] for samples in images])
        denoised, autoencoded = self.errors(conditioning, keys, centres)
        rows_of_signs = zip(images, unguided, centres, denoised, autoencoded, strict=True)
        return [signs_of(*row) for row in rows_of_signs]

    def errors(
        self, conditioning: Conditioning, keys: Sequence[str], centres: RgbImages, masks: Masks | None = None
    ) -> tuple[list[float], list[float]]:
        """Return the denoising and the autoencoding error of each of `centres`, as in `Signs`.

        Args:
            masks: [image, height, width], true where errors count; None for everywhere.
        """
        masks = np.ones(centres.shape[:3], dtype=np.bool_) if masks is None else masks
        generators = [sample_generator(self.plan.run_seed, f"denoising\n{key}", 0) for key in keys]
        denoised: list[float] = []
        autoencoded: list[float] = []
        for first in range(0, len(centres), self.plan.batch_size):
            rows = slice(first, first + self.plan.batch_size)
            latents = self._denoiser.encode_images(centres[rows])
            denoised += self._denoising_errors(latents, conditioning.rows(rows), generators[rows], masks[rows])
            autoencoded += self._autoencoding_errors(latents, centres[rows], masks[rows])
        return denoised, autoencoded

    @torch.no_grad()
    def _denoising_errors(
        self, latents: Tensor, conditioning: Conditioning, generators: Sequence[torch.Generator], masks: Masks
    ) -> list[float]:
        denoiser = self._denoiser
        weights = interpolate(torch.from_numpy(masks).float()[:, None], size=latents.shape[-2:], mode="area")
        weights = (weights / weights.mean(dim=(1, 2, 3), keepdim=True)).to(latents.device)
        conditioning = conditioning.to(denoiser.device, denoiser.dtype)
        logs = []
        for share in DENOISED_AT:
            timestep = int(share * denoiser.n_timesteps)
            squared = latents.new_zeros(len(latents), dtype=torch.float32)
            for _ in range(N_DENOISED):
                noise = denoiser.noise(generators)
                noised = denoiser.noised(latents, noise, timestep)
                predicted = denoiser.predict(noised, timestep, conditioning)
                error = (predicted.noise.float() - noise.float()).square() * weights
                squared += error.mean(dim=(1, 2, 3)) / N_DENOISED
            logs.append(finite_log_losses(squared))
        return [float(error) for error in torch.stack(logs).mean(dim=0)]

    def _autoencoding_errors(self, latents: Tensor, images: RgbImages, masks: Masks) -> list[float]:
        difference = (self._denoiser.decode_latents(latents).astype(np.float64) - images) / 127.5
        squared = np.square(difference).mean(axis=3)  # [image, height, width]
        errors = np.sqrt((squared * masks).sum(axis=(1, 2)) / masks.sum(axis=(1, 2))) + 1e-3
        return [float(error) for error in np.log(errors)]

    def sample(self, conditioning: Conditioning, keys: Sequence[str]) -> RgbImages:
        """Sample each row unguided: [prompt, sample, height, width, 3]."""
        n = self.plan.n_samples
        images = self._denoiser.sample(
            conditioning.repeat(n),
            [sample_generator(self.plan.run_seed, f"sample\n{key}", i) for key in keys for i in range(n)],
            num_inference_steps=self.plan.num_inference_steps,
            guidance_scale=self._denoiser.plain_scale,
            batch_size=self.plan.batch_size,
        )
        return images.reshape(len(keys), n, *images.shape[1:])

    @property
    def most_evaluations(self) -> int:
        """UE of one row whose signs are measured."""
        return self.cost_of_samples + self.cost_of_signs

    @property
    def cost_of_samples(self) -> int:
        """UE of the unguided samples of one row."""
        steps = self.plan.num_inference_steps
        return self.plan.n_samples * self._denoiser.evaluations_per_image(steps, self._denoiser.plain_scale)

    @property
    def cost_of_signs(self) -> int:
        """UE of the denoising errors of one image."""
        return len(DENOISED_AT) * N_DENOISED
