"""A recorded set on disk: read its shards one at a time, write and read its prompts, find damage.

Activations of step sites are averaged over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from flashbulb.audit.detectors import Matrix, Vector
from flashbulb.audit.prompts.held import PROMPT_COLUMNS, HeldPrompts
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.record.recorder import Recorded
from flashbulb.audit.record.reduction import BASELINES_FILE, BASELINES_SHA256, BULK, LAYOUT
from flashbulb.audit.record.rows import PROMPT_FOLDER, STEP_FOLDER
from flashbulb.hooks import DamagedFile, FingerprintMismatch, complete_shards, read_activations, read_manifest
from flashbulb.reports.tables.files import atomic_write, sha256_of

PROMPTS_FILE = "prompts.parquet"
DAMAGE_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError)
"""What reading a recording raises if a file is damaged, or if they do not fit together."""
_FILE_SHA256 = "file_sha256"
_ROWS_AT_ONCE = 8192


class Shards:
    """The shards of one recorded set.

    Args:
        n_seeds: number of recorded seeds.
        n_seeds_used: means are taken over this many of the first seeds; by default over all.
    """

    def __init__(self, folder: Path, n_shards: int, n_seeds: int, n_seeds_used: int | None = None) -> None:
        self._folder, self._n_shards, self._n_seeds = folder, n_shards, n_seeds
        self._n_seeds_used = n_seeds_used or n_seeds
        self._reduced: dict[int, bool] = {}

    def matrices(self, columns: Columns) -> Iterator[Matrix]:
        """Yield the neurons of the columns side by side, one shard at a time: [prompt, neuron]."""
        for index in range(self._n_shards):
            yield self._read(index, columns, slice(None))

    def matrix(self, columns: Columns, limit: int | None = None) -> Matrix:
        """Return the neurons of the columns for all prompts, or for the first `limit`: [prompt, neuron]."""
        parts: list[Matrix] = []
        for part in self.matrices(columns):
            parts.append(part)
            if limit is not None and sum(map(len, parts)) >= limit:
                break
        return np.concatenate(parts)[:limit]

    def scores(self, columns: Columns, stored: str, score: Callable[[Matrix, int], Vector]) -> Vector:
        """Return a score of every prompt, [prompt]: where shards are reduced, the one that they hold.

        Args:
            stored: column of reduced shards that holds it.
            score: scores the neurons of a dense shard, [prompt, neuron], whose first prompt has a position.
        """
        parts: list[Vector] = [np.zeros(0)]
        for index in range(self._n_shards):
            if self._is_reduced(index):
                table = pq.read_table(self._path(index, True), columns=[stored])
                parts.append(np.asarray(table[stored], dtype=np.float64))
            else:
                parts.append(score(self._read(index, columns, slice(None)), sum(map(len, parts))))
        return np.concatenate(parts)

    def reduced(self, names: Sequence[str], positions: Collection[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield those of `positions` that lie in reduced shards, and the named columns of that prompt."""
        for index, start, chosen in self._holding(True, positions):
            if self._is_reduced(index):
                table = pq.read_table(self._path(index, True), columns=list(names)).take(chosen)
                yield from zip((start + row for row in chosen), table.to_pylist(), strict=True)

    def rows(self, columns: Columns, positions: Collection[int]) -> Iterator[tuple[int, Matrix]]:
        """Yield each of `positions` and the neurons of that prompt, [1, neuron], in the order of the shards.

        Shards without such a prompt are not read, and reduced ones hold none.
        """
        for index, start, chosen in self._holding(columns.are_of_prompt_sites, positions):
            if not self._is_reduced(index):
                matrix = self._read(index, columns, chosen)
                yield from ((start + row, matrix[i : i + 1]) for i, row in enumerate(chosen))

    def detector_scores(self, detectors: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
        """Return the scores of step detectors by name, means over seeds: [prompt]; NaN where there is none."""
        parts: dict[str, list[npt.NDArray[np.float64]]] = {detector: [] for detector in detectors}
        for index in range(self._n_shards if detectors else 0):
            _, keys = read_activations([self._path(index, False)], [])
            for detector, values in parts.items():
                values.append(np.asarray(keys[detector], dtype=np.float64).reshape(-1, self._n_seeds))
        return {
            detector: np.asarray(np.concatenate(values)[:, : self._n_seeds_used].mean(axis=1))
            for detector, values in parts.items()
        }

    def _holding(self, is_prompt_site: bool, positions: Collection[int]) -> Iterator[tuple[int, int, list[int]]]:
        """Yield index and first position of the shards that hold some of `positions`, and which of their rows."""
        n_rows_per_prompt, start, ordered = 1 if is_prompt_site else self._n_seeds, 0, np.sort(list(positions))
        for index in range(self._n_shards if len(ordered) else 0):
            n_prompts = read_manifest(self._path(index, is_prompt_site)).n_rows // n_rows_per_prompt
            first, end = np.searchsorted(ordered, [start, start + n_prompts])
            if first < end:
                yield index, start, (ordered[first:end] - start).tolist()
            start += n_prompts

    def _is_reduced(self, index: int) -> bool:
        if index not in self._reduced:
            self._reduced[index] = read_manifest(self._path(index, True)).entries.get(LAYOUT) == BULK
        return self._reduced[index]

    def _path(self, index: int, is_prompt_site: bool) -> Path:
        return self._folder / (PROMPT_FOLDER if is_prompt_site else STEP_FOLDER) / f"part-{index:05d}.parquet"

    def _read(self, index: int, columns: Columns, chosen: slice | list[int]) -> Matrix:
        """Read the columns of the chosen prompts of one shard: [prompt, neuron]."""
        is_prompt_site = columns.are_of_prompt_sites
        arrays, _ = read_activations([self._path(index, is_prompt_site)], columns.names)
        if is_prompt_site:
            return columns.join({name: rows[chosen] for name, rows in arrays.items()})
        by_seed = {name: rows.reshape(-1, self._n_seeds, rows.shape[1])[chosen] for name, rows in arrays.items()}
        return columns.join({name: mean_over_seeds(rows[:, : self._n_seeds_used]) for name, rows in by_seed.items()})


def mean_over_seeds(by_seed: Matrix) -> Matrix:
    """Return the means over seeds: [prompt, seed, neuron] -> [prompt, neuron]."""
    return np.asarray(by_seed.mean(axis=1), dtype=np.float32)


def save_prompts(folder: Path, prompts: PromptSet) -> dict[str, Any]:
    """Write prompts.parquet into `folder`; return the other fields of the set, and the hash of the file."""
    return save_held(folder, prompts.prompts, prompts)


def save_held(folder: Path, prompts: HeldPrompts, source: PromptSet) -> dict[str, Any]:
    """Write prompts as `save_prompts` does; the other fields are those of `source`."""
    columns = prompts.columns
    plain = pa.schema([(field.name, getattr(field.type, "value_type", field.type)) for field in columns.schema])
    with atomic_write(folder / PROMPTS_FILE) as part:
        columns.cast(plain).to_pandas().to_parquet(part, index=False)
    other_fields = {field.name: getattr(source, field.name) for field in fields(PromptSet) if field.name != "prompts"}
    return {**other_fields, _FILE_SHA256: sha256_of(folder / PROMPTS_FILE)}


def read_prompt_set(folder: Path, saved: Mapping[str, Any]) -> PromptSet:
    """Return the set that `save_prompts` wrote; `saved` is what it returned.

    Raises:
        DamagedFile: the file is missing, or is not the one that was written.
    """
    other_fields = {name: value for name, value in saved.items() if name != _FILE_SHA256}
    return PromptSet(prompts=read_held(folder, saved), **other_fields)


def read_held(folder: Path, saved: Mapping[str, Any]) -> HeldPrompts:
    """Return the prompts that `save_prompts` wrote.

    Raises:
        DamagedFile: as `read_prompt_set`.
    """
    path = folder / PROMPTS_FILE
    check_intact(path, saved[_FILE_SHA256])
    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=PROMPT_COLUMNS.names, use_threads=False)
        parts = [pa.Table.from_batches([batch]).cast(PROMPT_COLUMNS) for batch in batches]
    return HeldPrompts.joined(parts)


