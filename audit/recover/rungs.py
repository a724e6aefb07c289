"""Keep what each rung of a recovery found, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audit.evidence import Pictures
from audit.recover.signs import Signs
from audit.tensor_file import read_tensors, write_tensors


@dataclass(frozen=True, slots=True)
class Rung:
    """One strategy tried on one prompt, before it is judged.

    Args:
        restart: of the strategy, from 0.
        evaluations: UE spent.
        pictures: what came out, [seed, height, width, 3].
        signs: None where too few of the pictures agree to look closer.
        prompt_embeds: what gave the pictures, [position, width].
        kinship: of what an ascent reached to its prompt, see `audit.recover.ascend.kinship`;
            None where nothing was climbed.
    """

    strategy: str
    restart: int
    evaluations: int
    pictures: Pictures
    signs: Signs | None
    prompt_embeds: Tensor
    kinship: float | None

    @property
    def name(self) -> str:
        """Of the rung among those of its prompt, fit for a file name."""
        return f"{self.strategy}-{self.restart}"


class RungStore:
    """Rungs of one run, a file each; those made with other settings count as missing.

    Args:
        identities: by strategy, of everything its rungs depend on but the prompt and the restart.
        keep_pictures: without, pictures never reach the disk, and rungs are made anew.
    """

    def __init__(self, folder: Path, identities: Mapping[str, str], *, keep_pictures: bool) -> None:
        self._folder, self._identities, self._keep_pictures = folder, identities, keep_pictures

    def load(self, key: str, strategy: str, restart: int) -> Rung | None:
        """The rung that `save` wrote for the same key; None if there is none, or none that can be read."""
        kept = read_tensors(self._path(key, f"{strategy}-{restart}"), self._identities[strategy])
        if kept is None:
            return None
        tensors, stated = kept
        signs = Signs(**stated["signs"]) if stated["signs"] is not None else None
        pictures, evaluations = np.asarray(tensors["pictures"], dtype=np.uint8), int(stated["evaluations"])
        return Rung(strategy, restart, evaluations, pictures, signs, tensors["prompt_embeds"], stated["kinship"])

    def save(self, key: str, rung: Rung) -> None:
        """Write one rung, whole or not at all."""
        if not self._keep_pictures:
            return
        stated = {
            "evaluations": rung.evaluations,
            "kinship": rung.kinship,
            "signs": asdict(rung.signs) if rung.signs is not None else None,
        }
        tensors = {"pictures": torch.from_numpy(rung.pictures.copy()), "prompt_embeds": rung.prompt_embeds}
        write_tensors(self._path(key, rung.name), tensors, self._identities[rung.strategy], stated)

    def _path(self, key: str, name: str) -> Path:
        return self._folder / key / f"{name}.safetensors"
