"""Signs of a memory that need no training image: how a model takes back an image that it gave.

A memory comes back at every seed and without guidance. A texture, or a blend of memories, into which an ascent can be
driven does so as well; but noised in part, the model denoises it with more error, and the autoencoder, which learnt
from the same images, gives it back less well. How far an image drifts when noised and denoised over several steps,
and how sharp it is, added nothing to these on planted models.

A logistic regression turns the signs into a probability. It was fitted on outcomes of planted models whose truth is
known: memorized and clean captions, blind searches, and ascents from clean captions. `make bench-verdict` makes these
outcomes, fits the regression, and measures the precision on each model of a fit on the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flashbulb.audit.images.distances import RgbImage, RgbImages, seed_agreement, tile_distances
from flashbulb.audit.images.self_similarity import shift_distance
from flashbulb.reports.tables.limits import CONFIRMED_AT, LIKELY_AT

INTERCEPT = -11.904
WEIGHTS = {"survival": -0.956, "denoising_error": -1.692, "autoencoding_error": -1.443}


@dataclass(frozen=True, slots=True)
class Signs:
    """Signs of one prompt; distances are tile distances, in [0, 1].

    Args:
        agreement: share of the samples that show one image.
        spread: log of the mean distance of the samples to their medoid, plus a hundredth.
        shift_distance: log of the medoid's distance to itself shifted, plus a hundredth: low for a plain colour or a
            regular pattern.
        survival: log of the mean distance of unguided samples to the medoid, plus a hundredth.
        denoising_error: log of the mean squared error of the noise predicted for the noised medoid with the prompt,
            mean over timesteps; 0 is a model that predicts nothing.
        autoencoding_error: log of the root mean square difference between the medoid and what the autoencoder makes
            of it, pixels from -1 to 1.
    """

    agreement: float
    spread: float
    shift_distance: float
    survival: float
    denoising_error: float
    autoencoding_error: float


def signs_of(
    images: RgbImages, unguided: RgbImages, centre: RgbImage, denoising_error: float, autoencoding_error: float
) -> Signs:
    """Measure the signs of a prompt's images [seed, height, width, 3].

    Args:
        unguided: sampled without guidance; may be `images` themselves.
        centre: the medoid of `images`, with its denoising and autoencoding error as in `Signs`.
    """
    return Signs(
        agreement=seed_agreement(images),
        spread=_log_mean_distance(images, centre),
        shift_distance=math.log(shift_distance(centre) + 0.01),
        survival=_log_mean_distance(unguided, centre),
        denoising_error=denoising_error,
        autoencoding_error=autoencoding_error,
    )


def _log_mean_distance(images: RgbImages, centre: RgbImage) -> float:
    return math.log(tile_distances(images, centre).mean() + 0.01)


def confidence_of(signs: Signs) -> float:
    """Return the probability that images with these signs show a memory, in [0, 1]."""
    logit = INTERCEPT + sum(weight * getattr(signs, name) for name, weight in WEIGHTS.items())
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))


def verdict_of(confidence: float) -> str:
    """Return confirmed from `CONFIRMED_AT` on, likely from `LIKELY_AT` on, else not_shown."""
    if confidence >= CONFIRMED_AT:
        return "confirmed"
    return "likely" if confidence >= LIKELY_AT else "not_shown"
