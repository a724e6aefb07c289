"""Agreement of sampled images, after Carlini et al. (2023, arXiv 2301.13188): images of a memorized prompt are alike.

Their distance between two images is the largest L2 distance between corresponding tiles, of 128 × 128 pixels in images
of 512 × 512. They sample many images and look for cliques. A later comparison (Jeon et al. 2412.04140, appendix D.1)
keeps the tiles and samples 4 or 16 images; it does not state how the pairwise distances become one number.

Statistic: minus the mean, over images, of the distance to the nearest other image. That is our choice. A tile is a
sixteenth of an image of any size.

Not compared with code of theirs.

Cost: 0 UE in addition to sampling; it needs two images.
"""

from __future__ import annotations

from flashbulb.audit.detectors import ImageDetector
from flashbulb.audit.detectors.views import SampledPrompt
from flashbulb.audit.images.distances import seed_distance


def picture_agreement(sampled: SampledPrompt) -> float:
    """Return minus the mean distance of an image to the nearest other one, in [−1, 0]; NaN if there is one image."""
    if len(sampled.images) == 1:
        return float("nan")
    return -seed_distance(sampled.images)


DETECTOR = ImageDetector(
    name="picture_agreement",
    source="Carlini et al. 2023, arXiv 2301.13188",
    evaluations_per_image=0,
    measure=picture_agreement,
)
