"""Carlini et al.'s detector (arXiv 2301.13188): pictures of one prompt that are nearer each other than chance.

They take the largest L2 distance between corresponding tiles, of 128 × 128 pixels in pictures of 512 × 512, and look
for cliques among many pictures. Where later work compares itself with them (Jeon et al. 2412.04140, appendix D.1) the
tiles stay and 4 or 16 pictures are sampled; how it makes one number of the pairwise distances is not stated. Here it
is minus the mean over pictures of the distance to the nearest other picture, which is our choice; tiles are a
sixteenth of the picture whatever its size. It costs no UE beyond sampling and needs two pictures.
"""

from __future__ import annotations

import numpy as np

from audit.detectors import PictureDetector
from audit.evidence import pairwise_distances
from audit.sampled_prompt import SampledPrompt


def picture_agreement(sampled: SampledPrompt) -> float:
    """Minus the mean distance of a picture to its nearest other, in [−1, 0]; NaN where there is one picture."""
    if len(sampled.pictures) == 1:
        return float("nan")
    distances = pairwise_distances(sampled.pictures)  # [picture, picture]
    np.fill_diagonal(distances, np.inf)
    return -float(distances.min(axis=1).mean())


DETECTOR = PictureDetector(
    name="picture_agreement",
    source="Carlini et al. 2023, arXiv 2301.13188",
    evaluations_per_picture=0,
    measure=picture_agreement,
)
