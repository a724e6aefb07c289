"""LoRA training without PEFT: low-rank factors of a pipeline's weights, and their file in the layout of diffusers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

COMPONENTS = ("unet", "text_encoder")
_TRAINED = (".attentions.", ".resnets.", ".self_attn.", ".mlp.")


class LowRankChange(nn.Module):
    """Add up · down to a weight; alpha is the rank, so the factor of the change is 1. It begins as no change."""

    def __init__(self, shape: tuple[int, ...], rank: int, generator: torch.Generator) -> None:
        super().__init__()
        n_out, *inner = shape
        n_in = int(torch.Size(inner).numel())
        self.down = nn.Parameter(torch.randn(rank, *inner, generator=generator) / (3 * n_in) ** 0.5)
        self.up = nn.Parameter(torch.zeros(n_out, rank, *[1 for _ in inner[1:]]))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up.flatten(1) @ self.down.flatten(1)).view_as(weight)


def add_low_rank_(pipe: Any, rank: int, seed: int) -> dict[str, LowRankChange]:
    """Give the chosen layers of UNet and text encoder a trainable change; returns the changes by component and module.

    Trained are the layers that kohya's scripts train by default, which are those of transformer blocks and of the text
    encoder's, and the convolutions of residual blocks, which the same scripts train on request.
    """
    generator, changes = torch.Generator().manual_seed(seed), {}
    for component in COMPONENTS:
        pipe.components[component].requires_grad_(False)
        for name, layer in list(_layers(pipe.components[component])):
            change = LowRankChange(tuple(layer.weight.shape), rank, generator)
            register_parametrization(layer, "weight", change)
            changes[f"{component}.{name}"] = change
    return changes


def _layers(network: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and any(part in f".{name}" for part in _TRAINED):
            yield name, layer


def save_lora(changes: dict[str, LowRankChange], path: Path) -> None:
    """Write the file that `--lora` takes."""
    weights: dict[str, Tensor] = {}
    for name, change in changes.items():
        weights[f"{name}.lora_A.weight"] = change.down.detach().contiguous()
        weights[f"{name}.lora_B.weight"] = change.up.detach().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
