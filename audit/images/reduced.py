"""Images made small, so that what is measured on them means the same at every resolution, and costs little."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

from flashbulb.audit.images.distances import RgbImage, RgbImages

REDUCED_SIDE = 32


def reduce_image(image: RgbImage) -> RgbImage:
    """Average an image to 32 by 32 pixels."""
    return np.asarray(Image.fromarray(image).resize((REDUCED_SIDE, REDUCED_SIDE), Image.Resampling.BOX))


def reduce_images(images: Iterable[RgbImage]) -> RgbImages:
    """Average every image to 32 by 32 pixels."""
    return np.stack([reduce_image(image) for image in images])
