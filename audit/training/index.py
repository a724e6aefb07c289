"""An index of picture hashes: in memory for a small set, on disk as memory maps for millions, searched by brute force.

A picture takes 8 bytes a window and a record of where it lies, so 10 million pictures take 320 MB of hashes, which a
search reads once from start to end, and the names beside them, of which it reads only those it returns.
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

from audit.training.hashes import HASH_KIND, PICTURE_WINDOWS, Hashes
from audit.training.sources import Member, TrainingImagesError
from reports.files import whole_file, write_json

INDEX_VERSION = 1
MANIFEST_FILE, HASHES_FILE, RECORDS_FILE, OFFSETS_FILE = "index.json", "hashes.u64", "records.bin", "offsets.u64"

_ROWS_AT_ONCE = 32768
_N_WINDOWS = len(PICTURE_WINDOWS)
_BITS_IN_16 = np.array([bin(value).count("1") for value in range(1 << 16)], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Hit:
    """A picture near to a sample by its hashes: which query and which window of the picture are nearest."""

    index: int
    bits: int
    query: int
    window: int


class Entry(NamedTuple):
    """One picture as it enters an index, with its hashes [window]."""

    member: Member
    hashes: Hashes
    image: Image.Image


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """Where pictures lie and what their windows hash to.

    Args:
        source: folder or tar that the members lie in.
        aspect: width over height of the windows.
        hashes: [picture, window].
        records: packed members, end to end, and `offsets` [picture + 1] of their bytes.
    """

    source: Path
    aspect: float
    hashes: Hashes
    records: bytes | npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.hashes)

    def member(self, index: int) -> Member:
        """Where picture `index` lies; negative indices count from the end."""
        position = range(len(self))[index]
        return Member.unpack(bytes(self.records[int(self.offsets[position]) : int(self.offsets[position + 1])]))

    def path(self, index: int) -> Path:
        return self.member(index).path(self.source)

    def shortlist(self, queries: Hashes, n: int) -> list[Hit]:
        """The `n` pictures with a window nearest to any of the queries [query], nearest first."""
        rows, bits = _nearest_rows(self.hashes, queries, n)
        apart = count_bits(self.hashes[rows][:, None, :] ^ queries[None, :, None])  # [row, query, window]
        best = apart.reshape(len(rows), -1).argmin(axis=1)
        return [
            Hit(int(row), int(distance), int(at) // _N_WINDOWS, int(at) % _N_WINDOWS)
            for row, distance, at in zip(rows, bits, best, strict=True)
        ]


class Paths(Sequence[Path]):
    """Paths of an index's pictures, made when they are asked for."""

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
    """Rows of the `n` smallest distances and these; of equal ones the first in order."""
    rows, bits = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint8)
    for start in range(0, len(hashes), _ROWS_AT_ONCE):
        chunk = np.asarray(hashes[start : start + _ROWS_AT_ONCE])
        nearest = np.full(chunk.shape, 64, dtype=np.uint8)
        differing = np.empty_like(chunk)
        for query in queries:
            np.bitwise_xor(chunk, query, out=differing)
            np.minimum(nearest, count_bits(differing), out=nearest)
        of_row = nearest.min(axis=1)
        new = np.flatnonzero(of_row < bits[-1]) if len(rows) == n else np.arange(len(of_row))
        rows, bits = np.concatenate([rows, new + start]), np.concatenate([bits, of_row[new]])
        kept = np.argsort(bits, kind="stable")[:n]
        rows, bits = rows[kept], bits[kept]
    return rows, bits


def count_bits(values: Hashes) -> npt.NDArray[np.uint8]:
    """Number of set bits of each value."""
    if hasattr(np, "bitwise_count"):  # since numpy 2
        return np.asarray(np.bitwise_count(values), dtype=np.uint8)
    halves = _BITS_IN_16[np.ascontiguousarray(values)[..., None].view(np.uint16)]
    return np.asarray(halves.sum(axis=-1, dtype=np.uint8))


def index_in_memory(source: Path, aspect: float, entries: Iterable[Entry]) -> ImageIndex:
    """Gather entries, which have been read, into an index."""
    records, ends, hashes = bytearray(), array("Q", [0]), bytearray()
    for entry in entries:
        records += entry.member.pack()
        ends.append(len(records))
        hashes += entry.hashes.tobytes()
    table = np.frombuffer(bytes(hashes), dtype=np.uint64).reshape(-1, _N_WINDOWS)
    return ImageIndex(source, aspect, table, bytes(records), np.array(ends, dtype=np.uint64))


def write_index(source: Path, out: Path, aspect: float, entries: Iterator[Entry]) -> int:
    """Write entries as they come, in bounded memory; the manifest makes it an index and comes last. Returns the count.

    Raises:
        TrainingImagesError: there is no picture to write, or `out` cannot be written.
    """
    fingerprint, count, end = hashlib.sha256(), 0, 0
    try:
        make_folder(out)
        (out / MANIFEST_FILE).unlink(missing_ok=True)
        with ExitStack() as stack:
            parts = [stack.enter_context(whole_file(out / name)) for name in (HASHES_FILE, RECORDS_FILE, OFFSETS_FILE)]
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
                raise TrainingImagesError(f"{source} has no training picture that can be read; no index was written")
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
    """Make the folder of an index.

    Raises:
        TrainingImagesError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingImagesError(f"{out} cannot be made: {error.strerror or error}; choose another folder") from error


def open_index(folder: Path, aspect: float) -> ImageIndex:
    """Map an index made by `write_index`; nothing but its manifest is read.

    Raises:
        TrainingImagesError: damaged, of a newer version, another hash or aspect, or its pictures are not there.
    """
    count, source, made_for, n_bytes = _manifest(folder)
    if abs(made_for / aspect - 1) > 0.01:
        raise TrainingImagesError(
            f"{folder} indexes windows of width/height {made_for:g}, the model's pictures have {aspect:g}; "
            f"build it again with aspect={aspect:g}"
        )
    if not source.exists():
        raise TrainingImagesError(f"{folder} indexes {source}, which is not there; build it again where they are now")
    sizes = {
        HASHES_FILE: count * _N_WINDOWS * 8,
        OFFSETS_FILE: (count + 1) * 8,
        RECORDS_FILE: n_bytes,
    }
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


def _manifest(folder: Path) -> tuple[int, Path, float, int]:
    """Number of pictures, their source, the aspect of the windows, and the length of the records."""
    path = folder / MANIFEST_FILE
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version, kind = int(manifest["schema_version"]), str(manifest["hash_kind"])
        count, n_bytes = int(manifest["count"]), int(manifest["records_bytes"])
        source, aspect = Path(manifest["source"]), float(manifest["aspect"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise TrainingImagesError(f"{path} is damaged or not Engram's; build the index again") from error
    if version > INDEX_VERSION:
        raise TrainingImagesError(f"{path} has schema version {version}, newer than {INDEX_VERSION}; upgrade Engram")
    if kind != HASH_KIND:
        raise TrainingImagesError(f"{path} holds hashes {kind!r}, this version compares {HASH_KIND!r}; build it again")
    return count, source, aspect, n_bytes


def is_index(folder: Path) -> bool:
    """Whether a folder is an index rather than pictures."""
    return (folder / MANIFEST_FILE).is_file()
