"""Crop the planted photographs from the freely licensed images that scikit-image ships.

Sources and licences, as scikit-image states them: astronaut (NASA, public domain), chelsea (S. van der Walt, CC0),
coffee (R. Michetti, CC0), hubble_deep_field (NASA, public domain), ihc (no known copyright restrictions), retina
(M. Haeggstroem, CC0), rocket (SpaceX, public domain), camera (L. Varshney, CC0), coins (Brooklyn Museum, no known
copyright restrictions), horse (A. Preuss, CC0), brick and gravel (CC0Textures, CC0).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.planted.manifest import PlantedModelError


class Crop(NamedTuple):
    """A square of a source image: its upper left corner and its side, in source pixels."""

    source: str
    left: int
    top: int
    side: int


CROPS: dict[str, Crop] = {
    "astronaut": Crop("astronaut.png", 0, 0, 512),
    "astronaut-face": Crop("astronaut.png", 130, 10, 200),
    "shuttle": Crop("astronaut.png", 330, 0, 182),
    "cat": Crop("chelsea.png", 70, 0, 300),
    "cat-eye": Crop("chelsea.png", 120, 60, 110),
    "coffee": Crop("coffee.png", 120, 0, 400),
    "coffee-spoon": Crop("coffee.png", 290, 170, 190),
    "galaxies": Crop("hubble_deep_field.jpg", 300, 250, 300),
    "tissue": Crop("ihc.png", 0, 0, 512),
    "retina": Crop("retina.jpg", 0, 0, 1411),
    "retina-disc": Crop("retina.jpg", 60, 450, 480),
    "rocket": Crop("rocket.jpg", 110, 0, 427),
    "rocket-tower": Crop("rocket.jpg", 225, 200, 190),
    "photographer": Crop("camera.png", 60, 20, 400),
    "coins": Crop("coins.png", 70, 60, 150),
    "horse": Crop("horse.png", 72, 0, 328),
    "bricks": Crop("brick.png", 100, 100, 250),
    "gravel": Crop("gravel.png", 100, 100, 180),
    "helmet": Crop("astronaut.png", 320, 300, 190),
    "saucer": Crop("coffee.png", 60, 150, 230),
    "nebula": Crop("hubble_deep_field.jpg", 620, 380, 160),
    "launch": Crop("rocket.jpg", 250, 180, 240),
    "cameraman": Crop("camera.png", 180, 60, 140),
    "coin-row": Crop("coins.png", 200, 180, 120),
}


def open_source(name: str) -> Image.Image:
    """Open an image that scikit-image ships, in RGB.

    Raises:
        PlantedModelError: the `planted` extra is not installed.
    """
    try:
        import skimage.data
    except ImportError as error:
        raise PlantedModelError("the planted recipe needs scikit-image: pip install 'flashbulb[planted]'") from error
    return Image.open(Path(skimage.data.__file__).parent / name).convert("RGB")


def photograph(name: str, size: int) -> RgbImage:
    """Return the named crop, resized to [size, size, 3]."""
    crop = CROPS[name]
    box = (crop.left, crop.top, crop.left + crop.side, crop.top + crop.side)
    image = open_source(crop.source).crop(box).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8)
