"""Training images that are searched once for each sample: cases share most of their samples."""

from __future__ import annotations

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.resemblance import Nearest


class Remembered(TrainingImages):
    """The same training images, with what was found so far by the bytes of a sample."""

    def __init__(self, training: TrainingImages, found: dict[bytes, Nearest]) -> None:
        self.__dict__.update(training.__dict__)
        self._found = found

    def nearest(self, images: RgbImages) -> list[Nearest]:
        """Find the nearest training image of each sample that was not searched for before."""
        keys = [image.tobytes() for image in images]
        new = {key: i for i, key in enumerate(keys) if key not in self._found}
        if new:
            self._found.update(zip(new, super().nearest(images[list(new.values())]), strict=True))
        return [self._found[key] for key in keys]
