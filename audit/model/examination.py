"""Examine whether a model runs as it was trained, before anything is recorded of it.

A converter can lose or misstate the prediction type, the scale of the latents, or the autoencoder. The model then runs,
its samples are noise, no image comes back, and an audit finds nothing. Three quick tests tell such a model from a
working one. They need no training images; with a few of them, the second is stricter.

1. Known noise is added to images, and the model's output is read as each prediction type. The right reading errs least.
2. The error is compared with that of the best multiple of the noised latents, which knows nothing about images.
3. Sampled latents are decoded and encoded again. Those of a working model come back, others do not.

A text encoder that was never trained is told by its weights. A trained one of another model is not told.

The limits lie between working and broken planted models (docs/examination.md has the figures).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import UntrustedModel
from flashbulb.audit.model.prediction import PredictionType

logger = logging.getLogger(__name__)

N_IMAGES, N_SAMPLES, SAMPLE_STEPS = 4, 2, 10
N_PROMPTS, MAX_UNKNOWN = 256, 0.5
"""Prompts whose tokens are looked up, and the share of unknown ones among them."""
NOISED_AT = (0.5, 0.7, 0.9)
"""Shares of the noise schedule at which images are noised."""

MAX_ERROR, MAX_ERROR_IN_TRAINING = 1.5, 0.95
"""Error of the predicted noise, in units of that of the best multiple of the noised latents, on any images and on
training images, where a working model is far better."""
LATENT_STD = (0.02, 20.0)
"""Standard deviation of encoded images; models are trained on latents of about 1."""
MAX_IMAGE_CYCLE, MAX_SAMPLE_CYCLE, MAX_CYCLE_RATIO = 0.6, 0.38, 1.5
"""Relative error after decoding and encoding: of encoded images, of sampled latents, and of these in units of those."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What the tests of one model gave.

    Args:
        errors: relative error of the predicted noise by reading, geometric mean over timesteps.
        trivial_error: the same of the best multiple of the noised latents.
        latent_std: standard deviation of encoded images.
        sample_cycle, image_cycle: relative error after decoding and encoding, of sampled latents and encoded images.
        evaluations: UE spent.
        is_of_training: noise was added to training images.
    """

    declared: PredictionType
    errors: Mapping[PredictionType, float]
    trivial_error: float
    latent_std: float
    sample_cycle: float
    image_cycle: float
    evaluations: int
    is_of_training: bool

    @property
    def problem(self) -> str | None:
        """What is wrong, and what would fit; None if the model runs as it was trained."""
        return self._wrong_autoencoder or self._wrong_reading or self._wrong_weights or self._wrong_samples

    @property
    def _wrong_autoencoder(self) -> str | None:
        low, high = LATENT_STD
        if not low <= self.latent_std <= high:
            return (
                f"encoded images have a standard deviation of {self.latent_std:.2g}, where about 1 is usual; check "
                "scaling_factor in vae/config.json"
            )
        if not self.image_cycle <= MAX_IMAGE_CYCLE:
            return (
                f"its autoencoder does not give back what it encodes: decoded and encoded again, images differ by "
                f"{self.image_cycle:.0%}; save the autoencoder again, or load the model in float32"
            )
        return None

    @property
    def _wrong_reading(self) -> str | None:
        likely = min(self.errors, key=self.errors.__getitem__)
        if likely is self.declared:
            return None
        error, declared = self.errors[likely], self.errors[self.declared]
        or_random = ", unless its weights are random" if error > 0.97 * self.trivial_error else ""
        return (
            f"its scheduler declares {self.declared}, and it looks like {likely}{or_random}: read so, it predicts "
            f"known noise with an error of {error:.2f}, as declared with {declared:.2f}; set prediction_type in "
            "scheduler/scheduler_config.json"
        )

    @property
    def _wrong_weights(self) -> str | None:
        error = self.errors[self.declared]
        if error <= (MAX_ERROR_IN_TRAINING if self.is_of_training else MAX_ERROR) * self.trivial_error:
            return None
        on = " on the training images" if self.is_of_training else ""
        or_others = ", or the images are not its training images" if self.is_of_training else ""
        return (
            f"it predicts known noise{on} with an error of {error:.2f}, and knowing nothing about images gives "
            f"{self.trivial_error:.2f}: its weights are random or of another model, or its latents (standard deviation "
            f"{self.latent_std:.2g}) are scaled otherwise than in training{or_others}"
        )

    @property
    def _wrong_samples(self) -> str | None:
        if self.sample_cycle <= max(MAX_SAMPLE_CYCLE, MAX_CYCLE_RATIO * self.image_cycle):
            return None
        return (
            f"its samples are no images of its autoencoder: decoded and encoded again, they differ by "
            f"{self.sample_cycle:.0%}, images by {self.image_cycle:.0%}; weights, autoencoder or scaling_factor are of "
            f"another model (encoded images have a standard deviation of {self.latent_std:.2g})"
        )


def require_working(
    denoiser: Denoiser,
    prompts: Sequence[str] = (),
    images: RgbImages | None = None,
    reference: Sequence[str] = (),
) -> None:
    """Refuse a model that does not run as it was trained.

    Args:
        prompts: those to audit; the model should know their tokens.
        images: a few training images [image, height, width, 3] in the size of the model, if there are any.
        reference: those that the others are compared with; the model should know their tokens as well.

    Raises:
        UntrustedModel: says what is wrong, and which reading would fit.
    """
    for name, texts in (("prompts", prompts), ("reference prompts", reference)):
        unknown = denoiser.text.unknown_share(texts[:N_PROMPTS])
        if unknown > MAX_UNKNOWN:
            raise UntrustedModel(
                f"{unknown:.0%} of the tokens of the {name} are unknown to its tokenizer, so it cannot tell them "
                "apart; save the tokenizer that belongs to the text encoder, or give prompts in its language"
            )
    examination = examine(denoiser, images)
    if examination.problem is not None:
        raise UntrustedModel(f"the model does not run as it was trained: {examination.problem}")
    for name, encoder in denoiser.text.modules.items():
        if _is_untrained(encoder):
            raise UntrustedModel(
                f"its {name} was never trained, for all of its norms are as they are made: it tells prompts apart at "
                "random; save the text encoder that belongs to the model"
            )
    declared, spent = examination.declared, examination.evaluations
    logger.info("the model runs as it was trained (%s, examined with %d UE)", declared, spent)


def _is_untrained(encoder: nn.Module) -> bool:
    """Return whether the weights of all norms are 1 and their biases 0, as they are before the first training step.

    Some stay so in trained encoders, where no gradient reaches the last layer. Offloaded weights tell nothing.
    """
    norms = [dict(module.named_parameters(recurse=False)) for module in encoder.modules() if _is_norm(module)]
    return bool(norms) and all(
        not weight.is_meta and bool((weight == (name == "weight")).all())
        for parameters in norms
        for name, weight in parameters.items()
    )


def _is_norm(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__


@torch.no_grad()
def examine(denoiser: Denoiser, images: RgbImages | None = None) -> Examination:
    """Test whether a model runs as it was trained; costs 32 UE or a few more.

    Args:
        images: training images [image, height, width, 3] in the size of the model; smooth colours if there are none.
    """
    before = denoiser.evaluations
    latents = denoiser.encode_images(smooth_images(*denoiser.image_size) if images is None else images)
    errors, trivial = _errors(denoiser, latents)
    return Examination(
        declared=denoiser.prediction_type,
        errors=errors,
        trivial_error=trivial,
        latent_std=float(latents.float().std()),
        sample_cycle=_cycle(denoiser, _sampled_latents(denoiser)),
        image_cycle=_cycle(denoiser, latents),
        evaluations=denoiser.evaluations - before,
        is_of_training=images is not None,
    )


def smooth_images(height: int, width: int) -> RgbImages:
    """Draw images of smooth random colours, which any model of images tells from noise: [image, height, width, 3]."""
    coarse = torch.rand(N_IMAGES, 3, 4, 4, generator=torch.Generator("cpu").manual_seed(0))
    smooth = interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return np.asarray((smooth * 255).round().byte().permute(0, 2, 3, 1).numpy())


def _errors(denoiser: Denoiser, latents: Tensor) -> tuple[dict[PredictionType, float], float]:
    """Return the relative error of the predicted noise by reading, and that of the best multiple of noised latents."""
    generator = torch.Generator("cpu").manual_seed(0)
    conditioning = denoiser.unconditional(len(latents))
    logs: dict[PredictionType, list[float]] = {reading: [] for reading in readings_of(denoiser)}
    trivial: list[float] = []
    for share in NOISED_AT:
        timestep = int(share * denoiser.n_timesteps)
        noise = torch.stack([torch.randn(denoiser.latent_shape, generator=generator) for _ in latents]).to(latents)
        noised = denoiser.noised(latents, noise, timestep)
        prediction = denoiser.predict(noised, timestep, conditioning)
        for reading, errors in logs.items():
            errors.append(_log_error(replace(prediction, prediction_type=reading).noise, noise))
        multiple = (noised.float() * noise.float()).sum() / noised.float().square().sum()
        trivial.append(_log_error(multiple * noised.float(), noise))
    by_reading = {reading: float(np.exp(np.mean(errors))) for reading, errors in logs.items()}
    return by_reading, float(np.exp(np.mean(trivial)))


def readings_of(denoiser: Denoiser) -> Sequence[PredictionType]:
    """Return the prediction types as which the output of this model can be read."""
    if denoiser.prediction_type is PredictionType.FLOW:
        return (PredictionType.FLOW,)
    return (PredictionType.EPSILON, PredictionType.V_PREDICTION, PredictionType.SAMPLE)


def _log_error(predicted: Tensor, noise: Tensor) -> float:
    difference = (predicted.float() - noise.float()).square().mean()
    return float((difference / noise.float().square().mean()).sqrt().clamp_min(1e-12).log())


def _sampled_latents(denoiser: Denoiser) -> Tensor:
    """Sample latents from the empty prompt, without guidance: [sample, channel, row, column]."""
    generators = [torch.Generator("cpu").manual_seed(i) for i in range(N_SAMPLES)]
    return denoiser.sample_latents(denoiser.unconditional(N_SAMPLES), generators, SAMPLE_STEPS)


def _cycle(denoiser: Denoiser, latents: Tensor) -> float:
    """Return the relative difference of latents after decoding and encoding."""
    again = denoiser.encode_images(denoiser.decode_latents(latents)).float()
    return float((again - latents.float()).norm() / latents.float().norm().clamp_min(1e-12))
