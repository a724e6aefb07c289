"""List the sites of a model."""

from __future__ import annotations

from typing import NamedTuple

from flashbulb.audit.additions.chosen import ChosenModel, load_chosen
from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import Site


class ModelSites(NamedTuple):
    """Sites of a model, its family, and the commands and strategies that the family does not offer yet."""

    sites: tuple[Site, ...]
    family: str
    not_offered: tuple[str, ...]


def list_sites(model: ChosenModel) -> ModelSites:
    """Return every site of a model that Flashbulb can record."""
    loaded = load_chosen(model, "cpu", "float32")
    denoiser = open_denoiser(loaded.pipe)
    return ModelSites(denoiser.sites(denoiser.site_kinds()), denoiser.title, denoiser.not_offered)
