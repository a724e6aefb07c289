"""LoRA files of a pipeline in the layouts that people release, and the weights that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from flashbulb.audit.additions.chosen import ChosenModel, ComposedModel, load_chosen
from flashbulb.audit.model.errors import ModelError
from tests.refusals import refused_line

RANK = 2
TRAINED = ("unet", "text_encoder")
Factors = Mapping[tuple[str, str], tuple[Tensor, Tensor]]
"""Down and up factors by component and module."""


def some_factors(pipe: Any, components: tuple[str, ...], *, rank: int = RANK, seed: int = 0) -> Factors:
    """Draw factors for every linear layer and convolution of these components."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for component in components:
        for name, layer in pipe.components[component].named_modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                n_out, *inner = layer.weight.shape
                down = torch.randn(rank, *inner, generator=generator) / 10
                up = torch.randn(n_out, rank, *[1 for _ in inner[1:]], generator=generator) / 10
                factors[component, name] = (down, up)
    return factors


def diffusers_names(component: str, module: str) -> tuple[str, str]:
    """Return the keys of PEFT's layout, as save_lora_weights writes it."""
    return f"{component}.{module}.lora_A.weight", f"{component}.{module}.lora_B.weight"


def kohya_names(component: str, module: str) -> tuple[str, str]:
    """Return the keys of kohya's scripts for Stable Diffusion 1 and 2."""
    prefix = {"text_encoder": "lora_te", "text_encoder_2": "lora_te2"}.get(component, "lora_unet")
    if component == "text_encoder":
        module = f"text_model.{module.removeprefix('text_model.')}"
    name = f"{prefix}_{module.replace('.', '_')}"
    return f"{name}.lora_down.weight", f"{name}.lora_up.weight"


def lora_weights(factors: Factors, names: Callable[[str, str], tuple[str, str]] = diffusers_names) -> dict[str, Tensor]:
    """Return the content of a LoRA file."""
    weights = {}
    for place, (down, up) in factors.items():
        down_name, up_name = names(*place)
        weights |= {down_name: down, up_name: up}
    return weights


def lora_file(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file(dict(weights), path, metadata=metadata)
    return path


def fused_(pipe: Any, factors: Factors, factor: float) -> Any:
    """Add the change to the weights of a pipeline, the slow way: one entry of the rank at a time."""
    for (component, module), (down, up) in factors.items():
        weight = pipe.components[component].get_submodule(module).weight.data
        change = torch.zeros_like(weight)
        for row in range(down.shape[0]):
            column = up[:, row].reshape(-1, *[1 for _ in weight.shape[1:]])
            change += column * down[row : row + 1]
        weight += factor * change
    return pipe


def load(base: Path, *loras: object, dtype: str = "float32") -> ComposedModel:
    return load_chosen(ChosenModel(str(base), lora=tuple(map(str, loras))), "cpu", dtype)


refusal = partial(refused_line, ModelError, load)


def assert_same(pipe: Any, other: Any, tolerance: float = 0) -> None:
    for name, part in pipe.components.items():
        if isinstance(part, nn.Module):
            wanted = other.components[name].state_dict()
            assert part.state_dict().keys() == wanted.keys()
            for key, tensor in part.state_dict().items():
                torch.testing.assert_close(tensor, wanted[key], rtol=0, atol=tolerance, msg=f"{name}.{key}")
