"""Perceptual hashes of windows of a picture: 64 signs of low frequencies, 40 of brightness and 12 of each colour axis.

The signs of the lowest frequencies of a 16 x 16 window survive jpeg, blur, noise and changed brightness, but not
another framing. So a picture is hashed in a few windows and a sample in many: whatever crop of at least three fifths
of the picture a sample shows, some window of the one overlaps some window of the other by about four fifths.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn

Hashes = npt.NDArray[np.uint64]
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels

HASH_KIND = "dct-y40-cb12-cr12-windows4"
"""Name of what is computed here; an index of another kind cannot be searched."""

_SIDE = 16
_N_BITS = (40, 12, 12)  # of Y, Cb, Cr
_FLAT = 16.0  # a wave of about one level in 255: the sign of less is noise
_AC = sorted(((i, j) for i in range(8) for j in range(8)), key=lambda at: (sum(at), at))[1:]


class Window(NamedTuple):
    """A part of a picture with the model's aspect.

    Args:
        scale: its side in sides of the largest such part.
        x, y: where it lies in the free space that is left, from 0 (left, top) to 1.
    """

    scale: float
    x: float
    y: float

    def box(self, size: tuple[float, float], aspect: float) -> Box:
        """Its pixels in a picture of `size` (width, height), for a model of `aspect` (width over height)."""
        width = self.scale * min(size[0], size[1] * aspect)
        height = width / aspect
        left, top = self.x * (size[0] - width), self.y * (size[1] - height)
        return left, top, left + width, top + height


def _grid(scale: float, n: int) -> list[Window]:
    steps = np.linspace(0, 1, n).tolist()
    return [Window(scale, x, y) for y in steps for x in steps]


WHOLE = Window(1.0, 0.5, 0.5)
PICTURE_WINDOWS = (WHOLE, Window(0.7, 0.5, 0.5), Window(0.85, 0.0, 0.0), Window(0.85, 1.0, 1.0))
SAMPLE_WINDOWS = (WHOLE, *_grid(0.88, 2), *_grid(0.78, 3))


def window_hashes(picture: Image.Image, windows: tuple[Window, ...], aspect: float) -> Hashes:
    """Hash of each window of a picture: [window]."""
    seen = picture.convert("YCbCr")
    small = [
        seen.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, box=window.box(picture.size, aspect))
        for window in windows
    ]
    pixels = np.stack([np.asarray(window, dtype=np.float32) for window in small])
    waves = dctn(pixels, axes=(1, 2), norm="ortho")  # [window, row, column, channel]
    signs = [waves[:, i, j, channel] > _FLAT for channel, n in enumerate(_N_BITS) for i, j in _AC[:n]]
    return np.packbits(np.stack(signs, axis=1), axis=1).view(">u8")[:, 0].astype(np.uint64)
