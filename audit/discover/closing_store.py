"""Closing looks, kept by finding, so that an interrupted discovery resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flashbulb.audit.discover.closing import Closed
from flashbulb.audit.run.tensors import read_tensors, write_tensors


class ClosingStore:
    """One file a finding.

    Args:
        identity: hash of everything a look depends on; what was kept for another counts as missing.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity

    def load(self, finding_id: str) -> Closed | None:
        """Return what a look at a finding saw; None if there was none."""
        kept = read_tensors(self._path(finding_id), self._identity)
        if kept is None:
            return None
        tensors, stated = kept
        images = np.asarray(tensors["images"].numpy(), dtype=np.uint8)
        return Closed(images, float(stated["confidence"]), int(stated["evaluations"]))

    def save(self, finding_id: str, closed: Closed) -> None:
        """Keep what a look at a finding saw."""
        stated = {"confidence": closed.confidence, "evaluations": closed.evaluations}
        write_tensors(
            self._path(finding_id), {"images": torch.from_numpy(closed.images.copy())}, self._identity, stated
        )

    def _path(self, finding_id: str) -> Path:
        return self._folder / f"closing-{finding_id}.safetensors"
