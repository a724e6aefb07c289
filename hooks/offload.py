"""Offload the weights of a pipeline: they lie in the host memory and come to the device when they run.

diffusers and accelerate do it. Of the three ways, `sequential` is the slowest and needs the least memory of the device,
`group` moves the next layer while one computes, and `model` moves whole networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from diffusers.hooks import HookRegistry
from torch import nn

Offload = Literal["model", "group", "sequential"]
OFFLOADS: tuple[Offload, ...] = get_args(Offload)

_GROUP_HOOKS = ("group_offloading", "lazy_prefetch_group_offloading", "layer_execution_tracker")  # names of diffusers
_ATTRIBUTE = "_flashbulb_offload"


def offload_(pipe: Any, device: torch.device | str, how: Offload) -> None:
    """Offload a pipeline whose weights lie in the host memory.

    Args:
        device: where the weights run.
    """
    device = torch.device(device)
    if how == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif how == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.enable_group_offload(device, offload_type="leaf_level", use_stream=device.type == "cuda")
    setattr(pipe, _ATTRIBUTE, (how, device))


@contextmanager
def held_for_gradients(pipe: Any) -> Iterator[None]:
    """Hold the weights on the device while the context is open, if they would be gone when gradients come back.

    `model` and `group` take the weights of a module away after its forward pass, and its backward pass needs them.
    `sequential` leaves to the gradient's graph what it needs.
    """
    chosen: tuple[Offload, torch.device] | None = getattr(pipe, _ATTRIBUTE, None)
    if chosen is None or chosen[0] == "sequential":
        yield
        return
    how, device = chosen
    pipe.remove_all_hooks()
    for part in parts_of(pipe):
        if how == "group":
            _remove_group_hooks(part)
        part.to(device)
    try:
        yield
    finally:
        pipe.to("cpu", silence_dtype_warnings=True)
        offload_(pipe, device, how)


def bring_to_device(network: nn.Module) -> None:
    """Move an offloaded network to its device, as its own forward pass would, before one of its modules runs alone."""
    if (hook := getattr(network, "_hf_hook", None)) is not None:
        hook.pre_forward(network)


def parts_of(pipe: Any) -> list[nn.Module]:
    """Return the networks of a pipeline."""
    return [part for part in pipe.components.values() if isinstance(part, nn.Module)]


def _remove_group_hooks(part: nn.Module) -> None:
    registry = HookRegistry.check_if_exists_or_initialize(part)
    for name in _GROUP_HOOKS:
        registry.remove_hook(name, recurse=True)
