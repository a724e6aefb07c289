"""Keep what each rung of a recovery found, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from audit.evidence import Pictures
from audit.recover.signs import Signs
from reports.files import whole_file

_KEY = "engram"


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
        identity: everything a rung depends on but its prompt, strategy and restart.
        keep_pictures: without, pictures never reach the disk, and rungs are made anew.
    """

    def __init__(self, folder: Path, identity: str, *, keep_pictures: bool) -> None:
        self._folder, self._identity, self._keep_pictures = folder, identity, keep_pictures

    def load(self, key: str, strategy: str, restart: int) -> Rung | None:
        """The rung that `save` wrote for the same key; None if there is none, or none that can be read."""
        path = self._path(key, f"{strategy}-{restart}")
        try:
            with safe_open(path, framework="pt") as file:
                stated: Mapping[str, Any] = json.loads((file.metadata() or {}).get(_KEY, "{}"))
                if stated.get("identity") != self._identity or "pictures" not in file.keys():  # noqa: SIM118
                    return None
                pictures = np.asarray(file.get_tensor("pictures"), dtype=np.uint8)
                embeds = file.get_tensor("prompt_embeds")
        except (OSError, SafetensorError, ValueError):
            return None
        signs = Signs(**stated["signs"]) if stated["signs"] is not None else None
        return Rung(strategy, restart, int(stated["evaluations"]), pictures, signs, embeds, stated["kinship"])

    def save(self, key: str, rung: Rung) -> None:
        """Write one rung, whole or not at all."""
        if not self._keep_pictures:
            return
        path = self._path(key, rung.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        stated = {
            "identity": self._identity,
            "evaluations": rung.evaluations,
            "kinship": rung.kinship,
            "signs": asdict(rung.signs) if rung.signs is not None else None,
        }
        tensors = {"pictures": torch.from_numpy(rung.pictures.copy()), "prompt_embeds": rung.prompt_embeds.contiguous()}
        with whole_file(path) as part:
            save_file(tensors, part, metadata={_KEY: json.dumps(stated)})

    def _path(self, key: str, name: str) -> Path:
        return self._folder / key / f"{name}.safetensors"
