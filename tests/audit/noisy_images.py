"""Images of independent pixels, some of which are alike."""

import numpy as np
import numpy.typing as npt


def image(seed: int = 0) -> npt.NDArray[np.uint8]:
    """Make one image, [16, 16, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def images(*seeds: int) -> npt.NDArray[np.uint8]:
    """Make one image a seed, [seed, 16, 16, 3]; equal seeds give equal images."""
    return np.stack([image(seed) for seed in seeds])


def noisy_images(*seeds: int) -> npt.NDArray[np.uint8]:
    """Make one image a seed, [seed, 32, 32, 3]; equal seeds give images that are alike, not equal."""
    made = []
    for place, seed in enumerate(seeds):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3))
        noise = np.random.default_rng(1000 + place).integers(-9, 10, (32, 32, 3))
        made.append(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    return np.stack(made)
