"""Index image hashes, in memory for a small set or memory-mapped on disk for millions, and search by brute force.

An image takes 8 bytes per window, and a record of where it is stored. The hashes of 10 million images take 320 MB,
which a search reads once from start to end. Of the records it reads only those that it returns.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from flashbulb.audit.run.lock import hold_directory
from flashbulb.audit.training_images.hashes import IMAGE_WINDOWS, Hashes
from flashbulb.audit.training_images.manifest import MANIFEST_FILE, Manifest, read_manifest, write_manifest
from flashbulb.audit.training_images.sources.members import Member, TrainingImagesError
from flashbulb.audit.training_images.sources.passed_over import Tally
from flashbulb.reports.tables.files import atomic_write
from flashbulb.reports.views.passed_over import PassedOver

HASHES_FILE, RECORDS_FILE, OFFSETS_FILE = "hashes.u64", "records.bin", "offsets.u64"

_ROWS_AT_ONCE = 32768
_N_WINDOWS = len(IMAGE_WINDOWS)
_BITS_IN_16 = np.array([bin(value).count("1") for value in range(1 << 16)], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Hit:
    """An image near to a sample: the query and window whose hashes are nearest, and in how many bits they differ."""

    index: int
    bits: int
    query: int
    window: int


class Entry(NamedTuple):
    """A view of an image to be indexed, with its hashes [window]."""

    member: Member
    hashes: Hashes
    image: Image.Image


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """The hashes of a set of images, and where the images are stored.

    An image that EXIF turns has a row for each view, upright and as stored; every other image has one row.

    Args:
        source: folder, archive or table that holds the members.
        aspect: width over height of the windows.
        n_images: number of images, which is at most that of rows.
        passed_over: what the source holds beside them.
        hashes: [row, window].
        records: packed members, end to end; `offsets` [row + 1] holds where each starts, and the end of the last.
    """

    source: Path
    aspect: float
    n_images: int
    passed_over: tuple[PassedOver, ...]
    hashes: Hashes
    records: bytes | npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.hashes)

    def member(self, index: int) -> Member:
        """Return where the image of row `index` is stored; negative indices count from the end."""
        position = range(len(self))[index]
        return Member.unpack(bytes(self.records[int(self.offsets[position]) : int(self.offsets[position + 1])]))

    def path(self, index: int) -> Path:
        """Return the path of the image of row `index`, as `Member.path` does."""
        return self.member(index).path(self.source)

    def shortlist(self, queries: Hashes, n: int) -> list[Hit]:
        """Find the `n` images with a window nearest to any of the queries [query], nearest first."""
        rows, bits = _nearest_rows(self.hashes, queries, n)
        distances = count_bits(self.hashes[rows][:, None, :] ^ queries[None, :, None])  # [row, query, window]
        best = distances.reshape(len(rows), -1).argmin(axis=1)
        return [
            Hit(int(row), int(distance), int(at) // _N_WINDOWS, int(at) % _N_WINDOWS)
            for row, distance, at in zip(rows, bits, best, strict=True)
        ]


class Paths(Sequence[Path]):
    """Paths of the images of an index's rows, computed on access."""

    def __init__(self, index: ImageIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, position: int) -> Path: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Path]: ...
    def __getitem__(self, position: int | slice) -> Path | Sequence[Path]:
        if isinstance(position, slice):
            return tuple(self._index.path(i) for i in range(len(self))[position])
        return self._index.path(position)


