"""Rounds of a search, kept on disk so that an interrupted search resumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.outcome import Outcome
from flashbulb.audit.run.tensors import read_tensors, write_tensors
from flashbulb.audit.training_images.resemblance import Nearest


class KeptRound(NamedTuple):
    """A stored round."""

    tensors: Mapping[str, Tensor]
    stated: Mapping[str, Any]

    @property
    def evaluations(self) -> int:
        """UE of all rounds up to this one."""
        return sum(int(n) for n in self.stated["spent"].values())

    def add_to_(self, state: SearchState) -> None:
        """Add it to the state that it follows on."""
        tensors, stated = self
        state.discoveries += [
            _discovery(entry, {name.removesuffix(f"/{i}"): x for name, x in tensors.items() if name.endswith(f"/{i}")})
            for i, entry in enumerate(stated["discoveries"])
        ]
        glimpses = tensors.get("glimpses", torch.zeros(0))
        state.glimpses |= {(state.n_rounds, start): np.asarray(samples) for start, samples in enumerate(glimpses)}
        state.seconds = float(stated["seconds"])
        state.found = torch.cat([state.found, tensors["directions"].to(state.found)])
        state.times_found = [int(n) for n in stated["times_found"]]
        state.barren, state.spent = int(stated["barren"]), {k: int(n) for k, n in stated["spent"].items()}
        state.n_rounds, state.n_starts = state.n_rounds + 1, int(stated["n_starts"])


class SearchStore:
    """Rounds of one search, one file each: findings, and the directions projected out.

    Args:
        identity: hash of everything a search depends on; rounds of another search count as missing.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity

    def load(self, state: SearchState) -> SearchState:
        """Add every stored round to `state`, a search's begin, up to the first missing one."""
        while (kept := self.next_round(state)) is not None:
            kept.add_to_(state)
        return state

    def save(self, state: SearchState, n_known: int, n_known_directions: int) -> None:
        """Write the round that `state` has just finished, completely or not at all.

        Args:
            n_known, n_known_directions: numbers of discoveries and of directions before the round.
        """
        new = state.discoveries[n_known:]
        tensors = {"directions": state.found[n_known_directions:]}
        glimpses = [samples for (number, _), samples in state.glimpses.items() if number == state.n_rounds - 1]
        if glimpses:
            tensors["glimpses"] = torch.from_numpy(np.stack(glimpses))
        for i, discovery in enumerate(new):
            tensors[f"images/{i}"] = torch.from_numpy(discovery.images.copy())
            tensors |= {f"{name}/{i}": tensor[0] for name, tensor in discovery.conditioning.tensors.items()}
        stated = {
            "barren": state.barren,
            "n_starts": state.n_starts,
            "spent": state.spent,
            "times_found": state.times_found,
            "seconds": state.seconds,
            "discoveries": [_stated(discovery) for discovery in new],
        }
        self._path(state.n_rounds).unlink(missing_ok=True)  # of an earlier search that did not follow this round
        write_tensors(self._path(state.n_rounds - 1), tensors, self._identity, stated)

    def next_round(self, state: SearchState) -> KeptRound | None:
        """Read the stored round that follows on `state`; None if there is none."""
        kept = read_tensors(self._path(state.n_rounds), self._identity)
        return None if kept is None else KeptRound(*kept)

    def _path(self, number: int) -> Path:
        return self._folder / f"round-{number:05d}.safetensors"


def _stated(discovery: Discovery) -> dict[str, Any]:
    outcome = asdict(discovery.outcome)
    if outcome["nearest"] is not None:
        outcome["nearest"]["path"] = str(outcome["nearest"]["path"])
    return {
        "outcome": outcome,
        **{name: getattr(discovery, name) for name in ("round", "start", "cost", "evaluations", "familiarity")},
    }


def _discovery(stated: dict[str, Any], tensors: dict[str, Tensor]) -> Discovery:
    images = np.asarray(tensors.pop("images"), dtype=np.uint8)
    outcome, nearest = stated["outcome"], stated["outcome"]["nearest"]
    if nearest is not None:
        nearest = Nearest.from_document(nearest, Path(nearest["path"]))
    return Discovery(
        Outcome(**{**outcome, "nearest": nearest}),
        images,
        Conditioning({name: tensor[None] for name, tensor in tensors.items()}),
        **{name: int(stated[name]) for name in ("round", "start", "cost", "evaluations")},
        familiarity=stated["familiarity"],
    )
