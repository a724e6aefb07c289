"""Words that were searched for, kept by finding and its image, so that an interrupted search for words resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.images.png import pixel_key
from flashbulb.audit.run.tensors import read_tensors, write_tensors
from flashbulb.audit.words.words import Words


class WordsStore:
    """One file a finding.

    Args:
        identity: hash of everything a search for words depends on; what was kept for another counts as missing.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity

    def load(self, finding_id: str, image: RgbImage) -> Words | None:
        """Return what a search for words of this image found; None if there was none."""
        kept = read_tensors(self._path(finding_id), self._identity_of(image))
        if kept is None:
            return None
        tensors, stated = kept
        return Words(images=np.asarray(tensors["images"].numpy(), dtype=np.uint8), **stated["words"])

    def save(self, finding_id: str, image: RgbImage, words: Words) -> None:
        """Keep what a search for words of this image found, also that it found none."""
        stated = {name: getattr(words, name) for name in ("text", "hits", "score", "verdict", "evaluations")}
        tensors = {"images": torch.from_numpy(words.images.copy())}
        write_tensors(self._path(finding_id), tensors, self._identity_of(image), {"words": stated})

    def _identity_of(self, image: RgbImage) -> str:
        return f"{self._identity} {pixel_key(image)}"

    def _path(self, finding_id: str) -> Path:
        return self._folder / f"words-{finding_id}.safetensors"
