"""Find the family of a model."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import ModelError


@cache
def find_families() -> tuple[type[Denoiser], ...]:
    """Return every family of this package, by the name of its file."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    modules = [importlib.import_module(f"{__package__}.{name}") for name in names]
    return tuple(module.FAMILY for module in modules if hasattr(module, "FAMILY"))


def open_denoiser(pipe: Any, clip_skip: int | None = None) -> Denoiser:
    """Open a loaded pipeline with its family.

    Args:
        clip_skip: last layers of the CLIP text encoder to leave out.

    Raises:
        ModelError: no family fits, or the family refuses the pipeline.
    """
    family = family_of_pipe(pipe)
    if family is None:
        raise ModelError(f"{type(pipe).__name__} is of no family that Flashbulb audits: {audited_families()}")
    return family(pipe, clip_skip)


def family_of_pipe(pipe: Any) -> type[Denoiser] | None:
    """Return the family of a loaded pipeline by its denoiser; None if no family fits."""
    for family in find_families():
        component, class_name = family.network
        if type(getattr(pipe, component, None)).__name__ == class_name:
            return family
    return None


def family_of(index: Mapping[str, Any]) -> type[Denoiser] | None:
    """Return the family of a pipeline folder by its model_index.json; None if no family fits."""
    for family in find_families():
        component, class_name = family.network
        entry = index.get(component)
        if isinstance(entry, list) and entry[1:] == [class_name]:
            return family
    return None


def audited_families() -> str:
    """Return the names of all families, as error messages list them."""
    return ", ".join(family.title for family in find_families())
