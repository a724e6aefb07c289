"""The training image that a sample resembles most, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flashbulb.audit.training_images.hashes import Box
from flashbulb.reports.tables.stores import as_uri


@dataclass(frozen=True, slots=True)
class Nearest:
    """The training image closest to a sample.

    Args:
        index: position of the image in `TrainingImages.paths`.
        path: path of its file; for an image in a tar, its name below the path of the tar, where no file exists.
        distance: tile distance, in [0, 1], of the part that both show.
        is_mirrored: the sample resembles the image's mirror image.
        kind: `verbatim` if the image contains the complete sample or the sample the complete image, up to a crop;
            `template` if they agree in most but not all of their area; None if the sample copies no image.
        box: part of the image that the sample shows: left, top, right, bottom, from 0 to 1; None for the centred crop.
        copy_similarity: similarity by the learnt descriptor; None without one, or if it does not rank the image.
    """

    index: int
    path: Path
    distance: float
    is_mirrored: bool
    kind: str | None = None
    box: Box | None = None
    copy_similarity: float | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any], path: Path) -> Nearest:
        """Return the match that a JSON document describes, of an image that has this path now."""
        box = None if document["box"] is None else tuple(document["box"])
        return cls(**{**document, "path": path, "box": box})

    def as_document(self) -> dict[str, Any]:
        """Return what `from_document` takes: all but the path, which changes when the set is moved."""
        return {name: value for name, value in asdict(self).items() if name != "path"}

    @property
    def name(self) -> str:
        """Its path, or its URI in an object store."""
        return as_uri(self.path)

    @property
    def similarity(self) -> float:
        """1 for an exact copy, 0 for the largest distance."""
        return 1.0 - self.distance
