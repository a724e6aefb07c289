"""Index image hashes, in memory for a small set or memory-mapped on disk for millions, and search by brute force.

An image takes 8 bytes per window, and a record of where it is stored. The hashes of 10 million images take 320 MB,
which a search reads once from start to end. Of the records it reads only those that it returns.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from flashbulb.audit.training_images.hashes import HASH_KIND, IMAGE_WINDOWS, Hashes
from flashbulb.audit.training_images.sources import Member, TrainingImagesError
from flashbulb.reports.tables.files import atomic_write, write_json

INDEX_VERSION = 1
MANIFEST_FILE, HASHES_FILE, RECORDS_FILE, OFFSETS_FILE = "index.json", "hashes.u64", "records.bin", "offsets.u64"

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
    """An image to be indexed, with its hashes [window]."""

    member: Member
    hashes: Hashes
    image: Image.Image


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """The hashes of a set of images, and where the images are stored.

    Args:
        source: folder or tar that holds the members.
        aspect: width over height of the windows.
        hashes: [image, window].
        records: packed members, end to end; `offsets` [image + 1] holds where each starts, and the end of the last.
    """

    source: Path
    aspect: float
    hashes: Hashes
    records: bytes | npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.hashes)

    def member(self, index: int) -> Member:
        """Return where image `index` is stored; negative indices count from the end."""
        position = range(len(self))[index]
        return Member.unpack(bytes(self.records[int(self.offsets[position]) : int(self.offsets[position + 1])]))

    def path(self, index: int) -> Path:
        """Return the path of image `index`, as `Member.path` does."""
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
    """Paths of an index's images, computed on access."""

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


def index_in_memory(source: Path, aspect: float, entries: Iterable[Entry]) -> ImageIndex:
    """Build an index in memory."""
    records, ends, hashes = bytearray(), array("Q", [0]), bytearray()
    for entry in entries:
        records += entry.member.pack()
        ends.append(len(records))
        hashes += entry.hashes.tobytes()
    table = np.frombuffer(bytes(hashes), dtype=np.uint64).reshape(-1, _N_WINDOWS)
    return ImageIndex(source, aspect, table, bytes(records), np.array(ends, dtype=np.uint64))


def write_index(source: Path, out: Path, aspect: float, entries: Iterator[Entry]) -> int:
    """Write an index into the folder `out` in bounded memory, and return its number of images.

    The manifest is written last: a folder without one is not an index.

    Raises:
        TrainingImagesError: there is no image to write, or `out` cannot be written.
    """
    fingerprint, count, end = hashlib.sha256(), 0, 0
    try:
        make_folder(out)
        (out / MANIFEST_FILE).unlink(missing_ok=True)
        with ExitStack() as stack:
            names = (HASHES_FILE, RECORDS_FILE, OFFSETS_FILE)
            parts = [stack.enter_context(atomic_write(out / name)) for name in names]
            hashes, records, offsets = (stack.enter_context(part.open("wb")) for part in parts)
            offsets.write(np.uint64(0).tobytes())
            for entry in entries:
                record = entry.member.pack()
                count, end = count + 1, end + len(record)
                fingerprint.update(record + b"\n")
                hashes.write(entry.hashes.astype("<u8").tobytes())
                records.write(record)
                offsets.write(np.array(end, dtype="<u8").tobytes())
            if not count:
                raise TrainingImagesError(f"{source} has no training image that can be read; no index was written")
    except OSError as error:
        raise TrainingImagesError(
            f"{out} cannot be written: {error.strerror or error}; choose another folder"
        ) from error
    manifest = {
        "schema_version": INDEX_VERSION,
        "hash_kind": HASH_KIND,
        "count": count,
        "source": str(source.resolve()),
        "source_fingerprint": fingerprint.hexdigest(),
        "aspect": aspect,
        "records_bytes": end,
    }
    write_json(out / MANIFEST_FILE, manifest)
    return count


def make_folder(out: Path) -> None:
    """Create the folder of an index; raise TrainingImagesError if that fails."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingImagesError(f"{out} cannot be made: {error.strerror or error}; choose another folder") from error


def open_index(folder: Path, aspect: float) -> ImageIndex:
    """Memory-map an index that `write_index` wrote; only its manifest is read.

    Raises:
        TrainingImagesError: the index is damaged, of a newer version, or of another hash or aspect, or its images
            are missing.
    """
    count, source, index_aspect, n_bytes = _read_manifest(folder)
    if abs(index_aspect / aspect - 1) > 0.01:
        raise TrainingImagesError(
            f"{folder} indexes windows of width/height {index_aspect:g}, but the model's images have {aspect:g}; "
            f"build it again with aspect={aspect:g}"
        )
    if not source.exists():
        raise TrainingImagesError(
            f"{folder} indexes {source}, which is not there; build it again from the images' new place"
        )
    sizes = {HASHES_FILE: count * _N_WINDOWS * 8, OFFSETS_FILE: (count + 1) * 8, RECORDS_FILE: n_bytes}
    for name, size in sizes.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            raise TrainingImagesError(f"{folder / name} is missing or cut short; build the index again")
    return ImageIndex(
        source,
        aspect,
        np.memmap(folder / HASHES_FILE, dtype="<u8", mode="r", shape=(count, _N_WINDOWS)),
        np.memmap(folder / RECORDS_FILE, dtype=np.uint8, mode="r"),
        np.memmap(folder / OFFSETS_FILE, dtype="<u8", mode="r"),
    )


def _read_manifest(folder: Path) -> tuple[int, Path, float, int]:
    """Return the number of images, their source, the aspect of the windows, and the length of the records in bytes."""
    path = folder / MANIFEST_FILE
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version, kind = int(manifest["schema_version"]), str(manifest["hash_kind"])
        count, n_bytes = int(manifest["count"]), int(manifest["records_bytes"])
        source, aspect = Path(manifest["source"]), float(manifest["aspect"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise TrainingImagesError(f"{path} is damaged or not of Flashbulb; build the index again") from error
    if version > INDEX_VERSION:
        raise TrainingImagesError(f"{path} has schema version {version}, newer than {INDEX_VERSION}; upgrade Flashbulb")
    if kind != HASH_KIND:
        raise TrainingImagesError(f"{path} holds hashes {kind!r}, this version compares {HASH_KIND!r}; build it again")
    return count, source, aspect, n_bytes


def is_index(folder: Path) -> bool:
    """Return whether a folder is an index rather than a folder of images."""
    return (folder / MANIFEST_FILE).is_file()
