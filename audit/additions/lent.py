"""Audit a pipeline object that the caller keeps using: nothing of it is changed, moved or copied but its scheduler."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import diffusers
import numpy as np
import torch
from torch import nn

from flashbulb.audit.additions.chosen import ComposedModel
from flashbulb.audit.additions.object_fingerprint import fingerprint_pipeline
from flashbulb.audit.additions.object_states import (
    check_tokenizers,
    only_device,
    only_dtype,
    refuse_absent,
    refuse_adapters,
    refuse_changes,
    refuse_wrapped,
    uncompiled,
)
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import UNREAD, require_family
from flashbulb.audit.model.network import check_weights
from flashbulb.audit.model.sampling import ALTERS_IMAGES

_LENT: set[int] = set()
"""Networks that are being audited, by id: hooks of two audits would read each other's activations."""

_LENDING = Lock()

_LEVELS = ("alphas_cumprod", "final_alpha_cumprod", "alphas", "betas", "sigma_min", "sigma_max", "_shift")
"""What schedulers compute from their config when they are made, and read when they plan or denoise."""


@contextmanager
def lent(pipe: Any) -> Iterator[ComposedModel]:
    """Yield a pipeline of its own around the networks of `pipe`, in evaluation mode and not compiled.

    Both are restored at the end.

    Raises:
        ModelError: no family fits; a component is absent; noise levels of the scheduler or a method were replaced; or
            the networks are offloaded, hold an adapter or a hook, are on several devices or of several dtypes, or are
            lent already, to another thread.
        UntrustedModel: weights are not finite.
    """
    family = require_family(pipe)
    refuse_absent(pipe, family)
    own = _own_pipeline(pipe, family)
    networks = {name: part for name, part in own.components.items() if isinstance(part, nn.Module)}
    with _apart(networks):
        device = only_device(networks)
        refuse_adapters(networks)
        refuse_wrapped(networks)
        refuse_changes(pipe, networks)
        for name, network in networks.items():
            check_weights(Path(name), network)
        check_tokenizers(own, family.tokenizers)
        dtype = only_dtype(networks, family.network[0])
        fingerprint = fingerprint_pipeline(own)
        modes = [(module, module.training) for network in networks.values() for module in network.modules()]
        try:
            for network in networks.values():
                network.eval()
            name = pipe_name(pipe)
            with uncompiled(networks):
                yield ComposedModel(own, name, Path(name), fingerprint, dtype, device, fingerprint)
        finally:
            for module, training in modes:
                module.training = training


@contextmanager
def _apart(networks: dict[str, nn.Module]) -> Iterator[None]:
    own = {id(network) for network in networks.values()}
    with _LENDING:
        if _LENT & own:
            raise ModelError("another thread audits this pipeline; wait for it, or load the pipeline a second time")
        _LENT.update(own)
    try:
        yield
    finally:
        with _LENDING:
            _LENT.difference_update(own)


def pipe_name(pipe: Any) -> str:
    """Return what reports call a pipeline object: where it was loaded from, else its class."""
    return str(pipe.config.get("_name_or_path") or type(pipe).__name__)


def _own_pipeline(pipe: Any, family: type[Denoiser]) -> Any:
    """Return a pipeline that shares the networks of `pipe`, without what alters images."""
    pipeline = getattr(diffusers, family.pipeline)
    parameters = inspect.signature(pipeline).parameters
    parts = {name: part for name, part in pipe.components.items() if name in parameters and name not in UNREAD}
    parts["scheduler"] = _own_scheduler(pipe.scheduler)
    switches = {name: value for name, value in pipe.config.items() if name in parameters and isinstance(value, bool)}
    switches |= {name: False for name in ALTERS_IMAGES if name in parameters}
    absent = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    own = pipeline(**{**dict.fromkeys(absent), **parts, **switches})
    own.set_progress_bar_config(disable=True)
    return own


def _own_scheduler(scheduler: Any) -> Any:
    """Return a scheduler of the same config; refuse one whose noise levels were replaced, which no config states."""
    own = type(scheduler).from_config(scheduler.config)
    for name in _LEVELS:
        levels, stated = (vars(part).get(name) for part in (scheduler, own))
        if levels is not None and stated is not None and not _are_equal(levels, stated):
            raise ModelError(
                f"{name.lstrip('_')} of the pipeline's scheduler is not what its config states; make the scheduler "
                "from a config that does, such as with rescale_betas_zero_snr, trained_betas or shift"
            )
    return own


def _are_equal(levels: Any, stated: Any) -> bool:
    if isinstance(levels, torch.Tensor) and isinstance(stated, torch.Tensor):
        return torch.equal(levels.cpu(), stated.cpu())
    return np.array_equal(levels, stated)
