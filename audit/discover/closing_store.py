"""Closing looks, kept by finding and the image that was looked at, so that an interrupted discovery resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flashbulb.audit.discover.closing import Closed
from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.images.png import pixel_key
from flashbulb.audit.run.tensors import read_tensors, write_tensors


class ClosingStore:
    """One file a finding.

    Args:
        identity: hash of everything a look depends on; what was kept for another counts as missing.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity

    def load(self, finding_id: str, aim: RgbImage) -> Closed | None:
        """Return what a look at this image of a finding saw; None if there was none."""
        kept = read_tensors(self._path(finding_id), self._identity_of(aim))
        if kept is None:
            return None
        tensors, stated = kept
        images = np.asarray(tensors["images"].numpy(), dtype=np.uint8)
        return Closed(images, float(stated["confidence"]), int(stated["evaluations"]))

    def save(self, finding_id: str, aim: RgbImage, closed: Closed) -> None:
        """Keep what a look at this image of a finding saw."""
        stated = {"confidence": closed.confidence, "evaluations": closed.evaluations}
        tensors = {"images": torch.from_numpy(closed.images.copy())}
        write_tensors(self._path(finding_id), tensors, self._identity_of(aim), stated)

    def _identity_of(self, aim: RgbImage) -> str:
        return f"{self._identity} {pixel_key(aim)}"

    def _path(self, finding_id: str) -> Path:
        return self._folder / f"closing-{finding_id}.safetensors"
