"""Store a localized memory in one file, so an interrupted localization can resume."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flashbulb.audit.localize.attribution import Attribution
from flashbulb.audit.localize.effects import ControlEffect, Effect
from flashbulb.audit.localize.localizer import LocalizedMemory
from flashbulb.audit.localize.memories import Memory
from flashbulb.audit.run.tensors import read_tensors, write_tensors
from flashbulb.hooks import NeuronSet


def save_localized(path: Path, localized: LocalizedMemory, identity: str) -> None:
    """Write one localized memory; `identity` stands for the settings and the model it was localized with."""
    attribution = localized.attribution
    tensors = {f"neurons/{name}": values for name, values in attribution.neurons.items()}
    tensors |= {f"positions/{name}": values for name, values in attribution.positions.items()}
    tensors |= {f"excess/{name}": values for name, values in localized.excess.items()}
    tensors["tokens"] = attribution.tokens
    tensors["before"] = torch.from_numpy(localized.before.copy())
    tensors["after"] = torch.from_numpy(localized.after.copy())
    metadata = {
        "response": attribution.response,
        "neurons": asdict(localized.neurons),
        "effect": asdict(localized.effect),
        "controls": [asdict(control) for control in localized.controls],
        "n_patched": localized.n_patched,
        "n_recovered_again": localized.n_recovered_again,
        "evaluations": localized.evaluations,
    }
    write_tensors(path, tensors, identity, metadata)


def load_localized(path: Path, memory: Memory, identity: str) -> LocalizedMemory | None:
    """Load what `save_localized` wrote for `memory`; None if the file is missing, damaged or of another identity."""
    stored = read_tensors(path, identity)
    if stored is None:
        return None
    tensors, metadata = stored
    parts = {
        part: {name.removeprefix(f"{part}/"): x for name, x in tensors.items() if name.startswith(f"{part}/")}
        for part in ("neurons", "positions", "excess")
    }
    effect: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in metadata["effect"].items()
    }
    neurons, means = metadata["neurons"], metadata["neurons"]["means"]
    return LocalizedMemory(
        memory=memory,
        attribution=Attribution(metadata["response"], parts["neurons"], parts["positions"], tensors["tokens"]),
        excess=parts["excess"],
        neurons=NeuronSet(
            {name: tuple(numbers) for name, numbers in neurons["neurons"].items()},
            None if means is None else {name: tuple(values) for name, values in means.items()},
            neurons["fingerprint"],
        ),
        effect=Effect(**effect),
        controls=tuple(ControlEffect(**control) for control in metadata["controls"]),
        n_patched=metadata["n_patched"],
        n_recovered_again=metadata["n_recovered_again"],
        before=np.asarray(tensors["before"], dtype=np.uint8),
        after=np.asarray(tensors["after"], dtype=np.uint8),
        evaluations=int(metadata["evaluations"]),
    )
