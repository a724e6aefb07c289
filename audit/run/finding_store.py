"""What was found from an image of each finding of a discovery, kept so that an interrupted discovery resumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch

from flashbulb.audit.images.distances import RgbImage, RgbImages
from flashbulb.audit.images.png import pixel_key
from flashbulb.audit.run.tensors import read_tensors, write_tensors


class _Found(Protocol):
    """A dataclass of images and values that JSON holds."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def images(self) -> RgbImages: ...


_FoundT = TypeVar("_FoundT", bound=_Found)


class FindingStore(Generic[_FoundT]):
    """One file a finding.

    Args:
        name: first part of the names of the files.
        found: class of what is kept.
        identity: hash of everything that it depends on; what was kept for another counts as missing.
    """

    def __init__(self, folder: Path, name: str, found: type[_FoundT], identity: str) -> None:
        self._folder, self._name, self._identity = folder, name, identity
        self._build: Callable[..., _FoundT] = found
        self._stated = [field.name for field in fields(found) if field.name != "images"]

    def load(self, finding_id: str, image: RgbImage) -> _FoundT | None:
        """Return what was found from this image of a finding; None if nothing is kept."""
        kept = read_tensors(self._path(finding_id), self._identity_of(image))
        if kept is None:
            return None
        tensors, stated = kept
        images = np.asarray(tensors["images"].numpy(), dtype=np.uint8)
        return self._build(images=images, **{name: stated[name] for name in self._stated})

    def has_file(self, finding_id: str) -> bool:
        """Return whether anything is kept of a finding, be it from another image or for another identity."""
        return self._path(finding_id).exists()

    def save(self, finding_id: str, image: RgbImage, found: _FoundT) -> None:
        """Keep what was found from this image of a finding, be it nothing."""
        tensors = {"images": torch.from_numpy(found.images.copy())}
        stated = {name: getattr(found, name) for name in self._stated}
        write_tensors(self._path(finding_id), tensors, self._identity_of(image), stated)

    def _identity_of(self, image: RgbImage) -> str:
        return " ".join([self._identity, *self._stated, pixel_key(image)])

    def _path(self, finding_id: str) -> Path:
        return self._folder / f"{self._name}-{finding_id}.safetensors"
