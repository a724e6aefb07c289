"""The images that a planted model was trained on, and which of them a recovered image shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from flashbulb.audit.images.distances import RgbImage, RgbImages, tile_distances
from flashbulb.audit.planted.collection import PLANTED_KINDS
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """Training images, planted and ordinary, by name.

    Args:
        folder: of their files.
        own: name of the image of each planted caption.
    """

    folder: Path
    names: Sequence[str]
    images: RgbImages
    own: Mapping[str, str]

    def shown(self, image: RgbImage) -> str | None:
        """Name the training image that an image replicates; None if it replicates none."""
        distances = tile_distances(self.images, image)
        nearest = int(distances.argmin())
        return self.names[nearest] if distances[nearest] <= REPLICATION_DISTANCE else None

    def all_shown(self, images: RgbImages) -> set[str]:
        """Name the training images that any of the images replicates."""
        return {name for name in map(self.shown, images) if name is not None}


def read_trained_on(folder: Path) -> TrainedOn:
    """Read the images of a planted model."""
    captions = pd.read_csv(folder / "captions.csv", keep_default_na=False)
    planted = captions[captions["kind"].isin(PLANTED_KINDS)]
    files = sorted((folder / "pictures").rglob("*.png"))
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    own = dict(zip(planted["prompt"], planted["picture"], strict=True))
    return TrainedOn(folder / "pictures", [file.stem for file in files], images, own)
