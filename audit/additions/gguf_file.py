"""Read the denoiser of a GGUF file. Its linear layers stay quantized and compute as those of diffusers do.

The file holds no code and no config: the config is that of the pipeline to which the denoiser belongs.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from diffusers import GGUFQuantizationConfig
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from torch import Tensor, nn

from flashbulb.audit.additions.files import linear_shape, show_names
from flashbulb.audit.additions.stability_names import unet_name
from flashbulb.audit.model.configs import WeightsSize, check_network, read_config
from flashbulb.audit.model.errors import ModelError, one_line, refusing
from flashbulb.audit.model.network import dense, is_quantized

_PREFIX = "model.diffusion_model."
_RESHAPED = "comfy.gguf.orig_shape."  # before the shape of a weight by which ComfyUI's converter reshaped it
_READING_ERRORS = (OSError, ValueError, LookupError, TypeError, ArithmeticError, MemoryError, RuntimeError)


def find_gguf(path: Path) -> Path:
    """Return the path of a GGUF file that can be read here.

    Raises:
        ModelError: it is no such file, or a library is missing.
    """
    if not path.is_file():
        raise ModelError(f"no file {path}; give --denoiser a .gguf file")
    if path.suffix != ".gguf":
        raise ModelError(f"--denoiser {path} is no .gguf file; give a denoiser in another format as part of its folder")
    if missing := [library for library in ("gguf", "accelerate") if find_spec(library) is None]:
        raise ModelError(f"reading {path} needs {missing[0]}: pip install 'flashbulb[gguf]'")
    return path


def load_gguf(path: Path, folder: Path, network_class: Any, dtype: torch.dtype) -> Any:
    """Load the denoiser that the config in `folder` describes.

    Raises:
        ModelError: the file is torn, lacks a weight of the network, has it in another shape or as a type that diffusers
            does not read, or holds weights that the network has no place for.
    """
    weights = _read(path)
    config = read_config(folder / "config.json")
    check_network(folder / "config.json", config, WeightsSize(len(weights), path.stat().st_size))
    with refusing(folder), warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        network = network_class.from_config(config)
    named = _named(path, weights, network)
    fitted = {name: _fitted(path, name, named[name], network, wanted) for name, wanted in network.state_dict().items()}
    with refusing(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return network_class.from_single_file(
            fitted,
            config=str(folder.parent),
            subfolder=folder.name,
            quantization_config=GGUFQuantizationConfig(compute_dtype=dtype),
            dtype=dtype,
            local_files_only=True,
        )


def _read(path: Path) -> dict[str, Tensor]:
    """Return the weights of a file by name: plain ones, and quantized ones as diffusers packs them."""
    from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES, GGUFParameter
    from gguf import GGMLQuantizationType, GGUFReader

    weights: dict[str, Tensor] = {}
    try:
        reader = GGUFReader(path)
        for tensor in reader.tensors:
            kind, weight = tensor.tensor_type, torch.from_numpy(tensor.data.copy())
            if kind not in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
                if kind not in SUPPORTED_GGUF_QUANT_TYPES:
                    raise ModelError(
                        f"{path} holds {show_names([tensor.name])} as {kind.name}, which diffusers does not read; give "
                        "a file of another type, such as Q8_0 or Q4_K"
                    )
                weight = GGUFParameter(weight, quant_type=kind)
            reshaped = reader.get_field(_RESHAPED + tensor.name)
            weights[tensor.name] = weight if reshaped is None else dense(weight).reshape(reshaped.contents())
    except ModelError:
        raise
    except _READING_ERRORS as error:
        raise ModelError(f"{path} cannot be read: {one_line(error)}; download or convert it again") from error
    return weights


def _named(path: Path, weights: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
    """Return the weights by the names of the network; every weight of the file has a place in it."""
    own, title = network.state_dict().keys(), type(network).__name__
    if own != weights.keys():
        if twice := [name for name in weights if _PREFIX + name in weights]:
            raise ModelError(
                f"{path} holds {show_names(twice)} twice, with {_PREFIX} and without; give a file of one denoiser"
            )
        weights = {name.removeprefix(_PREFIX): weight for name, weight in weights.items()}
        weights = (
            _named_by_unet(weights, network) if hasattr(network, "up_blocks") else _converted(path, weights, title)
        )
    if missing := sorted(own - weights.keys()):
        raise ModelError(
            f"{path} lacks {len(missing)} weights of the {title} that the folder describes, first {missing[0]}; give "
            "the folder of the pipeline that the file was made from"
        )
    if surplus := sorted(weights.keys() - own):
        raise ModelError(
            f"{path} holds {len(surplus)} weights that the {title} of the folder has no place for, first "
            f"{show_names(surplus)}; give a file of the denoiser alone, and the folder that it was made from"
        )
    return weights


def _named_by_unet(weights: dict[str, Tensor], unet: Any) -> dict[str, Tensor]:
    """Rename weights from Stability AI's names; others keep theirs."""
    own = {}
    for name in unet.state_dict():
        module, _, parameter = name.rpartition(".")
        own[f"{unet_name(module, unet) or module}.{parameter}"] = name
    return {own.get(name, name): weight for name, weight in weights.items()}


def _converted(path: Path, weights: dict[str, Tensor], title: str) -> dict[str, Tensor]:
    """Rename and split weights from the layout of the authors, as diffusers does; it takes out those that it knows."""
    try:
        converted = SINGLE_FILE_LOADABLE_CLASSES[title]["checkpoint_mapping_fn"](checkpoint=weights, config={})
    except _READING_ERRORS as error:
        raise ModelError(
            f"{path} holds no weights that diffusers converts to a {title} ({one_line(error)}); give a whole file of "
            "the denoiser"
        ) from error
    return {**weights, **converted}


def _fitted(path: Path, name: str, weight: Any, network: Any, wanted: Tensor) -> Any:
    """Return a weight in the shape of the network's own; only weights of linear layers stay quantized."""
    module, _, parameter = name.rpartition(".")
    is_linear = parameter == "weight" and isinstance(network.get_submodule(module), nn.Linear)
    if is_linear and is_quantized(weight) and weight.quant_shape == wanted.shape:
        return weight
    held = dense(weight)
    if linear_shape(held) != linear_shape(wanted):
        raise ModelError(
            f"{path} has {name} of shape {list(held.shape)}, the folder describes {list(wanted.shape)}; give the "
            "folder of the pipeline that the file was made from"
        )
    return held.reshape(wanted.shape)
