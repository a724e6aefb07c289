"""Describe images with a learnt model, SSCD (arXiv 2202.10261) or DINOv2, from weights that the user gives.

Nothing is downloaded. The user names the preprocessing, because two incompatible ones are in use for SSCD and the
weights do not record theirs. A TorchScript file is a program: load only weights whose SHA-256 you trust.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from flashbulb.audit.images.distances import RgbImage, RgbImages
from flashbulb.audit.training_images.sources.members import TrainingImagesError
from flashbulb.reports.tables.files import sha256_of

Embeddings = npt.NDArray[np.float32]  # [image, dimension], vectors of length 1

SSCD_COPY = 0.75
"""Similarity at which SSCD has a precision of 90 % on DISC2021."""

_BATCH = 32
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Preprocessing(NamedTuple):
    """How an image becomes the model's input.

    Args:
        resize: length of the short side in pixels, or of both sides if `square`.
        crop: side in pixels of the square that is cut from the centre.
        mean, std: of the channels, for values in [0, 1].
    """

    resize: int
    square: bool
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


PREPROCESSINGS = {
    "sscd-disc-large": Preprocessing(256, False, 224, *_HALF),
    "sscd-disc-mixup": Preprocessing(320, True, 320, *_IMAGENET),
    "dinov2": Preprocessing(256, False, 224, *_IMAGENET),
}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A model that maps images to vectors whose inner product is their similarity.

    Args:
        kind: key of `PREPROCESSINGS`.
        sha256: hash of the weights.
        model: maps a batch [image, 3, side, side] to vectors [image, dimension].
    """

    kind: str
    sha256: str
    model: Callable[[Tensor], Tensor]

    @property
    def copy_similarity(self) -> float | None:
        """Similarity from which a pair counts as a copy; None if no threshold is published."""
        return SSCD_COPY if self.kind.startswith("sscd-") else None

    @torch.no_grad()
    def embed(self, images: RgbImages | list[RgbImage]) -> Embeddings:
        """Embed images, each [height, width, 3], as vectors of length 1: [image, dimension]."""
        vectors = []
        for start in range(0, len(images), _BATCH):
            chunk = images[start : start + _BATCH]
            batch = torch.stack([_preprocess(image, PREPROCESSINGS[self.kind]) for image in chunk])
            vectors.append(torch.nn.functional.normalize(self.model(batch).float(), dim=1).cpu())
        return np.asarray(torch.cat(vectors).numpy(), dtype=np.float32)


def load_descriptor(weights: Path, kind: str, sha256: str | None = None) -> Descriptor:
    """Load SSCD from a TorchScript file, or DINOv2 from a transformers directory.

    Args:
        sha256: hash that the weights must have, if the user pins them.

    Raises:
        TrainingImagesError: no such weights or kind, another hash, or weights of another model.
    """
    if kind not in PREPROCESSINGS:
        raise TrainingImagesError(f"no descriptor {kind!r}; choose one of {', '.join(PREPROCESSINGS)}")
    if not (weights.is_dir() if kind == "dinov2" else weights.is_file()):
        wanted = "a transformers directory" if kind == "dinov2" else "a TorchScript file"
        raise TrainingImagesError(f"{weights} is not {wanted}, which {kind} needs; give the path of its weights")
    actual_sha256 = _hash_weights(weights)
    if sha256 is not None and actual_sha256 != sha256.lower():
        raise TrainingImagesError(f"{weights} has SHA-256 {actual_sha256}, not {sha256}; give the pinned weights")
    try:
        model = _load_dinov2(weights) if kind == "dinov2" else _load_torchscript(weights)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainingImagesError(f"{weights} cannot be loaded as {kind}: {reason}; give other weights") from error
    return Descriptor(kind, actual_sha256, model)


def _load_torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    module: Any = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    module.eval()
    return lambda batch: module(batch)


def _load_dinov2(folder: Path) -> Callable[[Tensor], Tensor]:
    from transformers import AutoModel

    module: Any = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    return lambda batch: module(pixel_values=batch).last_hidden_state[:, 0]  # the class token


def _hash_weights(weights: Path) -> str:
    """Hash a file, or the names and hashes of the configs and weights in a directory, with SHA-256."""
    if weights.is_file():
        return sha256_of(weights)
    files = sorted(path for path in weights.iterdir() if path.suffix in (".json", ".safetensors"))
    listing = "".join(f"{sha256_of(path)}  {path.name}\n" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _preprocess(pixels: RgbImage, how: Preprocessing) -> Tensor:
    """Turn an image [height, width, 3] into the model's input [3, side, side]."""
    image = Image.fromarray(pixels)
    scale = how.resize / min(image.size)
    size = (how.resize, how.resize) if how.square else (round(image.width * scale), round(image.height * scale))
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (image.width - how.crop) // 2, (image.height - how.crop) // 2
    cropped = np.asarray(image.crop((left, top, left + how.crop, top + how.crop)), dtype=np.float32) / 255
    normal = (cropped - np.array(how.mean, dtype=np.float32)) / np.array(how.std, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)))
