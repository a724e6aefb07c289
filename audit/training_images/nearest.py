"""Find the training image nearest to a sample: in the same framing, mirrored, cropped, shifted or in part.

A small set is searched twice. The first search uses block means. Their distance never exceeds the tile distance
between the images, so a search that reads images in the order of this bound can stop early. The second search uses
the hashes of windows, as in an index on disk: it aligns the shortlisted images with the sample and compares exactly.

Limits: rotations, changed colours and paraphrases need a learnt descriptor. For a sample that copies nothing the
result is near, but not provably the nearest. The bound is exact if both sides are multiples of 8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from flashbulb.audit.images.distances import RgbImage, RgbImages, tile_distances
from flashbulb.audit.training_images.blocks import BlockMeans, lower_bounds
from flashbulb.audit.training_images.candidates import Candidate, Place, find_candidates, find_places
from flashbulb.audit.training_images.embeddings import Embedded
from flashbulb.audit.training_images.index import ImageIndex, Paths
from flashbulb.audit.training_images.kept_matches import KeptMatches, identity_of_matches
from flashbulb.audit.training_images.matching import FINE_SIDE, Match, align, is_replica, luma, match, shrink
from flashbulb.audit.training_images.originals import Originals
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.audit.training_images.templates import template_match
from flashbulb.reports.tables.limits import TEMPLATE, VERBATIM
from flashbulb.reports.views.passed_over import PassedOver

SHORTLIST = 32
"""Images that the search by block means reads at most, in each orientation."""
HASH_SHORTLIST = 64
"""Images that the search by hashes shortlists."""
NEAR_BITS = 20
"""Bits of 64 in which the hashes of near-duplicates differ at most. Of 406 images, those that count as a copy after
JPEG, half the size, other brightness, a border or a crop differ in at most 11."""
N_COMPARED = 6
"""Aligned images that are compared exactly."""

_MIN_COARSE = 0.65  # correlation at 16 pixels a side below which an image is not compared exactly


class TrainingImages:
    """Training images, held as hashes and block means, and read again when a sample is near.

    Args:
        height, width: size in pixels of the model's images.
        means: block means of every image; None if the set is too large to hold them.
        embedded: learnt descriptors of every image, if the user gave weights.
    """

    def __init__(
        self, index: ImageIndex, height: int, width: int, means: BlockMeans | None, embedded: Embedded | None
    ) -> None:
        self.paths = Paths(index)
        self.height, self.width = height, width
        self._index, self._means, self._embedded = index, means, embedded
        self._originals = Originals(index, height, width)
        self._kept: KeptMatches | None = None

    def __len__(self) -> int:
        return self._index.n_images

    def views(self) -> list[list[int]]:
        """Return the rows of each image, which `image` takes: two where EXIF turns it, upright and as stored."""
        rows: list[list[int]] = []
        for row in range(len(self._index)):
            if self._index.member(row).is_first:
                rows.append([])
            rows[-1].append(row)
        return rows

    @property
    def passed_over(self) -> tuple[PassedOver, ...]:
        """What the source holds beside these images."""
        return self._index.passed_over

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the hashes that samples are compared with, and of where each image is stored."""
        digest = hashlib.sha256(np.ascontiguousarray(self._index.hashes, dtype="<u8").data)
        digest.update(np.frombuffer(self._index.records, dtype=np.uint8).data)
        return digest.hexdigest()

    @property
    def identity(self) -> str:
        """What a verdict on a sample depends on besides it: the images, and the learnt descriptors of them."""
        return self.sha256 if self._embedded is None else f"{self.sha256} {self._embedded.identity}"

    def image(self, index: int) -> RgbImage:
        """Return the training image of row `index` at the model's size: [height, width, 3].

        Raises:
            TrainingImagesError: its file is missing or has changed since the set was read.
        """
        return self._originals.fitted(index)

    def label(self, index: int) -> str:
        """Return the name of image `index` relative to the source."""
        return self._index.member(index).label

    def near_duplicates(self, index: int) -> list[int]:
        """Find other images that would count as a copy of image `index` in the same framing, up to `HASH_SHORTLIST`.

        Only images whose hashes differ in at most `NEAR_BITS` are read.
        """
        label, image = self.label(index), self.image(index)
        hits = self._index.shortlist(np.asarray(self._index.hashes[index])[:1], HASH_SHORTLIST + 1)
        near = {hit.index for hit in hits if hit.bits <= NEAR_BITS}
        others = [other for other in near if self._index.member(other).is_first and self.label(other) != label]
        distances = {other: float(tile_distances(self.image(other)[None], image)[0]) for other in others}
        return [other for other, distance in distances.items() if is_replica(image, self.image(other), distance)]

    def keep_matches(self, folder: Path) -> None:
        """Keep what `nearest` finds in a folder, and find it there again.

        A kept match is used if it is of the same samples, of the same set, by the same code, and if every image that
        was read for it still has the bytes that it had.
        """
        embedded = None if self._embedded is None else self._embedded.identity
        identity = identity_of_matches(self.sha256, (self.height, self.width), self._means, embedded)
        self._kept = KeptMatches(folder, identity)

    def nearest(self, images: RgbImages) -> list[Nearest]:
        """Find the nearest training image of each sample [sample, height, width, 3].

        An image that the sample copies takes precedence over one that is merely near.

        Raises:
            ValueError: the samples have another size than the training images were opened for.
            TrainingImagesError: an image is missing or has changed since the set was read.
        """
        if images.shape[1:] != (self.height, self.width, 3):
            expected = (self.height, self.width, 3)
            raise ValueError(f"samples of {images.shape[1:]} cannot be compared with images of {expected}")
        kept = self._kept.load(images) if self._kept is not None else None
        if kept is not None and self._originals.sha256_of(kept.read) == kept.read_sha256:
            return [Nearest.from_document(match, self.paths[match["index"]]) for match in kept.matches]
        self._originals.asked.clear()
        found = [self._nearest(image) for image in images]
        if self._kept is not None:
            read = sorted(self._originals.asked)
            self._kept.save(images, read, self._originals.sha256_of(read), [nearest.as_document() for nearest in found])
        return found

    def _nearest(self, sample: RgbImage) -> Nearest:
        nearest = self._by_means(sample) if self._means is not None else None
        if nearest is not None and nearest.kind is not None:
            return nearest
        places = find_places(self._index, sample, HASH_SHORTLIST)
        learnt = self._embedded.nearest(sample) if self._embedded is not None else []
        places += [Place(index, False) for index, _ in learnt]
        if nearest is not None:
            places.append(Place(nearest.index, nearest.is_mirrored))
        candidates = find_candidates(sample, places, self._originals.thumbnail, N_COMPARED)
        if nearest is None:
            unmoved = [self._same_framing(sample, c.index, c.is_mirrored) for c in candidates]
            nearest = min(unmoved, key=lambda found: (found.kind is None, found.distance))
        if nearest.kind is None:
            nearest = self._by_alignment(sample, candidates) or nearest
        return self._add_learnt(sample, nearest, learnt)

    def _by_means(self, sample: RgbImage) -> Nearest:
        """Find the nearest image in the same framing; images are read in the order of the bounds on their distances."""
        assert self._means is not None, "this search needs block means"
        best: tuple[float, int, bool] | None = None
        for is_mirrored in (False, True):
            oriented = sample[:, ::-1] if is_mirrored else sample
            bounds = lower_bounds(self._means, oriented)
            for index in np.argsort(bounds, kind="stable")[:SHORTLIST].tolist():
                if best is not None and bounds[index] >= best[0]:
                    break
                distance = float(tile_distances(self.image(index)[None], oriented)[0])
                if best is None or distance < best[0]:
                    best = (distance, index, is_mirrored)
        assert best is not None, "an empty set is refused when it is opened"
        return self._same_framing(sample, best[1], best[2])

    def _same_framing(self, sample: RgbImage, index: int, is_mirrored: bool) -> Nearest:
        """Compare a sample with image `index` in the same framing."""
        oriented, image = sample[:, ::-1] if is_mirrored else sample, self.image(index)
        distance = float(tile_distances(image[None], oriented)[0])
        kind = VERBATIM if is_replica(oriented, image, distance) else None
        return Nearest(index, self.paths[index], distance, is_mirrored, kind)

    def _by_alignment(self, sample: RgbImage, candidates: Sequence[Candidate]) -> Nearest | None:
        """Find an image with a window that the sample copies, else one that it copies in part."""
        partial: Nearest | None = None
        for candidate in candidates:
            if candidate.correlation < _MIN_COARSE:
                break
            overlapping = self._match(sample, candidate)
            if overlapping is None:
                continue
            index, path = candidate.index, self.paths[candidate.index]
            found = Nearest(index, path, overlapping.distance, candidate.is_mirrored, box=overlapping.box)
            if overlapping.is_copy:
                return replace(found, kind=VERBATIM)
            if partial is None and template_match(overlapping.sample, overlapping.image).is_match:
                partial = replace(found, kind=TEMPLATE)
        return partial

    def _match(self, sample: RgbImage, candidate: Candidate) -> Match | None:
        oriented = Image.fromarray(np.ascontiguousarray(sample[:, ::-1] if candidate.is_mirrored else sample))
        fine, image = np.asarray(shrink(oriented, FINE_SIDE)), self._originals.fine(candidate.index)
        return match(fine, image, align(luma(fine), image.convert("L"), candidate.at))

    def _add_learnt(self, sample: RgbImage, nearest: Nearest, learnt: Sequence[tuple[int, float]]) -> Nearest:
        """Add the descriptor's similarity; without agreement of pixels, a similar image counts as a template only."""
        if self._embedded is None:
            return nearest
        index, similarity = learnt[0]
        limit = self._embedded.descriptor.copy_similarity
        if nearest.kind is None and limit is not None and similarity >= limit:
            return replace(self._same_framing(sample, index, False), kind=TEMPLATE, copy_similarity=similarity)
        return replace(nearest, copy_similarity=dict(learnt).get(nearest.index))
