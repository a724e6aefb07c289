"""The fingerprint of a pipeline object: what its images depend on, of which a part may have been set after loading."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn

from flashbulb.audit.model.network import public_settings, stored_tensors

_OF_TOKENIZERS = ("model_max_length", "padding_side", "truncation_side", "pad_token", "bos_token", "eos_token")
_OF_FREEU = ("s1", "s2", "b1", "b2")
_OF_TILES = ("tile_sample_min_size", "tile_latent_min_size", "tile_overlap_factor")
_LIBRARIES = ("torch.", "diffusers.", "transformers.")
_EQUAL_PROCESSORS = {
    *("AttnProcessor", "AttnProcessor2_0", "SlicedAttnProcessor", "XFormersAttnProcessor", "FusedAttnProcessor2_0"),
    *("JointAttnProcessor2_0", "FluxAttnProcessor"),
}
"""Attention processors of diffusers that compute the same, at another speed or in another amount of memory."""


def fingerprint_pipeline(pipe: Any) -> str:
    """Hash weights, configs, vocabularies and switches; return 16 hex digits. A folder's hashes files, so differs."""
    switches = {name: value for name, value in pipe.config.items() if isinstance(value, bool)}
    digest = hashlib.sha256(f"{json.dumps(switches, sort_keys=True)}\n".encode())
    for name, part in sorted(pipe.components.items()):
        config: Any = getattr(part, "config", None)
        stated = config.to_dict() if hasattr(config, "to_dict") else dict(config or {})
        if hasattr(part, "get_vocab"):
            stated = _rules_of(part)
        text = json.dumps([public_settings(stated), _set_later(part)], sort_keys=True, default=str)
        digest.update(f"{name} {type(part).__name__} {text}\n".encode())
        for key, weight in part.state_dict().items() if isinstance(part, nn.Module) else ():
            digest.update(f"{key} {tuple(weight.shape)} {weight.dtype}\n".encode())
            for tensor in stored_tensors(weight):
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _rules_of(tokenizer: Any) -> dict[str, Any]:
    """Return how a tokenizer turns a text into tokens, but for padding and cutting, which each call sets anew."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if not hasattr(backend, "to_str"):
        return dict(tokenizer.get_vocab())
    rules: dict[str, Any] = json.loads(backend.to_str())
    return {name: rule for name, rule in rules.items() if name not in ("padding", "truncation")}


def _set_later(part: Any) -> list[Any]:
    """Return what callers set on a loaded part and no config states.

    These are how a tokenizer pads and cuts, FreeU, tiles of an autoencoder, and modules and attention processors of
    other libraries; those of diffusers for a plain pipeline give the same numbers.
    """
    processors = getattr(part, "attn_processors", {}) if isinstance(part, nn.Module) else {}
    foreign = [
        f"{path} {_described(processor)}"
        for path, processor in processors.items()
        if type(processor).__name__ not in _EQUAL_PROCESSORS or _is_foreign(processor, "diffusers.")
    ]
    modules = part.named_modules() if isinstance(part, nn.Module) else ()
    foreign += [f"{path} {_described(module)}" for path, module in modules if _is_foreign(module, *_LIBRARIES)]
    freed = [getattr(block, name, None) for block in getattr(part, "up_blocks", ()) for name in _OF_FREEU]
    tiles = [getattr(part, name, None) for name in _OF_TILES if getattr(part, "use_tiling", False)]
    return [*(getattr(part, name) for name in _OF_TOKENIZERS if hasattr(part, "get_vocab")), *freed, *foreign, *tiles]


def _is_foreign(part: Any, *libraries: str) -> bool:
    return not type(part).__module__.startswith(libraries)


def _described(part: Any) -> str:
    """Return the class of a part and the plain values that were set on it, such as a scale."""
    plain = {name: value for name, value in vars(part).items() if isinstance(value, bool | int | float | str)}
    plain.pop("training", None)
    return f"{type(part).__module__}.{type(part).__qualname__} {json.dumps(plain, sort_keys=True)}"
