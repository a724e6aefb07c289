"""Read training images from their source again, in the forms in which samples are compared with them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image

from flashbulb.audit.images.decoding import decode, quiet_pillow
from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.images.orientation import turn
from flashbulb.audit.training_images.candidates import Thumbnail, make_thumbnail
from flashbulb.audit.training_images.index import ImageIndex
from flashbulb.audit.training_images.matching import FINE_SIDE, shrink
from flashbulb.audit.training_images.reader import fit
from flashbulb.audit.training_images.sources.contents import MemberReader
from flashbulb.audit.training_images.sources.members import TrainingImagesError
from flashbulb.reports.figures.image_files import IMAGE_ERRORS

_N_CACHED, _N_THUMBNAILS = 64, 4096


class Originals:
    """The images of an index, read from their source; those asked for last stay in memory.

    Every method raises TrainingImagesError if a file is missing, or does not hold what it held when it was read first.

    Args:
        height, width: size in pixels of the model's images.

    Attributes:
        asked: rows of the index that were asked for since the caller cleared it.
    """

    def __init__(self, index: ImageIndex, height: int, width: int) -> None:
        self._index, self._reader = index, MemberReader(index.source)
        self._digests: dict[int, bytes] = {}
        self.asked: set[int] = set()
        self._fitted = lru_cache(maxsize=_N_CACHED)(lambda row: fit(self._decoded(row), height, width))
        self._fine = lru_cache(maxsize=_N_CACHED)(lambda row: shrink(self._decoded(row), 2 * FINE_SIDE))
        self._thumbnail = lru_cache(maxsize=_N_THUMBNAILS)(lambda row: make_thumbnail(self._fine(row)))

    def fitted(self, row: int) -> RgbImage:
        """Return an image at the model's size: [height, width, 3]."""
        self.asked.add(row)
        return self._fitted(row)

    def fine(self, row: int) -> Image.Image:
        """Return a complete image, small enough to be compared with a sample."""
        self.asked.add(row)
        return self._fine(row)

    def thumbnail(self, row: int) -> Thumbnail:
        """Return a complete image as a small grey square."""
        self.asked.add(row)
        return self._thumbnail(row)

    def sha256_of(self, rows: Sequence[int]) -> str:
        """Hash the stored bytes of images; those that were read before are not read again."""
        return hashlib.sha256(b"".join(self._digests.get(row) or self._digest(row) for row in rows)).hexdigest()

    def _digest(self, row: int) -> bytes:
        self._read(row)
        return self._digests[row]

    def _decoded(self, row: int) -> Image.Image:
        orientation = self._index.member(row).orientation
        data = self._read(row)
        try:
            with quiet_pillow():
                return turn(decode(data).image, orientation)
        except IMAGE_ERRORS as error:
            raise self._changed(row) from error

    def _read(self, row: int) -> bytes:
        try:
            data = self._reader.read(self._index.member(row))
        except IMAGE_ERRORS as error:
            raise self._changed(row) from error
        digest = hashlib.sha256(data).digest()
        if self._digests.setdefault(row, digest) != digest:
            raise self._changed(row)
        return data

    def _changed(self, row: int) -> TrainingImagesError:
        return TrainingImagesError(
            f"{self._index.path(row)} changed during the audit or since it was indexed; "
            "run the audit again, or build the index again"
        )
