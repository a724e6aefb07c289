"""Learnt descriptors of pictures, from weights that the user gives: SSCD (arXiv 2202.10261) or DINOv2.

Nothing is downloaded. The preprocessing is named, because two incompatible ones are in use for SSCD and weights do
not say which they want. TorchScript is a program: load only weights whose SHA-256 you trust.
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

from audit.evidence import Pictures
from audit.training.sources import TrainingImagesError
from reports.files import sha256_of

Embeddings = npt.NDArray[np.float32]  # [picture, dimension], of length 1

SSCD_COPY = 0.75
"""Similarity from which 90 % of the pairs that SSCD finds on DISC2021 are copies."""

_BATCH = 32
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Preprocessing(NamedTuple):
    """How a picture becomes the model's input.

    Args:
        resize: pixels of the short side, or of both where `square`.
        crop: side of the square that is cut from the centre.
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
    """A model that maps pictures to vectors whose inner product is their similarity.

    Args:
        kind: one of `PREPROCESSINGS`, which names the preprocessing.
        sha256: of the weights.
        model: maps a batch [picture, 3, side, side] to vectors [picture, dimension].
    """

    kind: str
    sha256: str
    model: Callable[[Tensor], Tensor]

    @property
    def copy_similarity(self) -> float | None:
        """Similarity from which a pair counts as a copy; None where no threshold is published."""
        return SSCD_COPY if self.kind.startswith("sscd-") else None

    @torch.no_grad()
    def embed(self, pictures: Pictures | list[npt.NDArray[np.uint8]]) -> Embeddings:
        """Vectors of length 1 of pictures, each [height, width, 3]: [picture, dimension]."""
        vectors = []
        for start in range(0, len(pictures), _BATCH):
            batch = torch.stack([_prepared(p, PREPROCESSINGS[self.kind]) for p in pictures[start : start + _BATCH]])
            vectors.append(torch.nn.functional.normalize(self.model(batch).float(), dim=1).cpu())
        return np.asarray(torch.cat(vectors).numpy(), dtype=np.float32)


def load_descriptor(weights: Path, kind: str, sha256: str | None = None) -> Descriptor:
    """Load SSCD TorchScript (a file) or DINOv2 (a transformers directory).

    Args:
        sha256: what the weights must hash to, where the user pins them.

    Raises:
        TrainingImagesError: no such weights or kind, another hash, or a file that is no such model.
    """
    if kind not in PREPROCESSINGS:
        raise TrainingImagesError(f"no descriptor {kind!r}; choose one of {', '.join(PREPROCESSINGS)}")
    if not (weights.is_dir() if kind == "dinov2" else weights.is_file()):
        wanted = "a transformers directory" if kind == "dinov2" else "a TorchScript file"
        raise TrainingImagesError(f"{weights} is not {wanted}, which {kind} needs; give the path of its weights")
    found = _hash_of(weights)
    if sha256 is not None and found != sha256.lower():
        raise TrainingImagesError(f"{weights} has SHA-256 {found}, not {sha256}; give the weights that were pinned")
    try:
        model = _dinov2(weights) if kind == "dinov2" else _torchscript(weights)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainingImagesError(f"{weights} cannot be loaded as {kind}: {reason}; give other weights") from error
    return Descriptor(kind, found, model)


def _torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    module: Any = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    module.eval()
    return lambda batch: module(batch)


def _dinov2(folder: Path) -> Callable[[Tensor], Tensor]:
    from transformers import AutoModel

    module: Any = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    return lambda batch: module(pixel_values=batch).last_hidden_state[:, 0]  # the class token


def _hash_of(weights: Path) -> str:
    """SHA-256 of a file, or of the names and hashes of the configs and weights of a directory."""
    if weights.is_file():
        return sha256_of(weights)
    files = sorted(path for path in weights.iterdir() if path.suffix in (".json", ".safetensors"))
    listing = "".join(f"{sha256_of(path)}  {path.name}\n" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _prepared(picture: npt.NDArray[np.uint8], how: Preprocessing) -> Tensor:
    """A picture [height, width, 3] as the model's input [3, side, side]."""
    image = Image.fromarray(picture)
    scale = how.resize / min(image.size)
    size = (how.resize, how.resize) if how.square else (round(image.width * scale), round(image.height * scale))
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (image.width - how.crop) // 2, (image.height - how.crop) // 2
    pixels = np.asarray(image.crop((left, top, left + how.crop, top + how.crop)), dtype=np.float32) / 255
    normal = (pixels - np.array(how.mean, dtype=np.float32)) / np.array(how.std, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)))
