"""Keep a localized memory in one file, so that an interrupted localization goes on where it stopped."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audit.localize.attribution import Attribution
from audit.localize.effects import ControlEffect, Effect
from audit.localize.localizer import Localized
from audit.memories import Memory
from audit.tensor_file import read_tensors, write_tensors
from hooks import NeuronSet


def save_localized(path: Path, one: Localized, identity: str) -> None:
    """Write one memory's localization, made with the settings and model of `identity`."""
    attribution = one.attribution
    tensors = {f"neurons/{name}": values for name, values in attribution.neurons.items()}
    tensors |= {f"positions/{name}": values for name, values in attribution.positions.items()}
    tensors |= {f"excess/{name}": values for name, values in one.excess.items()}
    tensors["tokens"] = attribution.tokens
    tensors["before"], tensors["after"] = torch.from_numpy(one.before.copy()), torch.from_numpy(one.after.copy())
    stated = {
        "response": attribution.response,
        "neurons": asdict(one.neurons),
        "effect": asdict(one.effect),
        "controls": [asdict(control) for control in one.controls],
        "n_patched": one.n_patched,
        "n_recovered_again": one.n_recovered_again,
        "evaluations": one.evaluations,
    }
    write_tensors(path, tensors, identity, stated)


def load_localized(path: Path, memory: Memory, identity: str) -> Localized | None:
    """What `save_localized` wrote of this memory; None if it was not, or with other settings."""
    kept = read_tensors(path, identity)
    if kept is None:
        return None
    tensors, stated = kept
    parts = {
        part: {name.removeprefix(f"{part}/"): x for name, x in tensors.items() if name.startswith(f"{part}/")}
        for part in ("neurons", "positions", "excess")
    }
    effect: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stated["effect"].items()
    }
    neurons, means = stated["neurons"], stated["neurons"]["means"]
    return Localized(
        memory=memory,
        attribution=Attribution(stated["response"], parts["neurons"], parts["positions"], tensors["tokens"]),
        excess=parts["excess"],
        neurons=NeuronSet(
            {name: tuple(chosen) for name, chosen in neurons["neurons"].items()},
            None if means is None else {name: tuple(values) for name, values in means.items()},
            neurons["fingerprint"],
        ),
        effect=Effect(**effect),
        controls=tuple(ControlEffect(**control) for control in stated["controls"]),
        n_patched=stated["n_patched"],
        n_recovered_again=stated["n_recovered_again"],
        before=np.asarray(tensors["before"], dtype=np.uint8),
        after=np.asarray(tensors["after"], dtype=np.uint8),
        evaluations=int(stated["evaluations"]),
    )
