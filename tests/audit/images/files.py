"""Make images, and files of them."""

import io

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 48, 32


def picture(seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def difference(image: Image.Image, other: Image.Image) -> float:
    assert image.size == other.size
    return float(np.abs(np.asarray(image, dtype=int) - np.asarray(other, dtype=int)).mean())
