"""Load a text-to-image pipeline from a folder or the hub, and hash its files. Pickles are loaded only on request."""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from diffusers import DiffusionPipeline
from huggingface_hub import constants, model_info, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from torch import nn

from flashbulb.audit.model.configs import check_sample_size, load_scheduler, read_config
from flashbulb.audit.model.errors import ModelError, one_line, refusing
from flashbulb.audit.model.families import UNREAD, component_classes, expected_family, pipeline_class
from flashbulb.audit.model.loading.tokenizers import check_tokenizer, load_tokenizer
from flashbulb.audit.model.loading.weights import PICKLES, load_network
from flashbulb.audit.model.network import check_weights
from flashbulb.audit.model.sampling import ALTERS_IMAGES
from flashbulb.audit.run.quiet import quieten_loading

_UNUSED = ("safety_checker", "feature_extractor")  # the safety checker would replace some images with black ones
_SECONDS_TO_ANSWER = 5
_PIPELINE_FOLDER = "the folder of a diffusers pipeline (save_pretrained writes one)"
_CONFIGS = (".json", ".txt", ".model", ".spm", ".codes", ".tokenizer")
HASHED = (".safetensors", *_CONFIGS, *PICKLES)
"""Endings of the files that the fingerprint covers."""

NetworkLoader: TypeAlias = Callable[[Path, Any, torch.dtype], Any]
"""Loads the network that a component's folder describes, of a class and in a dtype."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A pipeline that is ready to run.

    Args:
        name: folder or hub id, as the user gave it.
        folder: where its files are.
        fingerprint: hash of its weights and configs.
        dtype: "float32", "float16" or "bfloat16".
    """

    pipe: Any
    name: str
    folder: Path
    fingerprint: str
    dtype: str
    device: str


