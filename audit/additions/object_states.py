"""Refuse pipeline objects in a state that no fingerprint tells, or in which their networks cannot run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.loading.tokenizers import check_tokens
from flashbulb.audit.model.network import is_quantized

_OBSERVES = "transformers.utils.output_capturing"
"""Module of the hooks that transformers leaves in a text encoder that was once asked for the output of a layer."""
_DTYPES = ("float32", "float16", "bfloat16")


def refuse_absent(pipe: Any, family: type[Denoiser]) -> None:
    """Refuse a pipeline from which a component was taken, as to save memory."""
    if missing := [name for name in family.required if getattr(pipe, name, None) is None]:
        raise ModelError(
            f"the pipeline has no {', '.join(missing)}; {family.title} is audited with all of "
            f"{', '.join(family.required)}{family.incomplete}"
        )


def only_device(networks: dict[str, nn.Module]) -> str:
    """Return the device that all weights are on; they must stay there, and pass gradients."""
    if any(hasattr(module, "_hf_hook") for network in networks.values() for module in network.modules()):
        raise ModelError("the pipeline is offloaded; give its folder, and offload='model'")
    if any(weight.is_inference() for network in networks.values() for weight in network.parameters()):
        raise ModelError("the pipeline was loaded in torch.inference_mode, so no gradient passes it; load it outside")
    devices = {str(weight.device) for network in networks.values() for weight in network.parameters()}
    if len(devices) != 1:
        raise ModelError(f"the pipeline is on {', '.join(sorted(devices))}; move it to one device with pipe.to(...)")
    return devices.pop()


def refuse_adapters(networks: dict[str, nn.Module]) -> None:
    """Refuse adapters of PEFT beside the weights: which are active, and at what scale, enters no fingerprint.

    A fused one that is disabled is taken out of the weights by the first call.
    """
    for name, network in networks.items():
        for path, module in network.named_modules():
            if not hasattr(module, "base_layer"):
                continue
            if getattr(module, "disable_adapters", False):
                raise ModelError(
                    f"the pipeline has an adapter on {name}.{path} that is disabled; remove it by pipe.unfuse_lora() "
                    "and pipe.unload_lora_weights(), or enable and fuse it"
                )
            if not getattr(module, "merged", False):
                raise ModelError(
                    f"the pipeline has an adapter on {name}.{path} that is not fused; fuse it by pipe.fuse_lora() and "
                    "pipe.unload_lora_weights(), or give the folder of the pipeline and lora=(file,)"
                )


def refuse_changes(pipe: Any, networks: dict[str, nn.Module]) -> None:
    """Refuse what may change what is computed and enters no fingerprint: hooks, and replaced methods.

    Of two audits with and without it the first would be taken for the second. An ablation does not know how the audit
    lays out its batches, so it would edit other prompts than it should.
    """
    modules = (
        (f"{name}.{path}".rstrip("."), part) for name, net in networks.items() for path, part in net.named_modules()
    )
    for place, part in (("itself", pipe), *modules):
        hooks = (*part._forward_hooks.values(), *part._forward_pre_hooks.values()) if part is not pipe else ()
        what = _replaced_method(part)
        if what is None and any(getattr(hook, "__module__", None) != _OBSERVES for hook in hooks):
            what = "a hook"
        if what is not None:
            raise ModelError(
                f"the pipeline has {what} on {place}, which may change what it computes; remove it, and close contexts "
                "such as flashbulb.ablate"
            )


def _replaced_method(part: Any) -> str | None:
    """Return which method an object has of its own in place of that of its class; None if there is none."""
    for name, value in vars(part).items():
        method = getattr(type(part), name, None)
        if inspect.isfunction(method) and value is not None and getattr(value, "__func__", None) is not method:
            return f"{'an' if name.startswith(('e', 'a', 'i', 'o', 'u')) else 'a'} {name} of its own"
    return None


def refuse_wrapped(networks: dict[str, nn.Module]) -> None:
    """Refuse parts that `torch.compile` wraps: their weights and sites have other names."""
    for name, network in networks.items():
        for path, module in network.named_modules():
            if hasattr(module, "_orig_mod"):
                place = f"{name}.{path}"
                raise ModelError(f"the pipeline's {place} is compiled; give it back with pipe.{place} = its _orig_mod")


def check_tokenizers(pipe: Any, tokenizer_of: Mapping[str, str]) -> None:
    """Refuse tokenizers whose tokens, or so many of them, their text encoder cannot read.

    Args:
        tokenizer_of: name of the tokenizer for each name of a text encoder.
    """
    for name, tokenizer_name in tokenizer_of.items():
        encoder, tokenizer = getattr(pipe, name, None), getattr(pipe, tokenizer_name, None)
        if encoder is None or tokenizer is None:
            continue
        where = f"the pipeline's {tokenizer_name}"
        check_tokens(where, tokenizer, encoder, "by resize_token_embeddings, and train them")
        n_read = getattr(encoder.config, "max_position_embeddings", tokenizer.model_max_length)
        if tokenizer.model_max_length > n_read:
            raise ModelError(
                f"{where} cuts prompts at {tokenizer.model_max_length} tokens, its {name} reads {n_read}; set "
                f"pipe.{tokenizer_name}.model_max_length = {n_read}"
            )


@contextmanager
def uncompiled(networks: dict[str, nn.Module]) -> Iterator[None]:
    """Run networks that `Module.compile` compiled in place as they are written, which hooks need."""
    compiled = {
        module: function
        for network in networks.values()
        for module in network.modules()
        if (function := getattr(module, "_compiled_call_impl", None)) is not None
    }
    try:
        for module in compiled:
            module._compiled_call_impl = None
        yield
    finally:
        for module, function in compiled.items():
            module._compiled_call_impl = function


def only_dtype(networks: dict[str, nn.Module], denoiser: str) -> str:
    """Return the dtype of the denoiser, which all networks must have, as libraries load each as its file says."""
    dtypes = {name: _dtype_of(name, network) for name, network in networks.items()}
    wanted = dtypes[denoiser]
    if wanted not in _DTYPES:
        raise ModelError(f"the pipeline is {wanted}, which no audit runs in; convert it with pipe.to(torch.float32)")
    for name, dtype in dtypes.items():
        if dtype != wanted:
            raise ModelError(
                f"the pipeline's {name} is {dtype}, its {denoiser} {wanted}; convert it with pipe.to(torch.{wanted}), "
                f"or load it with dtype=torch.{wanted}"
            )
    return wanted


def _dtype_of(name: str, network: nn.Module) -> str:
    """Return the dtype of a network's weights, but for those that its class keeps in float32, and quantized ones."""
    weights = dict(network.named_parameters())
    dtype = next(iter(weights.values())).dtype
    if any(map(is_quantized, weights.values())):
        return _name_of(dtype)
    kept = {*(getattr(network, "_keep_in_fp32_modules", None) or ())}
    for path, weight in weights.items():
        if weight.dtype != dtype and not (weight.dtype == torch.float32 and kept & {*path.split(".")}):
            raise ModelError(
                f"the pipeline's {name} is {_name_of(dtype)}, and {_name_of(weight.dtype)} at {path}; convert it with "
                "pipe.to(torch.float32)"
            )
    return _name_of(dtype)


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
