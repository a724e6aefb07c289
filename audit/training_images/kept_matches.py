"""Keep on disk which training images samples match, so that a second run matches nothing again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from flashbulb import __version__
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.run.tensors import read_tensors, write_tensors
from flashbulb.reports.tables import limits

_ROOMS = (Path(__file__).parent, Path(__file__).parents[1] / "images")
"""Rooms whose code decides what a sample matches, beside the limits."""
_LIBRARIES = ("numpy", "pillow", "torch")


class KeptMatch(NamedTuple):
    """What a call found.

    Args:
        read: rows of the images that were read for it.
        read_sha256: of their bytes.
        matches: one document for each sample.
    """

    read: list[int]
    read_sha256: str
    matches: list[dict[str, Any]]


class KeptMatches:
    """Matches of samples with one set of images, one file for the samples of each call.

    Args:
        identity: hash of all that decides a match, but for the samples and the bytes of the images that are read.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity

    def load(self, samples: RgbImages) -> KeptMatch | None:
        """Return what was found for these samples; None if nothing was kept, or it is damaged or of another identity.

        The caller compares the bytes of the images that were read.
        """
        kept = read_tensors(*self._place(samples))
        if kept is None:
            return None
        tensors, stated = kept
        return KeptMatch(tensors["read"].tolist(), stated["read_sha256"], stated["matches"])

    def save(
        self, samples: RgbImages, read: Sequence[int], read_sha256: str, matches: Sequence[Mapping[str, Any]]
    ) -> None:
        """Keep what was found for samples [sample, height, width, 3]; see `KeptMatch`."""
        rows = torch.tensor(read, dtype=torch.int64)
        stated = {"read_sha256": read_sha256, "matches": [*matches]}
        path, identity = self._place(samples)
        write_tensors(path, {"read": rows}, identity, stated)

    def _place(self, samples: RgbImages) -> tuple[Path, str]:
        """Return the file of these samples, and the identity that it states, of which they are a part."""
        digest = hashlib.sha256(json.dumps(samples.shape).encode())
        digest.update(np.ascontiguousarray(samples).data)
        key = digest.hexdigest()
        return self._folder / f"{key[:32]}.safetensors", f"{self._identity} {key}"


def identity_of_matches(
    sha256: str, size: tuple[int, int], means: npt.NDArray[np.floating[Any]] | None, embedded: str | None
) -> str:
    """Hash what identifies a set of images, together with the code and the libraries that compare them.

    Args:
        sha256: of the hashes of the images, and of where they are stored.
        size: height and width in pixels of the samples.
        means: block means of the images.
        embedded: identity of the learnt descriptors.
    """
    means_sha256 = None if means is None else hashlib.sha256(np.ascontiguousarray(means).data).hexdigest()
    libraries = {name: version(name) for name in _LIBRARIES}
    parts = [__version__, libraries, _code_sha256(), sha256, size, means_sha256, embedded]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@cache
def _code_sha256() -> str:
    """Hash the code that compares, so that no match outlives a change of it; an installation may lack its source."""
    files = [*(path for room in _ROOMS for path in sorted(room.rglob("*.py"))), Path(limits.__file__)]
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()