def load_model(
    model: str,
    *,
    device: str,
    dtype: torch.dtype,
    allow_pickle: bool,
    networks: Callable[[str], NetworkLoader | None] = lambda _component: None,
) -> LoadedModel:
    """Load `model`, a pipeline folder or a hub id, without its safety checker.

    Args:
        networks: returns what loads the network of a component, if its folder has the config alone.

    Raises:
        ModelError: there is no such folder or no pipeline in it; it asks for code, classes or files that are not
            expected there, or for absurd sizes; weights are missing, torn, incomplete, of an adapter that is not fused,
            or pickled without `allow_pickle`; or there is no such device.
        UntrustedModel: no model is trained with such a schedule or scale, diffusers replaces the size of samples, or
            weights are not finite in this dtype.
    """
    quieten_loading()
    folder = _resolve(model, allow_pickle)
    index = _read_index(folder)
    family = expected_family(folder, index)
    pipeline = pipeline_class(folder, index, family)
    classes = component_classes(folder, index, family, pipeline)
    for name in classes:
        if name.startswith("tokenizer"):
            check_tokenizer(folder / name)
    parts = {"scheduler": load_scheduler(folder / "scheduler", classes["scheduler"])}
    for name, part_class in classes.items():
        if issubclass(part_class, nn.Module):
            load = networks(name) or partial(load_network, allow_pickle=allow_pickle)
            parts[name] = load(folder / name, part_class, dtype)
    for name, part_class in classes.items():
        if name.startswith("tokenizer"):
            encoder = parts.get(name.replace("tokenizer", "text_encoder"))
            parts[name] = load_tokenizer(folder / name, part_class, encoder)
    with refusing(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = pipeline(**parts, **_other_arguments(folder, index, pipeline, parts))
    check_sample_size(folder / family.network[0], parts[family.network[0]])
    pipe.set_progress_bar_config(disable=True)
    names = [name for name in index if not name.startswith("_") and name not in _UNUSED]
    fingerprint = fingerprint_folder(folder, {name: _CONFIGS if networks(name) else HASHED for name in names})
    try:
        pipe.to(device)
    except (AssertionError, RuntimeError) as error:  # torch asserts that it was built with CUDA
        line = f"{model} cannot be moved to device {device}: {one_line(error)}; give another --device"
        raise ModelError(line) from error
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            check_weights(folder / name, part)  # the device does it faster than the host
    return LoadedModel(pipe, model, folder, fingerprint, str(dtype).removeprefix("torch."), device)


def _resolve(model: str, allow_pickle: bool) -> Path:
    """Return the local folder of `model`; diffusers downloads a hub id or finds it in its cache."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelError(f"{model} is a file; give {_PIPELINE_FOLDER}")
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ModelError(f"no model folder {model}; give a diffusers pipeline folder or a hub id such as owner/name")
    offline = _why_offline(model)
    options = {"use_safetensors": None if allow_pickle else True, "local_files_only": offline is not None}
    try:
        return Path(DiffusionPipeline.download(model, **options, **dict.fromkeys(_UNUSED)))
    except (OSError, ValueError, RuntimeError) as error:
        if offline is not None:
            raise _unreachable(model, offline) from error
        reason = one_line(error.__cause__ or error)  # diffusers wraps the error of the connection
        raise ModelError(f"{model} is not a local folder, and the hub did not provide it: {reason}") from error


def refuse_unreachable_model(model: str) -> None:
    """Refuse a hub id that is not in the cache while the hub cannot be asked, before anything takes long.

    Raises:
        ModelError: says why the hub cannot be asked.
    """
    if Path(model).expanduser().exists() or isinstance(try_to_load_from_cache(model, "model_index.json"), str):
        return
    offline = _why_offline(model)
    if offline is not None:
        raise _unreachable(model, offline)


def _unreachable(model: str, offline: str) -> ModelError:
    return ModelError(
        f"{model} is neither a local folder nor in the hub's cache, and {offline}; give a folder, or run "
        f"`hf download {model}` where there is a network"
    )


def _why_offline(model: str) -> str | None:
    """Return why the hub cannot be asked, None if it answers. A download would try for a minute before it says so."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        model_info(model, timeout=_SECONDS_TO_ANSWER)
    except HfHubHTTPError:  # an answer, which the download repeats
        return None
    except Exception as error:  # of whichever library huggingface_hub connects with
        return f"the hub cannot be reached ({one_line(error)})"
    return None


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "model_index.json"
    if not path.exists():
        raise ModelError(f"{folder} has no model_index.json; give {_PIPELINE_FOLDER}")
    return read_config(path)


def _other_arguments(folder: Path, index: Mapping[str, Any], pipeline: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the switches that the index sets, and None for components that the pipeline has but the folder lacks."""
    parameters = inspect.signature(pipeline).parameters
    switches = {name: value for name, value in index.items() if name in parameters and isinstance(value, bool)}
    switches |= {name: False for name in ALTERS_IMAGES if name in parameters}
    needed = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    absent = [name for name in needed if name not in parts]
    if missing := [name for name in absent if name not in UNREAD and index.get(name) != [None, None]]:
        raise ModelError(
            f"{folder} lacks {', '.join(missing)}, which {pipeline.__name__} needs; save the pipeline again"
        )
    return {**dict.fromkeys(absent), **switches}


def fingerprint_folder(folder: Path, components: Mapping[str, tuple[str, ...]]) -> str:
    """Hash the index, and the names and bytes of the components' weights and configs; return 16 hex digits.

    Args:
        components: with the endings of their files that count.
    """
    digest = hashlib.sha256((folder / "model_index.json").read_bytes())
    for component, suffixes in sorted(components.items()):
        for path in sorted((folder / component).glob("*")):
            if path.suffix in suffixes and path.is_file():
                digest.update(f"{component}/{path.name}\n".encode(errors="surrogateescape"))
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def resolve_device(device: str) -> str:
    """Replace "auto" by "cuda" if a GPU is available, else by "cpu".

    Raises:
        ModelError: CUDA is asked for, and there is none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        built = torch.version.cuda is not None or torch.version.hip is not None
        missing = "no GPU that its driver shows" if built else f"PyTorch {torch.__version__}, built without CUDA"
        raise ModelError(
            f"--device {device}: this machine has {missing}; "
            f"{'use' if built else 'install a build for your GPU (pytorch.org/get-started), or use'} --device cpu"
        )
    return device


def resolve_dtype(dtype: str, device: str) -> torch.dtype:
    """Return the dtype of this name; "auto" is float32 on a CPU, else float16."""
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.float16
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
