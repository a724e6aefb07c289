"""Read the JSON files of a model folder as input of a stranger: small, plain, in range, and naming no code."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flashbulb.audit.model.errors import ModelError, UntrustedModel, refusing

_MAX_MIB = 64  # the largest tokenizer.json in use has 33 MB
_MAX_CONFIG_MIB = 4
_MAX_DEPTH = 64
_CODE = ("auto_map", "custom_pipeline", "custom_pipelines")
_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation")  # owner/name is code of the hub
_MAX_TIMESTEPS = 100_000
_IN_SCHEDULES = (
    *(("beta_start", 0, 1), ("beta_end", 0, 1)),
    *(("shift", 0, 1000), ("base_shift", -1000, 1000), ("max_shift", -1000, 1000)),
)
_SPACINGS = ("leading", "trailing", "linspace")
_FACTORS = (1e-6, 1000)  # from encoded images to latents
_MAX_LATENTS, _MAX_PIXELS = 1024, 8192  # a side


class WeightsSize(NamedTuple):
    """How much the weights of a network can describe.

    Args:
        n_bytes: size of their files.
    """

    n_tensors: int
    n_bytes: int


def refusal(path: Path, reason: str) -> ModelError:
    """Return the error of a file of a component that cannot be used as it is."""
    return ModelError(f"{path.parent} cannot be loaded: {path.name} {reason}")


def shown(value: Any) -> str:
    """Return a value of a config as part of a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_json(path: Path, max_mib: int = _MAX_MIB) -> Any:
    """Read a JSON file.

    Raises:
        ModelError: it is no regular file, too large, no JSON, or nested too deeply.
    """
    try:
        if not path.is_file():  # a pipe or a device would never end
            raise refusal(path, "is no file; save the pipeline again")
        if path.stat().st_size > max_mib << 20:
            raise refusal(path, f"is larger than {max_mib} MiB; save the pipeline again")
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise refusal(path, f"is nested more than {_MAX_DEPTH} deep; save the pipeline again") from error
    except (OSError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise refusal(path, f"cannot be read: {' '.join(str(error).split())}; save the pipeline again") from error
    if _is_deep(content):
        raise refusal(path, f"is nested more than {_MAX_DEPTH} deep; save the pipeline again")
    return content


def read_object(path: Path, max_mib: int = _MAX_MIB) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        ModelError: as `read_json`; or it holds something else.
    """
    content = read_json(path, max_mib)
    if not isinstance(content, dict):
        raise refusal(path, "holds no JSON object; save the pipeline again")
    return content


def read_config(path: Path) -> dict[str, Any]:
    """Read a config that a class of a library is made from.

    Raises:
        ModelError: as `read_object`; or it names code, weights or classes that are not those of the libraries.
    """
    config = read_object(path, _MAX_CONFIG_MIB)
    for key, value in entries(config):
        if (key in _CODE and value) or (key in _KERNELS and isinstance(value, str) and "/" in value):
            raise refusal(
                path,
                f"names code of its own ({key}); only code of diffusers and transformers is run: remove the entry "
                "if their classes give what the model was trained with",
            )
    if not isinstance(config.get("_class_name", ""), str):
        raise refusal(
            path,
            f"has _class_name {shown(config['_class_name'])}, which is no class of diffusers; custom code is not run",
        )
    if config.get("transformers_weights"):
        raise refusal(path, "names its weights (transformers_weights); rename them to model.safetensors instead")
    return config


def check_network(path: Path, config: Mapping[str, Any], size: WeightsSize) -> None:
    """Check a network's config before a network of that size is built.

    Raises:
        ModelError: its weights cannot have such a size, or a value is no number.
        UntrustedModel: no model is trained with such a scaling factor.
    """
    is_autoencoder = path.parent.name == "vae" or "Autoencoder" in config.get("_class_name", "")
    limit = _MAX_PIXELS if is_autoencoder else _MAX_LATENTS
    sides = config.get("sample_size")
    if sides is not None and not _are_sides(sides, limit):
        raise refusal(path, f"has sample_size {shown(sides)}; a side has 1 to {limit}")
    for key, value in config.items():
        parts = value if isinstance(value, list) else [value]
        numbers = [number for number in _numbers(value) if not key.endswith("_id")]
        if key != "scaling_factor" and not all(math.isfinite(number) for number in numbers):
            raise refusal(path, f"has {key} {shown(value)}, which is no number")
        whole = [number for number in numbers if isinstance(number, int)]
        n_places = size.n_tensors if "layers" in key or "blocks" in key else size.n_bytes
        if len(parts) > size.n_tensors or any(abs(number) > n_places for number in whole):
            raise refusal(path, f"has {key} {shown(value)}, more than its weights can hold")
        if key in ("num_hidden_layers", "num_layers", "layers_per_block") and any(number < 1 for number in whole):
            raise refusal(path, f"has {key} {shown(value)}; it has at least 1")
    if is_autoencoder and "scaling_factor" in config:
        _check_number(path, "scaling_factor", config["scaling_factor"], *_FACTORS)
    side = config.get("pos_embed_max_size")
    if isinstance(side, int) and side**2 > size.n_bytes:
        raise refusal(path, f"has pos_embed_max_size {side}, more than its weights can hold")


def check_schedule(path: Path, config: Mapping[str, Any]) -> None:
    """Check a scheduler's config before a schedule of that length is computed.

    Raises:
        ModelError: it is too long, or a value is no number.
        UntrustedModel: no model is trained with such a number.
    """
    n = config.get("num_train_timesteps", 1000)
    if not is_whole(n, 2, _MAX_TIMESTEPS):
        raise refusal(path, f"has num_train_timesteps {shown(n)}; it is a whole number from 2 to {_MAX_TIMESTEPS}")
    for key, least, most in _IN_SCHEDULES:
        if key in config:
            _check_number(path, key, config[key], least, most)
    if not is_whole(config.get("steps_offset", 0), 0, n):
        raise refusal(path, f"has steps_offset {shown(config['steps_offset'])}; it is a whole number from 0 to {n}")
    spacing = config.get("timestep_spacing", _SPACINGS[0])
    if spacing not in _SPACINGS:
        raise refusal(path, f"has timestep_spacing {shown(spacing)}; it is one of {', '.join(_SPACINGS)}")
    betas = config.get("trained_betas")
    if betas is None:
        return
    if not isinstance(betas, list) or len(betas) != n:
        raise refusal(path, f"has trained_betas {shown(betas)}; they are a list of {n} numbers")
    for beta in betas:
        _check_number(path, "trained_betas", beta, 0, 1)


def load_scheduler(folder: Path, scheduler_class: Any) -> Any:
    """Load the scheduler that a folder describes.

    Raises:
        ModelError: the folder holds no config, or one that cannot be used.
        UntrustedModel: no model is trained with such a schedule.
    """
    path = folder / scheduler_class.config_name
    if not path.exists():
        raise ModelError(f"{folder} holds no {path.name}; save the pipeline again")
    check_schedule(path, read_config(path))
    with refusing(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = scheduler_class.from_pretrained(folder, local_files_only=True)
    levels = getattr(scheduler, "alphas_cumprod", None)
    if levels is not None and not (levels.isfinite().all() and levels[0] > levels[-1] >= 0):
        raise UntrustedModel(
            f"{path} adds no noise (beta_start, beta_end, trained_betas); give the schedule of the training"
        )
    return scheduler


def check_sample_size(folder: Path, network: Any) -> None:
    """Refuse a size that is not the saved one: diffusers replaces those below 64 of files tagged by old versions.

    Raises:
        UntrustedModel: names both sizes.
    """
    saved = read_config(folder / "config.json").get("sample_size")
    now = network.config.get("sample_size")
    if saved is not None and (list(now) if isinstance(now, tuple) else now) != saved:
        raise UntrustedModel(
            f"{folder / 'config.json'} says sample_size {saved}, and diffusers made it {now} because an old version "
            "tagged the file (_diffusers_version); save the model again, or correct one of the two"
        )


def is_whole(value: Any, least: int, most: float) -> bool:
    """Return whether a value is a whole number in a range; true and 8.0 are none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _check_number(path: Path, key: str, value: Any, least: float, most: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise refusal(path, f"has {key} {shown(value)}, which is no number")
    if not least <= value <= most:  # nan is not
        raise UntrustedModel(f"{path} has {key} {shown(value)}; no model is trained with one beyond {least} to {most}")


def _are_sides(sides: Any, limit: int) -> bool:
    pair = sides if isinstance(sides, list) else [sides, sides]
    return len(pair) == 2 and all(is_whole(side, 1, limit) for side in pair)


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, list):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float):
        yield value


def entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of all objects in a JSON value."""
    values = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    if isinstance(content, dict):
        yield from content.items()
    for value in values:
        yield from entries(value)


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(_MAX_DEPTH):
        values = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list))
        level = [value for inside in values for value in inside]
    return bool(level)
