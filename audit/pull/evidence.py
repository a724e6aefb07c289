"""What the samples of a pull show: how many replicate the image, and how near they come; and which images are out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, inf

import numpy as np

from flashbulb.audit.images.distances import RgbImage, RgbImages, tile_distances
from flashbulb.audit.training_images.matching import is_replica

LEAST_SCORE = 0.0
"""An image is out only above it, whatever the controls: better known than its variants, or nearer than plain colour."""

LEAST_DISTANCE = 0.01
"""Distances below it count as it. A flat image, which is near to its own mean colour, therefore never comes near."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one pull shows.

    Args:
        n_copies: samples that replicate the image, of `n_samples`.
        closeness: mean over samples of the log of how much nearer they are to the image than its mean colour is.
        best: index of the nearest sample.
    """

    n_samples: int
    n_copies: int
    closeness: float
    best: int


def evidence_of(samples: RgbImages, image: RgbImage) -> Evidence:
    """Compare samples [sample, height, width, 3] with the image [height, width, 3] that was pulled at."""
    distances = tile_distances(samples, image)
    n_copies = sum(is_replica(sample, image, float(d)) for sample, d in zip(samples, distances, strict=True))
    plain = np.broadcast_to(image.mean(axis=(0, 1)).round().astype(np.uint8), image.shape)
    from_plain = float(tile_distances(plain[None], image)[0])
    closeness = np.log(max(from_plain, LEAST_DISTANCE)) - np.log(np.maximum(distances, LEAST_DISTANCE))
    return Evidence(len(samples), n_copies, float(closeness.mean()), int(distances.argmin()))


def score_of(familiarity: float, evidence: Evidence, min_copies: int) -> float:
    """Return familiarity plus closeness; minus infinity if fewer than `min_copies` samples replicate the image."""
    return familiarity + evidence.closeness if evidence.n_copies >= min_copies else -inf


@dataclass(frozen=True, slots=True)
class Threshold:
    """The score above which an image is out.

    Args:
        n_controls: controls that it was set on; 0 if it is that of planted models.
        is_shown: the controls suffice to show the stated share of false outs.
    """

    value: float
    n_controls: int
    is_shown: bool


def threshold_of(controls: Sequence[float], max_false: float, planted: float) -> Threshold:
    """Return the score that at most a share `max_false` of never-trained images exceed, from those of the controls.

    By rank (conformal): an image exceeds it by chance with probability at most `max_false` if it is exchangeable with
    the controls. Too few controls show no such share; then an image must exceed all of them, and `planted`.

    Args:
        controls: scores as `score_of` gives them; minus infinity also for controls ranked too low to be pulled at.
        planted: the threshold chosen on planted models.
    """
    n_above = floor(max_false * (len(controls) + 1) + 1e-9)  # places among the controls that count as above them
    if n_above == 0:
        return Threshold(max([planted, *controls]), len(controls), is_shown=False)
    return Threshold(max(LEAST_SCORE, sorted(controls, reverse=True)[n_above - 1]), len(controls), is_shown=True)


def p_value(score: float, controls: Sequence[float]) -> float | None:
    """Return the conformal p-value of a score among those of the controls; None without controls."""
    if not controls:
        return None
    return (1 + sum(control >= score for control in controls)) / (len(controls) + 1)


def is_out(score: float, threshold: Threshold) -> bool:
    """Return whether an image with this score is out."""
    return score > threshold.value
