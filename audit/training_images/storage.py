"""Open training images from a folder, archive, table or index, and build such an index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.training_images.blocks import BlockMeans, block_means
from flashbulb.audit.training_images.descriptors import Descriptor, Embeddings, load_descriptor
from flashbulb.audit.training_images.embeddings import (
    Embedded,
    brute_force,
    faiss_search,
    open_embeddings,
    write_embeddings,
)
from flashbulb.audit.training_images.index import Entry, held_folder, index_in_memory, is_index, open_index, write_index
from flashbulb.audit.training_images.matching import shrink
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.reader import (
    ENOUGH_FOR_DESCRIPTORS,
    ENOUGH_FOR_HASHES,
    first_images,
    fit,
    log_passed_over,
    read_set,
)
from flashbulb.audit.training_images.sources.passed_over import Tally
from flashbulb.reports.views.passed_over import PassedOver

MAX_WITH_MEANS = 100_000
"""Size of a set up to which block means are held in memory, 768 bytes an image."""


@dataclass(frozen=True, slots=True)
class TrainingSource:
    """Where training images are, and the weights of the learnt descriptor if the user gave some, as plain values."""

    source: Path
    descriptor: str | None = None
    weights: Path | None = None
    sha256: str | None = None

    def opened(self, height: int, width: int) -> TrainingImages:
        """Open them at the size of the model's images, as `open_training_images` does."""
        descriptor = None
        if self.descriptor is not None and self.weights is not None:
            descriptor = load_descriptor(self.weights, self.descriptor, self.sha256)
        return open_training_images(self.source, height, width, descriptor)


def open_training_images(
    source: Path, height: int, width: int, descriptor: Descriptor | None = None, *, use_faiss: bool = False
) -> TrainingImages:
    """Read a folder, .tar, .zip or .parquet, or a folder of these; or memory-map an index that `build_index` wrote.

    Args:
        height, width: size in pixels of the model's images.
        descriptor: embeds every image of a folder or tar; an index already holds its embeddings.
        use_faiss: search embeddings approximately, for millions of images.

    Raises:
        TrainingImagesError: the source does not exist, holds no readable image, or is a damaged index.
    """
    aspect, search = width / height, faiss_search if use_faiss else brute_force
    if is_index(source):
        index = open_index(source, aspect)
        log_passed_over(index.source, index.passed_over)
        embedded = None
        if descriptor is not None:
            embeddings = open_embeddings(source, descriptor, len(index))
            embedded = Embedded(descriptor, embeddings, search(embeddings), not use_faiss)
        return TrainingImages(index, height, width, None, embedded)
    means: list[BlockMeans] = []
    vectors: list[Embeddings] = []
    tally = Tally()

    def fitted(image: Image.Image) -> Image.Image:
        return Image.fromarray(fit(image, height, width))

    def entries() -> Iterator[Entry]:
        for entry in read_set(source, aspect, 0, fitted if descriptor is None else _complete, tally):
            if len(means) < MAX_WITH_MEANS:
                means.append(block_means(fit(entry.image, height, width)))
            if descriptor is not None:
                vectors.append(descriptor.embed([np.asarray(entry.image)])[0])
            yield entry

    index = index_in_memory(source, aspect, entries(), tally)
    embedded = None
    if descriptor is not None:
        stacked = np.stack(vectors)
        embedded = Embedded(descriptor, stacked, search(stacked), not use_faiss)
    return TrainingImages(index, height, width, np.stack(means) if len(means) == len(index) else None, embedded)


def _complete(image: Image.Image) -> Image.Image:
    return image


def some_training_images(source: Path, n: int, height: int, width: int) -> RgbImages | None:
    """Read a few images of a source or of the source of an index: [image, height, width, 3]; None if none can be read.

    Raises:
        TrainingImagesError: as `open_training_images`.
    """
    return first_images(open_index(source, width / height).source if is_index(source) else source, n, height, width)


class Indexed(NamedTuple):
    """The number of images in an index, and what its source holds beside them."""

    n_images: int
    passed_over: tuple[PassedOver, ...]


def build_index(source: Path, out: Path, *, aspect: float = 1.0, descriptor: Descriptor | None = None) -> Indexed:
    """Index the images of a source in the folder `out`, in bounded memory.

    Args:
        aspect: width over height of the images that the audited model makes.
        descriptor: embeds every image, if given.

    Raises:
        TrainingImagesError: the source does not exist or holds no readable image, or `out` cannot be written.
    """
    side, tally = ENOUGH_FOR_HASHES if descriptor is None else ENOUGH_FOR_DESCRIPTORS, Tally()
    entries = read_set(source, aspect, side, partial(shrink, side=side), tally)
    with held_folder(out):
        if descriptor is None:
            n_images = write_index(source, out, aspect, entries, tally)
        else:
            with write_embeddings(out, descriptor, entries) as embedding:
                n_images = write_index(source, out, aspect, embedding, tally)
    return Indexed(n_images, tally.result())
