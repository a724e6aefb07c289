"""Embed a set of training images, store the embeddings beside its index, and search them exactly or with faiss."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.training_images.descriptors import Descriptor, Embeddings
from flashbulb.audit.training_images.index import Entry
from flashbulb.audit.training_images.manifest import MANIFEST_FILE
from flashbulb.audit.training_images.sources.members import TrainingImagesError
from flashbulb.reports.tables.files import atomic_write, sha256_of, write_json

EMBEDDINGS_FILE, EMBEDDINGS_MANIFEST = "embeddings.f16", "embeddings.json"

N_SIMILAR = 16
_ROWS_AT_ONCE = 65536
_IMAGES_AT_ONCE = 32
_IMAGES_PER_CELL = 39  # fewest that faiss wants for training


class Search(Protocol):
    """Find the `n` images most similar to each query [query, dimension]: similarities and indices, [query, n]."""

    def __call__(self, queries: Embeddings, n: int, /) -> tuple[Embeddings, npt.NDArray[np.int64]]: ...


@dataclass(frozen=True, slots=True)
class Embedded:
    """A descriptor, its embeddings of a set of images [image, dimension], and a search over them, exact or not."""

    descriptor: Descriptor
    embeddings: npt.NDArray[np.floating[Any]]
    search: Search
    is_exact: bool

    @property
    def identity(self) -> str:
        """What results depend on besides the sample: the descriptor, the search, and the SHA-256 of all embeddings."""
        digest = hashlib.sha256(f"{self.embeddings.dtype.str} {self.is_exact}".encode())
        for start in range(0, len(self.embeddings), _ROWS_AT_ONCE):
            digest.update(np.ascontiguousarray(self.embeddings[start : start + _ROWS_AT_ONCE]).data)
        return " ".join([self.descriptor.kind, self.descriptor.sha256, digest.hexdigest()])

    def nearest(self, sample: RgbImage) -> list[tuple[int, float]]:
        """Return index and similarity of the images most similar to a sample or its mirror image, best first."""
        queries = self.descriptor.embed([sample, np.ascontiguousarray(sample[:, ::-1])])
        similarities, indices = self.search(queries, N_SIMILAR)
        best: dict[int, float] = {}
        for index, similarity in zip(indices.ravel().tolist(), similarities.ravel().tolist(), strict=True):
            if index >= 0:  # faiss pads with -1
                best[index] = max(similarity, best.get(index, -1.0))
        return sorted(best.items(), key=lambda pair: -pair[1])


def brute_force(embeddings: npt.NDArray[np.floating[Any]]) -> Search:
    """Search by comparing with every embedding [image, dimension], some at a time."""

    def search(queries: Embeddings, n: int) -> tuple[Embeddings, npt.NDArray[np.int64]]:
        values = np.empty((len(queries), 0), dtype=np.float32)
        rows = np.empty((len(queries), 0), dtype=np.int64)
        for start in range(0, len(embeddings), _ROWS_AT_ONCE):
            part = queries @ np.asarray(embeddings[start : start + _ROWS_AT_ONCE], dtype=np.float32).T
            here = np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)
            values, rows = np.concatenate([values, part], axis=1), np.concatenate([rows, here], axis=1)
            kept = np.argsort(-values, axis=1, kind="stable")[:, :n]
            values, rows = np.take_along_axis(values, kept, axis=1), np.take_along_axis(rows, kept, axis=1)
        return values, rows

    return search


def faiss_search(embeddings: npt.NDArray[np.floating[Any]]) -> Search:
    """Search approximately (IVF, 8 bits a value), for sets too large for `brute_force`; needs the `faiss` extra.

    Raises:
        TrainingImagesError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise TrainingImagesError("this search needs faiss: pip install 'flashbulb[faiss]'") from error
    n_cells = max(1, min(4096, len(embeddings) // _IMAGES_PER_CELL))
    index = faiss.index_factory(embeddings.shape[1], f"IVF{n_cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    step = max(1, len(embeddings) // (256 * n_cells))
    index.train(np.ascontiguousarray(embeddings[::step], dtype=np.float32))
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        index.add(np.ascontiguousarray(embeddings[start : start + _ROWS_AT_ONCE], dtype=np.float32))
    index.nprobe = max(1, n_cells // 16)

    def search(queries: Embeddings, n: int) -> tuple[Embeddings, npt.NDArray[np.int64]]:
        similarities, rows = index.search(queries, n)
        return similarities, rows

    return search


@contextmanager
def write_embeddings(out: Path, descriptor: Descriptor, entries: Iterator[Entry]) -> Iterator[Iterator[Entry]]:
    """Yield the entries and embed each as it passes; the files appear in `out` when the block ends without error."""
    count, dimension = 0, 0
    with atomic_write(out / EMBEDDINGS_FILE) as part, part.open("wb") as file:

        def embed_entries() -> Iterator[Entry]:
            nonlocal count, dimension
            while chunk := list(islice(entries, _IMAGES_AT_ONCE)):
                vectors = descriptor.embed([np.asarray(entry.image) for entry in chunk])
                file.write(vectors.astype("<f2").tobytes())
                count, dimension = count + len(chunk), vectors.shape[1]
                yield from chunk

        yield embed_entries()
        (out / EMBEDDINGS_MANIFEST).unlink(missing_ok=True)
    manifest = {
        "kind": descriptor.kind,
        "sha256": descriptor.sha256,
        "count": count,
        "dimension": dimension,
        "index_sha256": sha256_of(out / MANIFEST_FILE),
    }
    write_json(out / EMBEDDINGS_MANIFEST, manifest)


def open_embeddings(folder: Path, descriptor: Descriptor, count: int) -> npt.NDArray[np.float16]:
    """Memory-map the embeddings beside an index of `count` images: [image, dimension].

    Raises:
        TrainingImagesError: there are none, they are damaged, or they belong to another descriptor or index.
    """
    try:
        manifest = json.loads((folder / EMBEDDINGS_MANIFEST).read_text(encoding="utf-8"))
        made_by, shape = (manifest["kind"], manifest["sha256"]), (int(manifest["count"]), int(manifest["dimension"]))
        is_for_index = manifest["index_sha256"] == sha256_of(folder / MANIFEST_FILE)
        embeddings = np.memmap(folder / EMBEDDINGS_FILE, dtype="<f2", mode="r", shape=shape)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise TrainingImagesError(
            f"{folder} holds no descriptors that can be read; build the index again with these weights"
        ) from error
    if made_by != (descriptor.kind, descriptor.sha256) or shape[0] != count or not is_for_index:
        raise TrainingImagesError(
            f"{folder} holds {shape[0]} descriptors by {made_by[0]} {made_by[1][:12]}, not {count} by "
            f"{descriptor.kind} {descriptor.sha256[:12]}; build the index again with these weights"
        )
    return embeddings
