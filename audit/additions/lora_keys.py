"""Find the place of every weight of a LoRA file in a pipeline: layouts of diffusers (PEFT and older) and of kohya."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import nn

from flashbulb.audit.additions.files import show_names
from flashbulb.audit.additions.stability_names import unet_name
from flashbulb.audit.model.errors import ModelError

Role = Literal["down", "up", "alpha"]
Place: TypeAlias = tuple[str, str]
"""Component and module: `("unet", "mid_block.attentions.0.proj_in")`."""

_ROLES: Mapping[str, Role] = {
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    "_lora.down.weight": "down",  # attention processors of diffusers before 0.26
    "_lora.up.weight": "up",
    ".alpha": "alpha",
}
_KOHYA = {
    "lora_unet_": None,  # the denoiser, whatever its name
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
}
_OTHER_KINDS = {
    r"dora_scale|lora_magnitude_vector": "DoRA",
    r"\.lokr_": "LoKr",
    r"\.hada_": "LoHa",
    r"\.oft_|\.ia3_|\.(a|b)[12]\.weight$|\.lora_mid\.|\.diff(_b)?$|\.lora_[AB]\.bias$": "LyCORIS",
}


class Pair(NamedTuple):
    """Keys of the two factors of one module's LoRA; without alpha, alpha is the rank."""

    down: str
    up: str
    alpha: str | None


def find_pairs(path: Path, keys: Sequence[str], pipe: Any, denoiser: str) -> dict[Place, Pair]:
    """Return the pair of each module; every key belongs to one.

    Args:
        denoiser: the component that keys without one belong to.

    Raises:
        ModelError: a key has no place in the pipeline, or two have the same, or half of a pair is missing.
    """
    for pattern, kind in _OTHER_KINDS.items():
        if found := [key for key in keys if re.search(pattern, key)]:
            raise ModelError(
                f"{path} is a {kind} ({len(found)} keys such as {show_names(found[:1])}), which is not a plain LoRA; "
                "merge it into the model first, and audit the merged model"
            )
    places = _places(pipe, denoiser)
    roles: dict[Place, dict[Role, str]] = {}
    lost = []
    for key in sorted(keys):
        name, role = _split(key)
        place = places.get(name)
        if role is None or place is None:
            lost.append(key)
        elif role in roles.setdefault(place, {}):
            raise ModelError(f"{path} holds {show_names([key, roles[place][role]])} for one module; keep one of them")
        else:
            roles[place][role] = key
    if lost:
        raise ModelError(
            f"{path} holds {len(lost)} of {len(keys)} keys that this {type(pipe).__name__} has no place for, first "
            f"{show_names(lost)}; give a LoRA that was trained on this model, in the layout of diffusers or kohya"
        )
    for (component, module), found_roles in roles.items():
        if missing := [role for role in ("down", "up") if role not in found_roles]:
            raise ModelError(f"{path} lacks the {missing[0]} weight of {component}.{module}; save the LoRA again")
    return {place: Pair(found["down"], found["up"], found.get("alpha")) for place, found in roles.items()}


def _split(key: str) -> tuple[str, Role | None]:
    """Return the module that a key names, and what it holds."""
    for ending, role in _ROLES.items():
        if key.endswith(ending):
            name = key.removesuffix(ending)
            if ending.startswith("_"):
                name = name.replace(".processor.", ".")
                name = f"{name}.0" if name.endswith(".to_out") else name
            return name, role
    return key, None


def _places(pipe: Any, denoiser: str) -> dict[str, Place]:
    """Return every name that files have for a module of the pipeline."""
    places: dict[str, Place] = {}
    for component, network in pipe.components.items():
        if (component != denoiser and not component.startswith("text_encoder")) or not isinstance(network, nn.Module):
            continue
        prefixes = [prefix for prefix, part in _KOHYA.items() if (part or denoiser) == component]
        for module, layer in network.named_modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            for name in _names(module, network):
                dotted = (f"{component}.{name}", *([name] if component == denoiser else []))
                flat = [prefix + name.replace(".", "_") for prefix in prefixes]
                places.update(dict.fromkeys((*dotted, *flat), (component, module)))
    return places


def _names(module: str, network: nn.Module) -> Iterator[str]:
    """Yield the names of a module, those of other versions and of Stability AI's code included."""
    yield module
    if module.startswith("encoder.layers."):  # transformers 5 has no text_model in some classes
        yield f"text_model.{module}"
    elif module.startswith("text_model."):
        yield module.removeprefix("text_model.")
    if hasattr(network, "down_blocks"):
        yield from filter(None, [unet_name(module, network)])
