"""Find the training picture nearest to a sample: a shortlist from small descriptors, then the exact tile distance.

The descriptor of a picture is its 8 x 8 block means, two by two in every tile of `audit.evidence`. A block mean
forgets detail, so the distance between two descriptors is never above the distance between their pictures: reading
pictures in the order of that bound can stop as soon as it passes the best distance found.

Limits: what is found is a picture of the same framing, upright or mirrored. Crops, other rotations, changed colours
and paraphrases of a training picture are not; that takes a learnt descriptor. At most `SHORTLIST` pictures are read
for each orientation of a sample, so that an unremarkable sample, to which many pictures are about equally far, gets
one of the nearest pictures rather than provably the nearest. The bound is exact for sides that are multiples of 8.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from audit.evidence import N_TILES, Pictures, tile_distances
from audit.progress import track

logger = logging.getLogger(__name__)

SHORTLIST = 32
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)  # as Pillow says
_BLOCKS = 2  # along each side of a tile
_N_CACHED = 64  # pictures
_ROWS_AT_ONCE = 8192

Picture = npt.NDArray[np.uint8]  # [height, width, 3]
Descriptors = npt.NDArray[np.float32]  # [picture, tile, block and channel], in [0, 1]


class TrainingImagesError(ValueError):
    """The training pictures cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The training picture closest to a sample.

    Args:
        index: of the picture in `TrainingImages.paths`.
        path: of its file.
        distance: tile distance, in [0, 1].
        is_mirrored: the sample resembles the picture's mirror image.
    """

    index: int
    path: Path
    distance: float
    is_mirrored: bool

    @property
    def similarity(self) -> float:
        return 1.0 - self.distance


class TrainingImages:
    """The readable pictures of a folder, held as descriptors and read again when a sample comes near."""

    def __init__(self, paths: Sequence[Path], descriptors: Descriptors, height: int, width: int) -> None:
        self.paths = tuple(paths)
        self.height, self.width = height, width
        self._descriptors = descriptors
        self._read = lru_cache(maxsize=_N_CACHED)(read_picture)

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, index: int) -> Picture:
        """Training picture `index` at the model's size: [height, width, 3]."""
        try:
            return self._read(self.paths[index], self.height, self.width)
        except _UNREADABLE as error:
            raise TrainingImagesError(f"{self.paths[index]} changed during the audit; run it again") from error

    def nearest(self, pictures: Pictures) -> list[Nearest]:
        """The nearest training picture of each sample.

        Raises:
            ValueError: the samples are of another size than the training pictures were opened for.
        """
        if pictures.shape[1:] != (self.height, self.width, 3):
            raise ValueError(
                f"samples of {pictures.shape[1:]} cannot be compared with pictures of {(self.height, self.width, 3)}"
            )
        return [self._nearest(picture) for picture in pictures]

    def _nearest(self, sample: Picture) -> Nearest:
        best: Nearest | None = None
        for is_mirrored, seen in ((False, sample), (True, sample[:, ::-1])):
            bounds = self._lower_bounds(seen)
            for index in np.argsort(bounds, kind="stable")[:SHORTLIST].tolist():
                if best is not None and bounds[index] >= best.distance:
                    break
                distance = float(tile_distances(self.picture(index)[None], seen)[0])
                if best is None or distance < best.distance:
                    best = Nearest(index, self.paths[index], distance, is_mirrored)
        assert best is not None, "a folder without pictures is refused when it is opened"
        return best

    def _lower_bounds(self, sample: Picture) -> npt.NDArray[np.float32]:
        """Tile distance between descriptors, which the distance between pictures cannot be below: [picture]."""
        target = describe(sample)
        bounds = np.empty(len(self), dtype=np.float32)
        for start in range(0, len(self), _ROWS_AT_ONCE):
            difference = self._descriptors[start : start + _ROWS_AT_ONCE] - target
            bounds[start : start + _ROWS_AT_ONCE] = np.sqrt(np.square(difference).mean(axis=2).max(axis=1))
        return bounds


def open_training_images(folder: Path, height: int, width: int) -> TrainingImages:
    """Describe every picture below `folder`, in the order of their relative paths.

    Files that cannot be read are counted and the first is named, in one warning.

    Raises:
        TrainingImagesError: there is no such folder, or no picture in it that can be read.
    """
    if not folder.is_dir():
        raise TrainingImagesError(f"no folder {folder}; give a folder of training pictures")
    files = [path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()]
    files.sort(key=lambda path: path.relative_to(folder).as_posix())
    paths, descriptors, unreadable = [], [], []
    with track("training pictures", len(files), "pictures") as advance:
        for path in files:
            try:
                descriptors.append(describe(read_picture(path, height, width)))
                paths.append(path)
            except _UNREADABLE:
                unreadable.append(path)
            advance()
    if not paths:
        why = f"none of its {len(files)} can be read" if files else f"it holds no {', '.join(_SUFFIXES)}"
        raise TrainingImagesError(f"{folder} has no training picture: {why}; give a folder of pictures")
    if unreadable:
        logger.warning(
            "%d of %d training pictures cannot be read and are left out, first %s",
            len(unreadable),
            len(files),
            unreadable[0],
        )
    return TrainingImages(paths, np.stack(descriptors), height, width)


def read_picture(path: Path, height: int, width: int) -> Picture:
    """Read a picture as training scripts do: upright, RGB, the largest centred crop of the wanted shape, resized."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    # fit() draws a crop from the centre and shrinks it with LANCZOS, which averages over area when shrinking
    return np.asarray(ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS), dtype=np.uint8)


def describe(picture: Picture) -> Descriptors:
    """Mean colour of the blocks of each tile, in [0, 1]: [tile, block and channel]."""
    blocks = [
        block.mean(axis=(0, 1))
        for row in np.array_split(picture.astype(np.float32) / 255, N_TILES, axis=0)
        for tile in np.array_split(row, N_TILES, axis=1)
        for half in np.array_split(tile, _BLOCKS, axis=0)
        for block in np.array_split(half, _BLOCKS, axis=1)
    ]
    return np.asarray(np.reshape(blocks, (N_TILES**2, _BLOCKS**2 * 3)), dtype=np.float32)
