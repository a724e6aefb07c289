"""What a pull has computed, kept on disk by the pixels it belongs to, so that an interrupted pull resumes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.pull.evidence import Evidence
from flashbulb.audit.run.tensors import read_tensors, write_tensors
from flashbulb.audit.run.whole_calls import of_whole_calls


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull at one image shows.

    Args:
        sample: the nearest to the image.
        evaluations: UE spent.
        together: keys of all images that were pulled at in one call, on which the last bits depend.
    """

    evidence: Evidence
    sample: RgbImage
    evaluations: int
    together: Sequence[str] = ()


class PullStore:
    """Ranks by block of images, and pulls by image.

    Args:
        identity: hash of everything a pull depends on; what was kept for another counts as missing.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity

    def ranks(self, keys: Sequence[str]) -> npt.NDArray[np.float64] | None:
        """Return the familiarity of a block of images; None if it is not known."""
        kept = read_tensors(self._block(keys), self._identity)
        return None if kept is None else np.asarray(kept[0]["familiarity"].numpy(), dtype=np.float64)

    def save_ranks(self, keys: Sequence[str], familiarity: npt.NDArray[np.float64]) -> None:
        """Keep the familiarity of a block of images, [image]."""
        write_tensors(self._block(keys), {"familiarity": torch.from_numpy(familiarity)}, self._identity, {})

    def pulled(self, keys: Collection[str]) -> dict[str, Pulled]:
        """Return what pulls at these images showed, by key, but nothing of a call of which something is missing."""
        return of_whole_calls({key: self._load(key) for key in keys}, lambda key: self._image(key).exists())

    def _load(self, key: str) -> Pulled | None:
        kept = read_tensors(self._image(key), self._identity)
        if kept is None:
            return None
        tensors, stated = kept
        nearest = np.asarray(tensors["nearest"].numpy())
        return Pulled(Evidence(**stated["evidence"]), nearest, int(stated["evaluations"]), stated.get("together", ()))

    def save_pulled(self, key: str, pulled: Pulled) -> None:
        """Keep what a pull at an image showed."""
        stated = {
            "evidence": asdict(pulled.evidence),
            "evaluations": pulled.evaluations,
            "together": list(pulled.together),
        }
        write_tensors(self._image(key), {"nearest": torch.from_numpy(pulled.sample.copy())}, self._identity, stated)

    def _block(self, keys: Sequence[str]) -> Path:
        return self._folder / f"ranks-{hashlib.sha256(' '.join(keys).encode()).hexdigest()[:16]}.safetensors"

    def _image(self, key: str) -> Path:
        return self._folder / f"image-{key}.safetensors"