def check_intact(path: Path, sha256: str) -> None:
    """Raise DamagedFile if a file is missing, or if its hash is not `sha256`."""
    if not path.is_file() or sha256_of(path) != sha256:
        raise DamagedFile(f"{path} is missing or damaged")


def find_damage(recorded: Recorded, fingerprint: str, n_prompts: int) -> str | None:
    """Return what is wrong with a recording, or None if its shards are complete and hold every prompt.

    Reduced shards must all be by the baselines that lie beside them.
    """
    path = recorded.folder / BASELINES_FILE
    baselines = sha256_of(path) if path.is_file() else None
    for half in (PROMPT_FOLDER, STEP_FOLDER):
        shards = complete_shards(recorded.folder / half, fingerprint)
        manifests = [read_manifest(shard) for shard in shards.values()]
        if any(LAYOUT in m.entries and m.entries.get(BASELINES_SHA256) != baselines for m in manifests):
            return f"{path} is missing, or not what {half} shards were reduced by"
        n_rows = sum(manifest.n_rows for manifest in manifests)
        is_complete = sorted(shards) == list(range(recorded.n_shards)) and n_rows >= n_prompts > 0
        if not is_complete or n_rows % n_prompts or (half == PROMPT_FOLDER and n_rows != n_prompts):
            return (
                f"{len(shards)} complete {half} shards with {n_rows} rows, expected {recorded.n_shards} "
                f"for {n_prompts} prompts"
            )
    return None


def describe_damage(error: Exception, path: Path) -> str:
    """Return which file is damaged or another recording's; `path` describes the others and does not fit them."""
    names_its_file = isinstance(error, DamagedFile | FingerprintMismatch)
    return str(error) if names_its_file else f"{path} is damaged ({error})"
