"""Load one network of a pipeline folder: all of its weights and no others, from safetensors if not told otherwise."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from flashbulb.audit.model.configs import WeightsSize, check_network, read_config, read_object, refusal, shown
from flashbulb.audit.model.errors import ModelError, refusing

logger = logging.getLogger(__name__)

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
_SAFE = ".safetensors"
_INDEX = re.compile(r"\.(safetensors|bin)\.(\w+\.)?index\.(\w+\.)?json$")
_DISTRIBUTED = re.compile(r"shard-\d{5}-model-.*\.safetensors")  # read by transformers in place of model.safetensors
_ADAPTER = (
    "belong to an adapter (LoRA, PEFT) that is not fused; fuse it first (fuse_lora of diffusers, merge_and_unload of "
    "PEFT), unload it and save the pipeline again"
)
_FOREIGN = {  # names of weights that tell how they were saved, and the way out
    r"lora|hada_w|lokr_|\.ia3_|\.oft_|base_layer\.|^base_model\.model\.|modules_to_save\.|processor\.": _ADAPTER,
    r"(^|\.)_orig_mod\.": (
        "were saved from a module compiled by torch.compile; save the module inside it, its _orig_mod, again"
    ),
    r"^module\.": "were saved from a DataParallel wrapper; save the module inside it, its module, again",
}
_LAYER = re.compile(r"(?:^|\.)(?:layers?|block)\.(\d+)\.")
_OTHER_PARTS = re.compile(  # of checkpoints that hold more than the text encoder
    r"^(text_projection|visual_projection|vision_model|logit_scale|logit_bias|decoder|lm_head|cls|pooler)\b"
)
_POSITIONS = ("position_ids", "token_type_ids")  # buffers of older libraries
_QUANTIZERS = {  # values of quant_method that are the name of a library, and how it is installed
    "torchao": "pip install 'flashbulb[torchao]'",
    "bitsandbytes": "install it",
    "gguf": "pip install 'flashbulb[gguf]'",
}
_WHOLE = re.compile(r"[IU]\d|BOOL|u?int|bool")


def load_network(folder: Path, network_class: Any, dtype: torch.dtype, allow_pickle: bool) -> Any:
    """Load a network of a class of diffusers or transformers.

    Raises:
        ModelError: a weight of the network is in no file, which the libraries would leave random; a file holds weights
            that the network has no place for; an index names a file that is not beside it; weights are pickled without
            `allow_pickle`; or a file is torn, absurd or of another network.
    """
    is_text_encoder = issubclass(network_class, PreTrainedModel)
    weights = _choose_weights(folder, is_text_encoder, allow_pickle)
    config = read_config(folder / "config.json")
    check_network(folder / "config.json", config, WeightsSize(len(weights.dtypes), weights.n_bytes))
    _check_dtypes(folder, config, weights.dtypes)
    _check_quantizer(folder, config.get("quantization_config"))
    with refusing(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network, report = network_class.from_pretrained(
            folder,
            dtype=dtype,
            variant=weights.variant,
            use_safetensors=weights.use_safetensors,
            local_files_only=True,
            output_loading_info=True,
            **({"trust_remote_code": False, "ignore_mismatched_sizes": True} if is_text_encoder else {}),
        )
    if mismatched := sorted(str(name) for name, *_ in report["mismatched_keys"]):  # diffusers raises by itself
        raise ModelError(
            f"{folder} cannot be loaded: {len(mismatched)} weights have another shape than config.json says, first "
            f"{mismatched[0]}; save the pipeline again"
        )
    surplus = sorted(report["unexpected_keys"])
    if is_text_encoder:
        surplus = _without_surplus_layers(surplus, network.config.num_hidden_layers)
    _check_foreign(folder, surplus)
    tensors = chain(network.named_parameters(), network.named_buffers())
    missing = sorted({*report["missing_keys"], *(name for name, tensor in tensors if tensor.is_meta)})
    if missing:
        raise ModelError(f"{folder} lacks {len(missing)} weights, first {missing[0]}; save the pipeline again")
    _check_surplus(folder, network_class, surplus, is_text_encoder)
    return network


class _Weights(NamedTuple):
    variant: str | None
    use_safetensors: bool
    dtypes: Mapping[str, str]  # by the name of a tensor
    n_bytes: int


def _choose_weights(folder: Path, is_text_encoder: bool, allow_pickle: bool) -> _Weights:
    """Prefer safetensors to pickles, and files without a variant to a variant such as fp16."""
    safe = sorted(folder.glob(f"*{_SAFE}"))
    files = safe or sorted(path for path in folder.glob("*") if path.suffix in PICKLES)
    if not files:
        raise ModelError(f"{folder} holds no weights; save the pipeline again")
    if not safe and not allow_pickle:
        raise ModelError(
            f"{files[0]} is a pickle, which can run code when it is loaded; convert it to safetensors "
            "or, if you trust its source, pass --allow-pickle"
        )
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"{folder} holds weights that {_ADAPTER}")
    for path in files:
        if _DISTRIBUTED.fullmatch(path.name):
            raise refusal(path, "is part of a distributed checkpoint; save the network again as one")
    indices = {path: _read_index(path) for path in sorted(folder.iterdir()) if _INDEX.search(path.name)}
    variants = {_variant(path) for path in files}
    variant = None if None in variants else min(filter(None, variants))
    parts, single = _files_read(folder, variant, _SAFE if safe else ".bin", is_text_encoder)
    if single.is_file() and (is_text_encoder or parts not in indices):
        return _Weights(variant, bool(safe), _read_dtypes(single), single.stat().st_size)
    if parts not in indices:
        raise refusal(single, "is no file; save the pipeline again")
    dtypes = _read_shards(parts, indices[parts])
    shards = set(indices[parts].values())
    return _Weights(variant, bool(safe), dtypes, sum((folder / name).stat().st_size for name in shards))


def _variant(path: Path) -> str | None:
    """Return `fp16` for model.fp16.safetensors or model.fp16-00001-of-00002.safetensors, None without a variant."""
    parts = path.name.split(".")
    return parts[1].split("-")[0] if len(parts) > 2 else None


def _files_read(folder: Path, variant: str | None, suffix: str, is_text_encoder: bool) -> tuple[Path, Path]:
    """Return the index and the single file that the libraries look for; transformers prefers the single file."""
    stem = "diffusion_pytorch_model" if not is_text_encoder else "model" if suffix == _SAFE else "pytorch_model"
    if variant is None:
        return folder / f"{stem}{suffix}.index.json", folder / f"{stem}{suffix}"
    old = folder / f"{stem}{suffix}.{variant}.index.json"
    index = old if old.is_file() else folder / f"{stem}{suffix}.index.{variant}.json"
    return index, folder / f"{stem}.{variant}{suffix}"


def _read_index(path: Path) -> Mapping[str, str]:
    """Return the file of each weight; all lie beside the index, so that the fingerprint covers them."""
    shards = read_object(path).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise refusal(path, "has no weight_map from weights to files; save the pipeline again")
    suffix = _SAFE if f"{_SAFE}." in path.name else ".bin"
    for name in sorted(set(shards.values())):
        if Path(name).name != name or "\0" in name or name == "..":
            raise refusal(path, f"names {shown(name)}, which is no file beside it; save the pipeline again")
        if not name.endswith(suffix):
            raise refusal(path, f"names {shown(name)}, which is no {suffix} file; save the pipeline again")
    return shards


def _read_shards(path: Path, shards: Mapping[str, str]) -> dict[str, str]:
    """Return the dtype of each weight of the shards, which hold what the index says and nothing else."""
    dtypes: dict[str, str] = {}
    for name in sorted(set(shards.values())):
        held = _read_dtypes(path.with_name(name))
        named = {weight for weight, shard in shards.items() if shard == name}
        if lost := sorted(named - held.keys()):
            raise refusal(
                path, f"names {len(lost)} weights that {name} lacks, first {lost[0]}; save the pipeline again"
            )
        if more := sorted(held.keys() - named):
            raise refusal(path, f"leaves out {len(more)} weights that {name} holds, first {more[0]}")
        dtypes |= held
    return dtypes


def _read_dtypes(path: Path) -> dict[str, str]:
    """Return the dtype of each tensor of a file, without the tensors."""
    if not path.is_file():  # a pipe or a device would never end
        raise refusal(path, "is no file; save the pipeline again")
    with refusing(path.parent), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix != _SAFE:
            tensors = torch.load(path, map_location="meta", weights_only=True)
            return {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
        with safe_open(path, framework="pt") as file:
            return {name: str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118


def _check_dtypes(folder: Path, config: Mapping[str, Any], dtypes: Mapping[str, str]) -> None:
    if config.get("quantization_config"):
        return
    whole = sorted(name for name, dtype in dtypes.items() if _WHOLE.match(dtype) and not name.endswith(_POSITIONS))
    if whole:
        raise ModelError(
            f"{folder} holds {len(whole)} weights as whole numbers ({dtypes[whole[0]]}), first {whole[0]}; "
            "dequantize them and save the pipeline again"
        )


def _check_quantizer(folder: Path, quantization: Any) -> None:
    """Refuse weights of a quantizer that is not installed."""
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    if method in _QUANTIZERS and find_spec(method) is None:
        raise ModelError(
            f"{folder} holds weights quantized by {method}, which is not installed; {_QUANTIZERS[method]}, or "
            "dequantize the network and save the pipeline again"
        )


def _without_surplus_layers(surplus: list[str], n_layers: int) -> list[str]:
    """Leave out layers after the last that the config asks for: some pipelines read an earlier layer."""
    layers = {name: _LAYER.search(name) for name in surplus}
    return [name for name, layer in layers.items() if layer is None or int(layer[1]) < n_layers]


def _check_foreign(folder: Path, surplus: list[str]) -> None:
    for pattern, reason in _FOREIGN.items():
        if names := [name for name in surplus if re.search(pattern, name)]:
            raise ModelError(f"{folder} holds {len(names)} weights, first {names[0]}, that {reason}")


def _check_surplus(folder: Path, network_class: Any, surplus: list[str], is_text_encoder: bool) -> None:
    """Refuse weights that the network has no place for; name those of other parts of a text model."""
    surplus = [name for name in surplus if not name.endswith(_POSITIONS)]
    other = [name for name in surplus if is_text_encoder and _OTHER_PARTS.match(name)]
    if len(other) < len(surplus):
        first = next(name for name in surplus if name not in other)
        raise ModelError(
            f"{folder} holds {len(surplus) - len(other)} weights that {network_class.__name__} has no place for, first "
            f"{first}; remove them if the model was trained without them"
        )
    if other:
        logger.warning("%s: %d weights are not used, first %r", folder, len(other), other[0])
