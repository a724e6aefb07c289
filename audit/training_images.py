"""Find the training picture nearest to a sample: of the same framing, mirrored, cropped, shifted or in part.

A small set is searched twice. First by block means: the distance between those of two pictures is never above the
tile distance between the pictures, so that reading pictures in the order of that bound can stop early. Then, as in
an index on disk, by the hashes of windows: the shortlist is aligned with the sample and compared exactly.

Limits: rotations, changed colours and paraphrases take a learnt descriptor. A sample that copies nothing gets one of
the nearest pictures, not provably the nearest. The bound is exact for sides that are multiples of 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from audit.evidence import Pictures, tile_distances
from audit.training.blocks import BlockMeans, describe, lower_bounds
from audit.training.descriptors import Descriptor
from audit.training.embeddings import Embedded, brute_force, faiss_search, open_embeddings, write_embeddings
from audit.training.index import Entry, ImageIndex, Paths, index_in_memory, is_index, open_index, write_index
from audit.training.matching import FINE_SIDE, Match, align, is_replica, luma, match, reduced
from audit.training.reading import ENOUGH_FOR_DESCRIPTORS, ENOUGH_FOR_HASHES, fit, read_set
from audit.training.search import Candidate, Place, aligned, places_by_hash, thumbnail_of
from audit.training.sources import UNREADABLE, TrainingImagesError, decode, read_member
from audit.training.templates import template_match

__all__ = ["Nearest", "TrainingImages", "TrainingImagesError", "build_index", "open_training_images"]

SHORTLIST = 32  # pictures of the same framing that are read, for each orientation
HASH_SHORTLIST = 64
N_JUDGED = 6
MAX_WITH_MEANS = 100_000
"""Pictures up to which a set is held with block means, 768 bytes each."""

VERBATIM, TEMPLATE = "verbatim", "template"

_MIN_COARSE = 0.65  # correlation at 16 pixels below which a closer look is useless
_N_CACHED, _N_THUMBNAILS = 64, 4096

Picture = npt.NDArray[np.uint8]  # [height, width, 3]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Nearest:
    """The training picture closest to a sample.

    Args:
        index: of the picture in `TrainingImages.paths`.
        path: of its file; for a picture in a tar its name below the path of the tar, where there is no file.
        distance: tile distance, in [0, 1]; of the part that both show where that is less than the whole.
        is_mirrored: the sample resembles the picture's mirror image.
        kind: `verbatim` where the whole sample is in the picture or the whole picture in the sample, up to a crop;
            `template` where most of them but not all agrees; None where the sample copies no picture.
        box: part of the picture that the sample shows, left, top, right, bottom from 0 to 1; None for the usual crop.
        copy_similarity: what the learnt descriptor says, where there is one.
    """

    index: int
    path: Path
    distance: float
    is_mirrored: bool
    kind: str | None = None
    box: Box | None = None
    copy_similarity: float | None = None

    @property
    def similarity(self) -> float:
        return 1.0 - self.distance


class TrainingImages:
    """Training pictures, held as hashes and small descriptors, and read again when a sample comes near.

    Args:
        means: block means of every picture [picture, ...]; None where the set is too large to hold them.
        embedded: learnt descriptors of every picture, if the user gave weights.
    """

    def __init__(
        self, index: ImageIndex, height: int, width: int, means: BlockMeans | None, embedded: Embedded | None = None
    ) -> None:
        self.paths = Paths(index)
        self.height, self.width = height, width
        self._index, self._means, self._embedded = index, means, embedded
        self._fitted = lru_cache(maxsize=_N_CACHED)(lambda i: fit(self._decoded(i), height, width))
        self._fine = lru_cache(maxsize=_N_CACHED)(lambda i: reduced(self._decoded(i), 2 * FINE_SIDE))
        self._thumbnail = lru_cache(maxsize=_N_THUMBNAILS)(lambda i: thumbnail_of(self._fine(i)))

    def __len__(self) -> int:
        return len(self._index)

    def picture(self, index: int) -> Picture:
        """Training picture `index` at the model's size: [height, width, 3].

        Raises:
            TrainingImagesError: it is gone or another than when the set was read.
        """
        return self._fitted(index)

    def _decoded(self, index: int) -> Image.Image:
        member = self._index.member(index)
        try:
            return decode(read_member(self._index.source, member))
        except UNREADABLE as error:
            path, way_out = member.path(self._index.source), "run it again, or build the index again"
            raise TrainingImagesError(f"{path} changed during the audit or since it was indexed; {way_out}") from error

    def nearest(self, pictures: Pictures) -> list[Nearest]:
        """The nearest training picture of each sample [sample, height, width, 3].

        A picture that the sample copies comes before one that is merely near.

        Raises:
            ValueError: the samples are of another size than the training pictures were opened for.
        """
        if pictures.shape[1:] != (self.height, self.width, 3):
            own = (self.height, self.width, 3)
            raise ValueError(f"samples of {pictures.shape[1:]} cannot be compared with pictures of {own}")
        return [self._nearest(picture) for picture in pictures]

    def _nearest(self, sample: Picture) -> Nearest:
        whole = self._by_means(sample) if self._means is not None else None
        if whole is not None and whole.kind is not None:
            return whole
        places = places_by_hash(self._index, sample, HASH_SHORTLIST)
        learnt = self._embedded.nearest(sample) if self._embedded is not None else []
        places += [Place(index, False) for index, _ in learnt]
        if whole is not None:
            places.append(Place(whole.index, whole.is_mirrored))
        candidates = aligned(sample, places, self._thumbnail, N_JUDGED)
        if whole is None:
            same = [self._same_framing(sample, c.index, c.is_mirrored) for c in candidates]
            whole = min(same, key=lambda nearest: (nearest.kind is None, nearest.distance))
        if whole.kind is None:
            whole = self._by_alignment(sample, candidates) or whole
        return self._with_learnt(sample, whole, learnt)

    def _by_means(self, sample: Picture) -> Nearest:
        """The nearest picture of the same framing, read in the order of the bounds on their distances."""
        assert self._means is not None, "only sets with block means are searched by them"
        best: tuple[float, int, bool] | None = None
        for is_mirrored in (False, True):
            seen = sample[:, ::-1] if is_mirrored else sample
            bounds = lower_bounds(self._means, seen)
            for index in np.argsort(bounds, kind="stable")[:SHORTLIST].tolist():
                if best is not None and bounds[index] >= best[0]:
                    break
                distance = float(tile_distances(self.picture(index)[None], seen)[0])
                if best is None or distance < best[0]:
                    best = (distance, index, is_mirrored)
        assert best is not None, "a set without pictures is refused when it is opened"
        return self._same_framing(sample, best[1], best[2])

    def _same_framing(self, sample: Picture, index: int, is_mirrored: bool) -> Nearest:
        seen, picture = sample[:, ::-1] if is_mirrored else sample, self.picture(index)
        distance = float(tile_distances(picture[None], seen)[0])
        kind = VERBATIM if is_replica(seen, picture, distance) else None
        return Nearest(index, self.paths[index], distance, is_mirrored, kind)

    def _by_alignment(self, sample: Picture, candidates: Sequence[Candidate]) -> Nearest | None:
        """The picture with a window that the sample copies, else one that it copies in part."""
        part: Nearest | None = None
        for candidate in candidates:
            if candidate.correlation < _MIN_COARSE:
                break
            judged = self._judged(sample, candidate)
            if judged is None:
                continue
            index, path = candidate.index, self.paths[candidate.index]
            found = Nearest(index, path, judged.distance, candidate.is_mirrored, box=judged.box)
            if judged.is_copy:
                return replace(found, kind=VERBATIM)
            if part is None and template_match(judged.sample, judged.picture).is_match:
                part = replace(found, kind=TEMPLATE)
        return part

    def _judged(self, sample: Picture, candidate: Candidate) -> Match | None:
        seen = Image.fromarray(np.ascontiguousarray(sample[:, ::-1] if candidate.is_mirrored else sample))
        fine, picture = np.asarray(reduced(seen, FINE_SIDE)), self._fine(candidate.index)
        return match(fine, picture, align(luma(fine), picture.convert("L"), candidate.at))

    def _with_learnt(self, sample: Picture, nearest: Nearest, learnt: Sequence[tuple[int, float]]) -> Nearest:
        """Add what the descriptor says; alone, it can show a copy only in part."""
        if self._embedded is None:
            return nearest
        index, similarity = learnt[0]
        limit = self._embedded.descriptor.copy_similarity
        if nearest.kind is None and limit is not None and similarity >= limit:
            return replace(self._same_framing(sample, index, False), kind=TEMPLATE, copy_similarity=similarity)
        return replace(nearest, copy_similarity=dict(learnt).get(nearest.index))


def open_training_images(
    source: Path, height: int, width: int, descriptor: Descriptor | None = None, *, use_faiss: bool = False
) -> TrainingImages:
    """Read a folder, imagefolder, .tar or folder of .tar; or map an index made by `build_index`.

    Args:
        descriptor: embeds every picture, which takes a pass over all of them; an index holds what was embedded.
        use_faiss: search embeddings approximately, for millions of pictures.

    Raises:
        TrainingImagesError: there is nothing of the kind, no picture in it that can be read, or a damaged index.
    """
    aspect, search = width / height, faiss_search if use_faiss else brute_force
    if is_index(source):
        index = open_index(source, aspect)
        embedded = None
        if descriptor is not None:
            embedded = Embedded(descriptor, search(open_embeddings(source, descriptor, len(index))))
        return TrainingImages(index, height, width, None, embedded)
    means: list[BlockMeans] = []
    vectors: list[npt.NDArray[np.float32]] = []

    def entries() -> Iterator[Entry]:
        for entry in read_set(source, aspect, 0):
            if len(means) < MAX_WITH_MEANS:
                means.append(describe(fit(entry.image, height, width)))
            if descriptor is not None:
                vectors.append(descriptor.embed([np.asarray(entry.image)])[0])
            yield entry

    index = index_in_memory(source, aspect, entries())
    embedded = Embedded(descriptor, search(np.stack(vectors))) if descriptor is not None else None
    return TrainingImages(index, height, width, np.stack(means) if len(means) == len(index) else None, embedded)


def build_index(source: Path, out: Path, *, aspect: float = 1.0, descriptor: Descriptor | None = None) -> int:
    """Hash every picture of a source into the folder `out`, in bounded memory; returns their number.

    Args:
        aspect: width over height of the pictures that the audited model makes.

    Raises:
        TrainingImagesError: no such source, no picture in it that can be read, or `out` cannot be written.
    """
    entries = read_set(source, aspect, ENOUGH_FOR_HASHES if descriptor is None else ENOUGH_FOR_DESCRIPTORS)
    if descriptor is None:
        return write_index(source, out, aspect, entries)
    with write_embeddings(out, descriptor, entries) as embedding:
        return write_index(source, out, aspect, embedding)
