"""Find the family of a model, and the classes that the family expects."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import transformers
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import nn
from transformers import PreTrainedTokenizerBase

from flashbulb.audit.model.configs import shown
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import ModelError

UNREAD = ("safety_checker", "feature_extractor", "image_encoder", "controlnet")
"""Components that do not read text; they are not loaded."""


@cache
def find_families() -> tuple[type[Denoiser], ...]:
    """Return every family of this package, by the name of its file."""
    modules = [importlib.import_module(module.name) for module in pkgutil.iter_modules(__path__, f"{__name__}.")]
    return tuple(module.FAMILY for module in modules if hasattr(module, "FAMILY"))


def open_denoiser(pipe: Any, clip_skip: int | None = None) -> Denoiser:
    """Open a loaded pipeline with its family.

    Args:
        clip_skip: last layers of the CLIP text encoder to leave out.

    Raises:
        ModelError: no family fits, or the family refuses the pipeline.
    """
    return require_family(pipe)(pipe, clip_skip)


def require_family(pipe: Any) -> type[Denoiser]:
    """Return the family of a loaded pipeline.

    Raises:
        ModelError: no family fits, or a component is wrapped by `torch.compile`.
    """
    parts = getattr(pipe, "components", {})
    if compiled := [name for name, part in parts.items() if hasattr(part, "_orig_mod")]:
        raise ModelError(
            f"the pipeline's {compiled[0]} is compiled; give it back with pipe.{compiled[0]} = "
            f"pipe.{compiled[0]}._orig_mod"
        )
    family = family_of_pipe(pipe)
    if family is None:
        raise ModelError(f"{type(pipe).__name__} is of no family that Flashbulb audits: {audited_families()}")
    return family


def family_of_pipe(pipe: Any) -> type[Denoiser] | None:
    """Return the family of a loaded pipeline; None if no family fits."""
    parts = getattr(pipe, "components", {}).items()
    return _family_of_classes({name: type(part).__name__ for name, part in parts if part is not None})


def family_of(index: Mapping[str, Any]) -> type[Denoiser] | None:
    """Return the family of a pipeline folder by its model_index.json; None if no family fits."""
    return _family_of_classes({name: entry[1] for name, entry in index.items() if _is_class(entry)})


def _family_of_classes(classes: Mapping[str, str]) -> type[Denoiser] | None:
    """Return the first family that has this denoiser and knows all of the text encoders, by component."""
    encoders = {name for name in classes if name.startswith("text_encoder")}
    for family in find_families():
        component, network = family.network
        if classes.get(component) == network and encoders <= family.tokenizers.keys():
            return family
    return None


def audited_families() -> str:
    """Return the names of all families, as error messages list them."""
    return ", ".join(family.title for family in find_families())


def expected_family(folder: Path, index: Mapping[str, Any]) -> type[Denoiser]:
    """Return the family of a pipeline folder by its model_index.json.

    Raises:
        ModelError: no family has this denoiser, or a component that its family needs is absent.
    """
    family = family_of(index)
    present = ", ".join(sorted(name for name, entry in index.items() if _is_class(entry)))
    if family is None:
        classes = [".".join(index[name]) for name in ("unet", "transformer") if _is_class(index.get(name))]
        denoiser = f"whose denoiser is {classes[0]}" if classes else "without a denoiser"
        raise ModelError(
            f"{folder} is a {index.get('_class_name')} with {present}, {denoiser}, of no family that Flashbulb audits: "
            f"{audited_families()}"
        )
    missing = [name for name in family.required if not _is_class(index.get(name))]
    if missing:
        raise ModelError(
            f"{folder} is a {index.get('_class_name')} with {present}, without {', '.join(missing)}; "
            f"Flashbulb audits {family.title} with all of {', '.join(family.required)}{family.incomplete}"
        )
    return family


def pipeline_class(folder: Path, index: Mapping[str, Any], family: type[Denoiser]) -> Any:
    """Return the family's text-to-image class, whatever task the folder was saved by.

    A ControlNet is left out, and so is guidance that stacks more than two halves.

    Raises:
        ModelError: diffusers has no pipeline of the folder's class.
    """
    name = index.get("_class_name", "")
    own = _attribute(diffusers, name)
    if own in (None, DiffusionPipeline) or not issubclass(own, DiffusionPipeline):
        raise ModelError(
            f"{folder} names pipeline {shown(name)}, which diffusers lacks, and custom code is not run; "
            f"if its components are those of a {family.pipeline}, write that as _class_name"
        )
    return getattr(diffusers, family.pipeline)


def component_classes(folder: Path, index: Mapping[str, Any], family: type[Denoiser], pipeline: Any) -> dict[str, Any]:
    """Return the classes of the components to load, all but those that do not read text.

    Raises:
        ModelError: the pipeline does not take a component, or its class is not one that the family expects there.
    """
    parameters = inspect.signature(pipeline).parameters
    names = [name for name, entry in index.items() if name not in UNREAD and isinstance(entry, list)]
    names = [name for name in names if index[name] != [None, None]]
    if foreign := [name for name in names if name not in parameters]:
        raise ModelError(
            f"{folder} has a component {foreign[0]}, which {pipeline.__name__} does not take; "
            "remove it, or audit the pipeline that was trained with it"
        )
    return {name: _class_of(folder, name, index[name], family) for name in names}


def _class_of(folder: Path, name: str, entry: Any, family: type[Denoiser]) -> Any:
    """Return the class of a component, one that the family expects there."""
    component, network = family.network
    expected = family.classes.get(name, (network,) if name == component else ())
    library, base, kind = diffusers, nn.Module, ", ".join(expected) or "nothing"
    if name.startswith("tokenizer"):
        library, base, kind = transformers, PreTrainedTokenizerBase, "a tokenizer of transformers"
    elif name == "scheduler":
        library, base, kind = diffusers, SchedulerMixin, "a scheduler of diffusers"
    elif name.startswith("text_encoder"):
        library = transformers
    found = _attribute(library, entry[1]) if _is_class(entry) and entry[0] == library.__name__ else None
    if found is None or not issubclass(found, base) or (base is nn.Module and entry[1] not in expected):
        text = ".".join(entry) if _is_class(entry) else shown(entry)
        raise ModelError(
            f"{folder / name} is of class {text}; only classes of diffusers and transformers are run, "
            f"and {family.title} has {kind} as {name}"
        )
    return found


def _attribute(library: Any, name: str) -> Any:
    """Return a class of a library by its name, None if it has no such class."""
    try:
        found = getattr(library, name, None)
    except (ImportError, RuntimeError):  # the class needs another library
        return None
    return found if isinstance(found, type) else None


def _is_class(entry: Any) -> bool:
    """Return whether an entry of the index is a [library, class] pair; an absent component is [null, null]."""
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(name, str) for name in entry)
