"""Merge LoRA files into weights: W + scale · (alpha / rank) · up · down (Hu et al. 2021, arXiv 2106.09685).

The merged weights are what releases contain, so modules, sites and hooks are those of the base. PEFT is not needed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flashbulb.audit.additions.files import (
    ScaledFile,
    check_floats,
    combined_fingerprint,
    opened,
    read_finite,
    show_names,
)
from flashbulb.audit.additions.lora_keys import Pair, Place, find_pairs
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.network import is_quantized

_METADATA = "lora_adapter_metadata"  # where diffusers writes PEFT's config
_UNREAD = ("use_dora", "lora_bias", "fan_in_fan_out")  # switches of PEFT that change what the factors mean


class _Delta(NamedTuple):
    """The low-rank change of one module: factor · up · down."""

    down: Tensor  # [rank, in]
    up: Tensor  # [out, rank]
    factor: float


@dataclass(slots=True)
class MergedLoras:
    """The LoRAs that are merged into a pipeline. The host memory keeps the base of the weights that they change."""

    _bases: dict[Place, tuple[nn.Module, Tensor]] = field(default_factory=dict)  # the module, and its weight before
    _deltas: dict[Place, list[_Delta]] = field(default_factory=dict)

    def merge_(self, pipe: Any, denoiser: str, file: ScaledFile) -> None:
        """Merge a file into the weights of a pipeline.

        Raises:
            ModelError: it is no LoRA of this pipeline; a key has no place; its weights are not finite; or at another
                scale than 0 it changes no weight.
        """
        deltas, has_changed = _read_deltas(pipe, denoiser, file), file.scale == 0
        for (component, module), delta in deltas.items():
            place, layer = (component, module), pipe.components[component].get_submodule(module)
            weight = layer.weight.data
            if place not in self._bases:
                self._bases[place] = (layer, weight.to("cpu", copy=True))
            self._deltas.setdefault(place, []).append(delta)
            merged = self._merged(place)
            if not merged.isfinite().all():
                raise ModelError(
                    f"{file.path} makes {component}.{module} overflow {str(weight.dtype).removeprefix('torch.')}; "
                    "give a smaller scale, or --dtype float32"
                )
            has_changed = has_changed or not torch.equal(merged, weight.cpu())
            weight.copy_(merged)
        if not has_changed:
            raise ModelError(
                f"{file.path} changes no weight of the model as {str(weight.dtype).removeprefix('torch.')}: it was not "
                "trained, or its alpha or scale is too small; give the trained LoRA, or leave it out"
            )

    @contextmanager
    def off(self) -> Iterator[None]:
        """Take all LoRAs out inside the block: the model is its base, bit for bit."""
        try:
            for layer, base in self._bases.values():
                _copy_into(layer, base)
            yield
        finally:
            for place, (layer, _) in self._bases.items():
                _copy_into(layer, self._merged(place))

    @contextmanager
    def switched(self) -> Iterator[Callable[[], AbstractContextManager[None]]]:
        """Yield a block that can be opened often and in which the LoRAs are off.

        While the outer block is open, the device also holds the base of the weights that the LoRAs change, so nothing
        is computed or copied at a switch.
        """
        weights: list[tuple[Any, Tensor, Tensor]] = []
        for layer, base in self._bases.values():
            weight: Any = layer.weight
            weights.append((weight, weight.data, base.to(weight.device)))

        @contextmanager
        def without() -> Iterator[None]:
            try:
                for weight, _, base in weights:
                    weight.data = base
                yield
            finally:
                for weight, merged, _ in weights:
                    weight.data = merged

        yield without

    def _merged(self, place: Place) -> Tensor:
        base, merged = self._bases[place][1], self._bases[place][1]
        for down, up, factor in self._deltas[place]:
            if factor != 0:
                merged = merged.float() + factor * (up @ down).view(base.shape)
        return merged.to(base.dtype)


def _copy_into(layer: Any, weight: Tensor) -> None:
    layer.weight.data.copy_(weight)


def lora_fingerprint(fingerprint: str, file: ScaledFile) -> str:
    """Return the fingerprint of a model with this LoRA."""
    return combined_fingerprint(fingerprint, file.path, "lora", file.scale)


def _read_deltas(pipe: Any, denoiser: str, file: ScaledFile) -> dict[Place, _Delta]:
    """Read a file completely, before any weight is changed."""
    with opened(file.path) as opened_file:
        keys = list(opened_file.keys())
        check_floats(opened_file, file.path, keys)
        pairs = find_pairs(file.path, keys, pipe, denoiser)
        config = _read_config(file.path, opened_file.metadata() or {})
        return {place: _read_delta(opened_file, file, place, pair, pipe, config) for place, pair in pairs.items()}


def _read_delta(
    opened_file: Any, file: ScaledFile, place: Place, pair: Pair, pipe: Any, config: Mapping[str, Any]
) -> _Delta:
    component, module = place
    weight = pipe.components[component].get_submodule(module).weight
    if is_quantized(weight) or not weight.is_floating_point():
        raise ModelError(
            f"{file.path} changes {component}.{module}, which is quantized; a LoRA is merged into whole weights only: "
            "merge it before the model is quantized, or give the model that was quantized"
        )
    down, up = (tuple(opened_file.get_slice(key).get_shape()) for key in (pair.down, pair.up))
    inner, rank = tuple(weight.shape[1:]), down[0] if down else 0
    fits = rank > 0 and _linear(down[1:]) == _linear(inner) and _linear(up[1:]) == (rank,)
    if not fits or up[0] != weight.shape[0]:
        raise ModelError(
            f"{file.path} has {show_names([pair.down])} of shape {list(down)} and an up weight of shape {list(up)} for "
            f"{component}.{module} of shape {list(weight.shape)}; give a LoRA that was trained on this model"
        )
    alpha = _alpha(opened_file, file.path, pair, place, config)
    is_stabilized = pair.alpha is None and bool(config.get(f"{component}.use_rslora"))
    factor = (rank if alpha is None else alpha) / (math.sqrt(rank) if is_stabilized else rank)
    down_weight, up_weight = (read_finite(opened_file, file.path, key) for key in (pair.down, pair.up))
    return _Delta(down_weight.flatten(1), up_weight.flatten(1), file.scale * factor)


def _linear(inputs: tuple[int, ...]) -> tuple[int, ...]:
    """Leave out the sides of a 1×1 convolution, which is a linear layer in other versions of a model."""
    return inputs[:1] if all(side == 1 for side in inputs[1:]) else inputs


def _alpha(opened_file: Any, path: Path, pair: Pair, place: Place, config: Mapping[str, Any]) -> float | None:
    if pair.alpha is not None:
        value = read_finite(opened_file, path, pair.alpha)
        if value.numel() != 1:
            raise ModelError(f"{path} has {show_names([pair.alpha])} of shape {list(value.shape)}; it is one number")
        return float(value)
    component, module = place
    alpha = config.get(f"{component}.lora_alpha")
    for name, own in (config.get(f"{component}.alpha_pattern") or {}).items():
        if f".{module}".endswith(f".{name}"):
            alpha = own
    if alpha is not None and (type(alpha) not in (int, float) or not math.isfinite(alpha)):
        raise ModelError(f"{path} has a lora_alpha in its metadata that is no number; save the LoRA again")
    return alpha


def _read_config(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Read PEFT's config, as diffusers writes it: by component and setting, `unet.lora_alpha`."""
    if _METADATA not in metadata:
        return {}
    try:
        config = json.loads(metadata[_METADATA])
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} has {_METADATA} that is no JSON; save the LoRA again") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} has {_METADATA} that is no object; save the LoRA again")
    for key, value in config.items():
        if value and key.rpartition(".")[2] in _UNREAD:
            raise ModelError(
                f"{path} was trained with {show_names([key])}, so it is not a plain LoRA; merge it into the model first"
            )
        if key.endswith(".alpha_pattern") and value:
            names = list(value) if isinstance(value, dict) else [str(value)]
            if not isinstance(value, dict) or not all(re.fullmatch(r"[\w.]+", name) for name in names):
                raise ModelError(f"{path} has alpha_pattern with {show_names(names)}; merge it into the model first")
    return config
