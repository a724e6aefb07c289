"""Audit a pipeline object that the caller keeps using: nothing of it is changed, moved or copied but its scheduler."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import diffusers
import torch
from torch import nn

from flashbulb.audit.additions.chosen import ComposedModel
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import UNREAD, require_family
from flashbulb.audit.model.network import check_weights, public_settings, stored_tensors
from flashbulb.audit.model.sampling import ALTERS_IMAGES

_LENT: set[int] = set()
"""Networks that are being audited, by id: hooks of two audits would read each other's activations."""

_LENDING = Lock()

_OF_TOKENIZERS = ("model_max_length", "padding_side", "truncation_side", "pad_token", "bos_token", "eos_token")
_OF_FREEU = ("s1", "s2", "b1", "b2")
_OF_TILES = ("tile_sample_min_size", "tile_latent_min_size", "tile_overlap_factor")
_OBSERVES = "transformers.utils.output_capturing"
"""Module of the hooks that transformers leaves in a text encoder that was once asked for the output of a layer."""
_EQUAL_PROCESSORS = {
    *("AttnProcessor", "AttnProcessor2_0", "SlicedAttnProcessor", "XFormersAttnProcessor", "FusedAttnProcessor2_0"),
    *("JointAttnProcessor2_0", "FluxAttnProcessor"),
}
"""Attention processors of diffusers that compute the same, at another speed or in another amount of memory."""


@contextmanager
def lent(pipe: Any) -> Iterator[ComposedModel]:
    """Yield a pipeline of its own around the networks of `pipe`, in evaluation mode; restores their mode at the end.

    Raises:
        ModelError: no family fits; the noise levels of the scheduler were replaced; or the networks are offloaded, hold
            an adapter or a hook, are on several devices, or are lent already, to another thread.
        UntrustedModel: weights are not finite.
    """
    family = require_family(pipe)
    own = _own_pipeline(pipe, family)
    networks = {name: part for name, part in own.components.items() if isinstance(part, nn.Module)}
    with _apart(networks):
        device = _only_device(networks)
        _refuse_adapters(networks)
        _refuse_hooks(networks)
        for name, network in networks.items():
            check_weights(Path(name), network)
        dtype = _only_dtype(networks, family.network[0])
        fingerprint = fingerprint_pipeline(own)
        modes = [(module, module.training) for network in networks.values() for module in network.modules()]
        try:
            for network in networks.values():
                network.eval()
            name = pipe_name(pipe)
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
    levels, stated = (getattr(part, "alphas_cumprod", None) for part in (scheduler, own))
    if levels is not None and stated is not None and not torch.equal(levels.cpu(), stated.cpu()):
        raise ModelError(
            "the alphas_cumprod of the pipeline's scheduler are not those of its config; make it from a config that "
            "states them, such as with rescale_betas_zero_snr or trained_betas"
        )
    return own


def _only_device(networks: dict[str, nn.Module]) -> str:
    if any(hasattr(module, "_hf_hook") for network in networks.values() for module in network.modules()):
        raise ModelError("the pipeline is offloaded; give its folder, and offload='model'")
    devices = {str(weight.device) for network in networks.values() for weight in network.parameters()}
    if len(devices) != 1:
        raise ModelError(f"the pipeline is on {', '.join(sorted(devices))}; move it to one device with pipe.to(...)")
    return devices.pop()


def _refuse_adapters(networks: dict[str, nn.Module]) -> None:
    """Refuse adapters of PEFT beside the weights: which are active, and at what scale, enters no fingerprint."""
    for name, network in networks.items():
        for path, module in network.named_modules():
            if hasattr(module, "base_layer") and not getattr(module, "merged", False):
                raise ModelError(
                    f"the pipeline has an adapter on {name}.{path} that is not fused; fuse it by pipe.fuse_lora() and "
                    "pipe.unload_lora_weights(), or give the folder of the pipeline and lora=(file,)"
                )


def _refuse_hooks(networks: dict[str, nn.Module]) -> None:
    """Refuse what may change what a network computes and enters no fingerprint: hooks, and a replaced `forward`.

    Of two audits with and without it the first would be taken for the second. An ablation does not know how the audit
    lays out its batches, so it would edit other prompts than it should.
    """
    for name, network in networks.items():
        for path, module in network.named_modules():
            own_forward = vars(module).get("forward")
            is_replaced = own_forward is not None and getattr(own_forward, "__func__", None) is not type(module).forward
            hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
            if is_replaced or any(getattr(hook, "__module__", None) != _OBSERVES for hook in hooks):
                what = "a forward of its own" if is_replaced else "a hook"
                raise ModelError(
                    f"the pipeline has {what} on {f'{name}.{path}'.rstrip('.')}, which may change what it computes; "
                    "remove it, and close contexts such as flashbulb.ablate"
                )


def _only_dtype(networks: dict[str, nn.Module], denoiser: str) -> str:
    """Return the dtype of the denoiser, which its text encoders must have: libraries load each as its file says."""
    dtypes = {name: str(next(part.parameters()).dtype).removeprefix("torch.") for name, part in networks.items()}
    for name, dtype in dtypes.items():
        if name.startswith("text_encoder") and dtype != dtypes[denoiser]:
            raise ModelError(
                f"the pipeline's {name} is {dtype}, its {denoiser} {dtypes[denoiser]}; convert it with "
                f"pipe.to(torch.{dtypes[denoiser]}), or load it with dtype=torch.{dtypes[denoiser]}"
            )
    return dtypes[denoiser]


def fingerprint_pipeline(pipe: Any) -> str:
    """Hash weights, configs, vocabularies and switches; return 16 hex digits. A folder's hashes files, so differs."""
    switches = {name: value for name, value in pipe.config.items() if isinstance(value, bool)}
    digest = hashlib.sha256(f"{json.dumps(switches, sort_keys=True)}\n".encode())
    for name, part in sorted(pipe.components.items()):
        config: Any = getattr(part, "config", None)
        stated = config.to_dict() if hasattr(config, "to_dict") else dict(config or {})
        if hasattr(part, "get_vocab"):
            stated = part.get_vocab()
        text = json.dumps([public_settings(stated), _set_later(part)], sort_keys=True, default=str)
        digest.update(f"{name} {type(part).__name__} {text}\n".encode())
        for key, weight in part.state_dict().items() if isinstance(part, nn.Module) else ():
            digest.update(f"{key} {tuple(weight.shape)} {weight.dtype}\n".encode())
            for tensor in stored_tensors(weight):
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _set_later(part: Any) -> list[Any]:
    """Return what callers set on a loaded part and no config states.

    These are how a tokenizer pads and cuts, FreeU, tiles of an autoencoder, and attention processors that are not of
    diffusers, whose own ones for a plain pipeline give the same numbers.
    """
    processors = getattr(part, "attn_processors", {}) if isinstance(part, nn.Module) else {}
    foreign = [
        f"{path} {type(processor).__module__}.{type(processor).__qualname__}"
        for path, processor in processors.items()
        if type(processor).__name__ not in _EQUAL_PROCESSORS or not type(processor).__module__.startswith("diffusers.")
    ]
    freed = [getattr(block, name, None) for block in getattr(part, "up_blocks", ()) for name in _OF_FREEU]
    tiles = [getattr(part, name, None) for name in _OF_TILES if getattr(part, "use_tiling", False)]
    return [*(getattr(part, name) for name in _OF_TOKENIZERS if hasattr(part, "get_vocab")), *freed, *foreign, *tiles]
