"""Signs of a memory that need no training image: how a model takes back an image that it gave, and what it is.

A memory comes back at every seed and without guidance. So does what a description leaves little open about: mostly a
plain colour or a regular pattern, which falls on itself where it is shifted. A texture, or a blend of memories, into
which an ascent can be driven comes back as well; but noised in part, the model denoises it with more error, and the
autoencoder, which learnt from the same images, gives it back less well.

A logistic regression turns the signs into a probability: one for plain samples, one for what the model was driven to.
`make bench-verdict` makes outcomes of planted models whose truth is known, fits both, and measures each model by a fit
on the others. docs/recovery-tried.md lists the signs that added nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

from flashbulb.audit.images.distances import RgbImage, RgbImages, seed_agreement, tile_distances
from flashbulb.audit.images.self_similarity import shift_distance
from flashbulb.reports.tables.limits import CONFIRMED_AT, LIKELY_AT

MIN_SHIFT_DISTANCE = 0.07
"""Below this `shift_distance` an image is a plain colour or a regular pattern, and no memory is shown by it; chosen on
two planted models (docs/recovery.md)."""


class Regression(NamedTuple):
    """A logistic regression: its intercept, and the weight of each sign."""

    intercept: float
    weights: Mapping[str, float]

    def probability(self, signs: Mapping[str, float]) -> float:
        """Return the probability of a memory, in [0, 1]."""
        logit = self.intercept + sum(weight * signs[name] for name, weight in self.weights.items())
        assert not math.isnan(logit), f"signs of a memory must be numbers: {signs}"
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))


PLAIN = Regression(4.305, {"survival": -1.386, "spread": -1.938, "shift_distance": 4.543})
DRIVEN = Regression(-11.904, {"survival": -0.956, "denoising_error": -1.692, "autoencoding_error": -1.443})
"""Of plain samples, and of what ascents, searches and other strategies drive a model to."""
DOUBTED = 0.6
"""Largest confidence of plain samples that `is_doubted`: 12 of 20 that would be confirmed else, on two models of weak
memories (docs/recovery.md), copy a planted image."""

_OFFSET = 0.01  # keeps the logarithm of a distance of 0 finite


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
        spread=log_distance(tile_distances(images, centre).mean()),
        shift_distance=log_distance(shift_distance(centre)),
        survival=log_distance(tile_distances(unguided, centre).mean()),
        denoising_error=denoising_error,
        autoencoding_error=autoencoding_error,
    )


def log_distance(distance: float) -> float:
    """Return the logarithm of a distance, plus a hundredth, as signs hold it."""
    return math.log(distance + _OFFSET)


def confidence_of(signs: Signs, *, is_plain: bool) -> float:
    """Return the probability that images with these signs show a memory, in [0, 1].

    Args:
        is_plain: the images are plain samples; else the model was driven to them.
    """
    if signs.shift_distance < log_distance(MIN_SHIFT_DISTANCE):
        return 0.0
    if not is_plain:
        return DRIVEN.probability(asdict(signs))
    return min(PLAIN.probability(asdict(signs)), DOUBTED if is_doubted(signs) else 1.0)


def is_doubted(signs: Signs) -> bool:
    """Return whether the model takes the image back less well than most memories that it is driven to."""
    return DRIVEN.probability(asdict(signs)) < LIKELY_AT


def verdict_of(confidence: float) -> str:
    """Return confirmed from `CONFIRMED_AT` on, likely from `LIKELY_AT` on, else not_shown."""
    if confidence >= CONFIRMED_AT:
        return "confirmed"
    return "likely" if confidence >= LIKELY_AT else "not_shown"
