"""Attempts of a recovery, kept on disk so that an interrupted recovery resumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.signs import Signs
from flashbulb.audit.run.tensors import read_tensors, write_tensors
from flashbulb.audit.run.together import together


@dataclass(frozen=True, slots=True)
class Attempt:
    """One strategy tried on one prompt, before it is judged.

    Args:
        restart: number of the strategy's restart, from 0.
        evaluations: UE spent.
        images: the images it gave, [seed, height, width, 3].
        signs: None where too few of the images agree to measure them.
        conditioning: what gave the images, one row.
        kinship: cosine of what an ascent reached to its prompt, see `recover/strategies/ascend.py`; None where nothing
            was climbed.
        part_confidence: of the fixed part of plain samples, see `parts`; None where it was not looked at.
    """

    strategy: str
    restart: int
    evaluations: int
    images: RgbImages
    signs: Signs | None
    conditioning: Conditioning
    kinship: float | None
    part_confidence: float | None = None

    @property
    def name(self) -> str:
        """Name among the attempts of its prompt, fit for a file name."""
        return f"{self.strategy}-{self.restart}"


class AttemptStore:
    """Attempts of one run, one file each; attempts made with other settings count as missing.

    Args:
        identities: by strategy, a hash of everything its attempts depend on except the prompt and the restart.
        keep_images: False keeps images off the disk; every attempt is then made again.
    """

    def __init__(self, folder: Path, identities: Mapping[str, str], *, keep_images: bool) -> None:
        self._folder, self._identities, self._keep_images = folder, identities, keep_images

    def load(self, key: str, strategy: str, restart: int) -> Attempt | None:
        """Return the attempt that `save` wrote for the same key; None if it is missing or unreadable."""
        kept = read_tensors(self._path(key, f"{strategy}-{restart}"), self._identities[strategy])
        if kept is None:
            return None
        tensors, stated = kept
        if "part_confidence" not in stated:  # written before parts were looked at
            return None
        signs = Signs(**stated["signs"]) if stated["signs"] is not None else None
        images, evaluations = np.asarray(tensors.pop("pictures"), dtype=np.uint8), int(stated["evaluations"])
        conditioning = Conditioning({name: tensor[None] for name, tensor in tensors.items()})
        confidence = stated["part_confidence"]
        return Attempt(strategy, restart, evaluations, images, signs, conditioning, stated["kinship"], confidence)

    def save(self, attempts: Mapping[str, Attempt]) -> None:
        """Write attempts that were made in one batch, by key: all of them or none."""
        if not self._keep_images or not attempts:
            return
        with together([self._path(key, attempt.name) for key, attempt in attempts.items()]):
            for key, attempt in attempts.items():
                self._save(self._path(key, attempt.name), attempt)

    def _save(self, path: Path, attempt: Attempt) -> None:
        stated = {
            "evaluations": attempt.evaluations,
            "kinship": attempt.kinship,
            "part_confidence": attempt.part_confidence,
            "signs": asdict(attempt.signs) if attempt.signs is not None else None,
        }
        conditioning = {name: tensor[0] for name, tensor in attempt.conditioning.tensors.items()}
        tensors = {"pictures": torch.from_numpy(attempt.images.copy()), **conditioning}
        write_tensors(path, tensors, self._identities[attempt.strategy], stated)

    def _path(self, key: str, name: str) -> Path:
        return self._folder / key / f"{name}.safetensors"
