"""Hash windows of an image: 64 signs of low frequencies, 40 of brightness and 12 of each colour axis.

The signs of the lowest frequencies of a 16 x 16 window survive JPEG, blur, noise and changed brightness, but not
another framing. An image is therefore hashed in a few windows and a sample in many. If a sample shows a crop of at
least three fifths of an image, some window of the sample overlaps some window of the image by about four fifths.
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
"""Name of the hash; an index of another kind cannot be searched."""

_SIDE = 16
_N_BITS = (40, 12, 12)  # of Y, Cb, Cr
_FLAT = 16.0  # amplitude of a wave of about one level in 255; the sign of a weaker wave is noise
_AC = sorted(((i, j) for i in range(8) for j in range(8)), key=lambda at: (sum(at), at))[1:]
_ROWS, _COLUMNS, _CHANNELS = zip(*((i, j, c) for c, n in enumerate(_N_BITS) for i, j in _AC[:n]), strict=True)


class Window(NamedTuple):
    """A part of an image that has the aspect of the model's images.

    Args:
        scale: its side as a share of the largest such part's side.
        x, y: its position in the remaining space, from 0 (left, top) to 1 (right, bottom).
    """

    scale: float
    x: float
    y: float

    def box(self, size: tuple[float, float], aspect: float) -> Box:
        """Compute the window's pixels in an image of `size` (width, height), for an `aspect` of width over height."""
        width = self.scale * min(size[0], size[1] * aspect)
        height = width / aspect
        left, top = self.x * (size[0] - width), self.y * (size[1] - height)
        return left, top, left + width, top + height


def _grid(scale: float, n: int) -> list[Window]:
    steps = np.linspace(0, 1, n).tolist()
    return [Window(scale, x, y) for y in steps for x in steps]


WHOLE = Window(1.0, 0.5, 0.5)
IMAGE_WINDOWS = (WHOLE, Window(0.7, 0.5, 0.5), Window(0.85, 0.0, 0.0), Window(0.85, 1.0, 1.0))
SAMPLE_WINDOWS = (WHOLE, *_grid(0.88, 2), *_grid(0.78, 3))


def window_hashes(image: Image.Image, windows: tuple[Window, ...], aspect: float) -> Hashes:
    """Hash each window of an image: [window]."""
    ycbcr = image.convert("YCbCr")
    small = [
        ycbcr.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, box=window.box(image.size, aspect))
        for window in windows
    ]
    pixels = np.stack([np.asarray(window, dtype=np.float32) for window in small])
    waves = dctn(pixels, axes=(1, 2), norm="ortho")  # [window, row, column, channel]
    signs = np.ascontiguousarray(waves[:, _ROWS, _COLUMNS, _CHANNELS] > _FLAT)  # [window, bit]
    return np.packbits(signs, axis=1).view(">u8")[:, 0].astype(np.uint64)