def _nearest_rows(hashes: Hashes, queries: Hashes, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return the rows with the `n` smallest distances, and these distances; ties go to the first row."""
    rows, bits = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint8)
    for start in range(0, len(hashes), _ROWS_AT_ONCE):
        chunk = np.asarray(hashes[start : start + _ROWS_AT_ONCE])
        nearest = np.full(chunk.shape, 64, dtype=np.uint8)
        differing = np.empty_like(chunk)
        for query in queries:
            np.bitwise_xor(chunk, query, out=differing)
            np.minimum(nearest, count_bits(differing), out=nearest)
        distances = nearest.min(axis=1)
        new = np.flatnonzero(distances < bits[-1]) if len(rows) == n else np.arange(len(distances))
        rows, bits = np.concatenate([rows, new + start]), np.concatenate([bits, distances[new]])
        kept = np.argsort(bits, kind="stable")[:n]
        rows, bits = rows[kept], bits[kept]
    return rows, bits


def count_bits(values: Hashes) -> npt.NDArray[np.uint8]:
    """Count the set bits of each value."""
    if hasattr(np, "bitwise_count"):  # since numpy 2
        return np.asarray(np.bitwise_count(values), dtype=np.uint8)
    halves = _BITS_IN_16[np.ascontiguousarray(values)[..., None].view(np.uint16)]
    return np.asarray(halves.sum(axis=-1, dtype=np.uint8))


def index_in_memory(source: Path, aspect: float, entries: Iterable[Entry], tally: Tally) -> ImageIndex:
    """Build an index in memory; the tally is complete after the last entry."""
    records, ends, hashes, n_images = bytearray(), array("Q", [0]), bytearray(), 0
    for entry in entries:
        n_images += entry.member.is_first
        records += entry.member.pack()
        ends.append(len(records))
        hashes += entry.hashes.tobytes()
    table = np.frombuffer(bytes(hashes), dtype=np.uint64).reshape(-1, _N_WINDOWS)
    offsets = np.array(ends, dtype=np.uint64)
    return ImageIndex(source, aspect, n_images, tally.result(), table, bytes(records), offsets)


def write_index(source: Path, out: Path, aspect: float, entries: Iterator[Entry], tally: Tally) -> int:
    """Write an index into the existing folder `out` in bounded memory, and return its number of images.

    The manifest is written last: a folder without one is not an index. An index that is there stays until then.

    Raises:
        TrainingImagesError: there is no image to write, or `out` cannot be written.
    """
    fingerprint, n_images, count, end = hashlib.sha256(), 0, 0, 0
    try:
        with ExitStack() as stack:
            names = (HASHES_FILE, RECORDS_FILE, OFFSETS_FILE)
            parts = [stack.enter_context(atomic_write(out / name)) for name in names]
            hashes, records, offsets = (stack.enter_context(part.open("wb")) for part in parts)
            offsets.write(np.uint64(0).tobytes())
            for entry in entries:
                record = entry.member.pack()
                n_images, count, end = n_images + entry.member.is_first, count + 1, end + len(record)
                fingerprint.update(record + b"\n")
                hashes.write(entry.hashes.astype("<u8").tobytes())
                records.write(record)
                offsets.write(np.array(end, dtype="<u8").tobytes())
            if not count:
                raise TrainingImagesError(f"{source} has no training image that can be read; no index was written")
            (out / MANIFEST_FILE).unlink(missing_ok=True)  # its files are about to be replaced, one by one
    except OSError as error:
        raise TrainingImagesError(
            f"{out} cannot be written: {error.strerror or error}; choose another folder"
        ) from error
    write_manifest(
        out, Manifest(count, n_images, tally.result(), source.resolve(), fingerprint.hexdigest(), aspect, end)
    )
    return n_images


@contextmanager
def held_folder(out: Path) -> Iterator[None]:
    """Create the folder of an index, and hold it for this process while the block runs.

    Raises:
        TrainingImagesError: that fails.
        DirectoryHeldError: another process writes an index there.
    """
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold_directory(out))
        except OSError as error:
            reason = error.strerror or error
            raise TrainingImagesError(f"{out} cannot be written: {reason}; choose another folder") from error
        yield


def open_index(folder: Path, aspect: float) -> ImageIndex:
    """Memory-map an index that `write_index` wrote; only its manifest is read.

    Raises:
        TrainingImagesError: the index is damaged, of another version, or of another hash or aspect, or its images
            are missing.
    """
    manifest = read_manifest(folder)
    count, source = manifest.n_rows, manifest.source
    if abs(manifest.aspect / aspect - 1) > 0.01:
        raise TrainingImagesError(
            f"{folder} indexes windows of width/height {manifest.aspect:g}, but the model's images have {aspect:g}; "
            f"build it again with aspect={aspect:g}"
        )
    if not source.exists():
        raise TrainingImagesError(
            f"{folder} indexes {source}, which is not there; build it again from the images' new place"
        )
    sizes = {HASHES_FILE: count * _N_WINDOWS * 8, OFFSETS_FILE: (count + 1) * 8, RECORDS_FILE: manifest.n_bytes}
    for name, size in sizes.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            raise TrainingImagesError(f"{folder / name} is missing or cut short; build the index again")
    return ImageIndex(
        source,
        aspect,
        manifest.n_images,
        manifest.passed_over,
        np.memmap(folder / HASHES_FILE, dtype="<u8", mode="r", shape=(count, _N_WINDOWS)),
        np.memmap(folder / RECORDS_FILE, dtype=np.uint8, mode="r"),
        np.memmap(folder / OFFSETS_FILE, dtype="<u8", mode="r"),
    )


def is_index(folder: Path) -> bool:
    """Return whether a folder is an index; a folder of images may hold a file named like a manifest."""
    names = (HASHES_FILE, RECORDS_FILE, OFFSETS_FILE)
    return (folder / MANIFEST_FILE).is_file() and any((folder / name).is_file() for name in names)
