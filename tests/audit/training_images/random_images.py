"""Random images, and folders of them."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 32


def random_images(n: int, seed: int = 0, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Make smooth random images: different from each other, smooth within their blocks."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse])


def detailed(n: int, seed: int = 0, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Make random images that have detail in every crop."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse])


def save(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder
